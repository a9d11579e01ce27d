//! Why a request failed: whose fault, which thing, which status.

use std::fmt;

use http::StatusCode;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// A server's behind the gate.
    Upstream,
    /// The gate's, or its configuration's.
    Gate,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense, or two senses.
    BadRequest(&'static str),
    /// The connection's certificate does not cover the host (RFC 9110 section 15.5.20).
    Misdirected(String),
    /// A method that a front door does not take.
    MethodRefused,
    /// No route takes it.
    NoRoute(String),
    /// The client fell silent while it sent its body.
    BodyTimeout,
    /// No connection to the one server there is.
    Unreachable,
    /// No connection to any of several servers.
    NoServer,
    /// No connection in time.
    ConnectTimeout,
    /// No response in time.
    ResponseTimeout,
    /// The server closed, or answered what is no HTTP.
    BadResponse,
    /// The server did not take the upgrade.
    UpgradeRefused,
}

/// A request that the gate answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: Kind,
    /// The upstream and the server, and what happened there; empty where none was asked.
    pub detail: String,
}

impl Fault {
    /// A fault that no upstream has part in.
    pub fn new(kind: Kind) -> Self {
        Self { kind, detail: String::new() }
    }

    /// A fault of `server` of `upstream`.
    pub fn at(kind: Kind, upstream: &str, server: &str, happened: &dyn fmt::Display) -> Self {
        Self { kind, detail: format!("upstream `{upstream}`, server {server}: {happened}") }
    }

    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self.kind {
            Kind::BadRequest(_)
            | Kind::Misdirected(_)
            | Kind::MethodRefused
            | Kind::NoRoute(_)
            | Kind::BodyTimeout => Side::Client,
            Kind::Unreachable
            | Kind::NoServer
            | Kind::ConnectTimeout
            | Kind::ResponseTimeout
            | Kind::BadResponse
            | Kind::UpgradeRefused => Side::Upstream,
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self.kind {
            Kind::BadRequest(_) => StatusCode::BAD_REQUEST,
            Kind::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            Kind::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Kind::NoRoute(_) => StatusCode::NOT_FOUND,
            Kind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Kind::Unreachable | Kind::BadResponse | Kind::UpgradeRefused => StatusCode::BAD_GATEWAY,
            Kind::NoServer => StatusCode::SERVICE_UNAVAILABLE,
            Kind::ConnectTimeout | Kind::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The gRPC status for a client that speaks gRPC (grpc/doc/http-grpc-status-mapping.md).
    pub fn grpc_status(&self) -> u8 {
        match self.status() {
            StatusCode::BAD_REQUEST => 13,
            StatusCode::NOT_FOUND => 12,
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => 14,
            _ => 2,
        }
    }

    /// What to do about it; empty where the sentence says it all.
    pub fn remedy(&self) -> &'static str {
        match self.kind {
            Kind::NoRoute(_) => "add a [[route]] for it, or ask for another host or path",
            Kind::Unreachable | Kind::NoServer => {
                "see whether the server runs, listens there and shows a certificate that verifies"
            }
            Kind::ConnectTimeout => "see whether the server is up and no firewall is between",
            Kind::ResponseTimeout => {
                "see what the server is busy with, or raise the upstream's response_timeout"
            }
            Kind::BadResponse => "see the server's own log: it closed early or spoke no HTTP",
            Kind::UpgradeRefused => "set protocol = \"h1\" for the upstream",
            _ => "",
        }
    }

    /// A short stable name for logs and labels.
    pub fn code(&self) -> &'static str {
        match self.kind {
            Kind::BadRequest(_) => "bad_request",
            Kind::Misdirected(_) => "misdirected",
            Kind::MethodRefused => "method_refused",
            Kind::NoRoute(_) => "no_route",
            Kind::BodyTimeout => "client_body",
            Kind::Unreachable => "upstream_unreachable",
            Kind::NoServer => "no_server",
            Kind::ConnectTimeout => "connect_timeout",
            Kind::ResponseTimeout => "upstream_timeout",
            Kind::BadResponse => "bad_response",
            Kind::UpgradeRefused => "upgrade_refused",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::BadRequest(why) => f.write_str(why)?,
            Kind::Misdirected(host) => write!(
                f,
                "this connection's certificate does not cover {host}; open a connection of its own"
            )?,
            Kind::MethodRefused => f.write_str("a front door opens no tunnels: CONNECT refused")?,
            Kind::NoRoute(target) => write!(f, "no route takes {target}")?,
            Kind::BodyTimeout => f.write_str("the request's body did not arrive whole")?,
            Kind::Unreachable => f.write_str("the server can't be reached")?,
            Kind::NoServer => f.write_str("none of the servers can be reached")?,
            Kind::ConnectTimeout => f.write_str("the server did not accept in time")?,
            Kind::ResponseTimeout => f.write_str("the server did not answer in time")?,
            Kind::BadResponse => f.write_str("the server gave no usable response")?,
            Kind::UpgradeRefused => f.write_str("the server can't take the upgrade")?,
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl std::error::Error for Fault {}
