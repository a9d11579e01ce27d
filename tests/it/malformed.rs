//! What is no proper request gets 400 and a closed connection, and no server ever sees it.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::harness::raw::{Raw, field, status};
use crate::harness::upstream::{self, Upstream};
use crate::harness::{body, gate, within};

const HOST: &str = "app.test";

async fn hello() -> Upstream {
    upstream::hello("hello").await
}

#[tokio::test]
async fn a_request_that_makes_no_sense_or_two_ends_the_connection() {
    let cases = [
        "GET / HTTP/3.7\r\nhost: app.test\r\n\r\n",
        "GET /\r\nhost: app.test\r\n\r\n",
        "GET / nothing\r\n\r\n",
        "GE T / HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test\r\nbad name: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test\r\nname : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test\r\nfolded: 1\r\n 2\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test\r\nnull: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test\r\nhost: app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test, other.test\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: app.test/x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: me@app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET path HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET app.test:443 HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "GET http://app.test/ HTTP/1.1\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: app.test\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 5, 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: gzip\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked, gzip\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00",
    ];
    let mut server = hello().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    for request in cases {
        let mut client = gate.raw(HOST).await;
        // A second request shows whether the connection is really at its end.
        client.send(format!("{request}GET /again HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        let answers = client.end().await;
        assert_eq!(status(&answers), 400, "{request:?} got {answers:?}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{request:?} got {answers:?}");
        assert!(server.untouched(), "{request:?} reached the server");
    }
}

/// RFC 9112 section 6.1 lets a server refuse such a request or read it by Transfer-Encoding
/// alone, and then close.
#[tokio::test]
async fn two_framings_let_no_second_request_through() {
    let fields = ["content-length: 60", "transfer-encoding: chunked"];
    for order in [[0, 1], [1, 0]] {
        let server = upstream::raw(|mut gate: Raw, _| async move {
            let head = gate.head().await;
            assert!(head.starts_with("POST /first "), "{head}");
            assert_eq!(field(&head, "content-length"), None, "{head}");
            gate.until("0\r\n\r\n").await;
            gate.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(gate.end().await, "", "a second request");
        })
        .await;
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.raw(HOST).await;
        let [one, other] = order.map(|index| fields[index]);
        let first = format!("POST /first HTTP/1.1\r\nhost: app.test\r\n{one}\r\n{other}\r\n");
        client.send(format!("{first}\r\n0\r\n\r\n")).await;
        client.try_send("GET /second HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        let answers = client.end().await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers:?}");
        assert!(server.connections() <= 1);
    }
}

#[tokio::test]
async fn a_tunnel_to_anywhere_is_refused() {
    let mut server = hello().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("CONNECT app.test:443 HTTP/1.1\r\nhost: app.test:443\r\n\r\n").await;
    let (head, text) = client.response().await;
    assert_eq!(status(&head), 405, "{head}{text}");
    assert!(server.untouched());
}

#[tokio::test]
async fn a_chunk_that_is_none_never_makes_a_body_whole() {
    let bodies = [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello",
    ];
    for sent in bodies {
        let server = upstream::serving(|request| async move {
            let whole = body::rest(request.into_body()).await.is_ok();
            assert!(!whole, "it looks whole");
            http::Response::new(body::empty())
        })
        .await;
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.raw(HOST).await;
        let head = "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{head}{sent}")).await;
        let answer = client.end().await;
        assert_eq!(status(&answer), 400, "{sent:?} got {answer:?}");
    }
}

#[tokio::test]
async fn a_header_section_that_is_too_large_is_refused_as_such() {
    let mut server = hello().await;
    let limits = "header_bytes_max = \"8KiB\"";
    let gate = gate().cert(HOST).limits(limits).route(HOST, server.url()).start().await;
    let large = "x".repeat(9 * 1024);
    let mut client = gate.raw(HOST).await;
    client.try_send(format!("GET / HTTP/1.1\r\nhost: app.test\r\nx: {large}\r\n\r\n")).await;
    assert_eq!(status(&client.end().await), 431);
    let mut client = gate.h2(HOST).await;
    client.get("/").await;
    server.seen().await;
    let request = client.request("GET", "/").header("x", &large).body(body::empty()).unwrap();
    let refused = match client.send(request).await {
        Ok(response) => response.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Err(_) => true, // The client itself may know the limit from the settings.
    };
    assert!(refused);
    assert!(server.untouched());
    assert_eq!(gate.h1(HOST).await.get("/").await.text, "hello", "others are served");
}

/// Reads to the end; gives what came and how long it took.
async fn timed(client: &mut Raw) -> (String, Duration) {
    let began = Instant::now();
    (client.end().await, began.elapsed())
}

const SHORT: &str = "header_timeout = \"300ms\"\nkeepalive_timeout = \"300ms\"";

#[tokio::test]
async fn a_header_section_that_does_not_end_is_given_up_in_time() {
    let mut server = hello().await;
    let gate = gate().cert(HOST).limits(SHORT).route(HOST, server.url()).start().await;
    for begun in ["", "GET / HTT", "GET / HTTP/1.1\r\nhost: app.test\r\nx"] {
        let mut client = gate.raw(HOST).await;
        client.send(begun).await;
        let (answer, took) = timed(&mut client).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        assert!(took < Duration::from_secs(3), "{begun:?} held a connection for {took:?}");
    }
    assert!(server.untouched());
}

#[tokio::test]
async fn a_header_section_that_drips_is_given_up_in_time() {
    let server = hello().await;
    let gate = gate().cert(HOST).limits(SHORT).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\nx: ").await;
    let dripping = async {
        while client.try_send("x").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("the gate to have enough", dripping).await;
}

#[tokio::test]
async fn a_connection_that_is_idle_for_too_long_is_closed() {
    let server = hello().await;
    let gate = gate().cert(HOST).limits(SHORT).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let (head, _) = client.response().await;
    assert_eq!(status(&head), 200);
    assert_eq!(field(&head, "connection"), None);
    let (rest, took) = timed(&mut client).await;
    assert_eq!(rest, "");
    assert!(took >= Duration::from_millis(200), "after {took:?} already");
    assert!(took < Duration::from_secs(3), "after {took:?} only");
    let mut client = gate.h2(HOST).await;
    assert_eq!(client.get("/").await.text, "hello");
    client.closed().await.unwrap();
}

#[tokio::test]
async fn a_long_request_is_not_idle() {
    let mut server = crate::harness::scripted::h1().await;
    let gate = gate().cert(HOST).limits(SHORT).route(HOST, server.url()).start().await;
    for version in ["http/1.1", "h2"] {
        let mut client = gate.version(HOST, version).await;
        let request = client.request("GET", "/").body(body::empty()).unwrap();
        let waiting = tokio::spawn(client.begin(request));
        let (mut hand, _) = server.next().await.answer_by_hand();
        let mut incoming =
            within("the header section", waiting).await.unwrap().unwrap().into_body();
        tokio::time::sleep(Duration::from_millis(900)).await;
        body::send(&mut hand, "late").await;
        assert_eq!(body::piece(&mut incoming).await, "late");
    }
}
