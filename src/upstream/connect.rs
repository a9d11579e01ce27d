//! Connections to servers: dial, TLS, HTTP.

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::body::RequestBody;
use super::pool::Need;
use super::{Endpoint, Upstream};
use crate::config::model::{ServerPlace, UpstreamProtocol};
use crate::tls::{DialError, Negotiated};

/// Why there is no connection to a server.
#[derive(Debug)]
pub enum ConnectError {
    /// `connect_timeout` passed.
    Timeout(Duration),
    /// The name could not be resolved, or nobody accepts there.
    Dial(io::Error),
    /// No TLS.
    Tls(DialError),
    /// The server closed or broke off while HTTP began.
    Http(hyper::Error),
    /// The upstream speaks HTTP/2 only, which carries no HTTP/1.1 upgrade.
    NoUpgrade,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(limit) => write!(f, "no connection within {} ms", limit.as_millis()),
            Self::Dial(cause) => write!(f, "can't connect: {cause}"),
            Self::Tls(cause) => cause.fmt(f),
            Self::Http(cause) => write!(f, "HTTP did not begin: {cause}"),
            Self::NoUpgrade => f.write_str(
                "it speaks HTTP/2 only, which can't carry this upgrade; set protocol = \"h1\"",
            ),
        }
    }
}

impl std::error::Error for ConnectError {}

/// A connection that has just begun; its driver runs on this worker's task set.
pub(super) enum Fresh {
    H1(http1::SendRequest<RequestBody>),
    H2(http2::SendRequest<RequestBody>),
}

/// Connects to `endpoint` within the upstream's `connect_timeout`.
pub(super) async fn dial(
    upstream: &Upstream,
    endpoint: &Endpoint,
    need: Need,
) -> Result<Fresh, ConnectError> {
    let limit = upstream.settings().connect_timeout;
    match tokio::time::timeout(limit, dial_unbounded(upstream, endpoint, need)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::Timeout(limit)),
    }
}

async fn dial_unbounded(
    upstream: &Upstream,
    endpoint: &Endpoint,
    need: Need,
) -> Result<Fresh, ConnectError> {
    match &endpoint.server.place {
        ServerPlace::Tcp { host, port } => {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            let stream = TcpStream::connect((bare, *port)).await.map_err(ConnectError::Dial)?;
            // Small requests must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true).map_err(ConnectError::Dial)?;
            secure(upstream, endpoint, bare, stream, need).await
        }
        ServerPlace::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(ConnectError::Dial)?;
            secure(upstream, endpoint, "localhost", stream, need).await
        }
    }
}

async fn secure<IO>(
    upstream: &Upstream,
    endpoint: &Endpoint,
    host: &str,
    stream: IO,
    need: Need,
) -> Result<Fresh, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let protocol = upstream.settings().protocol;
    let want = match (protocol, need) {
        (UpstreamProtocol::H2, Need::Upgrade) => return Err(ConnectError::NoUpgrade),
        (UpstreamProtocol::H2, Need::Exchange) => Some(Negotiated::H2),
        (UpstreamProtocol::H1, _) | (UpstreamProtocol::Auto, Need::Upgrade) => Some(Negotiated::H1),
        (UpstreamProtocol::Auto, Need::Exchange) => None,
    };
    match upstream.dialer.as_ref().filter(|_| endpoint.server.tls) {
        Some(dialer) => {
            let (stream, negotiated) =
                dialer.connect(stream, host, want).await.map_err(ConnectError::Tls)?;
            begin(stream, negotiated).await
        }
        None => begin(stream, want.unwrap_or(Negotiated::H1)).await,
    }
}

async fn begin<IO>(stream: IO, negotiated: Negotiated) -> Result<Fresh, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match negotiated {
        Negotiated::H1 => {
            let (sender, connection) = http1::Builder::new()
                .handshake(TokioIo::new(stream))
                .await
                .map_err(ConnectError::Http)?;
            drive(connection.with_upgrades());
            Ok(Fresh::H1(sender))
        }
        Negotiated::H2 => {
            let (sender, connection) = http2::Builder::new(LocalExecutor)
                .timer(TokioTimer::new())
                // A download fills 1 MiB a stream before the client has to take some of it.
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20)
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10))
                .handshake(TokioIo::new(stream))
                .await
                .map_err(ConnectError::Http)?;
            drive(connection);
            Ok(Fresh::H2(sender))
        }
    }
}

/// Runs the connection's own task. Its errors reach whoever waits for a response.
fn drive<F>(connection: F)
where
    F: Future<Output = hyper::Result<()>> + 'static,
{
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an upstream ended");
        }
    });
}

/// Spawns hyper's tasks on this worker.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
