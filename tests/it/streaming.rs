//! Bodies flow: piece by piece, both ways, and never faster than the slower side takes them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Frame;
use std::time::Duration;
use tokio::sync::mpsc;

use crate::harness::raw::{field, status};
use crate::harness::{body, client, gate, scripted, upstream, within};

const HOST: &str = "app.test";

#[tokio::test]
async fn events_reach_the_client_one_by_one_before_the_response_ends() {
    for mut server in scripted::both().await {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            let request = client.request("GET", "/events").body(body::empty()).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            let (mut hand, _) = server.next().await.answer_by_hand();
            let response = within("the header section", waiting).await.unwrap().unwrap();
            let mut events = response.into_body();
            for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
                body::send(&mut hand, event).await;
                assert_eq!(body::piece(&mut events).await, event);
            }
            drop(hand);
            assert_eq!(body::text(events).await, "");
        }
    }
}

#[tokio::test]
async fn a_request_is_seen_upstream_piece_by_piece() {
    for mut server in scripted::both().await {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            let (mut hand, sent) = body::pieces();
            let request = client.request("POST", "/").body(sent).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            body::send(&mut hand, "first").await;
            let mut exchange = server.next().await;
            assert_eq!(body::piece(exchange.request.body_mut()).await, "first");
            body::send(&mut hand, "second").await;
            assert_eq!(body::piece(exchange.request.body_mut()).await, "second");
            drop(hand);
            let body = exchange.answer(Response::new(body::full("done")));
            assert_eq!(body::text(body).await, "");
            let response = within("the response", waiting).await.unwrap().unwrap();
            assert_eq!(body::text(response.into_body()).await, "done");
        }
    }
}

#[tokio::test]
async fn both_directions_flow_at_once_on_http2() {
    let mut server = scripted::h2c().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.h2(HOST).await;
    let (mut up, sent) = body::pieces();
    let request = client.request("POST", "/talk").body(sent).unwrap();
    let waiting = tokio::spawn(client.begin(request));
    let (mut down, mut received) = server.next().await.answer_by_hand();
    let mut answers = within("the header section", waiting).await.unwrap().unwrap().into_body();
    for number in 0..20 {
        body::send(&mut up, format!("ping {number}")).await;
        assert_eq!(body::piece(&mut received).await, format!("ping {number}"));
        body::send(&mut down, format!("pong {number}")).await;
        assert_eq!(body::piece(&mut answers).await, format!("pong {number}"));
    }
}

/// Offers pieces until none is taken for a while; gives the bytes that were.
async fn stuff(mut hand: body::Pieces) -> usize {
    const PIECE: Bytes = Bytes::from_static(&[b'x'; 64 * 1024]);
    const ENOUGH: usize = 512 * 1024 * 1024;
    let mut taken = 0;
    while taken < ENOUGH {
        let sending = hand.send_data(PIECE);
        match tokio::time::timeout(Duration::from_millis(500), sending).await {
            Ok(sent) => sent.unwrap(),
            Err(_) => return taken,
        }
        taken += PIECE.len();
    }
    panic!("{ENOUGH} bytes were taken although nobody reads them");
}

/// What buffers of sockets, of TLS and of HTTP may hold together, and no more.
const ON_THE_WAY_MAX: usize = 32 * 1024 * 1024;

#[tokio::test]
async fn a_client_that_stalls_stops_the_server_it_reads_from() {
    for mut server in scripted::both().await {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            let request = client.request("GET", "/").body(body::empty()).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            let (hand, _) = server.next().await.answer_by_hand();
            let response = within("the header section", waiting).await.unwrap().unwrap();
            let taken = stuff(hand).await;
            assert!(taken < ON_THE_WAY_MAX, "{taken} bytes are on their way");
            let read = response.into_body().collect();
            let read = within("what was sent", read).await.unwrap().to_bytes();
            assert_eq!(read.len(), taken, "what was taken arrives, however late");
        }
    }
}

#[tokio::test]
async fn a_server_that_stalls_stops_the_client_it_reads_from() {
    for mut server in scripted::both().await {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            let (hand, sent) = body::pieces();
            let request = client.request("POST", "/").body(sent).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            let exchange = server.next().await;
            let taken = stuff(hand).await;
            assert!(taken < ON_THE_WAY_MAX, "{taken} bytes are on their way");
            let body = exchange.answer(Response::new(body::full("done")));
            assert_eq!(body::count(body).await, taken as u64);
            let response = within("the response", waiting).await.unwrap().unwrap();
            assert_eq!(body::text(response.into_body()).await, "done");
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_ends_is_passed_on_at_once() {
    for mut server in scripted::both().await {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            let (mut hand, sent) = body::pieces();
            let request = client.request("POST", "/").body(sent).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            body::send(&mut hand, "the first of very many").await;
            let refusal = Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE);
            let exchange = server.next().await;
            let unread = exchange.answer(refusal.body(body::full("too much")).unwrap());
            let response = within("the refusal", waiting).await.unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(body::text(response.into_body()).await, "too much");
            drop((hand, unread));
        }
    }
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
}

#[tokio::test]
async fn trailers_pass_both_ways_whatever_the_versions() {
    for (index, mut server) in scripted::both().await.into_iter().enumerate() {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for (client_index, mut client) in gate.both(HOST).await.into_iter().enumerate() {
            let case = format!("client {client_index}, server {index}");
            let (mut hand, sent) = body::pieces();
            let request = client.request("POST", "/svc/Method").header("te", "trailers");
            let request = request.header("trailer", "x-sum").body(sent).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            body::send(&mut hand, "message").await;
            let sum = trailers("x-sum", "7");
            within("trailers to go", hand.send(Frame::trailers(sum))).await.unwrap();
            drop(hand);
            let exchange = server.next().await;
            assert_eq!(exchange.request.headers().get("te").unwrap(), "trailers", "{case}");
            let (mut reply, body) = body::pieces();
            let response = Response::builder().header("trailer", "grpc-status");
            let received = exchange.answer(response.body(body).unwrap());
            let (bytes, found) = body::rest(received).await.unwrap();
            assert_eq!(bytes, "message", "{case}");
            assert_eq!(found.as_ref().unwrap()["x-sum"], "7", "{case}");
            body::send(&mut reply, "reply").await;
            let fine = trailers("grpc-status", "0");
            within("trailers to go", reply.send(Frame::trailers(fine))).await.unwrap();
            drop(reply);
            let response = within("the response", waiting).await.unwrap().unwrap();
            let (bytes, found) = body::rest(response.into_body()).await.unwrap();
            assert_eq!(bytes, "reply", "{case}");
            assert_eq!(found.expect(&case)["grpc-status"], "0", "{case}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_seen_by_the_server() {
    for mut server in scripted::both().await {
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            let request = client.request("GET", "/").body(body::empty()).unwrap();
            let waiting = tokio::spawn(client.begin(request));
            let (mut hand, _) = server.next().await.answer_by_hand();
            let response = within("the header section", waiting).await.unwrap().unwrap();
            drop((response, client));
            let gone = async { while hand.send_data(Bytes::from_static(b"tick")).await.is_ok() {} };
            within("the server to notice", gone).await;
        }
    }
}

#[tokio::test]
async fn a_body_is_not_sent_before_the_server_says_continue() {
    let mut server = upstream::raw(|mut gate, _| async move {
        let head = gate.head().await;
        assert_eq!(field(&head, "expect"), Some("100-continue"), "{head}");
        gate.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = gate.exactly(4).await;
        gate.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{body}")).await;
        gate.end().await;
    })
    .await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("PUT / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n").await;
    client.send("expect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    let (head, text) = client.response().await;
    assert_eq!((status(&head), text.as_str()), (200, "body"));
    assert!(server.untouched());
}

#[tokio::test]
async fn a_server_that_will_not_continue_is_heard_and_gets_no_body() {
    let (told, mut rest) = mpsc::unbounded_channel();
    let server = upstream::raw(move |mut gate, _| {
        let told = told.clone();
        async move {
            gate.head().await;
            gate.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno").await;
            told.send(gate.end().await).unwrap();
        }
    })
    .await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("PUT / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n").await;
    client.send("expect: 100-continue\r\n\r\n").await;
    let (head, text) = client.response().await;
    assert_eq!((status(&head), text.as_str()), (417, "no"), "{head}");
    assert_eq!(client.end().await, "", "the connection waits for a body that won't come");
    let rest = within("the connection to the server to end", rest.recv()).await;
    assert_eq!(rest.as_deref(), Some(""), "a body that nobody wanted");
}

#[tokio::test]
async fn a_plain_listener_streams_too() {
    let mut server = scripted::h1().await;
    let gate = gate()
        .listen("address = \"127.0.0.1:0\"\ntls = false")
        .route(HOST, server.url())
        .start()
        .await;
    let mut client = client::plain(gate.address).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let (mut hand, _) = server.next().await.answer_by_hand();
    assert_eq!(status(&client.head().await), 200);
    body::send(&mut hand, "now").await;
    client.until("3\r\nnow\r\n").await;
    drop(hand);
    client.until("0\r\n\r\n").await;
}
