//! Where a message ends is told truly: to old clients, without bodies, and when it broke off.

use std::io;

use http::{Response, StatusCode};

use crate::harness::raw::{Raw, field, status};
use crate::harness::upstream::{self, Upstream};
use crate::harness::{body, gate, scripted, within};

const HOST: &str = "app.test";

/// An upstream that answers each request of each connection with `bytes`.
async fn repeating(bytes: &'static str) -> Upstream {
    upstream::raw(move |mut gate: Raw, _| async move {
        while gate.next_head().await.is_some() {
            gate.send(bytes).await;
        }
    })
    .await
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n", 200, Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, None),
        ("GET", "HTTP/1.1 204 No Content\r\netag: \"a\"\r\n\r\n", 204, None),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", 304, None),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, Some("0")),
    ];
    for (method, answer, code, length) in cases {
        let server = repeating(answer).await;
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.raw(HOST).await;
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
            let head = client.head().await;
            assert_eq!(status(&head), code, "{answer:?} became {head:?}");
            assert_eq!(field(&head, "content-length"), length, "{answer:?} became {head:?}");
        }
        assert_eq!(server.connections(), 1, "{answer:?} cost a connection");
        let mut client = gate.h2(HOST).await;
        let request = client.request(method, "/").body(body::empty()).unwrap();
        let answered = client.exchange(request).await;
        assert_eq!((answered.status.as_u16(), answered.text.as_str()), (code, ""), "{answer:?}");
        assert_eq!(answered.field("content-length"), length, "{answer:?}");
    }
}

#[tokio::test]
async fn a_known_length_stays_known_and_an_unknown_one_becomes_chunks() {
    let known = repeating("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let chunked = repeating(chunked).await;
    let closing = upstream::answering("HTTP/1.1 200 OK\r\n\r\nhello").await;
    for server in [&known, &chunked, &closing] {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.raw(HOST).await;
        client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        let head = client.head().await;
        if std::ptr::eq(server, &known) {
            assert_eq!(field(&head, "content-length"), Some("5"), "{head}");
            assert_eq!(field(&head, "transfer-encoding"), None, "{head}");
            assert_eq!(client.exactly(5).await, "hello");
        } else {
            assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
            assert_eq!(field(&head, "content-length"), None, "{head}");
            assert_eq!(client.until("0\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
        }
    }
}

#[tokio::test]
async fn a_request_keeps_its_framing_too() {
    let cases = [
        ("content-length: 5\r\n\r\nhello", "content-length", "5", "hello"),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding",
            "chunked",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        ("content-length: 0\r\n\r\n", "content-length", "0", ""),
    ];
    for (sent, name, value, arrived) in cases {
        let server = upstream::raw(move |mut gate: Raw, _| async move {
            let head = gate.head().await;
            assert_eq!(field(&head, name), Some(value), "{head}");
            assert_eq!(gate.exactly(arrived.len()).await, arrived);
            gate.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            gate.end().await;
        })
        .await;
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.raw(HOST).await;
        client.send(format!("POST / HTTP/1.1\r\nhost: app.test\r\n{sent}")).await;
        assert_eq!(status(&client.head().await), 200, "{sent:?}");
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_body_that_the_end_of_the_connection_ends() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let server = repeating(chunked).await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!(status(&head), 200, "without Host the certificate's name is meant: {head}");
    assert_eq!(field(&head, "transfer-encoding"), None, "{head}");
    assert_eq!(client.end().await, "hello");
}

#[tokio::test]
async fn an_http_1_0_server_is_understood() {
    let server = upstream::answering("HTTP/1.0 200 OK\r\n\r\nhello").await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    for mut client in gate.both(HOST).await {
        assert_eq!(client.get("/").await.text, "hello");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_never_looks_whole() {
    let cases = [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nonly this",
    ];
    for answer in cases {
        let server = upstream::answering(answer).await;
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.raw(HOST).await;
        client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        assert_eq!(status(&client.head().await), 200);
        let rest = client.end().await;
        assert!(rest.contains("only this"), "{rest:?}");
        assert!(!rest.contains("0\r\n\r\n"), "{answer:?} looks whole: {rest:?}");
        let mut client = gate.h2(HOST).await;
        let request = client.request("GET", "/").body(body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        let error = body::rest(response.into_body()).await.expect_err("it looks whole");
        assert!(reset(&error).is_some(), "{error:?}");
    }
}

/// Why a stream was reset, if it was.
fn reset(error: &hyper::Error) -> Option<h2::Reason> {
    let cause = std::error::Error::source(error)?;
    cause.downcast_ref::<h2::Error>().filter(|error| error.is_reset())?.reason()
}

#[tokio::test]
async fn a_stream_that_a_server_resets_never_looks_whole() {
    let mut server = scripted::h2c().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    for mut client in gate.both(HOST).await {
        let request = client.request("GET", "/").body(body::empty()).unwrap();
        let waiting = tokio::spawn(client.begin(request));
        let (mut hand, _) = server.next().await.answer_by_hand();
        let mut incoming =
            within("the header section", waiting).await.unwrap().unwrap().into_body();
        body::send(&mut hand, "only this").await;
        assert_eq!(body::piece(&mut incoming).await, "only this");
        hand.abort(io::Error::other("out of paper"));
        body::rest(incoming).await.expect_err("it looks whole");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_never_looks_whole() {
    for mut server in scripted::both().await {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            let (mut hand, sent) = body::pieces();
            let request = client.request("POST", "/").body(sent).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            body::send(&mut hand, "only this").await;
            let mut exchange = server.next().await;
            assert_eq!(body::piece(exchange.request.body_mut()).await, "only this");
            hand.abort(io::Error::other("the line is dead"));
            let received = exchange.request.into_body();
            body::rest(received).await.expect_err("it looks whole");
            drop(waiting);
        }
    }
}

#[tokio::test]
async fn after_an_early_refusal_the_rest_of_a_body_is_never_taken_for_a_request() {
    let refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
    let server = upstream::answering(refusal).await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 1000\r\n\r\nfirst").await;
    let (head, text) = client.response().await;
    assert_eq!((status(&head), text.as_str()), (413, "no"));
    client.try_send("GET /smuggled HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(client.end().await, "", "an answer to what was a body");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn requests_that_follow_each_other_at_once_are_answered_in_order() {
    let server = upstream::serving(|request| async move {
        Response::builder()
            .status(StatusCode::OK)
            .body(body::full(request.uri().path().to_owned()))
            .unwrap()
    })
    .await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    let one = |path| format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n\r\n");
    client.send([one("/1"), one("/2"), one("/3")].concat()).await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.response().await.1, path);
    }
}
