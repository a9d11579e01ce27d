//! The program as an operator runs it: a configuration file, a log, an admin address.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{pause, said, until};

/// A gate that runs. It ends with this value.
pub(super) struct Gate {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    /// Of the first listener.
    pub(super) address: SocketAddr,
    admin: SocketAddr,
}

/// One listener for TLS and the admin listener, both on ports of the system's choice.
pub(super) const LISTEN: &str = "\
[[listen]]
address = \"127.0.0.1:0\"
[admin]
address = \"127.0.0.1:0\"
";

const LIMIT: Duration = Duration::from_secs(10);

/// Calls the program, which is to end by itself within `limit`, and tells how long it took.
pub(super) fn ends(arguments: &[&str], limit: Duration) -> (Output, Duration) {
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_evergate"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What it says fits into a pipe, so that nobody has to read meanwhile.
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > limit {
            child.kill().unwrap();
            panic!("{arguments:?} goes on after {limit:?}");
        }
        pause(Duration::from_millis(2));
    }
    let took = start.elapsed();
    (child.wait_with_output().unwrap(), took)
}

/// Writes `text` as the configuration of `folder`.
pub(super) fn configure(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("evergate.toml");
    std::fs::write(&path, text).unwrap();
    path
}

impl Gate {
    /// Runs the program with [`LISTEN`] and `text` in `folder`, and waits until it listens.
    pub(super) fn start(folder: &Path, text: &str) -> Self {
        let config = configure(folder, &format!("{LISTEN}{text}"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_evergate"))
            .args(["run", "--log", "json", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gate = Self { child, log, reader: Some(reader), address: nowhere, admin: nowhere };
        gate.address = gate.told_address("listening");
        gate.admin = gate.told_address("admin listening");
        gate
    }

    fn told_address(&mut self, message: &str) -> SocketAddr {
        until(message, LIMIT, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the gate did not start: {status}\n{}", self.log_text());
            }
            let told = self.log().into_iter().find(|line| line["message"] == message)?;
            // The admin address is told as a URL, for people to click at.
            let address = told["address"].as_str()?.trim_start_matches("http://");
            address.trim_end_matches('/').parse().ok()
        })
    }

    /// What it has logged, in order.
    pub(super) fn log(&self) -> Vec<Value> {
        let lines = self.log.lock().unwrap();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What it has logged, for people.
    pub(super) fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The admin address as `--admin` takes it.
    pub(super) fn admin(&self) -> String {
        self.admin.to_string()
    }

    /// Waits until it has told `event` with `code` about something whose name holds `thing`.
    pub(super) fn told(&self, event: &str, code: &str, thing: &str, limit: Duration) -> Value {
        let what = format!("{event} {code} about {thing}");
        let is = |line: &Value| {
            let named = line["thing"].as_str().is_some_and(|name| name.contains(thing));
            line["event"] == event && line["code"] == code && named
        };
        until(&what, limit, || self.log().into_iter().find(is))
    }

    /// Asks the admin listener: status and body.
    pub(super) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    /// Has everything read anew; when this returns, it is judged and in force.
    pub(super) fn reload(&self) {
        let (status, body) = self.ask("POST", "/api/reload");
        assert_eq!(status, 200, "{body}");
    }

    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect_timeout(&self.admin, LIMIT).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// `/api/certificates`
    pub(super) fn certificates(&self) -> Value {
        serde_json::from_str(&self.get("/api/certificates").1).unwrap()
    }

    /// The level of `host`, as `/api/certificates` has it.
    pub(super) fn level(&self, host: &str) -> String {
        let hosts = self.certificates()["hosts"].clone();
        let found = hosts.as_array().unwrap().iter().find(|known| known["host"] == host).cloned();
        found.unwrap()["level"].as_str().unwrap().to_owned()
    }

    /// Handshakes that gave a session, and those that did not.
    pub(super) fn handshakes(&self) -> (u64, u64) {
        let (_, metrics) = self.get("/metrics");
        let (mut ok, mut failed) = (0, 0);
        for line in metrics.lines() {
            let Some(labelled) = line.strip_prefix("evergate_tls_handshakes_total{") else {
                continue;
            };
            let (labels, count) = labelled.rsplit_once(' ').unwrap();
            let count: u64 = count.parse().unwrap();
            if labels.contains("result=\"ok\"") { ok += count } else { failed += count }
        }
        (ok, failed)
    }

    /// `https://NAME:PORT/PATH`
    pub(super) fn url(&self, name: &str, path: &str) -> String {
        format!("https://{name}:{}{path}", self.address.port())
    }

    /// The address as `openssl -connect` takes it.
    pub(super) fn connect(&self) -> String {
        self.address.to_string()
    }

    /// Asks it by SIGTERM to end, and gives what it logged.
    pub(super) fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        let output = Command::new("kill").args(["-TERM", &pid]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let child = &mut self.child;
        let status = until("the gate's end", LIMIT, || child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        assert!(status.success(), "{status}\n{}", self.log_text());
        self.log_text()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
