//! Clients: TLS with chosen settings, and HTTP/1.1 and HTTP/2 above it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::{self, Body};
use super::pki::Issued;
use super::raw::{Raw, Stream};
use super::within;

/// How a client shakes hands. Trusts the test's CA and no other.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static str>,
    pub(crate) sni: bool,
}

impl Tls {
    pub(crate) fn trusting(roots: Arc<RootCertStore>) -> Self {
        Self {
            roots,
            provider: evergate::crypto::provider(),
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            alpn: Vec::new(),
            sni: true,
        }
    }

    pub(crate) fn alpn(self, alpn: &[&'static str]) -> Self {
        Self { alpn: alpn.to_vec(), ..self }
    }

    pub(crate) fn versions(self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self { versions: versions.to_vec(), ..self }
    }

    pub(crate) fn without_sni(self) -> Self {
        Self { sni: false, ..self }
    }

    /// Settings to connect with, more than once where sessions are to be resumed.
    pub(crate) fn build(&self, identity: Option<&Issued>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let (chain, key) = issued.der();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.enable_sni = self.sni;
        config.resumption = Resumption::in_memory_sessions(16);
        Arc::new(config)
    }
}

/// Connects and shakes hands for `name`.
pub(crate) async fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await
    };
    within("a handshake", connecting).await
}

/// A connection without TLS.
pub(crate) async fn plain(address: SocketAddr) -> Raw {
    Raw::new(within("a connection", TcpStream::connect(address)).await.unwrap())
}

/// A response that has been read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> Self {
        let (parts, incoming) = response.into_parts();
        let text = body::text(incoming).await;
        Self { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An open HTTP connection of either version.
pub(crate) struct Http {
    sender: Sender,
    host: String,
    scheme: &'static str,
    driver: JoinHandle<hyper::Result<()>>,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

impl Http {
    /// HTTP/1.1 on `io`; requests are for `host`.
    pub(crate) async fn h1(io: impl Stream + 'static, host: &str, scheme: &'static str) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        let driver = tokio::spawn(connection.with_upgrades());
        Self { sender: Sender::H1(sender), host: host.to_owned(), scheme, driver }
    }

    /// HTTP/2 on `io`.
    pub(crate) async fn h2(io: impl Stream + 'static, host: &str, scheme: &'static str) -> Self {
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.unwrap();
        let driver = tokio::spawn(connection);
        Self { sender: Sender::H2(sender), host: host.to_owned(), scheme, driver }
    }

    /// A request in the form that the version has for it.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        match self.sender {
            Sender::H1(_) => builder.uri(path).header("host", &self.host),
            Sender::H2(_) => builder.uri(format!("{}://{}{path}", self.scheme, self.host)),
        }
    }

    /// Sends and waits for the header section.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.ready().await?;
        within("a response", self.begin(request)).await
    }

    /// Waits until the connection takes another request.
    pub(crate) async fn ready(&mut self) -> Result<(), hyper::Error> {
        let ready = async {
            match &mut self.sender {
                Sender::H1(sender) => sender.ready().await,
                Sender::H2(sender) => sender.ready().await,
            }
        };
        within("the connection to be ready", ready).await
    }

    /// Sends; what is returned waits for the header section.
    pub(crate) fn begin(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> + Send + use<> {
        let sending: super::Boxed<_> = match &mut self.sender {
            Sender::H1(sender) => Box::pin(sender.send_request(request)),
            Sender::H2(sender) => Box::pin(sender.send_request(request)),
        };
        sending
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path).body(body::empty()).unwrap();
        self.exchange(request).await
    }

    pub(crate) async fn exchange(&mut self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let response = self.send(request).await;
        Answer::of(response.unwrap_or_else(|error| panic!("{what}: {error:?}"))).await
    }

    /// Waits until the other end has closed.
    pub(crate) async fn closed(self) -> hyper::Result<()> {
        // An h2 connection whose senders are gone closes by itself: keep ours.
        let Self { sender, driver, .. } = self;
        let outcome = within("the connection to be closed", driver).await.unwrap();
        drop(sender);
        outcome
    }
}
