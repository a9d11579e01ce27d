//! The configuration as meant: exact types, every default filled in, every name resolved.
//!
//! Built by `prove` alone; runtime modules know this file and nothing of TOML. It knows
//! no runtime type.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::host::HostPattern;

/// What the operator wants, proved as far as a text can prove it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it came from; none for `--cert --key --to` and `dev`.
    pub path: Option<PathBuf>,
    /// `[gate]`
    pub gate: GateSettings,
    /// `[[listen]]`, at least one.
    pub listeners: Vec<ListenerSettings>,
    /// `[[cert]]`, at least one as soon as a listener speaks TLS.
    pub certs: Vec<CertSource>,
    /// `[[route]]` in the order of the file; `proxy::route` ranks them.
    pub routes: Vec<RouteSettings>,
    /// `[upstream.NAME]`, and one unnamed for each URL that a route names directly.
    pub upstreams: Vec<UpstreamSettings>,
    /// `[host."NAME"]`
    pub hosts: Vec<HostSettings>,
    /// `[guard]`
    pub guard: GuardPolicy,
    /// `[admin]`; none switches the admin listener off.
    pub admin: Option<AdminSettings>,
}

/// `[gate]`: limits of the whole gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateSettings {
    /// Data path threads, each with a runtime of its own.
    pub workers: usize,
    /// Connections that may be open at once, over all listeners; further ones wait in the kernel.
    pub connections_max: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request (or the opening of the connection) to the end of its
    /// header section.
    pub header_timeout: Duration,
    /// How long a kept-alive client connection may stay without a request.
    pub keepalive_timeout: Duration,
    /// Bytes that a request's header section may take.
    pub header_bytes_max: usize,
    /// How long SIGTERM lets open requests finish.
    pub drain_timeout: Duration,
}

/// `[[listen]]`: one address the gate accepts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where to bind; `[::]` takes IPv4 too.
    pub address: SocketAddr,
    /// What is spoken there.
    pub mode: ListenerMode,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerMode {
    /// TLS with ALPN h2 and http/1.1.
    Tls,
    /// Plain HTTP that is proxied like the rest.
    Plain,
    /// Plain HTTP answered by 308 to `https`, but for `/.well-known/acme-challenge/`.
    Redirect {
        /// The port to name in `Location`; 443 is left out of the text.
        https_port: u16,
    },
}

/// `[[cert]]`: where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertSource {
    /// Files or a folder.
    pub place: CertPlace,
    /// Whether it serves at once or stands in.
    pub role: Role,
}

/// Where one source's material lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertPlace {
    /// Every chain and key below this folder, paired by public key.
    Directory(PathBuf),
    /// A chain and its key; the same path twice for one bundle that holds both.
    Pair {
        /// PEM: the leaf first, then its issuers.
        chain: PathBuf,
        /// PEM: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves its names.
    Primary,
    /// Stands in when nothing else can serve its names.
    Standby,
}

/// `[[route]]`: which requests go where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// How the route is called in logs and metrics: `name`, or made from hosts and path.
    pub name: String,
    /// Which hosts; empty stands for every host.
    pub hosts: Vec<HostPattern>,
    /// Which paths of theirs.
    pub path: PathPattern,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
}

/// Which paths a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// `path`: this path and everything below it, by whole segments; `/api` and `/api/` alike
    /// take `/api` and `/api/x`, never `/apix`. `/` takes all.
    Prefix(String),
    /// `path_exact`
    Exact(String),
}

/// `[upstream.NAME]`: servers that answer alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The name in the file, or the URL of an unnamed one.
    pub name: String,
    /// At least one.
    pub servers: Vec<ServerSettings>,
    /// Which HTTP to speak.
    pub protocol: UpstreamProtocol,
    /// How servers with `https` are verified.
    pub tls: UpstreamTls,
    /// DNS look-up, TCP and TLS handshake together.
    pub connect_timeout: Duration,
    /// From the last byte of progress on the request to the response's header section.
    pub response_timeout: Duration,
    /// Between two pieces of a body, either way, and in a tunnel such as a WebSocket.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept.
    pub keepalive_timeout: Duration,
    /// Unused connections kept for each server by each worker.
    pub keepalive_max: usize,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerSettings {
    /// As typed, for people: `http://10.0.0.1:8080`.
    pub url: String,
    /// Where to connect.
    pub place: ServerPlace,
    /// Whether TLS is spoken.
    pub tls: bool,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerPlace {
    /// A name or an address, and a port.
    Tcp {
        /// Resolved at each dial.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Which HTTP a gate speaks to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// Over TLS what ALPN settles, otherwise HTTP/1.1.
    Auto,
    /// HTTP/1.1
    H1,
    /// HTTP/2: over TLS by ALPN, without TLS by prior knowledge (h2c).
    H2,
}

/// How an upstream's certificate is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name to verify and to send as SNI instead of the server's host.
    pub name: Option<String>,
    /// A PEM bundle of roots used instead of the system's.
    pub ca: Option<PathBuf>,
    /// `dangerously_accept_any_certificate`
    pub verification: Verification,
}

/// Whether a peer's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Chain, name and dates.
    Verify,
    /// Nothing at all. The name of the setting says what that is.
    AcceptAny,
}

/// `[host."NAME"]`: TLS settings of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Which connections, by SNI.
    pub host: HostPattern,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    None,
    /// Asked for; a client may come without one, but not with a bad one.
    Request {
        /// PEM bundle of the roots that client certificates must lead to.
        ca: PathBuf,
    },
    /// No connection without one.
    Require {
        /// PEM bundle of the roots that client certificates must lead to.
        ca: PathBuf,
    },
}

/// `[guard]`: how certificates are watched and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardPolicy {
    /// How often the disk is read without any event.
    pub poll: Duration,
    /// How long the files must be quiet after an event before they are read.
    pub quiet: Duration,
    /// How long disk and served may differ before it is told as drift, and how long refused
    /// material must stay as it is before it is called refused rather than half-written.
    pub settle: Duration,
    /// Whether a served certificate that expires without a standby goes on being served.
    pub on_expiry: OnExpiry,
    /// What a start without a single servable name does.
    pub start: OnDarkStart,
    /// PEM bundles of private roots, known beside the system's when chains are judged.
    pub roots: Vec<PathBuf>,
}

/// What becomes of a served certificate that expires and has no standby (rule 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpiry {
    /// It is served on at level `expired`: some clients still get through.
    Serve,
    /// Its names go dark.
    Refuse,
}

/// What a start without a single servable name does (rule 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDarkStart {
    /// Exit code 4.
    Exit,
    /// Listens, answers handshakes with an alert and waits for good material.
    Wait,
}

/// `[admin]`: where the gate tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where to bind.
    pub address: AdminAddress,
    /// A file with the bearer token; required off loopback.
    pub token: Option<PathBuf>,
}

/// An address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// Loopback, or any address with a token.
    Tcp(SocketAddr),
    /// A socket in the file system, mode 0600.
    Unix(PathBuf),
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            // One worker for each core, for want of a measurement that says otherwise.
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            connections_max: 50_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            keepalive_timeout: Duration::from_secs(75),
            header_bytes_max: 64 * 1024,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for GuardPolicy {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10),
            quiet: Duration::from_millis(100),
            settle: Duration::from_secs(3),
            on_expiry: OnExpiry::Serve,
            start: OnDarkStart::Exit,
            roots: Vec::new(),
        }
    }
}

impl UpstreamSettings {
    /// An upstream of these servers with every default.
    pub fn new(name: String, servers: Vec<ServerSettings>) -> Self {
        Self {
            name,
            servers,
            protocol: UpstreamProtocol::Auto,
            tls: UpstreamTls { name: None, ca: None, verification: Verification::Verify },
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            // Server-sent events and WebSockets may be silent for minutes.
            idle_timeout: Duration::from_secs(600),
            keepalive_timeout: Duration::from_secs(60),
            keepalive_max: 256,
        }
    }
}
