//! Upstreams: real HTTP servers, and raw ones that misbehave.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::TlsAcceptor;

use super::body::{self, Body};
use super::pki::Issued;
use super::raw::Raw;
use super::{Boxed, raw, within};

/// How an upstream answers.
pub(crate) type Handler = Arc<dyn Fn(Request<Incoming>) -> Boxed<Response<Body>> + Send + Sync>;

/// The header section of a request that reached an upstream.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    /// All values of a header field, each on its own.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().copied()
    }
}

/// A running upstream; it ends when it is dropped.
pub(crate) struct Upstream {
    url: String,
    pub(crate) address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    complaint: Arc<Mutex<Option<String>>>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
        // What an upstream expected and did not get fails the test.
        if let Some(complaint) = self.complaint.lock().unwrap().take()
            && !std::thread::panicking()
        {
            panic!("an upstream complained: {complaint}");
        }
    }
}

impl Upstream {
    /// As a route names it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The next request that arrived.
    pub(crate) async fn seen(&mut self) -> Seen {
        within("a request at the upstream", self.seen.recv()).await.unwrap()
    }

    /// Whether no request has arrived that was not asked for yet.
    pub(crate) fn untouched(&mut self) -> bool {
        self.seen.try_recv().is_err()
    }

    /// Connections that were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Cuts every connection off, as a restart does.
    pub(crate) fn cut(&self) {
        for task in self.open.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

/// What kind of server it is.
pub(crate) enum Kind<'a> {
    /// HTTP/1.1, or HTTP/2 by prior knowledge.
    Plain,
    /// Over TLS, with these protocols to choose from.
    Tls(&'a Issued, &'a [&'a str]),
}

/// An upstream that answers every request with `text`.
pub(crate) async fn hello(text: &'static str) -> Upstream {
    serving(move |_| async move { Response::new(body::full(text)) }).await
}

/// A plain upstream that answers by `handler`.
pub(crate) async fn serving<F, R>(handler: F) -> Upstream
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    of_kind(Kind::Plain, handler).await
}

/// The same over HTTP/2 without TLS.
pub(crate) async fn serving_h2c<F, R>(handler: F) -> Upstream
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let mut upstream = of_kind(Kind::Plain, handler).await;
    upstream.url = format!("h2c://{}", upstream.address);
    upstream
}

/// An upstream of `kind` on a port of its own.
pub(crate) async fn of_kind<F, R>(kind: Kind<'_>, handler: F) -> Upstream
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (scheme, acceptor) = match kind {
        Kind::Plain => ("http", None),
        Kind::Tls(issued, alpn) => ("https", Some(acceptor(issued, alpn))),
    };
    let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
    let parts = Parts::new(handler);
    let accepting = parts.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (parts, acceptor) = (accepting.clone(), acceptor.clone());
            accepting.count();
            accepting.keep(tokio::spawn(async move {
                match acceptor {
                    None => parts.serve(stream).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            parts.serve(stream).await;
                        }
                    }
                }
            }));
        }
    });
    parts.upstream(format!("{scheme}://{address}"), address, task)
}

/// An upstream behind a socket in the file system.
pub(crate) async fn unix(path: &Path, text: &'static str) -> Upstream {
    let listener = UnixListener::bind(path).unwrap();
    let answer: Handler =
        Arc::new(move |_| Box::pin(async move { Response::new(body::full(text)) }));
    let parts = Parts::new(answer);
    let accepting = parts.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let parts = accepting.clone();
            accepting.count();
            accepting.keep(tokio::spawn(async move { parts.serve(stream).await }));
        }
    });
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    parts.upstream(format!("unix:{}", path.display()), nowhere, task)
}

/// A raw upstream: `act` gets each connection and its number, from 0.
pub(crate) async fn raw<F, R>(act: F) -> Upstream
where
    F: Fn(Raw, usize) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let nobody: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    let parts = Parts::new(nobody);
    let accepting = parts.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let number = accepting.count();
            accepting.keep(tokio::spawn(act(raw::Raw::new(stream), number)));
        }
    });
    parts.upstream(format!("http://{address}"), address, task)
}

/// A raw upstream that answers each connection's first request with `bytes` and closes.
pub(crate) async fn answering(bytes: &'static str) -> Upstream {
    raw(move |mut client, _| async move {
        client.head().await;
        client.send(bytes).await;
    })
    .await
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// An address where connections are neither accepted nor refused: the queue before a listener
/// that accepts nobody is full for as long as what is returned lives.
pub(crate) async fn stalled() -> (SocketAddr, Vec<Box<dyn Send>>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut kept: Vec<Box<dyn Send>> = vec![Box::new(socket)];
    let patience = std::time::Duration::from_millis(100);
    for _ in 0..16 {
        match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(stream) => kept.push(Box::new(stream.unwrap())),
            Err(_) => return (address, kept),
        }
    }
    panic!("the queue before {address} does not fill");
}

/// What a server's connections share.
#[derive(Clone)]
struct Parts {
    handler: Handler,
    told: mpsc::UnboundedSender<Seen>,
    seen: Arc<Mutex<Option<mpsc::UnboundedReceiver<Seen>>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<AbortHandle>>>,
    complaint: Arc<Mutex<Option<String>>>,
}

impl Parts {
    fn new(handler: Handler) -> Self {
        let (told, seen) = mpsc::unbounded_channel();
        let seen = Arc::new(Mutex::new(Some(seen)));
        Self {
            handler,
            told,
            seen,
            connections: Arc::default(),
            open: Arc::default(),
            complaint: Arc::default(),
        }
    }

    fn count(&self) -> usize {
        self.connections.fetch_add(1, Ordering::SeqCst)
    }

    fn keep(&self, task: JoinHandle<()>) {
        self.open.lock().unwrap().push(task.abort_handle());
        let complaint = Arc::clone(&self.complaint);
        tokio::spawn(async move {
            if let Err(error) = task.await
                && let Ok(panic) = error.try_into_panic()
            {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.unwrap_or_else(|| "a panic".to_owned());
                *complaint.lock().unwrap() = Some(text);
            }
        });
    }

    async fn serve(&self, stream: impl raw::Stream + 'static) {
        let (handler, told) = (Arc::clone(&self.handler), self.told.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let seen = Seen {
                method: request.method().clone(),
                uri: request.uri().clone(),
                version: request.version(),
                headers: request.headers().clone(),
            };
            // The test may not care.
            let _ = told.send(seen);
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        // How a connection ends is for the other side to judge.
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
    }

    fn upstream(self, url: String, address: SocketAddr, task: JoinHandle<()>) -> Upstream {
        let seen = self.seen.lock().unwrap().take().unwrap();
        let Self { connections, open, complaint, .. } = self;
        Upstream { url, address, seen, connections, task, open, complaint }
    }
}

fn acceptor(issued: &Issued, alpn: &[&str]) -> TlsAcceptor {
    let (chain, key) = issued.der();
    let mut config = ServerConfig::builder_with_provider(evergate::crypto::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
