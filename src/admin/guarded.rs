//! Who may ask: the token, and no page of a browser that was led here.

use http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};

use super::answer::{Reply, plain};
use super::listen::StartError;
use crate::config::model::{AdminAddress, AdminSettings};
use crate::crypto::sha256_hex;
use crate::host::HostName;

/// Lets in who may ask.
#[derive(Debug)]
pub(super) struct Door {
    /// Of the token: comparing digests tells nothing of how much of a guess was right.
    token: Option<String>,
    /// Whether requests come over TCP, where browsers can send them too.
    tcp: bool,
}

/// A token longer than this is no token.
const TOKEN_BYTES_MAX: usize = 4_096;

impl Door {
    pub(super) fn new(settings: &AdminSettings) -> Result<Self, StartError> {
        let token = match &settings.token {
            None => None,
            Some(path) => {
                let failed = |why: String| StartError::Token(path.clone(), why);
                let bytes = crate::config::read(path).map_err(|why| failed(why.to_string()))?;
                let token = bytes.trim_ascii();
                if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
                    return Err(failed("it is empty or too long".to_owned()));
                }
                Some(sha256_hex(token))
            }
        };
        let tcp = matches!(settings.address, AdminAddress::Tcp(_));
        Ok(Self { token, tcp })
    }

    /// Why this request is not answered, if so.
    pub(super) fn refuse<B>(&self, request: &Request<B>) -> Option<Response<Reply>> {
        if self.tcp && !self.names_the_gate(request) {
            let why = "this Host is not how the admin listener is reached (DNS rebinding)\n";
            return Some(plain(StatusCode::FORBIDDEN, why));
        }
        if *request.method() != Method::GET && request.headers().contains_key(ORIGIN) {
            let why = "pages may not ask a gate to do things\n";
            return Some(plain(StatusCode::FORBIDDEN, why));
        }
        // Probes of an orchestrator carry no token, and learn nothing but a word.
        let probe = matches!(request.uri().path(), "/livez" | "/readyz");
        let open = probe && request.uri().query().is_none();
        if open || self.knows(request.headers().get(AUTHORIZATION)) {
            return None;
        }
        let mut response = plain(StatusCode::UNAUTHORIZED, "the admin token is missing or wrong\n");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(response)
    }

    fn knows(&self, credentials: Option<&HeaderValue>) -> bool {
        let Some(token) = &self.token else { return true };
        let said = credentials.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        said.is_some_and(|said| sha256_hex(said.trim_ascii()) == *token)
    }

    /// A browser that was led to another name for this address says that name; with a token
    /// there is nothing to be gained by it.
    fn names_the_gate<B>(&self, request: &Request<B>) -> bool {
        if self.token.is_some() {
            return true;
        }
        let Some(host) = request.headers().get(HOST).and_then(|host| host.to_str().ok()) else {
            return true;
        };
        HostName::from_authority(host)
            .is_ok_and(|host| host.as_ip().is_some() || host.as_str() == "localhost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn without_a_token_only_the_gates_own_names_are_answered() {
        let door = Door { token: None, tcp: true };
        let cases = [
            (asked("GET", "/metrics", &[("host", "127.0.0.1:9180")]), None),
            (asked("GET", "/metrics", &[("host", "[::1]:9180")]), None),
            (asked("GET", "/metrics", &[("host", "localhost")]), None),
            (asked("GET", "/metrics", &[("host", "evil.test")]), Some(403)),
            (
                asked("POST", "/api/reload", &[("host", "localhost"), ("origin", "http://e.t")]),
                Some(403),
            ),
        ];
        for (request, expected) in cases {
            let status = door.refuse(&request).map(|refusal| refusal.status().as_u16());
            assert_eq!(status, expected, "{request:?}");
        }
    }

    #[test]
    fn with_a_token_only_probes_are_answered_without_it() {
        let door = Door { token: Some(sha256_hex(b"secret")), tcp: true };
        let cases = [
            (asked("GET", "/livez", &[]), None),
            (asked("GET", "/readyz", &[]), None),
            (asked("GET", "/readyz?verbose", &[]), Some(401)),
            (asked("GET", "/metrics", &[]), Some(401)),
            (asked("GET", "/metrics", &[("authorization", "Bearer secre")]), Some(401)),
            (asked("GET", "/metrics", &[("authorization", "Bearer secret")]), None),
        ];
        for (request, expected) in cases {
            let status = door.refuse(&request).map(|refusal| refusal.status().as_u16());
            assert_eq!(status, expected, "{request:?}");
        }
    }
}
