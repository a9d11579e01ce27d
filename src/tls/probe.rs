//! Looks at what an endpoint serves: one handshake, nothing believed, nothing sent after it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::crypto;

/// What an endpoint showed.
#[derive(Debug)]
pub struct Peer {
    /// DER, in the order in which it was sent.
    pub chain: Vec<Vec<u8>>,
    /// `TLSv1.3` and the like; none if the handshake broke off after the chain was sent.
    pub version: Option<String>,
    /// The application protocol agreed on (RFC 7301).
    pub alpn: Option<String>,
    /// Why the handshake broke off after the chain was sent: a client certificate was asked for,
    /// for example.
    pub failure: Option<String>,
}

/// Why an endpoint showed nothing.
#[derive(Debug)]
pub enum ProbeError {
    /// The name to ask for is neither a DNS name nor an address.
    Name(String),
    /// Nobody answered in time.
    Timeout {
        /// `host:port`
        endpoint: String,
        /// The time that was given.
        limit: Duration,
    },
    /// The name can't be resolved or nobody listens.
    Connect {
        /// `host:port`
        endpoint: String,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody listens, but there is no handshake.
    Handshake {
        /// `host:port`
        endpoint: String,
        /// What the TLS library says.
        source: io::Error,
    },
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} can't be asked for as a server name"),
            Self::Timeout { endpoint, limit } => {
                write!(f, "{endpoint} did not answer in {} s", limit.as_secs())
            }
            Self::Connect { endpoint, .. } => write!(f, "can't connect to {endpoint}"),
            Self::Handshake { endpoint, .. } => {
                write!(f, "{endpoint} listens but completes no TLS handshake")
            }
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Handshake { source, .. } => Some(source),
            Self::Name(_) | Self::Timeout { .. } => None,
        }
    }
}

/// Shakes hands with `host:port`, asking for `server_name`, and tells what was sent.
///
/// Resolving, connecting and the handshake together take at most `limit`. Nothing is verified:
/// that is the guard's part. A peer that sends its chain and then breaks off is still told about.
pub async fn peer_chain(
    host: &str,
    port: u16,
    server_name: &str,
    limit: Duration,
) -> Result<Peer, ProbeError> {
    let endpoint =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let asked = ServerName::try_from(server_name.to_owned())
        .map_err(|_| ProbeError::Name(server_name.to_owned()))?;
    let recorder = Arc::new(Recorder::default());
    let talk = talk(host, port, asked, &endpoint, Arc::clone(&recorder));
    let outcome = match tokio::time::timeout(limit, talk).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ProbeError::Timeout { endpoint, limit }),
    };
    let chain = recorder.taken();
    match outcome {
        Ok((version, alpn)) => Ok(Peer { chain, version, alpn, failure: None }),
        Err(error) if chain.is_empty() => Err(error),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Ok(Peer {
                chain,
                version: None,
                alpn: None,
                failure: Some(cause.unwrap_or_else(|| error.to_string())),
            })
        }
    }
}

async fn talk(
    host: &str,
    port: u16,
    asked: ServerName<'static>,
    endpoint: &str,
    recorder: Arc<Recorder>,
) -> Result<(Option<String>, Option<String>), ProbeError> {
    let broken = |source| ProbeError::Handshake { endpoint: endpoint.to_owned(), source };
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|source| ProbeError::Connect { endpoint: endpoint.to_owned(), source })?;
    let mut config = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(crypto::VERSIONS)
        .map_err(|error| broken(io::Error::other(error)))?
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream =
        TlsConnector::from(Arc::new(config)).connect(asked, stream).await.map_err(broken)?;
    let (_, session) = stream.get_ref();
    let version = session.protocol_version().map(|version| {
        // `TLSv1_3` in the library's spelling, `TLSv1.3` in everybody else's.
        format!("{version:?}").replace('_', ".")
    });
    let alpn = session.alpn_protocol();
    let alpn = alpn.map(|name| String::from_utf8_lossy(name).into_owned());
    Ok((version, alpn))
}

/// Accepts whatever is shown and remembers it. Only for looking: no byte of a request follows.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Vec<u8>>>);

impl Recorder {
    fn taken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let sent = std::iter::once(end_entity).chain(intermediates);
        let sent = sent.map(|certificate| certificate.as_ref().to_vec());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sent.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = crypto::provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    const LIMIT: Duration = Duration::from_secs(5);

    async fn listener(address: &str) -> (TcpListener, u16) {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn server(names: &[&str]) -> (TlsAcceptor, Vec<u8>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let leaf = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(crypto::VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        (TlsAcceptor::from(Arc::new(config)), leaf.to_vec())
    }

    #[tokio::test]
    async fn an_untrusted_chain_with_another_name_is_told_as_it_was_sent() {
        for (address, host) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let Ok(listener) = TcpListener::bind(address).await else {
                continue; // A machine without IPv6.
            };
            let port = listener.local_addr().unwrap().port();
            let (acceptor, leaf) = server(&["other.test"]);
            let serving = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                acceptor.accept(stream).await.map(drop)
            });
            let peer = peer_chain(host, port, "a.test", LIMIT).await.unwrap();
            assert_eq!(peer.chain, [leaf]);
            assert_eq!(peer.version.as_deref(), Some("TLSv1.3"));
            assert_eq!(peer.alpn.as_deref(), Some("h2"));
            assert_eq!(peer.failure, None);
            drop(serving.await);
        }
    }

    #[tokio::test]
    async fn a_peer_that_speaks_no_tls_is_a_broken_handshake() {
        let (listener, port) = listener("127.0.0.1:0").await;
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
            stream
        });
        let error = peer_chain("127.0.0.1", port, "a.test", LIMIT).await;
        assert!(matches!(error, Err(ProbeError::Handshake { .. })), "{error:?}");
        drop(serving.await);
    }

    #[tokio::test]
    async fn a_silent_peer_costs_the_limit_and_no_more() {
        let (_listener, port) = listener("127.0.0.1:0").await;
        let limit = Duration::from_millis(50);
        let error = peer_chain("127.0.0.1", port, "a.test", limit).await;
        assert!(matches!(error, Err(ProbeError::Timeout { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_no_connection() {
        let (closed, port) = listener("127.0.0.1:0").await;
        drop(closed);
        let error = peer_chain("127.0.0.1", port, "a.test", LIMIT).await;
        assert!(matches!(error, Err(ProbeError::Connect { .. })), "{error:?}");
    }
}
