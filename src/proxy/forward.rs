//! Sends a request to a server and brings the response back: streamed, bounded, tried again only
//! where nothing can have happened twice.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::body::{GateBody, Record};
use super::fault::{Fault, Kind};
use super::headers::{self, Origin};
use super::route::Route;
use super::target::Target;
use super::{Client, Proxy, upgrade};
use crate::upstream::{
    ClientFailure, ConnectError, Continue, Endpoint, Lease, Need, Progress, RequestBody,
    ResponseBody, Upstream,
};

/// Passes `request` on along `route`.
pub(super) async fn forward(
    proxy: &Rc<Proxy>,
    client: &Rc<Client>,
    route: &Arc<Route>,
    target: Target,
    mut request: Request<Incoming>,
    record: &Record,
) -> Result<Response<GateBody>, Fault> {
    let upgrade = upgrade::asked(&mut request);
    let origin = Origin {
        address: &client.address,
        scheme: client.scheme(),
        authority: &target.authority,
        request_id: &record.request_id,
    };
    headers::toward_upstream(request.headers_mut(), &origin);
    match upgrade {
        Some(asked) => upgrade::forward(proxy, client, route, &target, request, asked).await,
        None => exchange(proxy, route, &target, request).await,
    }
}

async fn exchange(
    proxy: &Rc<Proxy>,
    route: &Route,
    target: &Target,
    request: Request<Incoming>,
) -> Result<Response<GateBody>, Fault> {
    let upstream = route.upstream();
    let (endpoint, lease) = connect(proxy, upstream, Need::Exchange).await?;
    let attempt = Attempt { proxy, upstream, endpoint, target, progress: Progress::begin() };
    let hold = headers::expects_continue(request.headers()).then(Continue::awaited);
    let (mut parts, body) = request.into_parts();
    let body = if body.is_end_stream() {
        RequestBody::empty()
    } else {
        let silence = upstream.settings().idle_timeout;
        RequestBody::stream(body, Rc::clone(&attempt.progress), silence, hold.clone())
    };
    parts.extensions.clear();
    let mut request = Request::from_parts(parts, body);
    if let Some(hold) = hold.clone() {
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                hold.say();
            }
        });
    }
    let (response, lease) = attempt.run(request, lease).await?;
    let idle = upstream.settings().idle_timeout;
    let unwanted = hold.and_then(Continue::answered);
    let mut response = ResponseBody::take(response, lease, idle, unwanted).map(GateBody::server);
    headers::toward_client(response.headers_mut());
    // The version is the client connection's own affair.
    *response.version_mut() = Version::HTTP_11;
    response.extensions_mut().clear();
    Ok(response)
}

/// A connection to the server whose turn it is; where it can't be reached, to the next. Nothing
/// has been sent by then, so any request may be moved on.
pub(super) async fn connect<'a>(
    proxy: &Proxy,
    upstream: &'a Arc<Upstream>,
    need: Need,
) -> Result<(&'a Arc<Endpoint>, Lease), Fault> {
    let name = &upstream.settings().name;
    let mut failures: Vec<(&Endpoint, ConnectError)> = Vec::new();
    for endpoint in upstream.turn() {
        match proxy.pool.lease(upstream, endpoint, need).await {
            Ok(lease) => {
                if !lease.reused() {
                    proxy.traffic.shared().upstream_connect(name, endpoint.url(), "ok");
                }
                return Ok((endpoint, lease));
            }
            Err(error) => {
                proxy.traffic.shared().upstream_connect(name, endpoint.url(), "failed");
                failures.push((endpoint, error));
            }
        }
    }
    Err(unreachable(name, &failures))
}

fn unreachable(upstream: &str, failures: &[(&Endpoint, ConnectError)]) -> Fault {
    match failures {
        [(endpoint, error)] => {
            let kind = match error {
                ConnectError::Timeout(_) => Kind::ConnectTimeout,
                ConnectError::NoUpgrade => Kind::UpgradeRefused,
                _ => Kind::Unreachable,
            };
            Fault::at(kind, upstream, endpoint.url(), error)
        }
        _ => {
            let told: Vec<String> =
                failures.iter().map(|(e, error)| format!("{}: {error}", e.url())).collect();
            let detail = format!("upstream `{upstream}`: {}", told.join("; "));
            Fault { kind: Kind::NoServer, detail }
        }
    }
}

/// One request on its way to one server.
struct Attempt<'a> {
    proxy: &'a Rc<Proxy>,
    upstream: &'a Arc<Upstream>,
    endpoint: &'a Arc<Endpoint>,
    target: &'a Target,
    progress: Rc<Progress>,
}

/// What it takes to send a request without a body once more.
struct Replay {
    method: Method,
    headers: HeaderMap,
}

impl Attempt<'_> {
    /// Sends on `lease`; where that connection turns out to have been closed by its server, once
    /// more on a new one.
    async fn run(
        &self,
        request: Request<RequestBody>,
        mut lease: Lease,
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let replay = self.replay(&request, &lease);
        let request = self.addressed(request, &lease);
        let refused = match self.send(request, &mut lease).await? {
            Ok(response) => return Ok((response, lease)),
            Err(refused) => refused,
        };
        if !lease.reused() {
            return Err(self.broken(refused.error()));
        }
        let again = match (refused.message(), replay) {
            (Some(_), _) => {
                let mut refused = refused;
                refused.take_message()
            }
            (None, Some(replay)) => Some(self.rebuilt(replay)),
            (None, None) => return Err(self.broken(refused.error())),
        };
        let Some(again) = again else {
            return Err(Fault::new(Kind::BadResponse));
        };
        let fresh = self.proxy.pool.lease_fresh(self.upstream, self.endpoint, Need::Exchange);
        let mut lease = fresh.await.map_err(|error| {
            unreachable(&self.upstream.settings().name, &[(self.endpoint, error)])
        })?;
        let again = self.addressed(again, &lease);
        match self.send(again, &mut lease).await? {
            Ok(response) => Ok((response, lease)),
            Err(refused) => Err(self.broken(refused.error())),
        }
    }

    /// Kept only where it may be needed: on a connection that its server may have just closed,
    /// for a method that is idempotent (RFC 9110 section 9.2.2), without a body.
    fn replay(&self, request: &Request<RequestBody>, lease: &Lease) -> Option<Replay> {
        let safe = request.method().is_idempotent() && request.body().is_end_stream();
        (safe && lease.reused()).then(|| Replay {
            method: request.method().clone(),
            headers: request.headers().clone(),
        })
    }

    fn rebuilt(&self, replay: Replay) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = replay.method;
        *request.headers_mut() = replay.headers;
        request
    }

    /// Gives the request the form that the connection's HTTP version has for its target.
    fn addressed(&self, mut request: Request<RequestBody>, lease: &Lease) -> Request<RequestBody> {
        let path = self.target.path_and_query();
        if lease.is_h2() {
            let scheme = if self.endpoint.is_tls() { "https" } else { "http" };
            let uri = Uri::builder()
                .scheme(scheme)
                .authority(self.target.authority.as_bytes())
                .path_and_query(path)
                .build();
            *request.uri_mut() = uri.unwrap_or_default();
            *request.version_mut() = Version::HTTP_2;
            headers::for_h2(request.headers_mut());
        } else {
            *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
            *request.version_mut() = Version::HTTP_11;
            request.headers_mut().insert(http::header::HOST, self.target.authority.clone());
            headers::for_h1(request.headers_mut());
        }
        request
    }

    /// One exchange within `response_timeout`, which begins anew with each piece of the body
    /// that went out: a long upload is no slow server.
    async fn send(
        &self,
        request: Request<RequestBody>,
        lease: &mut Lease,
    ) -> Result<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>, Fault> {
        let limit = self.upstream.settings().response_timeout;
        let mut sending = std::pin::pin!(lease.send(request));
        let began = Instant::now();
        let mut deadline = began + limit;
        loop {
            tokio::select! {
                biased;
                outcome = &mut sending => {
                    if outcome.is_err() && let Some(failure) = self.progress.client_failed() {
                        return Err(Fault::new(match failure {
                            ClientFailure::Silent => Kind::BodyTimeout,
                            ClientFailure::Broken => Kind::BadRequest("the body is broken"),
                        }));
                    }
                    self.count(if outcome.is_ok() { "ok" } else { "failed" });
                    return Ok(outcome);
                }
                () = sleep_until(deadline) => {
                    let moved = self.progress.moved() + limit;
                    if moved <= Instant::now() {
                        self.count("timeout");
                        return Err(self.late(limit));
                    }
                    deadline = moved;
                }
            }
        }
    }

    fn count(&self, result: &'static str) {
        let traffic = self.proxy.traffic.shared();
        traffic.upstream_request(&self.upstream.settings().name, self.endpoint.url(), result);
    }

    fn late(&self, limit: Duration) -> Fault {
        let happened = format!("no response within {} ms", limit.as_millis());
        let name = &self.upstream.settings().name;
        Fault::at(Kind::ResponseTimeout, name, self.endpoint.url(), &happened)
    }

    fn broken(&self, error: &hyper::Error) -> Fault {
        let name = &self.upstream.settings().name;
        Fault::at(Kind::BadResponse, name, self.endpoint.url(), &with_causes(error))
    }
}

/// An error with its causes: hyper's own sentence says little of what the socket said.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let sentence = error.to_string();
        if !text.ends_with(&sentence) {
            text = format!("{text}: {sentence}");
        }
        cause = error.source();
    }
    text
}
