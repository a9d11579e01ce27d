//! The real program between real peers: what curl, openssl, wrk, h2load, nginx and Python see.
//!
//! Nothing of the gate is linked in here: each test runs the binary with a configuration file in
//! a folder of its own. A peer that is not installed makes its test say so and pass, unless
//! `EVERGATE_PEERS=required` is set.

mod bad_files;
mod clients;
mod cut;
mod expiry;
mod handshake;
mod load;
mod pki;
mod program;
mod rotation;
mod upstream;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A program that Evergate has to get along with.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// What is called.
    program: &'static str,
    /// Where it comes from.
    package: &'static str,
    /// For Python: the module that must be there.
    module: Option<&'static str>,
}

const CURL: Peer = Peer::program("curl", "curl");
const OPENSSL: Peer = Peer::program("openssl", "openssl");
const WRK: Peer = Peer::program("wrk", "wrk");
const H2LOAD: Peer = Peer::program("h2load", "nghttp2-client");
const NGHTTP: Peer = Peer::program("nghttp", "nghttp2-client");
const NGINX: Peer = Peer::program("nginx", "nginx");
const WEBSOCKETS: Peer = Peer::module("websockets", "python3-websockets");
const GRPC: Peer = Peer::module("grpc", "python3-grpcio");

impl Peer {
    const fn program(program: &'static str, package: &'static str) -> Self {
        Self { program, package, module: None }
    }

    const fn module(module: &'static str, package: &'static str) -> Self {
        Self { program: "python3", package, module: Some(module) }
    }

    /// Where it is, if it is installed. Debian puts servers where only root looks, and another
    /// Python may stand before the system's.
    fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/bin", "/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
            .map(|folder| folder.join(self.program))
            .find(|program| program.is_file() && self.has_module(program))
    }

    fn has_module(self, program: &Path) -> bool {
        let Some(module) = self.module else {
            return true;
        };
        let import = format!("import {module}");
        Command::new(program).args(["-c", &import]).output().is_ok_and(|o| o.status.success())
    }

    fn command(self) -> Command {
        Command::new(self.find().expect("the test has asked for this peer"))
    }
}

/// Whether all `peers` are there; says which are not.
fn present(peers: &[Peer]) -> bool {
    let missing: Vec<_> = peers.iter().filter(|peer| peer.find().is_none()).collect();
    for peer in &missing {
        let name = peer.module.unwrap_or(peer.program);
        // Past the test harness, which would keep it to itself.
        let mut terminal = std::io::stderr().lock();
        let line = format!("skipped: {name} is not installed (Debian package {})", peer.package);
        let _ = std::io::Write::write_all(&mut terminal, format!("{line}\n").as_bytes());
    }
    let required = std::env::var("EVERGATE_PEERS").is_ok_and(|value| value == "required");
    assert!(missing.is_empty() || !required, "EVERGATE_PEERS=required, but {missing:?} is missing");
    missing.is_empty()
}

/// Asks again and again until there is an answer; fails after `limit`.
fn until<T>(what: &str, limit: Duration, mut question: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        pause(Duration::from_millis(10));
    }
}

/// Between two questions to something that gives no events.
fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

/// Both streams, for people.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
