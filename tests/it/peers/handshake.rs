//! One real handshake and one request: which certificate does the gate show just now?

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use evergate::crypto;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, Stream,
};

/// A client that wants a chain to its root, the name, and dates that it doesn't look at.
pub(super) struct Looker {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    address: SocketAddr,
}

/// Everything but the dates is checked: an expired certificate is told by its fingerprint.
#[derive(Debug)]
struct AnyDate(Arc<WebPkiServerVerifier>);

const LIMIT: Duration = Duration::from_secs(10);

impl Looker {
    /// Looks at `address` as a client that wants `name` and trusts `root_pem`.
    pub(super) fn new(address: SocketAddr, name: &str, root_pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto::provider())
                .build()
                .unwrap();
        let mut config = ClientConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(crypto::VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyDate(verifier)))
            .with_no_client_auth();
        // Each look is a full handshake: a resumed one shows no certificate.
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self { config: Arc::new(config), name, address }
    }

    /// The fingerprint of the leaf that is shown. The connection ends as a polite client's does,
    /// so that it counts as no failure.
    pub(super) fn look(&self) -> Result<String, String> {
        let said = |error: std::io::Error| error.to_string();
        let mut tcp = TcpStream::connect_timeout(&self.address, LIMIT).map_err(said)?;
        tcp.set_read_timeout(Some(LIMIT)).map_err(said)?;
        tcp.set_nodelay(true).map_err(said)?;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone()).unwrap();
        let host = self.name.to_str();
        let mut stream = Stream::new(&mut tls, &mut tcp);
        let request = format!("GET /look HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(said)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(said)?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&answer).into_owned());
        }
        let leaf = tls.peer_certificates().and_then(|chain| chain.first());
        leaf.map(|leaf| crypto::sha256_hex(leaf)).ok_or_else(|| "no certificate".to_owned())
    }
}

impl ServerCertVerifier for AnyDate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
