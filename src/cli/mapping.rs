//! `NAME=PORT|URL`: which name of `dev` leads where.

use std::path::PathBuf;

use crate::config::model::{ServerPlace, ServerSettings};
use crate::host::HostPattern;

/// One argument of `dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) host: HostPattern,
    pub(super) server: ServerSettings,
}

/// Takes `app.localhost=3000`, `api.localhost=unix:./api.sock`, `x.test=http://10.0.0.1`, or the
/// right side alone, which then answers for `localhost`.
pub(super) fn parse(text: &str) -> Result<Mapping, String> {
    let (name, target) = text.split_once('=').unwrap_or(("localhost", text));
    let host = HostPattern::parse(name).map_err(|error| format!("{name:?} is no name: {error}"))?;
    let server = server(target)?;
    Ok(Mapping { host, server })
}

fn server(target: &str) -> Result<ServerSettings, String> {
    if let Some(path) = target.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("unix: needs a path, as in unix:./api.sock".to_owned());
        }
        return Ok(ServerSettings {
            url: target.to_owned(),
            place: ServerPlace::Unix(PathBuf::from(path)),
            tls: false,
        });
    }
    if !target.is_empty() && target.bytes().all(|b| b.is_ascii_digit()) {
        let port = port(target)?;
        return Ok(ServerSettings {
            url: format!("http://localhost:{port}"),
            // By name: some development servers listen on 127.0.0.1 only, some on ::1 only.
            place: ServerPlace::Tcp { host: "localhost".to_owned(), port },
            tls: false,
        });
    }
    let (tls, authority) = match target.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => {
            return Err(format!(
                "{target:?} leads nowhere: write a port, http://HOST:PORT, https://HOST:PORT or \
                 unix:PATH"
            ));
        }
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let place = tcp(authority, if tls { 443 } else { 80 })?;
    Ok(ServerSettings { url: target.to_owned(), place, tls })
}

fn tcp(authority: &str, port_default: u16) -> Result<ServerPlace, String> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => (host, port(digits)?),
        _ => (authority, port_default),
    };
    // An upstream gets the path as the client sent it, so a path here would mean nothing.
    let named = crate::host::HostName::parse(host)
        .map_err(|error| format!("{authority:?} is no HOST or HOST:PORT: {error}"))?;
    Ok(ServerPlace::Tcp { host: named.to_string(), port })
}

fn port(digits: &str) -> Result<u16, String> {
    match digits.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{digits:?} is no port: 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_place(host: &str, port: u16) -> ServerPlace {
        ServerPlace::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn a_name_leads_to_a_port_a_url_or_a_socket() {
        let cases = [
            ("app.localhost=3000", "app.localhost", tcp_place("localhost", 3000), false),
            ("3000", "localhost", tcp_place("localhost", 3000), false),
            (
                "api.localhost=unix:./api.sock",
                "api.localhost",
                ServerPlace::Unix(PathBuf::from("./api.sock")),
                false,
            ),
            ("x=http://10.0.0.1:80", "x", tcp_place("10.0.0.1", 80), false),
            ("X.test=http://b.internal/", "x.test", tcp_place("b.internal", 80), false),
            ("https://b.internal", "localhost", tcp_place("b.internal", 443), true),
            ("a.test=https://[::1]:8443", "a.test", tcp_place("::1", 8443), true),
            ("a.test=http://[::1]", "a.test", tcp_place("::1", 80), false),
            ("*.a.test=1", "*.a.test", tcp_place("localhost", 1), false),
        ];
        for (text, host, place, tls) in cases {
            let mapping = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(mapping.host.to_string(), host, "{text}");
            assert_eq!(mapping.server.place, place, "{text}");
            assert_eq!(mapping.server.tls, tls, "{text}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for text in [
            "",
            "=",
            "a.test=",
            "a.test=0",
            "a.test=65536",
            "a.test=unix:",
            "=3000",
            "a b=3000",
            "a.test=b.test",
            "a.test=ftp://b.test",
            "a.test=http://",
            "a.test=http://b/path",
            "a.test=http://u@b",
            "a.test=http://b:",
            "a.test=http://b:x",
            "f*.test=1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
