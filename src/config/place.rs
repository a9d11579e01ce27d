//! Where to listen and where servers are, as people type it: `:443`, `http://10.0.0.1:8080`,
//! `unix:api.sock`.
//!
//! Each mistake that other programs' habits lead to has its own answer.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::host::HostName;

use super::diagnostic::{Complaint, complaint, quoted};
use super::model::{AdminAddress, ServerPlace, ServerSettings, UpstreamProtocol, UpstreamSettings};

/// Bytes of a socket's path: `sun_path` less its NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    Unix,
}

/// Reads the address of a listener.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Complaint> {
    if text.starts_with("unix:") {
        let help = "write an IP address and a port, such as `\"[::]:443\"`";
        return Err(complaint("only [admin] can listen on a Unix socket", help));
    }
    socket_address(text)
}

/// Reads the address of the admin listener.
pub(super) fn admin_address(text: &str, folder: &Path) -> Result<AdminAddress, Complaint> {
    match text.strip_prefix("unix:") {
        Some(path) => unix_path(path, folder).map(AdminAddress::Unix),
        None => socket_address(text).map(AdminAddress::Tcp),
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, Complaint> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.strip_prefix(':');
    if let Some(port) = port.filter(|port| digits(port)) {
        let port = self::port(port)?;
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    let shown = quoted(text);
    if digits(text) {
        let help = format!("write `\":{text}\"` for this port on every address");
        return Err(complaint(format!("{shown} is a port alone"), help));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare.parse() {
        Ok(IpAddr::V4(ip)) => {
            let help = format!("write it behind the address: `\"{ip}:443\"`");
            return Err(complaint(format!("{shown} has no port"), help));
        }
        Ok(IpAddr::V6(ip)) => {
            let help = format!("brackets around the address, then the port: `\"[{ip}]:443\"`");
            return Err(complaint(format!("{shown} has no port"), help));
        }
        Err(_) => {}
    }
    if text.contains("://") {
        let help = "write an IP address and a port, such as `\"[::]:443\"`";
        return Err(complaint(format!("{shown} is a URL, not an address"), help));
    }
    match text.rsplit_once(':') {
        Some(("*", port)) => {
            let help = format!("write `\":{port}\"` for this port on every address");
            Err(complaint(format!("{shown} is no IP address"), help))
        }
        Some(("localhost", port)) => {
            let help = format!("write `\"127.0.0.1:{port}\"`, or `\"[::1]:{port}\"` for IPv6");
            Err(complaint(format!("{shown} is a name, not an IP address"), help))
        }
        Some((_, port)) if digits(port) => self::port(port).and_then(|_| {
            let help = "names aren't looked up here: write the IP address, in brackets for IPv6";
            Err(complaint(format!("{shown} is no IP address with a port"), help))
        }),
        _ => {
            let help = "write both, such as `\"[::]:443\"` or `\"127.0.0.1:8443\"`";
            Err(complaint(format!("{shown} is no IP address with a port"), help))
        }
    }
}

fn port(text: &str) -> Result<u16, Complaint> {
    text.parse()
        .map_err(|_| complaint(format!("{} is no port", quoted(text)), "ports go from 1 to 65535"))
}

/// Whether a text in a place for names and URLs is a URL.
pub(super) fn is_url(text: &str) -> bool {
    text.contains("://") || text.starts_with("unix:")
}

/// Reads the URL of a server.
pub(super) fn server(text: &str, folder: &Path) -> Result<(ServerSettings, Scheme), Complaint> {
    if let Some(path) = text.strip_prefix("unix:") {
        let settings = ServerSettings {
            url: text.to_owned(),
            place: ServerPlace::Unix(unix_path(path, folder)?),
            tls: false,
        };
        return Ok((settings, Scheme::Unix));
    }
    let Some((typed, rest)) = text.split_once("://") else {
        let start: String = text.chars().take_while(|c| !"/?#".contains(*c)).collect();
        let help = format!("write {}, or https:// for TLS", quoted(&format!("http://{start}")));
        return Err(complaint(format!("{} says no scheme", quoted(text)), help));
    };
    let scheme = scheme(typed, rest)?;
    if let Some(end) = rest.find(['/', '?', '#', '\\']) {
        let (authority, tail) = rest.split_at(end);
        let help = format!(
            "write {}: each request keeps its own path",
            quoted(&format!("{typed}://{authority}"))
        );
        let message = format!("the URL goes on after its port: {}", quoted(tail));
        return Err(complaint(message, help));
    }
    if rest.contains('@') {
        let help = "leave out what stands before the `@`";
        return Err(complaint("the URL holds a user name or password", help));
    }
    let (host, port) = host_and_port(rest, scheme)?;
    let settings = ServerSettings {
        url: text.to_owned(),
        place: ServerPlace::Tcp { host, port },
        tls: scheme == Scheme::Https,
    };
    Ok((settings, scheme))
}

/// The upstream of a single server that a route or `--to` names by its URL.
pub(super) fn unnamed_upstream(url: &str, folder: &Path) -> Result<UpstreamSettings, Complaint> {
    let (server, scheme) = server(url, folder)?;
    let mut settings = UpstreamSettings::new(url.to_owned(), vec![server]);
    if scheme == Scheme::H2c {
        settings.protocol = UpstreamProtocol::H2;
    }
    Ok(settings)
}

fn scheme(typed: &str, rest: &str) -> Result<Scheme, Complaint> {
    let meant = match typed {
        "http" => return Ok(Scheme::Http),
        "https" => return Ok(Scheme::Https),
        "h2c" => return Ok(Scheme::H2c),
        "ws" | "HTTP" => "http",
        "wss" | "grpcs" | "h2" | "HTTPS" => "https",
        "grpc" => "h2c",
        _ => {
            let help = "write http://, https://, h2c:// or unix:";
            return Err(complaint(format!("{} is no scheme here", quoted(typed)), help));
        }
    };
    let help = format!("write {}", quoted(&format!("{meant}://{rest}")));
    Err(complaint(format!("{} is no scheme here", quoted(typed)), help))
}

fn host_and_port(authority: &str, scheme: Scheme) -> Result<(String, u16), Complaint> {
    let bare = authority.strip_prefix('[').unwrap_or(authority);
    if bare.len() == authority.len() && authority.matches(':').count() > 1 {
        let help = "write an IPv6 address in brackets: `http://[::1]:8080`";
        return Err(complaint(format!("{} has several colons", quoted(authority)), help));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match (port, scheme) {
        (Some(port), _) => match self::port(port)? {
            0 => {
                return Err(complaint("`0` is no port of a server", "ports go from 1 to 65535"));
            }
            port => port,
        },
        // RFC 9110 sections 4.2.1 and 4.2.2
        (None, Scheme::Http) => 80,
        (None, Scheme::Https) => 443,
        (None, _) => {
            let help = format!("write it behind the host: {}", quoted(&format!("{host}:8080")));
            return Err(complaint(format!("{} has no port", quoted(host)), help));
        }
    };
    let name = HostName::parse(host).map_err(|why| {
        let help = "write http://HOST:PORT with a host name or an IP address";
        complaint(format!("{} is no host: {why}", quoted(host)), help)
    })?;
    // No top-level domain is a number: this is a mistyped address (RFC 3986 section 3.2.2).
    let last = name.as_str().rsplit('.').next().unwrap_or_default();
    if name.as_ip().is_none() && last.bytes().all(|b| b.is_ascii_digit()) {
        let help = "an IPv4 address has four numbers from 0 to 255";
        return Err(complaint(format!("{} is no IP address", quoted(host)), help));
    }
    Ok((name.as_str().to_owned(), port))
}

fn unix_path(typed: &str, folder: &Path) -> Result<PathBuf, Complaint> {
    if let Some(rest) = typed.strip_prefix("//") {
        let help = format!("write {}", quoted(&format!("unix:{rest}")));
        return Err(complaint("a Unix socket is named without `//`", help));
    }
    if typed.is_empty() || typed.ends_with('/') || typed.contains('\0') {
        let help = "write `unix:` and a path, such as `unix:/run/api.sock`";
        return Err(complaint("this names no socket", help));
    }
    let path = folder.join(typed);
    if path.as_os_str().len() > UNIX_PATH_MAX {
        let length = path.as_os_str().len();
        let message =
            format!("the path of a socket has at most {UNIX_PATH_MAX} bytes, not {length}");
        return Err(complaint(message, "put the socket into a folder with a shorter path"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let cases = [
            ("[::]:443", "[::]:443"),
            (":443", "[::]:443"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ];
        for (text, expected) in cases {
            assert_eq!(listen_address(text).unwrap(), expected.parse().unwrap(), "{text}");
        }
        let socket = AdminAddress::Unix("/etc/evergate/admin.sock".into());
        assert_eq!(admin_address("unix:admin.sock", Path::new("/etc/evergate")).unwrap(), socket);
    }

    #[test]
    fn a_mistaken_address_is_told_how_to_be_right() {
        let cases = [
            ("443", "`\":443\"`"),
            ("*:443", "`\":443\"`"),
            ("127.0.0.1", "`\"127.0.0.1:443\"`"),
            ("::", "`\"[::]:443\"`"),
            ("[::1]", "`\"[::1]:443\"`"),
            ("localhost:8443", "`\"127.0.0.1:8443\"`"),
            ("app.internal:443", "aren't looked up"),
            ("127.0.0.1:99999", "65535"),
            (":99999", "65535"),
            ("https://[::]:443", "IP address and a port"),
            ("", "write both"),
            ("unix:/run/a.sock", "IP address and a port"),
        ];
        for (text, help) in cases {
            let complaint = listen_address(text).unwrap_err();
            assert!(complaint.help.contains(help), "{text}: {complaint:?}");
        }
    }

    #[test]
    fn servers_are_read() {
        let tcp = |host: &str, port| ServerPlace::Tcp { host: host.to_owned(), port };
        let cases = [
            ("http://10.0.0.1:8080", tcp("10.0.0.1", 8080), Scheme::Http),
            ("http://API.internal", tcp("api.internal", 80), Scheme::Http),
            ("https://api.internal", tcp("api.internal", 443), Scheme::Https),
            ("h2c://[::1]:50051", tcp("::1", 50051), Scheme::H2c),
            ("unix:api.sock", ServerPlace::Unix("conf/api.sock".into()), Scheme::Unix),
            ("unix:/run/a.sock", ServerPlace::Unix("/run/a.sock".into()), Scheme::Unix),
        ];
        for (text, place, scheme) in cases {
            let (settings, found) = server(text, Path::new("conf")).unwrap();
            assert_eq!((settings.place, found), (place, scheme), "{text}");
            assert_eq!(settings.tls, scheme == Scheme::Https);
            assert_eq!(settings.url, text);
        }
    }

    #[test]
    fn a_mistaken_server_is_told_how_to_be_right() {
        let long = format!("unix:/{}", "a".repeat(200));
        let cases = [
            ("10.0.0.1:8080", "`http://10.0.0.1:8080`"),
            ("http://a:80/", "`http://a:80`"),
            ("http://a:80/api?x", "`http://a:80`"),
            ("http://a?x", "`http://a`"),
            ("ws://a:80", "`http://a:80`"),
            ("grpc://a:80", "`h2c://a:80`"),
            ("ftp://a", "http://, https://"),
            ("http://me:secret@a:80", "`@`"),
            ("http://::1:80", "`http://[::1]:8080`"),
            ("h2c://a", "`a:8080`"),
            ("http://a:0", "1 to 65535"),
            ("http://a:", "1 to 65535"),
            ("http://a:70000", "1 to 65535"),
            ("http://a b:80", "HOST:PORT"),
            ("http://:80", "HOST:PORT"),
            ("http://10.0.0.256:80", "four numbers"),
            ("unix:///run/a.sock", "`unix:/run/a.sock`"),
            ("unix:", "`unix:/run/api.sock`"),
            (long.as_str(), "shorter"),
        ];
        for (text, help) in cases {
            let complaint = server(text, Path::new("")).unwrap_err();
            assert!(complaint.help.contains(help), "{text}: {complaint:?}");
        }
    }
}
