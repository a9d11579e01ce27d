//! What the gate itself says: reasons and redirects.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use super::body::GateBody;
use super::fault::{Fault, Kind};
use super::headers::X_REQUEST_ID;
use super::target::Target;

/// Whether a gRPC client waits for the answer.
pub(super) fn speaks_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// The answer to a request that no server answers: a sentence that a person can act on.
pub(super) fn fault(
    fault: &Fault,
    speaks_grpc: bool,
    request_id: &HeaderValue,
) -> Response<GateBody> {
    let mut response = if speaks_grpc { grpc_fault(fault) } else { text_fault(fault, request_id) };
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, request_id.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Kind::BadRequest(_) = fault.kind {
        // What follows on the connection may be part of the trick.
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn text_fault(fault: &Fault, request_id: &HeaderValue) -> Response<GateBody> {
    let id = request_id.to_str().unwrap_or_default();
    let remedy = match fault.remedy() {
        "" => String::new(),
        remedy => format!("{remedy}\n"),
    };
    let text = format!("{}: {fault}\n{remedy}request {id}\n", fault.code());
    let mut response = Response::new(GateBody::own(text));
    *response.status_mut() = fault.status();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A gRPC client looks for its status in trailers, here in their short form (gRPC over HTTP/2,
/// "Trailers-Only").
fn grpc_fault(fault: &Fault) -> Response<GateBody> {
    let mut response = Response::new(GateBody::own(""));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(fault.grpc_status())));
    let message: String = fault.to_string().chars().map(grpc_message_char).collect();
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", message);
    }
    response
}

/// Percent-encoding would be exact; a space reads as well in what people see.
fn grpc_message_char(c: char) -> char {
    if (c.is_ascii_graphic() && c != '%') || c == ' ' { c } else { ' ' }
}

/// `308 Permanent Redirect` to the same thing over TLS: method and body are kept (RFC 9110
/// section 15.4.9).
pub(super) fn redirect(target: &Target, port: u16) -> Response<GateBody> {
    let host = target.host.as_str();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let location = format!("https://{host}{port}{}", target.path_and_query());
    let mut response = Response::new(GateBody::own(""));
    match HeaderValue::from_str(&location) {
        Ok(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(LOCATION, location);
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}
