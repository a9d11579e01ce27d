//! Held certificates that somebody accepts by hand, through a real gate.

use http::StatusCode;
use serde_json::Value;

use crate::harness::gate::Running;
use crate::harness::pki::{Issued, Leaf};
use crate::harness::program::run;
use crate::harness::{gate, until};

const HOSTS: [&str; 2] = ["a.test", "b.test"];

/// A gate whose certificate for two routed hosts was replaced by one for the first alone.
async fn held() -> (Running, Issued, Issued) {
    let plan = gate().admin();
    let both = plan.ca.issue(&Leaf::of(&HOSTS));
    let mut plan = plan.issued(&both);
    for host in HOSTS {
        plan = plan.route(host, "http://127.0.0.1:9");
    }
    let gate = plan.start().await;
    let one = gate.plan.ca.issue(&Leaf::of(&HOSTS[..1]));
    one.write(&gate.certs(0));
    until("the replacement to be held", || async {
        let answer = gate.admin("GET", "/api/certificates").await;
        let told: Value = serde_json::from_str(&answer.text).unwrap();
        let all = told["certificates"].as_array().unwrap();
        all.iter().any(|certificate| certificate["state"] == "held").then_some(())
    })
    .await;
    (gate, both, one)
}

/// What new handshakes for the first host get.
async fn served(gate: &Running) -> String {
    let stream = gate.connect(HOSTS[0], &gate.tls.build(None)).await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    evergate::crypto::sha256_hex(&chain[0])
}

#[tokio::test]
async fn a_replacement_that_drops_a_routed_name_is_held_accepted_and_served() {
    let (gate, both, one) = held().await;
    assert_eq!(served(&gate).await, both.fingerprint());
    let path = format!("/api/certificates/{}/accept", &one.fingerprint()[..8]);
    let answer = gate.admin("GET", &path).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{answer:?}");
    let answer = gate.admin("POST", &path).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let told: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(told["accepted"]["fingerprint_sha256"], one.fingerprint());
    assert_eq!(told["accepted"]["doubts"][0]["code"], "drops_name");
    assert_eq!(served(&gate).await, one.fingerprint());
    // Reading everything anew does not take it back.
    assert_eq!(gate.admin("POST", "/api/reload").await.status, StatusCode::OK);
    assert_eq!(served(&gate).await, one.fingerprint());
    let ready = gate.admin("GET", "/readyz").await;
    assert!(ready.text.contains("dark: b.test"), "{ready:?}");
    let answer = gate.admin("POST", &path).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
    assert!(answer.text.contains("nothing of it is held"), "{answer:?}");
}

#[tokio::test]
async fn what_can_not_be_accepted_is_answered_with_a_sentence() {
    let (gate, both, _) = held().await;
    let bad = gate.plan.ca.issue(&Leaf::of(&HOSTS).days(-60, -1));
    bad.write(&gate.certs(0));
    let cases = [
        ("0123456789".to_owned(), StatusCode::NOT_FOUND, "no certificate with this fingerprint"),
        ("0123456".to_owned(), StatusCode::BAD_REQUEST, "at least the first 8"),
        ("nonsense".to_owned(), StatusCode::BAD_REQUEST, "at least the first 8"),
        (both.fingerprint(), StatusCode::CONFLICT, "nothing of it is held"),
        (bad.fingerprint(), StatusCode::CONFLICT, "what is refused is never served"),
    ];
    for (fingerprint, status, sentence) in cases {
        let path = format!("/api/certificates/{fingerprint}/accept");
        let answer = gate.admin("POST", &path).await;
        assert_eq!(answer.status, status, "{fingerprint}: {answer:?}");
        assert!(answer.text.contains(sentence), "{fingerprint}: {answer:?}");
    }
    assert_eq!(served(&gate).await, both.fingerprint());
}

#[tokio::test]
async fn the_command_accepts_and_says_what_was_doubted() {
    let (gate, _, one) = held().await;
    let Some(evergate::admin::Address::Tcp(address)) = gate.gate().admin() else {
        panic!("no admin listener on TCP");
    };
    let address = address.to_string();
    let fingerprint = one.fingerprint();
    let folder = gate.plan.folder();
    let ended = run(folder, &["accept", "00000000", "--admin", &address]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("not accepted: no certificate"), "{ended:?}");
    let ended = run(folder, &["accept", &fingerprint, "--admin", &address]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("is served now\n  although "), "{ended:?}");
    assert!(ended.out.contains("b.test"), "{ended:?}");
    assert_eq!(served(&gate).await, fingerprint);
}
