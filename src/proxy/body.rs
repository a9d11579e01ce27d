//! What a client is sent: a server's body or the gate's own, and the record that ends with it.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use uuid::Uuid;

use super::activity::{Activity, Busy};
use super::route::Route;
use crate::observe::traffic::WorkerTraffic;
use crate::upstream::{BodyError, ResponseBody};

/// A response's body. The exchange is over when it is dropped: then it is counted.
#[derive(Debug)]
pub struct GateBody {
    content: Content,
    record: Option<Box<Record>>,
}

#[derive(Debug)]
enum Content {
    Own(Option<Bytes>),
    Server(Box<ResponseBody>),
}

impl GateBody {
    /// The gate's own words.
    pub(super) fn own(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        let content = Content::Own((!text.is_empty()).then_some(text));
        Self { content, record: None }
    }

    /// A server's.
    pub(super) fn server(body: ResponseBody) -> Self {
        Self { content: Content::Server(Box::new(body)), record: None }
    }

    pub(super) fn recorded(mut self, record: Record) -> Self {
        self.record = Some(Box::new(record));
        self
    }
}

impl Body for GateBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.content {
            Content::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Content::Server(body) => {
                let polled = Pin::new(&mut **body).poll_frame(cx);
                if let Poll::Ready(Some(Err(error))) = &polled {
                    tracing::debug!(%error, "a response broke off");
                    if let Some(record) = &mut self.record {
                        record.truncated = true;
                    }
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(text) => text.is_none(),
            Content::Server(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Content::Server(body) => body.size_hint(),
        }
    }
}

/// What is known of one exchange; counted when it is dropped, at the end of the response's body.
pub(super) struct Record {
    began: Instant,
    method: Method,
    status: Option<StatusCode>,
    route: Option<Arc<Route>>,
    /// A response that broke off after its header section.
    truncated: bool,
    pub(super) request_id: HeaderValue,
    traffic: Rc<WorkerTraffic>,
    _busy: Busy,
}

impl Record {
    pub(super) fn begin(
        traffic: &Rc<WorkerTraffic>,
        activity: &Arc<Activity>,
        method: &Method,
    ) -> Self {
        Self {
            began: Instant::now(),
            method: method.clone(),
            status: None,
            route: None,
            truncated: false,
            request_id: request_id(),
            traffic: Rc::clone(traffic),
            _busy: activity.busy(),
        }
    }

    pub(super) fn routed(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The id as a text.
    pub(super) fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or("-")
    }

    pub(super) fn route_name(&self) -> &str {
        self.route.as_ref().map_or("", |route| route.name())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("id", &self.request_id).finish_non_exhaustive()
    }
}

/// nginx's number for a client that went away before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Drop for Record {
    fn drop(&mut self) {
        let status = self.status.map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16());
        let route = self.route.as_ref().map_or((0, ""), |route| (route.id(), route.name()));
        let took = self.began.elapsed();
        self.traffic.request_done(route, &self.method, status, took);
        tracing::debug!(
            target: "access",
            method = %self.method,
            status,
            route = route.1,
            duration_ms = took.as_micros() as f64 / 1e3,
            truncated = self.truncated,
            request_id = self.request_id(),
            "request"
        );
    }
}

/// A fresh id that sorts by time (RFC 9562 section 5.7).
fn request_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let id: &str = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}
