//! What a client is told when a server fails: which upstream, which server, what happened.

use http::{Response, StatusCode};
use tokio::sync::mpsc;

use crate::harness::client::{Answer, Http};
use crate::harness::pki::{Ca, Issued, Leaf};
use crate::harness::raw::Raw;
use crate::harness::upstream::{self, Kind};
use crate::harness::{body, gate, within};

const HOST: &str = "app.test";

/// Checks status and words of an answer over either version.
async fn told(gate: &crate::harness::gate::Running, code: u16, words: &[&str]) {
    for mut client in gate.both(HOST).await {
        let answer = client.get("/").await;
        assert_eq!(answer.status.as_u16(), code, "{answer:?}");
        for word in words {
            assert!(answer.text.contains(word), "no {word:?} in {answer:?}");
        }
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{answer:?}");
        let id = answer.field("x-request-id").expect("an id to look for in the log");
        assert!(answer.text.contains(id), "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_named() {
    let url = format!("http://{}", upstream::nobody().await);
    let gate = gate().cert(HOST).upstream(HOST, &[&url], "").start().await;
    told(&gate, 502, &["`up`", &url, "refused"]).await;
}

#[tokio::test]
async fn several_servers_that_all_refuse_are_all_named() {
    let one = format!("http://{}", upstream::nobody().await);
    let other = format!("http://{}", upstream::nobody().await);
    let gate = gate().cert(HOST).upstream(HOST, &[&one, &other], "").start().await;
    told(&gate, 503, &["`up`", &one, &other, "refused"]).await;
}

#[tokio::test]
async fn one_of_several_that_refuses_costs_nobody_an_answer() {
    let dead = format!("http://{}", upstream::nobody().await);
    let server = upstream::hello("alive").await;
    let gate = gate().cert(HOST).upstream(HOST, &[&dead, server.url()], "").start().await;
    for mut client in gate.both(HOST).await {
        for _ in 0..6 {
            let request = client.request("POST", "/").body(body::full("once")).unwrap();
            let answer = client.exchange(request).await;
            assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "alive"));
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_accept_is_given_up_in_time() {
    let (address, _kept) = upstream::stalled().await;
    let url = format!("http://{address}");
    let settings = "connect_timeout = \"200ms\"";
    let gate = gate().cert(HOST).upstream(HOST, &[&url], settings).start().await;
    told(&gate, 504, &["`up`", &url, "200 ms"]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let server = upstream::raw(|mut gate, _| async move { drop(gate.end().await) }).await;
    let settings = "response_timeout = \"200ms\"";
    let gate = gate().cert(HOST).upstream(HOST, &[server.url()], settings).start().await;
    told(&gate, 504, &["`up`", server.url(), "200 ms"]).await;
}

#[tokio::test]
async fn a_response_that_falls_silent_breaks_off_in_time() {
    let server = upstream::raw(|mut gate, _| async move {
        gate.head().await;
        gate.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        gate.end().await;
    })
    .await;
    let settings = "idle_timeout = \"200ms\"";
    let gate = gate().cert(HOST).upstream(HOST, &[server.url()], settings).start().await;
    for mut client in gate.both(HOST).await {
        let request = client.request("GET", "/").body(body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        body::rest(response.into_body()).await.expect_err("it looks whole");
    }
}

#[tokio::test]
async fn what_is_no_response_is_a_bad_gateway() {
    let cases = [
        "garbage\r\n\r\n",
        "HTTP/1.1 200\r\nno colon\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nhello",
        "HTTP/1.1 9 Nine\r\n\r\n",
    ];
    for answer in cases {
        let server = upstream::answering(answer).await;
        let gate = gate().cert(HOST).upstream(HOST, &[server.url()], "").start().await;
        told(&gate, 502, &["`up`", server.url()]).await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_said_to_be_the_reason() {
    type Issue = fn(&Ca) -> Issued;
    let cases: [(Issue, &str); 3] = [
        (|_| Ca::new().issue(&Leaf::of(&["127.0.0.1"])), "UnknownIssuer"),
        (|ca| ca.issue(&Leaf::of(&["other.test"])), "not valid for"),
        (|ca| ca.issue(&Leaf::of(&["127.0.0.1"]).days(-20, -1)), "expired"),
    ];
    for (issue, word) in cases {
        let plan = gate().cert(HOST);
        let issued = issue(&plan.ca);
        let answer = |_| async { Response::new(body::full("secret")) };
        let server = upstream::of_kind(Kind::Tls(&issued, &["http/1.1"]), answer).await;
        let gate = plan.upstream(HOST, &[server.url()], "ca = \"ca.pem\"").start().await;
        told(&gate, 502, &["`up`", server.url(), "certificate", word]).await;
    }
}

/// Answers one request on each connection but the last; closes at the second without a word.
async fn restarting() -> (upstream::Upstream, mpsc::UnboundedReceiver<String>) {
    let (told, heads) = mpsc::unbounded_channel();
    let upstream = upstream::raw(move |mut gate: Raw, number| {
        let told = told.clone();
        async move {
            let Some(head) = gate.next_head().await else { return };
            told.send(head).unwrap();
            gate.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}")).await;
            if let Some(head) = gate.next_head().await {
                told.send(head).unwrap();
            }
        }
    })
    .await;
    (upstream, heads)
}

#[tokio::test]
async fn a_get_that_met_a_closing_connection_is_sent_again_unseen() {
    let (server, _heads) = restarting().await;
    let gate = gate().cert(HOST).upstream(HOST, &[server.url()], "").start().await;
    for mut client in gate.both(HOST).await {
        for _ in 0..4 {
            let answer = client.get("/").await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_post_that_may_have_been_done_is_never_sent_again() {
    let (server, mut heads) = restarting().await;
    let gate = gate().cert(HOST).upstream(HOST, &[server.url()], "").start().await;
    let mut client = gate.h1(HOST).await;
    assert_eq!(client.get("/").await.status, StatusCode::OK);
    let request = client.request("POST", "/pay").body(body::full("all")).unwrap();
    assert_eq!(client.exchange(request).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(client.get("/after").await.status, StatusCode::OK);
    let mut paid = 0;
    loop {
        let head = within("the last request", heads.recv()).await.unwrap();
        paid += usize::from(head.starts_with("POST /pay"));
        if head.starts_with("GET /after") {
            break;
        }
    }
    assert_eq!(paid, 1, "paid {paid} times");
}

#[tokio::test]
async fn a_server_that_was_restarted_is_used_again_at_once() {
    let server = upstream::hello("alive").await;
    let gate = gate().cert(HOST).upstream(HOST, &[server.url()], "").start().await;
    for mut client in gate.both(HOST).await {
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text, "alive");
            server.cut();
        }
    }
}

async fn grpc(client: &mut Http) -> Answer {
    let request = client.request("POST", "/pkg.Service/Method").header("te", "trailers");
    let request = request.header("content-type", "application/grpc+proto");
    client.exchange(request.body(body::full("message")).unwrap()).await
}

#[tokio::test]
async fn a_grpc_client_is_told_in_its_own_words() {
    let url = format!("h2c://{}", upstream::nobody().await);
    let gate = gate().cert(HOST).upstream(HOST, &[&url], "").start().await;
    let answer = grpc(&mut gate.h2(HOST).await).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.field("grpc-status"), Some("14"), "{answer:?}");
    assert!(answer.field("grpc-message").is_some_and(|text| text.contains("`up`")), "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("application/grpc"), "{answer:?}");
}
