//! What a configuration comes to mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::model::*;
use super::super::{Proved, from_flags, parse};
use crate::host::HostPattern;

const FULL: &str = r#"
[gate]
workers = 3
connections_max = 1_000
handshake_timeout = "1s"
header_timeout = "2s"
keepalive_timeout = "3s"
header_bytes_max = 8192
drain_timeout = "0s"

[[listen]]
address = ":80"
redirect = true
[[listen]]
address = "[::1]:8443"
[[listen]]
address = "127.0.0.1:8080"
tls = false
[[listen]]
address = ":81"
redirect = true
tls = false
https_port = 444

[[cert]]
directory = "/etc/live"
[[cert]]
chain = "chain.pem"
key = "../key.pem"
[[cert]]
bundle = "all.pem"
standby = true

[[route]]
hosts = ["App.internal", "*.app.internal"]
path = "/api/"
to = "b"
[[route]]
name = "login"
path_exact = "/login"
to = "unix:login.sock"
[[route]]
to = "unix:login.sock"

[upstream.b]
servers = ["https://B.internal", "http://10.0.0.1:80"]
protocol = "h1"
tls_name = "api.internal"
ca = "ca.pem"
connect_timeout = "1s"
response_timeout = "2s"
idle_timeout = "3s"
keepalive_timeout = "4s"
keepalive_max = 0
[upstream.a]
servers = ["h2c://a.internal:50051"]

[host."*.app.internal"]
client_auth = "request"
client_ca = "clients.pem"
[host."x.app.internal"]
client_auth = "none"

[guard]
poll = "1s"
quiet = "2ms"
settle = "0s"
on_expiry = "refuse"
start = "wait"
roots = ["roots.pem"]

[admin]
address = "unix:admin.sock"
token_file = "token"
"#;

fn meant(text: &str) -> Proved {
    parse(text, Path::new("conf/evergate.toml")).unwrap_or_else(|d| panic!("{d}"))
}

fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(name: &str) -> PathBuf {
    Path::new("conf").join(name)
}

#[test]
fn limits_and_policy_are_meant_as_typed() {
    let config = meant(FULL).config;
    assert_eq!(config.path, Some(at("evergate.toml")));
    let gate = GateSettings {
        workers: 3,
        connections_max: 1000,
        handshake_timeout: s(1),
        header_timeout: s(2),
        keepalive_timeout: s(3),
        header_bytes_max: 8192,
        drain_timeout: s(0),
    };
    assert_eq!(config.gate, gate);
    let guard = GuardPolicy {
        poll: s(1),
        quiet: Duration::from_millis(2),
        settle: s(0),
        on_expiry: OnExpiry::Refuse,
        start: OnDarkStart::Wait,
        roots: vec![at("roots.pem")],
    };
    assert_eq!(config.guard, guard);
    let admin =
        AdminSettings { address: AdminAddress::Unix(at("admin.sock")), token: Some(at("token")) };
    assert_eq!(config.admin, Some(admin));
}

#[test]
fn listeners_and_certificates_are_meant_as_typed() {
    let config = meant(FULL).config;
    let listeners = [
        ("[::]:80", ListenerMode::Redirect { https_port: 8443 }),
        ("[::1]:8443", ListenerMode::Tls),
        ("127.0.0.1:8080", ListenerMode::Plain),
        ("[::]:81", ListenerMode::Redirect { https_port: 444 }),
    ];
    let listeners = listeners
        .map(|(address, mode)| ListenerSettings { address: address.parse().unwrap(), mode });
    assert_eq!(config.listeners, listeners);
    let pair = |chain, key| CertPlace::Pair { chain: at(chain), key: at(key) };
    let certs = [
        (CertPlace::Directory("/etc/live".into()), Role::Primary),
        (pair("chain.pem", "../key.pem"), Role::Primary),
        (pair("all.pem", "all.pem"), Role::Standby),
    ];
    assert_eq!(config.certs, certs.map(|(place, role)| CertSource { place, role }));
    let pattern = |text| HostPattern::parse(text).unwrap();
    let ca = at("clients.pem");
    let hosts =
        [("*.app.internal", ClientAuth::Request { ca }), ("x.app.internal", ClientAuth::None)];
    let hosts = hosts.map(|(host, client_auth)| HostSettings { host: pattern(host), client_auth });
    assert_eq!(config.hosts, hosts);
}

#[test]
fn routes_and_upstreams_are_meant_as_typed() {
    let Proved { config, warnings } = meant(FULL);
    let tcp = |url: &str, host: &str, port, tls| ServerSettings {
        url: url.to_owned(),
        place: ServerPlace::Tcp { host: host.to_owned(), port },
        tls,
    };
    let b = UpstreamSettings {
        name: "b".to_owned(),
        servers: vec![
            tcp("https://B.internal", "b.internal", 443, true),
            tcp("http://10.0.0.1:80", "10.0.0.1", 80, false),
        ],
        protocol: UpstreamProtocol::H1,
        tls: UpstreamTls {
            name: Some("api.internal".to_owned()),
            ca: Some(at("ca.pem")),
            verification: Verification::Verify,
        },
        connect_timeout: s(1),
        response_timeout: s(2),
        idle_timeout: s(3),
        keepalive_timeout: s(4),
        keepalive_max: 0,
    };
    let h2c = tcp("h2c://a.internal:50051", "a.internal", 50051, false);
    let a = UpstreamSettings {
        protocol: UpstreamProtocol::H2,
        ..UpstreamSettings::new("a".to_owned(), vec![h2c])
    };
    let socket = ServerSettings {
        url: "unix:login.sock".to_owned(),
        place: ServerPlace::Unix(at("login.sock")),
        tls: false,
    };
    // In the order of the text, and one for both routes that name the same URL.
    let socket = UpstreamSettings::new(socket.url.clone(), vec![socket]);
    assert_eq!(config.upstreams, [b, a, socket]);
    let prefix = |path: &str| PathPattern::Prefix(path.to_owned());
    let pattern = |text| HostPattern::parse(text).unwrap();
    let hosts = vec![pattern("app.internal"), pattern("*.app.internal")];
    let routes = [
        ("app.internal+1/api/", hosts, prefix("/api/"), 0),
        ("login", vec![], PathPattern::Exact("/login".to_owned()), 2),
        ("*/", vec![], prefix("/"), 2),
    ];
    let routes = routes.map(|(name, hosts, path, upstream)| RouteSettings {
        name: name.to_owned(),
        hosts,
        path,
        upstream,
    });
    assert_eq!(config.routes, routes);
    let warnings: Vec<_> = warnings.list.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(warnings, ["no route leads to this upstream"]);
}

#[test]
fn little_is_enough() {
    let text = "[[listen]]\naddress = '127.0.0.1:0'\n[[listen]]\naddress = ':0'\nredirect = true\n\
                [[cert]]\nbundle = 'a'\n[[route]]\nto = 'h2c://a:1'\n";
    let config = meant(text).config;
    assert_eq!(config.admin, None);
    assert_eq!(config.gate, GateSettings::default());
    assert_eq!(config.guard, GuardPolicy::default());
    assert_eq!(config.upstreams[0].protocol, UpstreamProtocol::H2);
    // Nobody knows the port that the kernel will choose.
    assert_eq!(config.listeners[1].mode, ListenerMode::Redirect { https_port: 443 });
}

#[test]
fn a_plain_gate_needs_no_certificate() {
    let text = "[[listen]]\naddress = ':80'\ntls = false\n[[route]]\nto = 'http://a'\n";
    assert!(meant(text).config.certs.is_empty());
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let plain = meant(FULL);
    assert_eq!(meant(&FULL.replace('\n', "\r\n")).config, plain.config);
    assert_eq!(meant(&format!("\u{feff}{FULL}")).config, plain.config);
    let marked = parse("\u{feff}[gate]\r\nworker = 1\r\n", Path::new("a")).unwrap_err();
    let place = marked.list.last().unwrap().place.as_ref().unwrap();
    assert_eq!((place.line, place.column, place.width), (2, 1, 6));
}

#[test]
fn flags_mean_one_listener_one_certificate_and_one_route() {
    let (cert, key) = (Path::new("c.pem"), Path::new("k.pem"));
    let config = from_flags(cert, key, "http://127.0.0.1:3000", Some(":8443")).unwrap();
    let text = "[[listen]]\naddress = ':8443'\n[[cert]]\nchain = 'c.pem'\nkey = 'k.pem'\n\
                [[route]]\nto = 'http://127.0.0.1:3000'\n";
    let path = Path::new("evergate.toml");
    let mut same = parse(text, path).unwrap_or_else(|d| panic!("{d}")).config;
    same.path = None;
    assert_eq!(config, same);
    let default = from_flags(cert, key, "unix:a.sock", None).unwrap();
    assert_eq!(default.listeners[0].address.to_string(), "[::]:443");

    let bad = from_flags(cert, key, "127.0.0.1:3000", None).unwrap_err();
    let shown = "--to: `127.0.0.1:3000` says no scheme\n  \
                 = help: write `http://127.0.0.1:3000`, or https:// for TLS";
    assert_eq!(bad.to_string(), shown);
    let bad = from_flags(cert, key, "http://a", Some("443")).unwrap_err();
    assert_eq!(bad.flag, "--listen");
}
