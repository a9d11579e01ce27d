//! One connection: handshake -> ALPN -> serve HTTP -> close; drains politely.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::accept::Acceptor;
use super::stream::Watched;
use crate::config::model::{GateSettings, ListenerMode};
use crate::proxy::{Activity, Client, Secure};
use crate::tls::{HandshakeError, Protocol};
use crate::upstream::LocalExecutor;

/// Serves one connection to its end.
pub(super) async fn run(
    acceptor: Rc<Acceptor>,
    stream: TcpStream,
    peer: SocketAddr,
    mode: ListenerMode,
    permit: OwnedSemaphorePermit,
) {
    let traffic = acceptor.proxy.traffic().shared().clone();
    let activity = Activity::begin(permit, &traffic.connections);
    let address = HeaderValue::from_str(&peer.ip().to_canonical().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    let plan = acceptor.proxy.plan();
    let limits = plan.config().gate.clone();
    match mode {
        ListenerMode::Tls => {
            let local = stream.local_addr().map_or(Ipv4Addr::LOCALHOST.into(), |local| local.ip());
            let terminator = plan.terminator().clone();
            drop(plan);
            let accepted =
                Box::pin(terminator.accept(stream, local, limits.handshake_timeout)).await;
            let session = match accepted {
                Ok(session) => session,
                Err(error) => return acceptor.handshake_failed(&error, peer.ip()),
            };
            traffic.handshake_done(session.version, session.resumed);
            let secure = Secure { host: session.host, served: session.served };
            let activity = Arc::clone(&activity);
            let client = Client { address, secure: Some(secure), redirect: None, activity };
            acceptor.serve(session.stream, session.protocol, client, &limits).await;
        }
        ListenerMode::Plain | ListenerMode::Redirect { .. } => {
            drop(plan);
            let redirect = match mode {
                ListenerMode::Redirect { https_port } => Some(https_port),
                _ => None,
            };
            let detecting = tokio::time::timeout(limits.header_timeout, detect(&stream));
            let Ok(Some(protocol)) = detecting.await else {
                return;
            };
            let client = Client { address, secure: None, redirect, activity };
            acceptor.serve(stream, protocol, client, &limits).await;
        }
    }
}

/// Without TLS there is no ALPN: HTTP/2 by prior knowledge shows in its first bytes (RFC 9113
/// section 3.3). None where the client closes before it says enough.
async fn detect(stream: &TcpStream) -> Option<Protocol> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    let mut first = [0; PREFACE.len()];
    let mut seen = 0;
    loop {
        let count = stream.peek(&mut first).await.ok().filter(|count| *count > 0)?;
        let (bytes, expected) = (first.get(..count)?, PREFACE.get(..count)?);
        if bytes != expected {
            return Some(Protocol::H1);
        }
        if count == PREFACE.len() {
            return Some(Protocol::H2);
        }
        if count == seen {
            // Peeking sees the same bytes at once again; let others work meanwhile.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        seen = count;
    }
}

impl Acceptor {
    fn handshake_failed(&self, error: &HandshakeError, peer: IpAddr) {
        let traffic = self.proxy.traffic().shared();
        traffic.handshake_failed(error.label());
        if let HandshakeError::Alert(said) = error {
            traffic.client_alert(said);
        }
        tracing::debug!(%peer, code = error.label(), "{error}");
    }

    async fn serve<IO>(
        self: &Rc<Self>,
        stream: IO,
        protocol: Protocol,
        client: Client,
        limits: &GateSettings,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::clone(&client.activity);
        let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity)));
        let (proxy, client) = (Rc::clone(&self.proxy), Rc::new(client));
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = Rc::clone(&proxy).handle(Rc::clone(&client), request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let watch = Watch { activity, protocol, limits: limits.clone() };
        match protocol {
            Protocol::H1 => {
                let connection = http1_settings(limits).serve_connection(io, service);
                let connection = connection.with_upgrades();
                self.drive(connection, |connection| connection.graceful_shutdown(), watch).await;
            }
            Protocol::H2 => {
                let connection = http2_settings(limits).serve_connection(io, service);
                self.drive(connection, |connection| connection.graceful_shutdown(), watch).await;
            }
        }
    }

    /// Polls the connection; asks it to end when the gate stops or it has been idle for too
    /// long; drops it when its client keeps others waiting.
    async fn drive<C>(&self, connection: C, finish: fn(Pin<&mut C>), watch: Watch)
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = std::pin::pin!(connection);
        let mut stop = std::pin::pin!(self.stop.wait());
        let mut ending = false;
        let step = watch.step();
        let mut tick = std::pin::pin!(tokio::time::sleep(step));
        loop {
            tokio::select! {
                biased;
                outcome = &mut connection => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "a client's connection ended");
                    }
                    return;
                }
                () = &mut stop, if !ending => {
                    ending = true;
                    finish(connection.as_mut());
                }
                () = &mut tick => {
                    tick.as_mut().reset(tokio::time::Instant::now() + step);
                    match watch.look() {
                        Verdict::Fine => {}
                        Verdict::Idle if !ending => {
                            ending = true;
                            finish(connection.as_mut());
                        }
                        // It was asked to end and is idle: it won't say anything more.
                        Verdict::Idle | Verdict::Stuck => return,
                    }
                }
            }
        }
    }
}

/// Looks after one connection's time limits.
struct Watch {
    activity: Arc<Activity>,
    protocol: Protocol,
    limits: GateSettings,
}

enum Verdict {
    /// All in time.
    Fine,
    /// Nothing is under way for too long.
    Idle,
    /// The client neither finishes its header section nor takes what it is sent.
    Stuck,
}

/// How long a client may take nothing of what is to be sent.
const BLOCKED_MAX: Duration = Duration::from_secs(60);

impl Watch {
    /// How often to look: a limit is kept to within this.
    fn step(&self) -> Duration {
        (self.limits.header_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }

    fn look(&self) -> Verdict {
        let over = |lasted: Option<Duration>, limit| lasted.is_some_and(|lasted| lasted >= limit);
        if over(self.activity.blocked_for(), BLOCKED_MAX) {
            return Verdict::Stuck;
        }
        let idle = self.activity.idle_for();
        // Bytes of HTTP/2 may be anything; its header sections are bounded by size.
        let head = self.activity.head_for().filter(|_| self.protocol == Protocol::H1);
        if idle.is_some() && over(head, self.limits.header_timeout) {
            return Verdict::Stuck;
        }
        if over(idle, self.limits.keepalive_timeout) { Verdict::Idle } else { Verdict::Fine }
    }
}

fn http1_settings(limits: &GateSettings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `Watch` has this limit: hyper's would also close kept-alive connections.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_MIN));
    builder
}

/// hyper asks for at least this much.
const BUFFER_MIN: usize = 64 * 1024;

/// Requests that one HTTP/2 connection may have under way.
const STREAMS_MAX: u32 = 256;

fn http2_settings(limits: &GateSettings) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        // An upload waits in these for its server: bounded by stream and by connection.
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        // Rapid reset (CVE-2023-44487) and MadeYouReset (CVE-2025-8671): both limits must be
        // set, as hyper once ignored the second without the first (hyper#3782).
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1_024);
    builder
}
