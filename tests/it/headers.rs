//! What is taken from and added to header sections on their way, seen from both ends.

use std::collections::HashSet;

use http::Response;

use crate::harness::raw::{field, status};
use crate::harness::upstream::Upstream;
use crate::harness::{body, gate, upstream};

const HOST: &str = "app.test";

async fn ok() -> Upstream {
    upstream::hello("ok").await
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_end_at_the_gate() {
    let mut server = ok().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client
        .send(
            "GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close, X-Nominated\r\n\
             connection: keep-alive\r\nx-nominated: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-connection: close\r\nproxy-authorization: Basic eDp5\r\nte: gzip\r\n\
             upgrade: h2c\r\nx-kept: 1\r\naccept: */*\r\n\r\n",
        )
        .await;
    assert_eq!(status(&client.head().await), 200);
    let seen = server.seen().await;
    let gone = ["connection", "x-nominated", "keep-alive", "proxy-connection"];
    for name in gone.into_iter().chain(["proxy-authorization", "te", "upgrade"]) {
        assert_eq!(seen.one(name), None, "{name}: {seen:?}");
    }
    assert_eq!(seen.one("x-kept"), Some("1"));
    assert_eq!(seen.one("accept"), Some("*/*"));
    assert_eq!(seen.one("host"), Some(HOST));
}

#[tokio::test]
async fn what_must_not_be_nominated_away_stays() {
    let mut server = ok().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    let nominated = "host, content-length, x-forwarded-for, x-forwarded-proto, x-request-id";
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: app.test\r\nconnection: {nominated}\r\n\
             content-length: 2\r\n\r\nhi"
        ))
        .await;
    assert_eq!(status(&client.head().await), 200);
    let seen = server.seen().await;
    assert_eq!(seen.one("host"), Some(HOST));
    assert_eq!(seen.one("content-length"), Some("2"));
    assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.one("x-forwarded-proto"), Some("https"));
    assert!(seen.one("x-request-id").is_some());
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_response_end_at_the_gate() {
    let server = upstream::answering(
        "HTTP/1.1 200 OK\r\nconnection: close, x-nominated\r\nx-nominated: 1\r\n\
         keep-alive: timeout=5\r\nproxy-connection: close\r\nupgrade: h2c\r\nx-kept: 1\r\n\
         set-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    for mut client in gate.both(HOST).await {
        let answer = client.get("/").await;
        let gone = ["connection", "x-nominated", "keep-alive", "proxy-connection", "upgrade"];
        for name in gone {
            assert_eq!(answer.field(name), None, "{name}: {answer:?}");
        }
        assert_eq!(answer.field("x-kept"), Some("1"));
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(client.get("/").await.text, "ok", "the server's close is not the client's");
    }
}

#[tokio::test]
async fn where_a_request_comes_from_is_stated_by_the_gate_alone() {
    let mut server = ok().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut ids = HashSet::new();
    for mut client in gate.both(HOST).await {
        let forged = client
            .request("GET", "/")
            .header("x-forwarded-for", "10.9.8.7")
            .header("x-forwarded-for", "10.9.8.6")
            .header("x-forwarded-proto", "gopher")
            .header("x-forwarded-host", "evil.test")
            .header("x-forwarded-port", "1")
            .header("forwarded", "for=10.9.8.7")
            .header("x-real-ip", "10.9.8.7")
            .header("x-request-id", "mine");
        client.exchange(forged.body(body::empty()).unwrap()).await;
        let seen = server.seen().await;
        assert_eq!(seen.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.one("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.one("x-forwarded-host"), Some(HOST));
        for name in ["x-forwarded-port", "forwarded", "x-real-ip"] {
            assert_eq!(seen.one(name), None, "{name}");
        }
        ids.insert(seen.one("x-request-id").unwrap().to_owned());
        client.get("/").await;
        ids.insert(server.seen().await.one("x-request-id").unwrap().to_owned());
    }
    assert_eq!(ids.len(), 4, "an id of its own for each request: {ids:?}");
    assert!(!ids.contains("mine"));
}

#[tokio::test]
async fn cookies_that_http_2_has_split_are_one_again() {
    let mut server = ok().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.h2(HOST).await;
    let request = client.request("GET", "/").header("cookie", "a=1").header("cookie", "b=2");
    client.exchange(request.header("cookie", "c=3").body(body::empty()).unwrap()).await;
    assert_eq!(server.seen().await.all("cookie"), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn only_trailers_of_te_is_passed_on() {
    let mut server = ok().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let cases = [("trailers", Some("trailers")), ("gzip, trailers;q=0.5", Some("trailers"))];
    for (sent, expected) in cases.into_iter().chain([("deflate", None)]) {
        let mut client = gate.raw(HOST).await;
        let fields = format!("te: {sent}\r\nconnection: te");
        client.send(format!("GET / HTTP/1.1\r\nhost: app.test\r\n{fields}\r\n\r\n")).await;
        client.head().await;
        let seen = server.seen().await;
        assert_eq!(seen.one("te"), expected, "{sent}");
        let nominated = expected.map(|_| "te");
        assert_eq!(seen.one("connection"), nominated, "{sent}");
    }
}

#[tokio::test]
async fn an_http_2_server_gets_the_authority_and_no_fields_of_http_1() {
    let mut server = upstream::serving_h2c(|_| async { Response::new(body::full("ok")) }).await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    for mut client in gate.both(HOST).await {
        assert_eq!(client.get("/path?query").await.text, "ok");
        let seen = server.seen().await;
        assert_eq!(seen.version, http::Version::HTTP_2);
        assert_eq!(seen.uri.authority().map(|authority| authority.as_str()), Some(HOST));
        assert_eq!(seen.uri.path_and_query().unwrap().as_str(), "/path?query");
        assert_eq!(seen.method, http::Method::GET);
        for name in ["host", "connection", "transfer-encoding"] {
            assert_eq!(seen.one(name), None, "{name}");
        }
        assert_eq!(seen.one("x-forwarded-host"), Some(HOST));
    }
}

#[tokio::test]
async fn the_gate_adds_a_date_and_nothing_that_tells_its_name() {
    let server = upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let (head, _) = client.response().await;
    assert!(field(&head, "date").is_some(), "RFC 9110 section 6.6.1: {head}");
    assert_eq!(field(&head, "server"), None, "{head}");
}
