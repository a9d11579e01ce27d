//! A real gate in this process, with its files in a folder of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evergate::clock;
use evergate::config::{self, model::Config};
use evergate::gate::{Gate, Signals};
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::client::{self, Http, Tls};
use super::pki::{Ca, Issued, Leaf};
use super::raw::Raw;
use super::within;

/// What a gate is to be.
pub(crate) struct Plan {
    dir: TempDir,
    pub(crate) ca: Ca,
    listeners: Vec<String>,
    gate: String,
    certs: String,
    certs_count: usize,
    rest: String,
}

/// A gate to be described; one worker, a guard that looks often.
pub(crate) fn gate() -> Plan {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    ca.write(dir.path());
    Plan {
        dir,
        ca,
        listeners: Vec::new(),
        gate: String::new(),
        certs: String::new(),
        certs_count: 0,
        rest: String::new(),
    }
}

impl Plan {
    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// A certificate for `name`, in the folder `certs/NUMBER`.
    pub(crate) fn cert(self, name: &str) -> Self {
        self.leaf(&Leaf::of(&[name]))
    }

    pub(crate) fn leaf(self, leaf: &Leaf) -> Self {
        let issued = self.ca.issue(leaf);
        self.issued(&issued)
    }

    pub(crate) fn issued(mut self, issued: &Issued) -> Self {
        let folder = format!("certs/{}", self.certs_count);
        issued.write(&self.dir.path().join(&folder));
        self.certs_count += 1;
        let _ = writeln!(
            self.certs,
            "[[cert]]\nchain = \"{folder}/chain.pem\"\nkey = \"{folder}/key.pem\""
        );
        self
    }

    /// Everything at `host` goes `to` a URL or an upstream.
    pub(crate) fn route(self, host: &str, to: &str) -> Self {
        self.text(&format!("[[route]]\nhosts = [\"{host}\"]\nto = \"{to}\""))
    }

    /// Everything goes there.
    pub(crate) fn route_all(self, to: &str) -> Self {
        self.text(&format!("[[route]]\nto = \"{to}\""))
    }

    /// An upstream with further settings, and everything at `host` goes there.
    pub(crate) fn upstream(self, host: &str, servers: &[&str], settings: &str) -> Self {
        let servers = format!("{servers:?}");
        self.text(&format!("[upstream.up]\nservers = {servers}\n{settings}")).route(host, "up")
    }

    /// More lines of `[gate]`.
    pub(crate) fn limits(mut self, lines: &str) -> Self {
        let _ = writeln!(self.gate, "{lines}");
        self
    }

    /// More sections.
    pub(crate) fn text(mut self, text: &str) -> Self {
        let _ = writeln!(self.rest, "{text}");
        self
    }

    /// A listener instead of the one with TLS on a port of loopback.
    pub(crate) fn listen(mut self, text: &str) -> Self {
        self.listeners.push(format!("[[listen]]\n{text}\n"));
        self
    }

    pub(crate) fn admin(self) -> Self {
        self.text("[admin]\naddress = \"127.0.0.1:0\"")
    }

    /// The configuration's text.
    pub(crate) fn written(&self) -> String {
        let tls = "[[listen]]\naddress = \"127.0.0.1:0\"\n".to_owned();
        let listeners = if self.listeners.is_empty() { tls } else { self.listeners.concat() };
        format!(
            "{listeners}\n[gate]\nworkers = 1\n{}\n\
             [guard]\nroots = [\"ca.pem\"]\npoll = \"200ms\"\nquiet = \"10ms\"\nsettle = \"50ms\"\n\
             \n{}\n{}",
            self.gate, self.certs, self.rest
        )
    }

    /// Writes the configuration; gives its path.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.dir.path().join("evergate.toml");
        std::fs::write(&path, self.written()).unwrap();
        path
    }

    fn proved(&self) -> Config {
        let path = self.write();
        match config::load(&path) {
            Ok(proved) => proved.config,
            Err(refusal) => panic!("{refusal}\n{}", self.written()),
        }
    }

    /// Starts it.
    pub(crate) async fn start(self) -> Running {
        let config = self.proved();
        let starting =
            tokio::task::spawn_blocking(|| Gate::start(config, clock::system(), Signals::Leave));
        let gate = within("the gate to start", starting).await.unwrap();
        let gate = gate.unwrap_or_else(|error| panic!("{error}\n{}", self.written()));
        let tls = Tls::trusting(self.ca.roots());
        let address = gate.addresses()[0];
        Running { plan: self, gate: Some(gate), address, tls }
    }
}

/// A gate that serves.
pub(crate) struct Running {
    pub(crate) plan: Plan,
    gate: Option<Gate>,
    /// Of its first listener.
    pub(crate) address: SocketAddr,
    /// A client's settings, to be varied.
    pub(crate) tls: Tls,
}

impl Running {
    pub(crate) fn gate(&self) -> &Gate {
        self.gate.as_ref().unwrap()
    }

    /// Of listener number `index`.
    pub(crate) fn address_of(&self, index: usize) -> SocketAddr {
        self.gate().addresses()[index]
    }

    /// The folder of certificate number `index`.
    pub(crate) fn certs(&self, index: usize) -> PathBuf {
        self.plan.folder().join(format!("certs/{index}"))
    }

    /// Shakes hands for `name` with these settings.
    pub(crate) async fn connect(
        &self,
        name: &str,
        config: &Arc<ClientConfig>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        client::connect(self.address, name, config).await
    }

    /// A connection for `name` that speaks `version`, as ALPN calls it.
    pub(crate) async fn version(&self, name: &str, version: &'static str) -> Http {
        let config = self.tls.clone().alpn(&[version]).build(None);
        let stream = self.connect(name, &config).await.unwrap();
        match version {
            "h2" => Http::h2(stream, name, "https").await,
            _ => Http::h1(stream, name, "https").await,
        }
    }

    /// An HTTP/1.1 connection for `name`.
    pub(crate) async fn h1(&self, name: &str) -> Http {
        self.version(name, "http/1.1").await
    }

    /// An HTTP/2 connection for `name`.
    pub(crate) async fn h2(&self, name: &str) -> Http {
        self.version(name, "h2").await
    }

    /// Both, one after the other: for what must hold for either.
    pub(crate) async fn both(&self, name: &str) -> [Http; 2] {
        [self.h1(name).await, self.h2(name).await]
    }

    /// A connection of bytes over TLS for `name`.
    pub(crate) async fn raw(&self, name: &str) -> Raw {
        let config = self.tls.clone().alpn(&["http/1.1"]).build(None);
        Raw::new(self.connect(name, &config).await.unwrap())
    }

    /// Asks the gate to stop.
    pub(crate) fn stop(&self) {
        self.gate().stop();
    }

    /// Waits until it has drained.
    pub(crate) async fn ended(&mut self) {
        let gate = self.gate.take().unwrap();
        let waiting = tokio::task::spawn_blocking(|| gate.wait());
        within("the gate to end", waiting).await.unwrap();
    }

    /// A connection to the admin listener.
    pub(crate) async fn admin_http(&self) -> Http {
        let Some(evergate::admin::Address::Tcp(address)) = self.gate().admin() else {
            panic!("no admin listener on TCP");
        };
        let stream = within("the admin listener", TcpStream::connect(address)).await.unwrap();
        Http::h1(stream, &address.to_string(), "http").await
    }

    /// Asks the admin listener, over a connection of its own.
    pub(crate) async fn admin(&self, method: &str, path: &str) -> client::Answer {
        let mut http = self.admin_http().await;
        let request = http.request(method, path).body(super::body::empty()).unwrap();
        http.exchange(request).await
    }
}
