//! TLS toward upstreams: verified, unless the configuration names the danger.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client_auth::{self, BundleError};
use crate::config::model::{UpstreamTls, Verification};
use crate::crypto;

/// What ALPN may settle on with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Negotiated {
    /// HTTP/1.1
    H1,
    /// HTTP/2
    H2,
}

/// Dials TLS for one upstream.
#[derive(Debug, Clone)]
pub struct Dialer {
    either: Arc<ClientConfig>,
    h1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
    name: Option<String>,
}

/// Why TLS with an upstream came to nothing.
#[derive(Debug)]
pub enum DialError {
    /// The name to verify is no host name.
    Name(String),
    /// The handshake failed: most often the certificate.
    Handshake(io::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is no name that a certificate can hold"),
            Self::Handshake(cause) => write!(f, "TLS handshake failed: {cause}"),
        }
    }
}

impl std::error::Error for DialError {}

impl Dialer {
    /// A dialer by `settings`.
    ///
    /// # Errors
    /// The CA bundle can't be used.
    pub fn new(settings: &UpstreamTls) -> Result<Self, BundleError> {
        let mut config = match settings.verification {
            Verification::AcceptAny => {
                config_with(Arc::new(WithoutRoots(Verification::AcceptAny)))?
            }
            Verification::Verify => {
                let roots = match &settings.ca {
                    Some(path) => Arc::new(client_auth::read_roots(path)?),
                    None => system_roots(),
                };
                config_with(verifier(roots)?)?
            }
        };
        let with_alpn = |config: &mut ClientConfig, protocols: &[&[u8]]| {
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config.clone())
        };
        Ok(Self {
            either: with_alpn(&mut config, &[b"h2", b"http/1.1"]),
            h1: with_alpn(&mut config, &[b"http/1.1"]),
            h2: with_alpn(&mut config, &[b"h2"]),
            name: settings.name.clone(),
        })
    }

    /// Shakes hands on `io` with `host`; `want` narrows what ALPN offers. The caller sets the
    /// time limit.
    ///
    /// # Errors
    /// The certificate, most often.
    pub async fn connect<IO>(
        &self,
        io: IO,
        host: &str,
        want: Option<Negotiated>,
    ) -> Result<(TlsStream<IO>, Negotiated), DialError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.name.as_deref().unwrap_or(host);
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        let server =
            ServerName::try_from(bare.to_owned()).map_err(|_| DialError::Name(name.to_owned()))?;
        let config = match want {
            None => &self.either,
            Some(Negotiated::H1) => &self.h1,
            Some(Negotiated::H2) => &self.h2,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(server, io).await.map_err(DialError::Handshake)?;
        let negotiated = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Negotiated::H2,
            _ => Negotiated::H1,
        };
        Ok((stream, negotiated))
    }
}

fn config_with(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, BundleError> {
    let config = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(crypto::VERSIONS)
        .map_err(BundleError::Library)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

fn verifier(roots: Arc<RootCertStore>) -> Result<Arc<dyn ServerCertVerifier>, BundleError> {
    if roots.is_empty() {
        // A machine without roots: every certificate is from an unknown issuer, and says so.
        return Ok(Arc::new(WithoutRoots(Verification::Verify)));
    }
    let built = WebPkiServerVerifier::builder_with_provider(roots, crypto::provider()).build();
    match built {
        Ok(verifier) => Ok(verifier),
        Err(cause) => Err(BundleError::Library(rustls::Error::General(cause.to_string()))),
    }
}

/// The system's roots, read once.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// A verifier that knows no root: it takes every certificate or none. Signatures are checked in
/// either case, so the peer at least holds the key of what it shows.
#[derive(Debug)]
struct WithoutRoots(Verification);

impl ServerCertVerifier for WithoutRoots {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0 {
            Verification::AcceptAny => Ok(ServerCertVerified::assertion()),
            Verification::Verify => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &crypto::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &crypto::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crypto::provider().signature_verification_algorithms.supported_schemes()
    }
}
