//! One handshake, within a time limit; the failure has a name.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{AlertDescription, HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::Terminator;
use super::resolver::Choice;
use crate::guard::Served;
use crate::host::HostName;
use crate::observe::traffic::ClientAlert;

/// What ALPN settled; HTTP/1.1 where the client offered nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    H1,
    /// HTTP/2
    H2,
}

/// An established TLS connection.
#[derive(Debug)]
pub struct Session<IO> {
    /// The plain text side.
    pub stream: TlsStream<IO>,
    /// The name the client asked for, or the address it connected to.
    pub host: HostName,
    /// The certificate it was shown, also at a resumed session, for which it is the one a full
    /// handshake would have shown.
    pub served: Arc<Served>,
    /// What is spoken inside.
    pub protocol: Protocol,
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether a ticket spared the key exchange with a certificate.
    pub resumed: bool,
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub enum HandshakeError {
    /// The time limit passed.
    Timeout,
    /// The client closed, or the network broke.
    Closed(io::Error),
    /// The name is unknown or dark; the client got `unrecognized_name` (RFC 6066 section 3).
    NoCertificate(String),
    /// The client sent a fatal alert: its reason is the quickest diagnosis there is (rule 9).
    ///
    /// The host is named as the certificate has it: clients can make up any number of names
    /// below a wildcard.
    Alert(ClientAlert),
    /// The client broke the protocol, or nothing fits both sides.
    Protocol(rustls::Error),
}

impl HandshakeError {
    /// A short stable name, for a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed(_) => "closed",
            Self::NoCertificate(_) => "no_certificate",
            Self::Alert(_) => "client_alert",
            Self::Protocol(_) => "protocol",
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the handshake took too long"),
            Self::Closed(cause) => write!(f, "the client went away: {cause}"),
            Self::NoCertificate(name) => write!(f, "no certificate for {name:?}"),
            Self::Alert(ClientAlert { host, alert, .. }) => {
                write!(f, "the client for {host} answered {alert}")
            }
            Self::Protocol(cause) => write!(f, "no TLS that fits: {cause}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// A fatal `unrecognized_name` in a plain record (RFC 8446 sections 5.1 and 6.2).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

impl Terminator {
    /// Shakes hands on `io` within `limit`. A client without SNI asks for `local`, the address
    /// it connected to.
    ///
    /// # Errors
    /// Names why there is no session; the client has been told by an alert where it could be.
    pub async fn accept<IO>(
        &self,
        io: IO,
        local: IpAddr,
        limit: Duration,
    ) -> Result<Session<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match tokio::time::timeout(limit, self.shake_hands(io, local)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HandshakeError::Timeout),
        }
    }

    async fn shake_hands<IO>(&self, io: IO, local: IpAddr) -> Result<Session<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let started = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(broken)?;
        let host = match requested_host(&started, local) {
            Ok(host) => host,
            Err(name) => return refuse(started.io, name).await,
        };
        let snapshot = self.inventory.current();
        if snapshot.candidates(&host).is_empty() {
            return refuse(started.io, host.to_string()).await;
        }
        let choice = Arc::new(Choice::new(snapshot, host.clone()));
        let mut config = (**self.config_for(&host)).clone();
        config.cert_resolver = Arc::<Choice>::clone(&choice);
        match started.into_stream(Arc::new(config)).await {
            Ok(stream) => finish(stream, host, &choice),
            Err(cause) => Err(named(cause, &host, &choice)),
        }
    }
}

fn requested_host<IO>(started: &StartHandshake<IO>, local: IpAddr) -> Result<HostName, String>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let hello = started.client_hello();
    match hello.server_name() {
        Some(name) => HostName::parse(name).map_err(|_| name.to_owned()),
        // RFC 6066 section 3 allows no address in SNI, so a client of `https://127.0.0.1/`
        // comes without one; a certificate may hold the address all the same.
        None => HostName::parse(&local.to_canonical().to_string()).map_err(|_| String::new()),
    }
}

async fn refuse<IO, T>(mut io: IO, name: String) -> Result<T, HandshakeError>
where
    IO: AsyncWrite + Unpin,
{
    // The client may be gone already; the outcome is the same.
    let _ = io.write_all(&UNRECOGNIZED_NAME).await;
    let _ = io.shutdown().await;
    Err(HandshakeError::NoCertificate(name))
}

fn finish<IO>(
    stream: TlsStream<IO>,
    host: HostName,
    choice: &Choice,
) -> Result<Session<IO>, HandshakeError> {
    let (_, connection) = stream.get_ref();
    let protocol = match connection.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        _ => Protocol::H1,
    };
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let Some(served) = choice.chosen() else {
        let cause = "a handshake ended without a certificate".to_owned();
        return Err(HandshakeError::Protocol(rustls::Error::General(cause)));
    };
    Ok(Session { stream, host, served, protocol, version, resumed })
}

fn named(cause: io::Error, host: &HostName, choice: &Choice) -> HandshakeError {
    match broken(cause) {
        HandshakeError::Protocol(rustls::Error::AlertReceived(alert)) => match choice.chosen() {
            Some(shown) => {
                let host = shown.name_of(host).map_or_else(String::new, |name| name.to_string());
                let fingerprint = shown.fingerprint().to_owned();
                HandshakeError::Alert(ClientAlert { host, fingerprint, alert: alert_name(alert) })
            }
            None => HandshakeError::Protocol(rustls::Error::AlertReceived(alert)),
        },
        other => other,
    }
}

fn broken(cause: io::Error) -> HandshakeError {
    match cause.downcast::<rustls::Error>() {
        Ok(error) => HandshakeError::Protocol(error),
        Err(cause) => HandshakeError::Closed(cause),
    }
}

/// One name for all that no RFC knows: a client must not make up labels.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::Unknown(_) => "unknown".to_owned(),
        known => snake_case(&format!("{known:?}")),
    }
}

/// `CertificateExpired` -> `certificate_expired`, `UnknownCA` -> `unknown_ca`.
fn snake_case(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous_lower {
            text.push('_');
        }
        previous_lower = c.is_ascii_lowercase();
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn alerts_are_called_as_the_rfc_calls_them() {
        let cases = [
            ("CertificateExpired", "certificate_expired"),
            ("UnknownCA", "unknown_ca"),
            ("BadCertificate", "bad_certificate"),
        ];
        for (debug, name) in cases {
            assert_eq!(snake_case(debug), name);
        }
    }
}
