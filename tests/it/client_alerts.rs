//! What clients say when they break off a handshake: counted, shown and told with a remedy.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::client::Tls;
use crate::harness::gate::Running;
use crate::harness::pki::{Ca, Leaf};
use crate::harness::{gate, until};

/// Waits until the host's only kind of alert was counted; gives it.
async fn counted(gate: &Running, host: &str, count: u64) -> Value {
    until("the count of alerts", || async {
        let answer = gate.admin("GET", "/api/certificates").await;
        let report: Value = serde_json::from_str(&answer.text).unwrap();
        let hosts = report["hosts"].as_array().unwrap();
        let shown = hosts.iter().find(|shown| shown["host"] == host).unwrap();
        let alerts = shown["client_alerts"].as_array()?;
        assert_eq!(alerts.len(), 1, "{shown}");
        (alerts[0]["count"] == count).then(|| alerts[0].clone())
    })
    .await
}

async fn told(gate: &Running) -> Vec<Value> {
    until("the event", || async {
        let answer = gate.admin("GET", "/api/events").await;
        let events: Value = serde_json::from_str(&answer.text).unwrap();
        let events = events["events"].as_array().unwrap();
        let told: Vec<_> =
            events.iter().filter(|event| event["event"] == "client_alerts").cloned().collect();
        (!told.is_empty()).then_some(told)
    })
    .await
}

#[tokio::test]
async fn clients_without_the_root_are_counted_and_told_of_with_the_remedy() {
    let leaf = Leaf::of(&["app.test", "*.many.test"]);
    let gate = gate().leaf(&leaf).route_all("http://127.0.0.1:9").admin().start().await;
    let served = gate.gate().inventory().current();
    let name = evergate::host::HostName::parse("app.test").unwrap();
    let fingerprint = served.candidates(&name)[0].fingerprint().to_owned();
    let foreign = Tls::trusting(Ca::new().roots()).build(None);
    for _ in 0..3 {
        gate.connect("app.test", &foreign).await.unwrap_err();
    }
    let said = counted(&gate, "app.test", 3).await;
    assert_eq!(said["alert"], "unknown_ca");
    assert_eq!(said["count_last_minute"], 3);
    assert_eq!(said["fingerprint"], *fingerprint);
    let events = told(&gate).await;
    assert_eq!(events.len(), 1, "one line a minute: {events:?}");
    let message = events[0]["message"].as_str().unwrap();
    assert!(message.contains("said unknown_ca for app.test, certificate "), "{message}");
    assert_eq!(events[0]["code"], "client_alerts");
    assert_eq!(events[0]["fingerprint"], *fingerprint);
    assert!(events[0]["remedy"].as_str().unwrap().contains("root"), "{}", events[0]);
    // Names below a wildcard are one host, whatever clients make up.
    for name in ["one.many.test", "two.many.test"] {
        gate.connect(name, &foreign).await.unwrap_err();
    }
    counted(&gate, "*.many.test", 2).await;
}

#[tokio::test]
async fn openssl_says_what_it_does_not_trust() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let plan = gate().cert("app.test").route_all("http://127.0.0.1:9").admin();
    let foreign = plan.folder().join("foreign.pem");
    std::fs::write(&foreign, Ca::new().pem).unwrap();
    let gate = plan.start().await;
    let address = gate.address.to_string();
    let client = tokio::task::spawn_blocking(move || {
        Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", "app.test"])
            .args(["-verify_return_error", "-no-CApath", "-no-CAstore", "-CAfile"])
            .arg(foreign)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    });
    assert!(!client.await.unwrap().status.success());
    let said = counted(&gate, "app.test", 1).await;
    assert_eq!(said["alert"], "unknown_ca");
}
