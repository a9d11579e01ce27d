//! WebSockets: over HTTP/1.1 by Upgrade (RFC 6455), over HTTP/2 by extended CONNECT (RFC 8441).
//!
//! Toward the server it is always an HTTP/1.1 upgrade. Bytes flow only after the server's 101:
//! what a client sends before waits, so nothing can be smuggled past a server that refused.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::activity::Busy;
use super::body::GateBody;
use super::fault::{Fault, Kind};
use super::forward::{connect, with_causes};
use super::headers;
use super::route::Route;
use super::target::Target;
use super::{Client, Proxy};
use crate::upstream::{Endpoint, Lease, Need, RequestBody, ResponseBody};

/// How the client asked for a WebSocket, and what becomes of its connection.
pub(super) struct Asked {
    form: Form,
    client: OnUpgrade,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `GET` with `Upgrade: websocket`
    Upgrade,
    /// `CONNECT` with `:protocol = websocket`
    Connect,
}

/// Whether this is RFC 8441's way to ask for a WebSocket.
pub(super) fn is_extended_websocket<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
}

/// Whether the client asks for a WebSocket. Before the hop-by-hop fields go.
pub(super) fn asked(request: &mut Request<Incoming>) -> Option<Asked> {
    let form = if is_extended_websocket(request) {
        Form::Connect
    } else if headers::wants_websocket(request.method(), request.version(), request.headers()) {
        Form::Upgrade
    } else {
        return None;
    };
    Some(Asked { form, client: hyper::upgrade::on(request) })
}

/// Asks the server for the upgrade; joins both sides if it agrees.
pub(super) async fn forward(
    proxy: &Rc<Proxy>,
    client: &Rc<Client>,
    route: &Arc<Route>,
    target: &Target,
    request: Request<Incoming>,
    asked: Asked,
) -> Result<Response<GateBody>, Fault> {
    let upstream = route.upstream();
    let settings = upstream.settings();
    let (endpoint, mut lease) = connect(proxy, upstream, Need::Upgrade).await?;
    let failed = |kind, happened: &dyn std::fmt::Display| {
        Fault::at(kind, &settings.name, endpoint.url(), happened)
    };
    let upgrade = upgrade_request(request.headers(), target, asked.form);
    let limit = settings.response_timeout;
    let sending = tokio::time::timeout(limit, lease.send(upgrade));
    let mut response = match sending.await {
        Ok(Ok(response)) => response,
        Ok(Err(refused)) => {
            return Err(failed(Kind::BadResponse, &with_causes(refused.error())));
        }
        Err(_) => {
            let happened = format!("no response within {} ms", limit.as_millis());
            return Err(failed(Kind::ResponseTimeout, &happened));
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(declined(response, lease, settings.idle_timeout));
    }
    let server = hyper::upgrade::on(&mut response);
    let busy = client.activity.busy();
    let idle = settings.idle_timeout;
    let tunnel = Tunnel { client: asked.client, server, idle, _busy: busy };
    let (route, endpoint) = (Arc::clone(route), Arc::clone(endpoint));
    // The connection's permit must live as long as the tunnel.
    let connection = Rc::clone(client);
    proxy.tunnels.spawn_local(async move {
        tunnel.run(&route, &endpoint).await;
        drop((lease, connection));
    });
    Ok(agreed(response.headers(), asked.form))
}

/// The HTTP/1.1 request for an upgrade, whichever way the client asked.
fn upgrade_request(headers: &HeaderMap, target: &Target, form: Form) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::empty());
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = Uri::try_from(target.path_and_query()).unwrap_or_default();
    let fields = request.headers_mut();
    *fields = headers.clone();
    fields.insert(HOST, target.authority.clone());
    headers::for_h1(fields);
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.remove(CONTENT_LENGTH);
    if form == Form::Connect {
        // RFC 8441 section 5 has no key; RFC 6455 section 4.1 wants sixteen fresh bytes.
        let key = STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
        if let Ok(key) = HeaderValue::from_str(&key) {
            fields.insert(SEC_WEBSOCKET_KEY, key);
        }
        if !fields.contains_key(SEC_WEBSOCKET_VERSION) {
            fields.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }
    request
}

/// The server's own answer to a request for an upgrade that it did not take.
fn declined(response: Response<Incoming>, lease: Lease, idle: Duration) -> Response<GateBody> {
    let mut response = ResponseBody::take(response, lease, idle, None).map(GateBody::server);
    headers::toward_client(response.headers_mut());
    response.extensions_mut().clear();
    response
}

fn agreed(server: &HeaderMap, form: Form) -> Response<GateBody> {
    let mut response = Response::new(GateBody::own(""));
    *response.headers_mut() = server.clone();
    let fields = response.headers_mut();
    headers::toward_client(fields);
    fields.remove(CONTENT_LENGTH);
    match form {
        Form::Upgrade => {
            fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        Form::Connect => {
            fields.remove(SEC_WEBSOCKET_ACCEPT);
            *response.status_mut() = StatusCode::OK;
        }
    }
    response
}

/// Two connections that have become one stream of bytes each way.
struct Tunnel {
    client: OnUpgrade,
    server: OnUpgrade,
    idle: Duration,
    _busy: Busy,
}

/// How long the client's side may take to switch after the server has.
const SWITCH_LIMIT: Duration = Duration::from_secs(10);

impl Tunnel {
    async fn run(self, route: &Route, endpoint: &Endpoint) {
        let both = async { tokio::try_join!(self.client, self.server) };
        match tokio::time::timeout(SWITCH_LIMIT, both).await {
            Ok(Ok((client, server))) => {
                let outcome = splice(TokioIo::new(client), TokioIo::new(server), self.idle).await;
                let route = route.name();
                tracing::debug!(route, server = endpoint.url(), ?outcome, "a tunnel ended");
            }
            Ok(Err(error)) => tracing::debug!(%error, "an upgrade broke off"),
            Err(_) => tracing::debug!("an upgrade took too long"),
        }
    }
}

/// Copies both ways until both have ended, one broke, or neither said anything for `idle`.
async fn splice<A, B>(one: A, other: B, idle: Duration) -> std::io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = std::cell::Cell::new(Instant::now());
    let (mut one_read, mut one_write) = tokio::io::split(one);
    let (mut other_read, mut other_write) = tokio::io::split(other);
    let both = async {
        tokio::try_join!(
            copy(&mut one_read, &mut other_write, &moved),
            copy(&mut other_read, &mut one_write, &moved),
        )
    };
    let mut both = std::pin::pin!(both);
    loop {
        let deadline = moved.get() + idle;
        tokio::select! {
            biased;
            outcome = &mut both => return outcome.map(|_| ()),
            () = tokio::time::sleep_until(deadline) => {
                if moved.get() + idle <= Instant::now() {
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
}

/// Bytes of a tunnel that are on their way at once, in each direction.
const TUNNEL_BUFFER: usize = 16 * 1024;

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &std::cell::Cell<Instant>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; TUNNEL_BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
        to.flush().await?;
        moved.set(Instant::now());
    }
}
