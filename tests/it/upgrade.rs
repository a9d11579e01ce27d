//! WebSockets over HTTP/1.1 and HTTP/2; nothing else is upgraded, nothing is smuggled.

use http::{Request, StatusCode};
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use crate::harness::client::Http;
use crate::harness::raw::{Raw, field, status};
use crate::harness::upstream::{self, Upstream};
use crate::harness::{body, gate, within};

const HOST: &str = "app.test";

const ASK: &str = "GET /chat?room=1 HTTP/1.1\r\nhost: app.test\r\nupgrade: websocket\r\n\
                   connection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-protocol: chat\r\n\r\n";

const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                     Sec-WebSocket-Protocol: chat\r\n\r\n";

/// Agrees to every upgrade and echoes; tells the header sections it got.
async fn echoing() -> (Upstream, mpsc::UnboundedReceiver<String>) {
    let (told, heads) = mpsc::unbounded_channel();
    let upstream = upstream::raw(move |mut gate: Raw, _| {
        let told = told.clone();
        async move {
            loop {
                let Some(head) = gate.next_head().await else { return };
                let asked = field(&head, "upgrade").is_some();
                told.send(head).unwrap();
                if asked {
                    break;
                }
                gate.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain").await;
            }
            gate.send(AGREE).await;
            while let Some(bytes) = gate.some().await {
                gate.send(bytes).await;
            }
        }
    })
    .await;
    (upstream, heads)
}

#[tokio::test]
async fn a_websocket_over_http_1_echoes() {
    let (server, mut heads) = echoing().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send(ASK).await;
    let head = client.head().await;
    assert_eq!(status(&head), 101, "{head}");
    assert_eq!(field(&head, "upgrade"), Some("websocket"), "{head}");
    assert_eq!(field(&head, "connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    let accept = field(&head, "sec-websocket-accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(field(&head, "sec-websocket-protocol"), Some("chat"), "{head}");
    for text in ["one", "two", "three"] {
        client.send(text).await;
        assert_eq!(client.exactly(text.len()).await, text);
    }
    let asked = heads.recv().await.unwrap();
    assert!(asked.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{asked}");
    assert_eq!(field(&asked, "sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="), "{asked}");
    assert_eq!(field(&asked, "x-forwarded-proto"), Some("https"), "{asked}");
}

/// Asks by extended CONNECT, as RFC 8441 section 5 has it.
async fn extended_connect(client: &mut Http) -> http::Response<hyper::body::Incoming> {
    // The server's settings have arrived with the first answer.
    client.get("/first").await;
    let mut request = Request::builder()
        .method("CONNECT")
        .uri(format!("https://{HOST}/chat?room=1"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(body::empty())
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    client.send(request).await.unwrap()
}

#[tokio::test]
async fn a_websocket_over_http_2_echoes() {
    let (server, mut heads) = echoing().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.h2(HOST).await;
    let response = extended_connect(&mut client).await;
    assert_eq!(response.status(), StatusCode::OK, "{response:?}");
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.headers().contains_key(name), "{response:?}");
    }
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    let stream = within("the tunnel", hyper::upgrade::on(response)).await.unwrap();
    let mut tunnel = Raw::new(TokioIo::new(stream));
    for text in ["one", "two", "three"] {
        tunnel.send(text).await;
        assert_eq!(tunnel.exactly(text.len()).await, text);
    }
    assert_eq!(client.get("/beside").await.text, "plain", "other streams go on");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(within("a request at the server", heads.recv()).await.unwrap());
    }
    let asked = seen.iter().find(|head| head.contains("/chat")).unwrap();
    assert!(asked.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{asked}");
    assert_eq!(field(asked, "upgrade"), Some("websocket"), "{asked}");
    assert_eq!(field(asked, "host"), Some(HOST), "{asked}");
    assert_eq!(field(asked, "sec-websocket-key").map(str::len), Some(24), "{asked}");
}

#[tokio::test]
async fn the_end_of_either_side_is_the_end_of_both() {
    let (server, _heads) = echoing().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send(ASK).await;
    assert_eq!(status(&client.head().await), 101);
    client.send("last words").await;
    client.finish().await;
    assert_eq!(client.end().await, "last words", "what was on its way arrives");
    let mut client = gate.raw(HOST).await;
    client.send(ASK).await;
    assert_eq!(status(&client.head().await), 101);
    server.cut();
    assert_eq!(client.end().await, "");
}

#[tokio::test]
async fn a_refused_upgrade_passes_the_servers_own_answer() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nx-why: not you\r\ncontent-length: 4\r\n\r\nnope";
    let server = upstream::answering(refusal).await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send(ASK).await;
    let (head, text) = client.response().await;
    assert_eq!((status(&head), text.as_str()), (403, "nope"));
    assert_eq!(field(&head, "x-why"), Some("not you"));
    let server = upstream::raw(move |mut gate: Raw, _| async move {
        let Some(head) = gate.next_head().await else { return };
        let asked = field(&head, "upgrade").is_some();
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        gate.send(if asked { refusal } else { plain }).await;
    })
    .await;
    let gate = crate::harness::gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.h2(HOST).await;
    let response = extended_connect(&mut client).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(body::text(response.into_body()).await, "nope");
}

#[tokio::test]
async fn bytes_before_the_101_wait_for_it_and_are_not_lost() {
    let (told, mut early) = mpsc::unbounded_channel();
    let (agree, go) = tokio::sync::watch::channel(false);
    let server = upstream::raw(move |mut gate: Raw, _| {
        let (told, mut go) = (told.clone(), go.clone());
        async move {
            let head = gate.head().await;
            told.send(head).unwrap();
            // Until the test says so: whatever comes before is here before the 101.
            let waiting = go.wait_for(|go| *go);
            tokio::select! {
                outcome = waiting => drop(outcome.unwrap()),
                bytes = gate.some() => panic!("{bytes:?} before the 101"),
            }
            gate.send(AGREE).await;
            told.send(gate.exactly(5).await).unwrap();
        }
    })
    .await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send(format!("{ASK}early")).await;
    within("the request", early.recv()).await.unwrap();
    // The gate has read the whole record: let what is not held back go.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    agree.send(true).unwrap();
    assert_eq!(status(&client.head().await), 101);
    assert_eq!(within("the early bytes", early.recv()).await.as_deref(), Some("early"));
}

#[tokio::test]
async fn bytes_behind_a_refused_upgrade_are_a_request_of_their_own() {
    let (told, mut heads) = mpsc::unbounded_channel();
    let server = upstream::raw(move |mut gate: Raw, _| {
        let told = told.clone();
        async move {
            while let Some(head) = gate.next_head().await {
                told.send(head).unwrap();
                gate.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let route =
        format!("[[route]]\nhosts = [\"{HOST}\"]\npath = \"/chat\"\nto = \"{}\"", server.url());
    let gate = gate().cert(HOST).text(&route).start().await;
    let mut client = gate.raw(HOST).await;
    client.send(format!("{ASK}GET /secret HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
    assert_eq!(status(&client.head().await), 400);
    let rest = client.next_head().await;
    assert!(rest.is_none_or(|head| status(&head) == 404), "no route leads to it");
    within("the first request", heads.recv()).await.unwrap();
    assert!(heads.try_recv().is_err(), "something was smuggled");
}

#[tokio::test]
async fn other_upgrades_are_stripped() {
    let cases = [
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__",
        "upgrade: TLS/1.3\r\nconnection: upgrade",
        "upgrade: websocket", // Connection does not name it.
    ];
    let (server, mut heads) = echoing().await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    for fields in cases {
        let mut client = gate.raw(HOST).await;
        client.send(format!("GET / HTTP/1.1\r\nhost: app.test\r\n{fields}\r\n\r\n")).await;
        let (head, text) = client.response().await;
        assert_eq!((status(&head), text.as_str()), (200, "plain"), "{fields}");
        let seen = within("the request", heads.recv()).await.unwrap();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(field(&seen, name), None, "{fields}: {seen}");
        }
        server.cut();
    }
}

#[tokio::test]
async fn a_server_of_http_2_alone_gets_no_websocket_and_the_answer_says_what_to_do() {
    let server = upstream::serving_h2c(|_| async { http::Response::new(body::empty()) }).await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send(ASK).await;
    let (head, text) = client.response().await;
    assert_eq!(status(&head), 502);
    assert!(text.contains("HTTP/2") && text.contains("protocol = \"h1\""), "{text}");
}

#[tokio::test]
async fn a_tunnel_that_is_silent_for_too_long_ends() {
    let (server, _heads) = echoing().await;
    let servers = [server.url()];
    let gate = gate().cert(HOST).upstream(HOST, &servers, "idle_timeout = \"300ms\"").start().await;
    let mut client = gate.raw(HOST).await;
    client.send(ASK).await;
    assert_eq!(status(&client.head().await), 101);
    client.send("hello").await;
    assert_eq!(client.end().await, "hello");
}
