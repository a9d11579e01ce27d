//! Which request goes where: hosts, paths, redirects, and what no route takes.

use http::StatusCode;

use crate::harness::client::{self, Http};
use crate::harness::pki::Leaf;
use crate::harness::raw::{Raw, field, status};
use crate::harness::upstream::{self, Upstream};
use crate::harness::{body, gate};

/// Upstreams that answer with their own names.
async fn named(names: &[&'static str]) -> Vec<Upstream> {
    let mut servers = Vec::new();
    for name in names {
        servers.push(upstream::hello(name).await);
    }
    servers
}

fn route(hosts: &str, path: &str, to: &Upstream) -> String {
    format!("[[route]]\nhosts = {hosts}\n{path}\nto = \"{}\"\n", to.url())
}

async fn plain_get(address: std::net::SocketAddr, host: &str, path: &str) -> (String, String) {
    let mut client = client::plain(address).await;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    client.response().await
}

#[tokio::test]
async fn the_most_specific_route_wins() {
    let names = ["exact", "wildcard", "every", "api", "v2", "login"];
    let servers = named(&names).await;
    let [exact, wildcard, every, api, v2, login] = &servers[..] else { unreachable!() };
    let text = [
        route("[]", "", every),
        route("[\"*.app.test\"]", "", wildcard),
        route("[\"a.app.test\"]", "", exact),
        route("[\"a.app.test\"]", "path = \"/api/\"", api),
        route("[\"a.app.test\"]", "path = \"/api/v2\"", v2),
        route("[\"a.app.test\"]", "path_exact = \"/login\"", login),
    ];
    let names = Leaf::of(&["a.app.test", "*.app.test", "other.test"]);
    let gate = gate().leaf(&names).text(&text.concat()).start().await;
    let cases = [
        ("a.app.test", "/", "exact"),
        ("a.app.test", "/apix", "exact"),
        ("a.app.test", "/api", "api"),
        ("a.app.test", "/api/", "api"),
        ("a.app.test", "/api/v1?x=/api/v2", "api"),
        ("a.app.test", "/api/v2", "v2"),
        ("a.app.test", "/api/v2/x", "v2"),
        ("a.app.test", "/api/v22", "api"),
        ("a.app.test", "/login", "login"),
        ("a.app.test", "/login?next=/", "login"),
        ("a.app.test", "/login/", "exact"),
        ("b.app.test", "/api/v2", "wildcard"),
        ("other.test", "/api", "every"),
    ];
    for (host, path, expected) in cases {
        for mut client in gate.both(host).await {
            assert_eq!(client.get(path).await.text, expected, "{host}{path}");
        }
    }
}

#[tokio::test]
async fn what_no_route_takes_is_told_so() {
    let server = upstream::hello("api").await;
    let only = route("[\"app.test\"]", "path = \"/api/\"", &server);
    let gate = gate().cert("app.test").text(&only).start().await;
    for mut client in gate.both("app.test").await {
        let answer = client.get("/secret?token=1").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.text.contains("no route takes app.test/secret"), "{answer:?}");
        assert!(!answer.text.contains("token"), "the query may be secret: {answer:?}");
        assert_eq!(client.get("/api/x").await.text, "api", "the connection is still good");
    }
}

#[tokio::test]
async fn a_path_goes_on_as_the_client_sent_it() {
    let mut server = upstream::hello("ok").await;
    let gate = gate().cert("app.test").route("app.test", server.url()).start().await;
    for path in ["/a/../b", "/a//b", "/%41%2f%20", "/a?b=c&d=%20?e", "/;x=1", "/caf%C3%A9"] {
        for mut client in gate.both("app.test").await {
            client.get(path).await;
            let seen = server.seen().await;
            assert_eq!(seen.uri.path_and_query().unwrap().as_str(), path);
        }
    }
}

#[tokio::test]
async fn a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let mut server = upstream::hello("ok").await;
    let plan = gate().leaf(&Leaf::of(&["app.test", "also.test"])).cert("other.test");
    let gate = plan.route_all(server.url()).start().await;
    let config = gate.tls.clone().alpn(&["h2"]).build(None);
    for (host, code) in [("app.test", 200), ("also.test", 200), ("other.test", 421), ("x", 421)] {
        let mut client: Raw = gate.raw("app.test").await;
        client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        let (head, text) = client.response().await;
        assert_eq!(status(&head), code, "{host}: {text}");
        let stream = gate.connect("app.test", &config).await.unwrap();
        let answer = Http::h2(stream, host, "https").await.get("/").await;
        assert_eq!(answer.status.as_u16(), code, "{host}: {answer:?}");
        if code == 200 {
            assert_eq!(server.seen().await.one("x-forwarded-host"), Some(host));
            server.seen().await;
        } else {
            assert!(answer.text.contains(host), "{answer:?}");
        }
    }
    assert!(server.untouched());
}

#[tokio::test]
async fn an_authority_and_a_host_that_differ_are_refused_over_http_2() {
    let mut server = upstream::hello("ok").await;
    let gate =
        gate().leaf(&Leaf::of(&["app.test", "b.test"])).route_all(server.url()).start().await;
    let mut client = gate.h2("app.test").await;
    let request = client.request("GET", "/").header("host", "b.test").body(body::empty()).unwrap();
    assert_eq!(client.exchange(request).await.status, StatusCode::BAD_REQUEST);
    assert!(server.untouched());
}

#[tokio::test]
async fn a_plain_listener_sends_clients_to_https_and_keeps_host_port_path_and_query() {
    let server = upstream::hello("challenge").await;
    let gate = gate()
        .listen("address = \"127.0.0.1:0\"\nredirect = true\nhttps_port = 8443")
        .listen("address = \"127.0.0.1:0\"\nredirect = true\nhttps_port = 443")
        .cert("app.test")
        .route_all(server.url())
        .start()
        .await;
    let cases = [
        (0, "app.test", "/a/b?c=d&e", "https://app.test:8443/a/b?c=d&e"),
        (0, "app.test:8080", "/", "https://app.test:8443/"),
        (1, "app.test", "/a?b", "https://app.test/a?b"),
        (1, "[::1]:80", "/", "https://[::1]/"),
        (1, "app.test", "//evil.test/", "https://app.test//evil.test/"),
    ];
    for (index, host, path, expected) in cases {
        let (head, _) = plain_get(gate.address_of(index), host, path).await;
        assert_eq!(status(&head), 308, "{head}");
        assert_eq!(field(&head, "location"), Some(expected), "{head}");
    }
    let challenge = "/.well-known/acme-challenge/token";
    let (head, text) = plain_get(gate.address, "app.test", challenge).await;
    assert_eq!((status(&head), text.as_str()), (200, "challenge"));
    for host in ["app.test/x", "", "a b"] {
        let (head, _) = plain_get(gate.address, host, "/").await;
        assert_eq!(status(&head), 400, "{host:?}: {head}");
        assert_eq!(field(&head, "location"), None, "{head}");
    }
}

#[tokio::test]
async fn ipv6_is_listened_on() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // A machine without IPv6.
    }
    let mut server = upstream::hello("six").await;
    let gate = gate()
        .listen("address = \"[::1]:0\"")
        .listen("address = \"[::]:0\"\ntls = false")
        .cert("app.test")
        .route("app.test", server.url())
        .start()
        .await;
    assert_eq!(gate.h1("app.test").await.get("/").await.text, "six");
    assert_eq!(server.seen().await.one("x-forwarded-for"), Some("::1"));
    let port = gate.address_of(1).port();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let (head, text) = plain_get(address.parse().unwrap(), "app.test", "/").await;
        assert_eq!((status(&head), text.as_str()), (200, "six"), "{address}");
        let expected = if address.starts_with('[') { "::1" } else { "127.0.0.1" };
        assert_eq!(server.seen().await.one("x-forwarded-for"), Some(expected));
    }
}

#[tokio::test]
async fn a_plain_listener_speaks_http_1_and_http_2_by_prior_knowledge() {
    let mut server = upstream::hello("plain").await;
    let listen = "address = \"127.0.0.1:0\"\ntls = false";
    let gate = gate().listen(listen).route("app.test", server.url()).start().await;
    let (head, text) = plain_get(gate.address, "app.test", "/").await;
    assert_eq!((status(&head), text.as_str()), (200, "plain"));
    assert_eq!(server.seen().await.one("x-forwarded-proto"), Some("http"));
    let stream = tokio::net::TcpStream::connect(gate.address).await.unwrap();
    let mut client = Http::h2(stream, "app.test", "http").await;
    assert_eq!(client.get("/").await.text, "plain");
}
