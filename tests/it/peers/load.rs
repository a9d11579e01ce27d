//! A steady load by wrk (HTTP/1.1) and h2load (HTTP/2), and what they complain about in the end.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::{H2LOAD, WRK, said};

/// Three load generators at work.
pub(super) struct Load {
    kept_alive: Option<Child>,
    closing: Option<Child>,
    stop: Arc<AtomicBool>,
    h2: Option<JoinHandle<Count>>,
}

/// What load generators say about their requests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    /// Those that were answered.
    pub(super) requests: u64,
    /// Failed, errored, timed out, not answered by 2xx, or cut off.
    pub(super) failures: u64,
}

/// How many requests each generator made and lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    /// wrk with connections that stay.
    pub(super) kept_alive: Count,
    /// wrk with a connection, and so a handshake, for each request.
    pub(super) closing: Count,
    /// h2load, with a new handful of connections every second.
    pub(super) h2: Count,
}

/// Milliseconds between two requests of a connection of wrk: steady, and not all that the
/// machine can do, so that other tests have a share of it.
const PACE: &str = "function delay() return 4 end\n";

/// Connections that come to nothing before the load begins: each wrk connects once to see whether
/// somebody is there, and says nothing.
pub(super) const SILENT_CONNECTIONS: u64 = 2;

impl Load {
    /// Starts all of it against `address`, which answers for `localhost`.
    pub(super) fn start(folder: &Path, address: SocketAddr) -> Self {
        let script = folder.join("pace.lua");
        std::fs::write(&script, PACE).unwrap();
        let url = format!("https://localhost:{}/load", address.port());
        let stop = Arc::new(AtomicBool::new(false));
        let h2 = {
            let (stop, url) = (Arc::clone(&stop), url.clone());
            std::thread::spawn(move || h2load_until(&stop, &url, address))
        };
        Self {
            kept_alive: Some(wrk(&script, &url, &[])),
            closing: Some(wrk(&script, &url, &["-H", "Connection: close"])),
            stop,
            h2: Some(h2),
        }
    }

    /// Ends it and gives what it says.
    pub(super) fn end(mut self) -> Totals {
        self.stop.store(true, Ordering::Relaxed);
        let h2 = self.h2.take().unwrap().join().unwrap();
        let kept_alive = wrk_says(self.kept_alive.take().unwrap());
        let closing = wrk_says(self.closing.take().unwrap());
        Totals { kept_alive, closing, h2 }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for child in [&mut self.kept_alive, &mut self.closing].into_iter().flatten() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The load ends by itself after this long, should the test be killed before it ends the load.
const LOAD_MAX: &str = "30m";

fn wrk(script: &Path, url: &str, more: &[&str]) -> Child {
    WRK.command()
        .args(["--threads", "1", "--connections", "4", "--timeout", "10s", "--duration", LOAD_MAX])
        .arg("--script")
        .arg(script)
        .args(more)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// SIGINT makes wrk end and tell.
fn wrk_says(mut child: Child) -> Count {
    if let Some(status) = child.try_wait().unwrap() {
        let output = child.wait_with_output().unwrap();
        panic!("wrk ended before its time: {status}: {}", said(&output));
    }
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    wrk_count(&said(&output))
}

fn wrk_count(text: &str) -> Count {
    let mut count = Count::default();
    for line in text.lines().map(str::trim) {
        if line.contains(" requests in ") {
            count.requests = numbers(line)[0];
        } else if line.starts_with("Socket errors:") || line.starts_with("Non-2xx") {
            let line = line.replace("Non-2xx or 3xx", "");
            count.failures += numbers(&line).iter().sum::<u64>();
        }
    }
    assert!(count.requests > 0, "{text}");
    count
}

/// h2load can't be asked to end, so it is called again and again, with new connections each time.
fn h2load_until(stop: &AtomicBool, url: &str, address: SocketAddr) -> Count {
    let mut total = Count::default();
    loop {
        let output = H2LOAD
            .command()
            .args(["-n", "400", "-c", "4", "-m", "4", "--rps", "100"])
            .arg(format!("--connect-to={address}"))
            .arg(url)
            .output()
            .unwrap();
        let count = h2load_count(&said(&output));
        total.requests += count.requests;
        total.failures += count.failures;
        if stop.load(Ordering::Relaxed) {
            return total;
        }
    }
}

/// What h2load counted; all 2xx, or it is a failure.
pub(super) fn h2load_count(text: &str) -> Count {
    let line = |start: &str| {
        let found = text.lines().find(|line| line.starts_with(start));
        numbers(found.unwrap_or_else(|| panic!("no {start} in {text}")))
    };
    // requests: 400 total, 400 started, 400 done, 400 succeeded, 0 failed, 0 errored, 0 timeout
    let [total, _, _, succeeded, failed, errored, timeout] = line("requests:")[..] else {
        panic!("{text}");
    };
    // status codes: 400 2xx, 0 3xx, 0 4xx, 0 5xx
    let good = line("status codes:")[0];
    let lost = (total - succeeded.min(good)).max(failed + errored + timeout);
    Count { requests: total, failures: lost }
}

/// The numbers that stand as words of their own.
fn numbers(line: &str) -> Vec<u64> {
    line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_complaints_of_the_load_generators_are_understood() {
    let wrk = "Running 1d test @ https://localhost/\n  1234 requests in 5.00s, 1.00MB read\n  \
               Socket errors: connect 1, read 2, write 3, timeout 4\n  \
               Non-2xx or 3xx responses: 5\nRequests/sec: 246.8\n";
    assert_eq!(wrk_count(wrk), Count { requests: 1234, failures: 15 });
    let requests = "requests: 9 total, 9 started, 9 done, 8 succeeded, 1 failed, 1 errored, \
                    0 timeout\nstatus codes: 6 2xx, 0 3xx, 0 4xx, 2 5xx\n";
    assert_eq!(h2load_count(requests), Count { requests: 9, failures: 3 });
}
