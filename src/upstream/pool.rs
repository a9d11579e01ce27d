//! One worker's connections to all servers. Never shared between threads.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::{http1, http2};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::body::RequestBody;
use super::connect::{self, ConnectError, Fresh};
use super::{Endpoint, Upstream};
use crate::config::model::UpstreamProtocol;

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A request and its response, by whatever HTTP the upstream speaks.
    Exchange,
    /// An HTTP/1.1 connection that becomes a tunnel.
    Upgrade,
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub struct Pool {
    lanes: RefCell<HashMap<u64, Lane>>,
}

/// Connections to one endpoint.
#[derive(Debug, Default)]
struct Lane {
    idle: Vec<Idle>,
    shared: Vec<Shared>,
    /// Held by whoever dials HTTP/2, so that a burst of requests opens one connection.
    dialling: Rc<Mutex<()>>,
    keepalive: Duration,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<Cell<usize>>,
    since: Instant,
}

/// Streams on one HTTP/2 connection before another is opened: the least that RFC 9113 section
/// 6.5.2 recommends servers to allow.
const STREAMS_MAX: usize = 100;

/// HTTP/2 connections to one endpoint from one worker; beyond it streams queue in the last.
const SHARED_MAX: usize = 8;

/// How long a connection that has just answered may take to be ready for the next request.
const READY_LIMIT: Duration = Duration::from_millis(50);

/// A connection lent for one exchange. Dropped, it is closed (HTTP/1.1) or its stream is given
/// back (HTTP/2); [`Lease::give_back`] keeps it for the next request.
#[derive(Debug)]
pub struct Lease {
    kind: Kind,
    pool: Rc<Pool>,
    endpoint: u64,
    keepalive_max: usize,
    reused: bool,
}

#[derive(Debug)]
enum Kind {
    H1(http1::SendRequest<RequestBody>),
    /// The stream is counted for as long as the lease lives.
    H2 {
        sender: http2::SendRequest<RequestBody>,
        _stream: Stream,
    },
}

/// Counts one stream of a shared connection.
#[derive(Debug)]
struct Stream(Rc<Cell<usize>>);

impl Stream {
    fn begin(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Pool {
    /// A connection to `endpoint`: one that is there, or a new one.
    ///
    /// # Errors
    /// A new one was needed and could not be had within `connect_timeout`.
    pub async fn lease(
        self: &Rc<Self>,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        need: Need,
    ) -> Result<Lease, ConnectError> {
        if need == Need::Exchange
            && let Some(kind) = self.reuse(endpoint.id).await
        {
            return Ok(self.lend(upstream, endpoint, kind, true));
        }
        self.lease_fresh(upstream, endpoint, need).await
    }

    /// A new connection to `endpoint`, whatever is there.
    ///
    /// # Errors
    /// It could not be had within `connect_timeout`.
    pub async fn lease_fresh(
        self: &Rc<Self>,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        need: Need,
    ) -> Result<Lease, ConnectError> {
        let speaks_h2 = upstream.settings().protocol == UpstreamProtocol::H2
            || self.with(endpoint.id, |lane| !lane.shared.is_empty());
        if need == Need::Exchange && speaks_h2 {
            let turn = self.with(endpoint.id, |lane| Rc::clone(&lane.dialling));
            let _turn = turn.lock().await;
            // Whoever had the turn before may have opened one that has room.
            if let Some(kind) = self.with(endpoint.id, Lane::share) {
                return Ok(self.lend(upstream, endpoint, kind, false));
            }
            return self.open(upstream, endpoint, need).await;
        }
        self.open(upstream, endpoint, need).await
    }

    async fn open(
        self: &Rc<Self>,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        need: Need,
    ) -> Result<Lease, ConnectError> {
        let kind = match connect::dial(upstream, endpoint, need).await? {
            Fresh::H1(sender) => Kind::H1(sender),
            Fresh::H2(sender) => {
                let streams = Rc::new(Cell::new(0));
                let stream = Stream::begin(&streams);
                let since = Instant::now();
                let shared = Shared { sender: sender.clone(), streams, since };
                self.with(endpoint.id, |lane| lane.shared.push(shared));
                Kind::H2 { sender, _stream: stream }
            }
        };
        Ok(self.lend(upstream, endpoint, kind, false))
    }

    fn lend(
        self: &Rc<Self>,
        upstream: &Upstream,
        endpoint: &Endpoint,
        kind: Kind,
        reused: bool,
    ) -> Lease {
        let settings = upstream.settings();
        self.with(endpoint.id, |lane| lane.keepalive = settings.keepalive_timeout);
        Lease {
            kind,
            pool: Rc::clone(self),
            endpoint: endpoint.id,
            keepalive_max: settings.keepalive_max,
            reused,
        }
    }

    async fn reuse(&self, endpoint: u64) -> Option<Kind> {
        if let Some(kind) = self.with(endpoint, Lane::share) {
            return Some(kind);
        }
        while let Some(mut sender) = self.with(endpoint, Lane::pop) {
            if sender.is_ready() {
                return Some(Kind::H1(sender));
            }
            let ready = tokio::time::timeout(READY_LIMIT, sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(Kind::H1(sender));
            }
        }
        None
    }

    fn with<T>(&self, endpoint: u64, act: impl FnOnce(&mut Lane) -> T) -> T {
        act(self.lanes.borrow_mut().entry(endpoint).or_default())
    }

    /// Closes what was idle for too long or belongs to no endpoint of `known`.
    pub fn prune(&self, known: impl Fn(u64) -> bool) {
        let now = Instant::now();
        self.lanes.borrow_mut().retain(|endpoint, lane| {
            if !known(*endpoint) {
                return false;
            }
            let fresh = |since: Instant| now.duration_since(since) < lane.keepalive;
            lane.idle.retain(|idle| !idle.sender.is_closed() && fresh(idle.since));
            lane.shared.retain(|shared| {
                !shared.sender.is_closed() && (shared.streams.get() > 0 || fresh(shared.since))
            });
            true
        });
    }

    /// Connections that wait for a request.
    pub fn idle_count(&self) -> usize {
        self.lanes.borrow().values().map(|lane| lane.idle.len()).sum()
    }
}

impl Lane {
    /// A stream on the HTTP/2 connection that has most room.
    fn share(&mut self) -> Option<Kind> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        let full = self.shared.len() >= SHARED_MAX;
        let best = self.shared.iter_mut().min_by_key(|shared| shared.streams.get())?;
        if best.streams.get() >= STREAMS_MAX && !full {
            return None;
        }
        best.since = Instant::now();
        let sender = best.sender.clone();
        Some(Kind::H2 { sender, _stream: Stream::begin(&best.streams) })
    }

    /// The connection that was used last, so that those that are too many grow old.
    fn pop(&mut self) -> Option<http1::SendRequest<RequestBody>> {
        while let Some(idle) = self.idle.pop() {
            if !idle.sender.is_closed() && idle.since.elapsed() < self.keepalive {
                return Some(idle.sender);
            }
        }
        None
    }
}

impl Lease {
    /// Whether the connection has carried requests before: its server may have just closed it.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// Whether HTTP/2 is spoken.
    pub fn is_h2(&self) -> bool {
        matches!(self.kind, Kind::H2 { .. })
    }

    /// Sends `request` and waits for the response's header section; sets no time limit.
    ///
    /// # Errors
    /// Holds the request again where none of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match &mut self.kind {
            Kind::H1(sender) => sender.try_send_request(request).await,
            Kind::H2 { sender, .. } => sender.try_send_request(request).await,
        }
    }

    /// Keeps the connection for the next request: the response has been read to its end.
    pub fn give_back(self) {
        if let Kind::H1(sender) = self.kind {
            let (limit, since) = (self.keepalive_max, Instant::now());
            self.pool.with(self.endpoint, |lane| {
                if lane.idle.len() < limit && !sender.is_closed() {
                    lane.idle.push(Idle { sender, since });
                }
            });
        }
    }
}
