//! A changed configuration is in force whole, or not at all; nobody's connection notices.

use http::StatusCode;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::harness::client::{Answer, Http};
use crate::harness::gate::{Plan, Running};
use crate::harness::pki::Leaf;
use crate::harness::raw::{Raw, status};
use crate::harness::{body, client, gate, scripted, until, upstream, within};

const HOST: &str = "app.test";

/// The plan of a gate whose configuration will change: what stays is in `fixed`.
fn plan(to: &str) -> Plan {
    gate().listen("address = \"127.0.0.1:0\"").cert(HOST).admin().route(HOST, to)
}

/// Writes another configuration in place of the gate's: `from` becomes `to`.
fn edit(gate: &Running, from: &str, to: &str) {
    let path = gate.plan.folder().join("evergate.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    let beside = path.with_extension("new");
    std::fs::write(&beside, text.replace(from, to)).unwrap();
    std::fs::rename(&beside, &path).unwrap();
}

/// Waits until a fresh request is answered with `text`.
async fn answered(gate: &Running, text: &str) {
    until(text, || async {
        let answer = gate.h1(HOST).await.get("/").await;
        (answer.text == text).then_some(())
    })
    .await;
}

/// The last event of this name that the gate told, as soon as there is one.
async fn event(gate: &Running, name: &str) -> Value {
    until(name, || async {
        let answer = gate.admin("GET", "/api/events").await;
        let told: Value = serde_json::from_str(&answer.text).unwrap();
        let events = told["events"].as_array().unwrap().clone();
        events.into_iter().rev().find(|event| event["event"] == name)
    })
    .await
}

async fn reload(gate: &Running) -> (Answer, Value) {
    let answer = gate.admin("POST", "/api/reload").await;
    let value = serde_json::from_str(&answer.text).unwrap_or_default();
    (answer, value)
}

#[tokio::test]
async fn a_changed_file_is_in_force_and_open_exchanges_go_on() {
    let mut old = scripted::h1().await;
    let new = upstream::hello("new").await;
    let gate = plan(old.url()).start().await;
    let mut open = Vec::new();
    for mut client in gate.both(HOST).await {
        let request = client.request("GET", "/").body(body::empty()).unwrap();
        let waiting = tokio::spawn(client.begin(request));
        let (hand, _) = old.next().await.answer_by_hand();
        let response = within("the header section", waiting).await.unwrap().unwrap();
        open.push((client, hand, response.into_body()));
    }
    edit(&gate, old.url(), new.url());
    event(&gate, "config_published").await;
    answered(&gate, "new").await;
    for (mut client, mut hand, mut incoming) in open {
        body::send(&mut hand, "still the old one").await;
        assert_eq!(body::piece(&mut incoming).await, "still the old one");
        drop(hand);
        assert_eq!(body::text(incoming).await, "");
        assert_eq!(client.get("/").await.text, "new", "the connection itself goes on");
    }
    let told = event(&gate, "config_published").await;
    assert_eq!(told["code"], "config_changed", "{told}");
}

#[tokio::test]
async fn a_websocket_outlives_a_reload() {
    let old = upstream::raw(|mut gate: Raw, _| async move {
        gate.head().await;
        gate.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n").await;
        gate.send("connection: upgrade\r\n\r\n").await;
        while let Some(bytes) = gate.some().await {
            gate.send(bytes).await;
        }
    })
    .await;
    let new = upstream::hello("new").await;
    let gate = plan(old.url()).start().await;
    let mut client = gate.raw(HOST).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\nupgrade: websocket\r\n").await;
    client.send("connection: upgrade\r\nsec-websocket-version: 13\r\n").await;
    client.send("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
    assert_eq!(status(&client.head().await), 101);
    edit(&gate, old.url(), new.url());
    event(&gate, "config_published").await;
    answered(&gate, "new").await;
    client.send("still here").await;
    assert_eq!(client.exactly(10).await, "still here");
}

#[tokio::test]
async fn a_broken_file_is_refused_with_its_complaints_and_the_old_one_serves() {
    let server = upstream::hello("old").await;
    let gate = plan(server.url()).start().await;
    edit(&gate, "hosts = ", "hots = ");
    let told = event(&gate, "config_refused").await;
    let message = told["message"].as_str().unwrap();
    for word in ["hots", "did you mean `hosts`", "evergate.toml:", "^^^^"] {
        assert!(message.contains(word), "no {word:?} in {message}");
    }
    let (answer, value) = reload(&gate).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(value["result"], "refused");
    assert!(value["complaints"].as_str().unwrap().contains("hots"), "{value}");
    answered(&gate, "old").await;
    edit(&gate, "hots = ", "hosts = ");
    let (answer, value) = reload(&gate).await;
    assert_eq!((answer.status, &value["result"]), (StatusCode::OK, &"published".into()));
}

#[tokio::test]
async fn a_file_that_would_make_a_served_host_dark_is_refused() {
    let server = upstream::hello("old").await;
    let gate = plan(server.url()).start().await;
    let other = gate.plan.ca.issue(&Leaf::of(&["other.test"]));
    other.write(&gate.plan.folder().join("certs/other"));
    edit(&gate, "certs/0/", "certs/other/");
    let told = event(&gate, "config_refused").await;
    let message = told["message"].as_str().unwrap();
    assert!(message.contains(HOST) && message.contains("no servable certificate"), "{message}");
    answered(&gate, "old").await;
}

#[tokio::test]
async fn listeners_come_and_go_while_others_serve() {
    let server = upstream::hello("hello").await;
    let gate = plan(server.url()).start().await;
    let free = upstream::nobody().await;
    let (answer, value) = reload(&gate).await;
    assert_eq!((answer.status, &value["changed"]), (StatusCode::OK, &false.into()));
    let extra = format!("[[listen]]\naddress = \"{free}\"\ntls = false\n\n[gate]");
    edit(&gate, "[gate]", &extra);
    reload(&gate).await;
    let mut added = client::plain(free).await;
    added.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(added.response().await.1, "hello");
    edit(&gate, &extra, "[gate]");
    reload(&gate).await;
    until("the listener to close", || async move {
        TcpStream::connect(free).await.is_err().then_some(())
    })
    .await;
    added.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(added.response().await.1, "hello", "the open connection goes on");
    answered(&gate, "hello").await;
}

#[tokio::test]
async fn a_listener_that_cant_be_opened_changes_nothing() {
    let old = upstream::hello("old").await;
    let new = upstream::hello("new").await;
    let gate = plan(old.url()).start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    edit(&gate, old.url(), new.url());
    edit(&gate, "[gate]", &format!("[[listen]]\naddress = \"{address}\"\n\n[gate]"));
    let (answer, value) = reload(&gate).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{value}");
    assert!(value["complaints"].as_str().unwrap().contains(&address.to_string()), "{value}");
    answered(&gate, "old").await;
}

#[tokio::test]
async fn what_a_running_gate_cant_change_is_said() {
    let server = upstream::hello("hello").await;
    let gate = plan(server.url()).start().await;
    edit(&gate, "workers = 1", "workers = 2");
    let (answer, value) = reload(&gate).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(value["restart_needed"].to_string().contains("workers"), "{value}");
}

#[tokio::test]
async fn requests_under_way_keep_the_rules_they_began_with() {
    let mut old = scripted::h1().await;
    let new = upstream::hello("new").await;
    let gate = plan(old.url()).start().await;
    let mut client: Http = gate.h2(HOST).await;
    let (mut hand, sent) = body::pieces();
    let request = client.request("POST", "/").body(sent).unwrap();
    let waiting = tokio::spawn(client.begin(request));
    body::send(&mut hand, "to the ").await;
    let exchange = old.next().await;
    edit(&gate, old.url(), new.url());
    event(&gate, "config_published").await;
    answered(&gate, "new").await;
    body::send(&mut hand, "old one").await;
    drop(hand);
    let received = exchange.answer(http::Response::new(body::full("from the old one")));
    assert_eq!(body::text(received).await, "to the old one");
    let response = within("the response", waiting).await.unwrap().unwrap();
    assert_eq!(body::text(response.into_body()).await, "from the old one");
}
