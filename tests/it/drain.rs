//! A stop lets what began finish, takes nothing new, and ends in time.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::harness::raw::{field, status};
use crate::harness::{LIMIT, body, gate, scripted, until, upstream, within};

const HOST: &str = "app.test";

#[tokio::test]
async fn a_response_that_has_begun_finishes_and_the_gate_ends_after_it() {
    for version in ["http/1.1", "h2"] {
        let mut server = scripted::h1().await;
        let mut gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.version(HOST, version).await;
        let request = client.request("GET", "/").body(body::empty()).unwrap();
        let waiting = tokio::spawn(client.begin(request));
        let (mut hand, _) = server.next().await.answer_by_hand();
        let mut incoming =
            within("the header section", waiting).await.unwrap().unwrap().into_body();
        gate.stop();
        refused(gate.address).await;
        for piece in ["still", "going", "on"] {
            body::send(&mut hand, piece).await;
            assert_eq!(body::piece(&mut incoming).await, piece, "{version}");
        }
        drop(hand);
        assert_eq!(body::text(incoming).await, "", "{version}");
        gate.ended().await;
    }
}

/// Waits until nobody listens there.
async fn refused(address: std::net::SocketAddr) {
    until("new connections to be refused", || async move {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered() {
    for version in ["http/1.1", "h2"] {
        let mut server = scripted::h1().await;
        let mut gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        let mut client = gate.version(HOST, version).await;
        let (mut hand, sent) = body::pieces();
        let request = client.request("POST", "/").body(sent).unwrap();
        let waiting = tokio::spawn(client.begin(request));
        body::send(&mut hand, "first ").await;
        let exchange = server.next().await;
        gate.stop();
        refused(gate.address).await;
        body::send(&mut hand, "second").await;
        drop(hand);
        let received = exchange.answer(http::Response::new(body::full("done")));
        assert_eq!(body::text(received).await, "first second", "{version}");
        let response = within("the response", waiting).await.unwrap().unwrap();
        assert_eq!(body::text(response.into_body()).await, "done", "{version}");
        gate.ended().await;
    }
}

#[tokio::test]
async fn an_http_1_client_is_told_that_the_connection_ends() {
    let mut server = scripted::h1().await;
    let mut gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let exchange = server.next().await;
    gate.stop();
    refused(gate.address).await;
    drop(exchange.answer(http::Response::new(body::full("last"))));
    let (head, text) = client.response().await;
    assert_eq!((status(&head), text.as_str()), (200, "last"));
    assert_eq!(field(&head, "connection"), Some("close"), "{head}");
    assert_eq!(client.end().await, "");
    gate.ended().await;
}

#[tokio::test]
async fn an_http_2_client_gets_a_goaway_and_opens_no_more_streams() {
    let mut server = scripted::h1().await;
    let mut gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.h2(HOST).await;
    let request = client.request("GET", "/").body(body::empty()).unwrap();
    let waiting = tokio::spawn(client.begin(request));
    let (hand, _) = server.next().await.answer_by_hand();
    let response = within("the header section", waiting).await.unwrap().unwrap();
    gate.stop();
    until("the GOAWAY", || {
        let request = client.request("GET", "/more").body(body::empty()).unwrap();
        let sending = client.begin(request);
        async move {
            let short = Duration::from_millis(50);
            match tokio::time::timeout(short, sending).await {
                Ok(outcome) => outcome.is_err().then_some(()),
                Err(_) => None,
            }
        }
    })
    .await;
    drop(hand);
    assert_eq!(body::text(response.into_body()).await, "");
    client.closed().await.unwrap();
    gate.ended().await;
}

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    let server = upstream::hello("hello").await;
    let mut gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut silent = gate.raw(HOST).await;
    let mut clients = gate.both(HOST).await;
    for client in &mut clients {
        assert_eq!(client.get("/").await.text, "hello");
    }
    let began = Instant::now();
    gate.stop();
    for client in clients {
        client.closed().await.unwrap();
    }
    assert_eq!(silent.end().await, "");
    gate.ended().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_drain_ends_in_time_whoever_stays() {
    let mut server = scripted::h1().await;
    let limits = "drain_timeout = \"500ms\"";
    let mut gate = gate().cert(HOST).limits(limits).route(HOST, server.url()).start().await;
    let mut client = gate.h1(HOST).await;
    let request = client.request("GET", "/").body(body::empty()).unwrap();
    let waiting = tokio::spawn(client.begin(request));
    let (_hand, _) = server.next().await.answer_by_hand();
    let response = within("the header section", waiting).await.unwrap().unwrap();
    let began = Instant::now();
    gate.stop();
    gate.ended().await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400), "cut off after {took:?} already");
    assert!(took < LIMIT / 2, "ended after {took:?} only");
    body::rest(response.into_body()).await.expect_err("it looks whole");
}

#[tokio::test]
async fn a_websocket_goes_on_until_the_drain_is_over() {
    let server = upstream::raw(|mut gate, _| async move {
        gate.head().await;
        gate.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n").await;
        gate.send("connection: upgrade\r\n\r\n").await;
        while let Some(bytes) = gate.some().await {
            gate.send(bytes).await;
        }
    })
    .await;
    let limits = "drain_timeout = \"1s\"";
    let mut gate = gate().cert(HOST).limits(limits).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\nupgrade: websocket\r\n").await;
    client.send("connection: upgrade\r\nsec-websocket-version: 13\r\n").await;
    client.send("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 101);
    gate.stop();
    refused(gate.address).await;
    client.send("still here").await;
    assert_eq!(client.exactly(10).await, "still here");
    assert_eq!(client.end().await, "");
    gate.ended().await;
}
