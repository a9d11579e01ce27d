//! What a request is for: one host, one path, or a refusal. Pure.

use std::fmt;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, Version};

use super::fault::{Fault, Kind};
use crate::host::HostName;

/// What a request is for.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// For comparison.
    pub(super) host: HostName,
    /// As the client named it, with the port: `Host` and `X-Forwarded-Host` say so.
    pub(super) authority: HeaderValue,
    /// As the client sent it, undecoded: what is routed is what is forwarded.
    pub(super) path: String,
    /// What follows `?`.
    pub(super) query: Option<String>,
}

impl Target {
    /// Reads the one host and path out of `request`. A client of HTTP/1.0 that names no host is
    /// taken to mean `spoken_to`.
    pub(super) fn of<B>(request: &Request<B>, spoken_to: Option<&HostName>) -> Result<Self, Fault> {
        check_framing(request)?;
        let authority = authority(request, spoken_to)?;
        let bad = |_| bad_request("the host is no host name");
        let text = authority.to_str().map_err(|_| bad_request("the host is no host name"))?;
        let host = HostName::from_authority(text).map_err(bad)?;
        let uri = request.uri();
        let path = match uri.path() {
            "*" => {
                return Err(bad_request("`OPTIONS *` asks the gate, which has nothing to tell"));
            }
            // An extended CONNECT and an absolute form may leave the path out.
            "" => "/".to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            _ if request.method() == Method::CONNECT => "/".to_owned(),
            _ => return Err(bad_request("the path does not begin with a slash")),
        };
        let query = uri.query().map(str::to_owned);
        Ok(Self { host, authority, path, query })
    }

    /// Path and query as they go on.
    pub(super) fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// For people: without the query, which may hold secrets.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)
    }
}

fn bad_request(why: &'static str) -> Fault {
    Fault::new(Kind::BadRequest(why))
}

/// Two ways to tell where a message ends are one too many (RFC 9112 section 6.1). hyper takes one
/// and drops the other; a gate must not choose.
fn check_framing<B>(request: &Request<B>) -> Result<(), Fault> {
    let headers = request.headers();
    if headers.contains_key(TRANSFER_ENCODING) {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(bad_request("both Content-Length and Transfer-Encoding"));
        }
        if request.version() == Version::HTTP_10 {
            return Err(bad_request("Transfer-Encoding in HTTP/1.0"));
        }
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(bad_request("more than one Content-Length"));
    }
    Ok(())
}

fn authority<B>(request: &Request<B>, spoken_to: Option<&HostName>) -> Result<HeaderValue, Fault> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad_request("more than one Host"));
    }
    let named = match request.uri().authority() {
        // The form without a scheme is for CONNECT alone (RFC 9112 section 3.2.3).
        Some(_) if request.uri().scheme().is_none() && request.method() != Method::CONNECT => {
            return Err(bad_request("the target is neither a path nor a URL"));
        }
        Some(authority) => {
            if authority.as_str().contains('@') {
                return Err(bad_request("user information before the host"));
            }
            let value = HeaderValue::from_str(authority.as_str());
            Some(value.map_err(|_| bad_request("the host is no host name"))?)
        }
        None => None,
    };
    match (named, host) {
        // HTTP/2: both must say the same (RFC 9113 section 8.3.1).
        (Some(named), Some(host)) if request.version() == Version::HTTP_2 => {
            if named.as_bytes().eq_ignore_ascii_case(host.as_bytes()) {
                Ok(named)
            } else {
                Err(bad_request(":authority and Host differ"))
            }
        }
        // HTTP/1.1, absolute form: the target replaces Host (RFC 9112 section 3.2.2), which must
        // be there all the same.
        (Some(_), None) if request.version() == Version::HTTP_11 => {
            Err(bad_request("no Host (RFC 9112 section 3.2)"))
        }
        (Some(named), _) => Ok(named),
        (None, Some(host)) => Ok(host.clone()),
        (None, None) if request.version() == Version::HTTP_10 => spoken_to
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
            .ok_or_else(|| bad_request("no Host")),
        (None, None) => Err(bad_request("no Host (RFC 9112 section 3.2)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().version(version).uri(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn one_host_and_one_path_are_found() {
        let sni = HostName::parse("sni.test").unwrap();
        let cases = [
            (Version::HTTP_11, "/a?b", &[("host", "A.test:1")][..], "a.test/a"),
            (Version::HTTP_11, "http://b.test/x", &[("host", "a.test")], "b.test/x"),
            (Version::HTTP_2, "https://a.test/x", &[("host", "A.TEST")], "a.test/x"),
            (Version::HTTP_2, "https://a.test/x", &[], "a.test/x"),
            (Version::HTTP_10, "/", &[], "sni.test/"),
        ];
        for (version, uri, fields, expected) in cases {
            let target = Target::of(&request(version, uri, fields), Some(&sni)).unwrap();
            assert_eq!(target.to_string(), expected);
        }
    }

    #[test]
    fn a_request_that_says_two_things_is_refused() {
        let host = ("host", "a.test");
        let cases = [
            (Version::HTTP_11, "/", vec![]),
            (Version::HTTP_11, "/", vec![host, ("host", "b.test")]),
            (Version::HTTP_11, "/", vec![("host", "a test")]),
            (Version::HTTP_11, "/", vec![("host", "a.test/x")]),
            (Version::HTTP_11, "/", vec![("host", "user@a.test")]),
            (Version::HTTP_11, "http://b.test/", vec![]),
            (Version::HTTP_11, "a.test:443", vec![host]),
            (Version::HTTP_11, "http://u@b.test/", vec![host]),
            (Version::HTTP_2, "https://b.test/", vec![host]),
            (Version::HTTP_11, "*", vec![host]),
            (Version::HTTP_11, "/", vec![host, ("content-length", "1"), ("content-length", "1")]),
            (
                Version::HTTP_11,
                "/",
                vec![host, ("content-length", "1"), ("transfer-encoding", "chunked")],
            ),
            (Version::HTTP_10, "/", vec![host, ("transfer-encoding", "chunked")]),
        ];
        for (version, uri, fields) in cases {
            let outcome = Target::of(&request(version, uri, &fields), None);
            assert!(outcome.is_err(), "{version:?} {uri} {fields:?}");
        }
    }
}
