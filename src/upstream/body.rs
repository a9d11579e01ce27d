//! Bodies on their way: streamed piece by piece, never gathered, each silence bounded.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::pool::Lease;

/// Why a body broke off.
#[derive(Debug)]
pub enum BodyError {
    /// Nothing came for this long.
    Silent(Duration),
    /// The sender broke off.
    Broken(hyper::Error),
    /// The server gave its answer instead of `100 Continue`: the body stays where it is.
    Unwanted,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit) => write!(f, "no piece of the body for {} s", limit.as_secs()),
            Self::Broken(cause) => write!(f, "the body broke off: {cause}"),
            Self::Unwanted => f.write_str("the server answered without the body"),
        }
    }
}

impl std::error::Error for BodyError {}

/// How far one request has come: written by its body, read by whoever waits for the response.
#[derive(Debug)]
pub struct Progress {
    moved: Cell<Instant>,
    bytes: Cell<u64>,
    failed: Cell<Option<ClientFailure>>,
}

/// How a client failed to send its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFailure {
    /// It fell silent.
    Silent,
    /// It broke off, or broke the rules of framing.
    Broken,
}

impl Progress {
    /// A request that begins now.
    pub fn begin() -> Rc<Self> {
        let moved = Cell::new(Instant::now());
        Rc::new(Self { moved, bytes: Cell::new(0), failed: Cell::new(None) })
    }

    /// When the last piece was passed on.
    pub fn moved(&self) -> Instant {
        self.moved.get()
    }

    /// Bytes passed on.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether the client broke off its body or fell silent: then the fault is the client's.
    pub fn client_failed(&self) -> Option<ClientFailure> {
        self.failed.get()
    }
}

/// Holds a body back until the server says `100 Continue`, or a second has passed (RFC 9110
/// section 10.1.1: a client must not wait for ever, and neither do we). Where the answer itself
/// comes first the body is not sent at all.
#[derive(Debug, Default)]
pub struct Continue {
    state: AtomicU8,
    notify: Notify,
}

const CONTINUE_LIMIT: Duration = Duration::from_secs(1);

/// States of [`Continue`].
const WAITING: u8 = 0;
const GOING: u8 = 1;
const ANSWERED: u8 = 2;
const OVER: u8 = 3;

impl Continue {
    /// A body that is held back.
    pub fn awaited() -> Arc<Self> {
        Arc::default()
    }

    /// Lets the body go.
    pub fn say(&self) {
        self.step(WAITING, GOING);
    }

    /// The answer is here. Gives a guard where the body was not sent: it stays back, and is
    /// given up with the end of the answer, which is when the guard is dropped.
    pub fn answered(self: Arc<Self>) -> Option<Unwanted> {
        self.step(WAITING, ANSWERED).then(|| Unwanted(self))
    }

    fn step(&self, from: u8, to: u8) -> bool {
        let order = Ordering::AcqRel;
        let stepped = self.state.compare_exchange(from, to, order, Ordering::Acquire).is_ok();
        if stepped {
            self.notify.notify_one();
        }
        stepped
    }

    /// Whether the body may go. One task waits.
    async fn wait(self: Arc<Self>) -> bool {
        let _ = tokio::time::timeout(CONTINUE_LIMIT, self.notify.notified()).await;
        self.step(WAITING, GOING);
        loop {
            match self.state.load(Ordering::Acquire) {
                ANSWERED => self.notify.notified().await,
                state => return state == GOING,
            }
        }
    }
}

/// A body that a server did not want.
#[derive(Debug)]
pub struct Unwanted(Arc<Continue>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.step(ANSWERED, OVER);
    }
}

type Wait = Pin<Box<dyn Future<Output = bool>>>;

/// A request's body on its way to a server.
pub struct RequestBody(Option<Box<Streaming>>);

struct Streaming {
    incoming: Incoming,
    progress: Rc<Progress>,
    silence: Silence,
    hold: Option<Wait>,
}

impl RequestBody {
    /// No body at all: costs nothing, and a request with it can be sent again.
    pub fn empty() -> Self {
        Self(None)
    }

    /// The client's body; `limit` bounds each silence of the client.
    pub fn stream(
        incoming: Incoming,
        progress: Rc<Progress>,
        limit: Duration,
        hold: Option<Arc<Continue>>,
    ) -> Self {
        let hold = hold.map(|hold| Box::pin(hold.wait()) as Wait);
        let silence = Silence::new(limit);
        Self(Some(Box::new(Streaming { incoming, progress, silence, hold })))
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "RequestBody(streamed)" } else { "RequestBody(empty)" })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        if let Some(hold) = &mut body.hold {
            let goes = ready!(hold.as_mut().poll(cx));
            body.hold = None;
            if !goes {
                return Poll::Ready(Some(Err(BodyError::Unwanted)));
            }
        }
        let polled = Pin::new(&mut body.incoming).poll_frame(cx);
        let outcome = body.silence.bound(polled, cx);
        match &outcome {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                body.progress.moved.set(Instant::now());
                body.progress.bytes.set(body.progress.bytes.get() + length as u64);
            }
            Poll::Ready(Some(Err(BodyError::Silent(_)))) => {
                body.progress.failed.set(Some(ClientFailure::Silent));
            }
            Poll::Ready(Some(Err(_))) => body.progress.failed.set(Some(ClientFailure::Broken)),
            Poll::Ready(None) => body.progress.moved.set(Instant::now()),
            Poll::Pending => {}
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let hint = |body: &Streaming| body.incoming.size_hint();
        self.0.as_deref().map_or(SizeHint::with_exact(0), hint)
    }
}

/// A response's body on its way to the client. Holds the connection and gives it back at the end.
#[derive(Debug)]
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease>,
    unwanted: Option<Unwanted>,
    silence: Silence,
    bytes: u64,
}

impl ResponseBody {
    /// Takes the body out of `response`; `limit` bounds each silence of the server. A request
    /// body that is `unwanted` is given up at the end, with the connection that waits for it.
    pub fn take(
        response: Response<Incoming>,
        lease: Lease,
        limit: Duration,
        unwanted: Option<Unwanted>,
    ) -> Response<Self> {
        response.map(|incoming| {
            let silence = Silence::new(limit);
            let lease = Some(lease);
            let mut body = Self { incoming, lease, unwanted, silence, bytes: 0 };
            if body.incoming.is_end_stream() {
                body.finish();
            }
            body
        })
    }

    /// Bytes passed on.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.unwanted.take().is_none()
        {
            lease.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        let outcome = self.silence.bound(polled, cx);
        match &outcome {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.incoming.is_end_stream() {
                    self.finish();
                }
            }
            Poll::Ready(Some(Err(_))) => self.lease = None,
            Poll::Ready(None) => self.finish(),
            Poll::Pending => {}
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Bounds the wait for the next frame. The timer exists only while somebody waits.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    fn bound(&mut self, polled: Polled<hyper::Error>, cx: &mut Context<'_>) -> Polled<BodyError> {
        match polled {
            Poll::Ready(frame) => {
                self.timer = None;
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
            }
            Poll::Pending => {
                let limit = self.limit;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(BodyError::Silent(limit))))
            }
        }
    }
}
