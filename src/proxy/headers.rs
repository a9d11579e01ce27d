//! What is taken from and added to header sections on their way. Pure.
//!
//! Hop-by-hop fields go first (RFC 9110 section 7.6.1), then the gate's own are set, so that no
//! client can name them away or bring forged ones.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Version};

/// `X-Forwarded-For`
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Request-Id`
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Other forms in which a client could tell where it comes from. The gate states
/// `X-Forwarded-*` alone; what it does not state it does not let through.
const FORGEABLE: [HeaderName; 4] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
];

/// What the gate knows of a request's origin.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    /// The client's address.
    pub(super) address: &'a HeaderValue,
    /// `https` or `http`.
    pub(super) scheme: &'static str,
    /// The authority as the client named it.
    pub(super) authority: &'a HeaderValue,
    /// The request's id.
    pub(super) request_id: &'a HeaderValue,
}

/// Whether this HTTP/1.1 request asks to become a WebSocket (RFC 6455 section 4.1).
pub(super) fn wants_websocket(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    method == Method::GET
        && version == Version::HTTP_11
        && headers.get(UPGRADE).is_some_and(|value| has_token(value, "websocket"))
        && headers.get_all(CONNECTION).iter().any(|value| has_token(value, "upgrade"))
}

/// Makes a request's header section one that may go to a server.
pub(super) fn toward_upstream(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let trailers = headers.get_all(TE).iter().any(|value| has_token(value, "trailers"));
    strip_hop_by_hop(headers);
    for name in FORGEABLE {
        headers.remove(name);
    }
    if trailers {
        // What the gate itself takes from the server: it passes trailers on.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    headers.insert(HOST, origin.authority.clone());
    headers.insert(X_FORWARDED_FOR, origin.address.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(origin.scheme));
    headers.insert(X_FORWARDED_HOST, origin.authority.clone());
    headers.insert(X_REQUEST_ID, origin.request_id.clone());
}

/// The last touch before HTTP/1.1: what HTTP/2 writes in another way.
pub(super) fn for_h1(headers: &mut HeaderMap) {
    join_cookies(headers);
    if headers.contains_key(TE) {
        // TE is hop-by-hop, so Connection must name it (RFC 9110 section 10.1.4).
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// The last touch before HTTP/2: `:authority` says what Host said.
pub(super) fn for_h2(headers: &mut HeaderMap) {
    headers.remove(HOST);
    headers.remove(CONNECTION);
}

/// Whether the client waits for `100 Continue` before it sends its body. The field goes on to
/// HTTP/1.1 servers, so that theirs is the answer.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Makes a response's header section one that may go to the client.
pub(super) fn toward_client(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| HeaderName::from_bytes(token.trim().as_bytes()).ok())
            // Message framing is no connection option, whatever the sender says.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

/// HTTP/2 may split Cookie for compression; HTTP/1.1 servers expect one (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut values = headers.get_all(COOKIE).iter();
    if values.next().is_none() || values.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Whether a comma-separated list holds `token`, whatever its case.
fn has_token(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|list| {
        list.split(',').any(|item| {
            let name = item.split(';').next().unwrap_or(item);
            name.trim().eq_ignore_ascii_case(token)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn sent(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = map(fields);
        let value = HeaderValue::from_static;
        let origin = Origin {
            address: &value("10.1.2.3"),
            scheme: "https",
            authority: &value("app.test:8443"),
            request_id: &value("id"),
        };
        toward_upstream(&mut headers, &origin);
        headers
    }

    #[test]
    fn hop_by_hop_fields_end_at_the_gate() {
        let headers = sent(&[
            ("connection", "close, X-Secret"),
            ("connection", "keep-alive"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("te", "gzip"),
            ("accept", "*/*"),
        ]);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let own = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];
        assert_eq!(names, [&["accept", "host"][..], &own].concat());
    }

    #[test]
    fn a_client_can_neither_forge_nor_name_away_what_the_gate_states() {
        let headers = sent(&[
            ("connection", "x-forwarded-for, host, content-length"),
            ("host", "evil.test"),
            ("content-length", "3"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-request-id", "mine"),
        ]);
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        for (name, expected) in [
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "app.test:8443"),
            ("host", "app.test:8443"),
            ("x-request-id", "id"),
            ("content-length", "3"),
        ] {
            assert_eq!(headers.get(name).unwrap(), expected, "{name}");
        }
        assert!(!headers.contains_key("forwarded") && !headers.contains_key("x-real-ip"));
    }

    #[test]
    fn trailers_are_asked_for_where_the_client_takes_them() {
        let mut headers = sent(&[("te", "gzip;q=0.5, trailers")]);
        assert_eq!(headers.get("te").unwrap(), "trailers");
        for_h1(&mut headers);
        assert_eq!(headers.get("connection").unwrap(), "te");
    }

    #[test]
    fn cookies_that_came_in_crumbs_arrive_in_one() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        for_h1(&mut headers);
        let values: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(values, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn only_a_whole_request_for_a_websocket_is_one() {
        let asked = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let cases = [
            (Method::GET, Version::HTTP_11, map(&asked), true),
            (Method::POST, Version::HTTP_11, map(&asked), false),
            (Method::GET, Version::HTTP_10, map(&asked), false),
            (Method::GET, Version::HTTP_11, map(&asked[1..]), false),
            (Method::GET, Version::HTTP_11, map(&[asked[0], ("upgrade", "h2c")]), false),
        ];
        for (method, version, headers, expected) in cases {
            assert_eq!(wants_websocket(&method, version, &headers), expected, "{headers:?}");
        }
    }
}
