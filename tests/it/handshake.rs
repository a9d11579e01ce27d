//! The handshake: which certificate a name gets, who is refused, what is resumed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, HandshakeKind, NamedGroup, ProtocolVersion, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::client::{Http, Tls};
use crate::harness::gate::Running;
use crate::harness::pki::{Ca, Leaf};
use crate::harness::raw::Raw;
use crate::harness::{gate, until, upstream, within};

const HOST: &str = "app.test";

/// The fingerprint of what the gate showed.
fn shown(stream: &TlsStream<TcpStream>) -> String {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    evergate::crypto::sha256_hex(&chain[0])
}

/// The alert that ended a handshake.
fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn each_name_gets_the_most_specific_certificate_that_holds_it() {
    let plan = gate();
    let exact = plan.ca.issue(&Leaf::of(&[HOST]));
    let wildcard = plan.ca.issue(&Leaf::of(&["*.app.test"]));
    let under = plan.ca.issue(&Leaf::of(&["own.app.test"]));
    let plan = plan.issued(&exact).issued(&wildcard).issued(&under);
    let gate = plan.route_all("http://127.0.0.1:9").start().await;
    let config = gate.tls.build(None);
    let cases = [
        (HOST, &exact),
        ("APP.test", &exact),
        ("any.app.test", &wildcard),
        ("own.app.test", &under),
    ];
    for (name, issued) in cases {
        let stream = gate.connect(name, &config).await.unwrap();
        assert_eq!(shown(&stream), issued.fingerprint(), "{name}");
    }
}

#[tokio::test]
async fn unknown_and_dark_names_get_an_alert_and_no_certificate() {
    let plan = gate().cert(HOST);
    let expired = plan.ca.issue(&Leaf::of(&["dark.test"]).days(-60, -1));
    let gate = plan.issued(&expired).route_all("http://127.0.0.1:9").start().await;
    for version in [&TLS12, &TLS13] {
        let config = gate.tls.clone().versions(&[version]).build(None);
        for name in ["unknown.test", "dark.test", "x.app.test", "test"] {
            let error = gate.connect(name, &config).await.expect_err(name);
            assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{name} {error}");
        }
        gate.connect(HOST, &config).await.expect("the other name is served");
    }
}

#[tokio::test]
async fn without_a_name_the_address_is_the_name() {
    let gate = gate().cert("127.0.0.1").route_all("http://127.0.0.1:9").start().await;
    let config = gate.tls.clone().without_sni().build(None);
    gate.connect("127.0.0.1", &config).await.unwrap();
    let other = crate::harness::gate().cert(HOST).route_all("http://127.0.0.1:9").start().await;
    let config = other.tls.clone().without_sni().build(None);
    let error = other.connect("127.0.0.1", &config).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error}");
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let gate = gate().cert(HOST).route_all("http://127.0.0.1:9").start().await;
    let cases = [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)];
    for (version, expected) in cases {
        let config = gate.tls.clone().versions(&[version]).build(None);
        let stream = gate.connect(HOST, &config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
    }
    let config = gate.tls.build(None);
    let stream = gate.connect(HOST, &config).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    // A hello of TLS 1.0, as bytes: no client library here still says it.
    let mut old = within("a connection", TcpStream::connect(gate.address)).await.unwrap();
    let mut hello = vec![22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0, 47, 0, 53, 1, 0]);
    old.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the alert", old.read_to_end(&mut answer)).await;
    assert_eq!(answer.first(), Some(&21), "an alert, not {answer:?}");
    assert_eq!(answer.get(5), Some(&2), "a fatal one");
}

#[tokio::test]
async fn alpn_settles_what_both_speak_and_refuses_what_nobody_does() {
    let gate = gate().cert(HOST).route_all("http://127.0.0.1:9").start().await;
    let cases: [(&[&'static str], Option<&str>); 4] = [
        (&["h2", "http/1.1"], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ];
    for (offered, expected) in cases {
        let config = gate.tls.clone().alpn(offered).build(None);
        let stream = gate.connect(HOST, &config).await.unwrap();
        let settled = stream.get_ref().1.alpn_protocol();
        assert_eq!(settled, expected.map(str::as_bytes), "{offered:?}");
    }
    let config = gate.tls.clone().alpn(&["spdy/1"]).build(None);
    let error = gate.connect(HOST, &config).await.unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::NoApplicationProtocol), "{error}");
}

#[tokio::test]
async fn the_key_exchange_resists_quantum_computers_where_the_client_can() {
    let gate = gate().cert(HOST).route_all("http://127.0.0.1:9").start().await;
    let stream = gate.connect(HOST, &gate.tls.build(None)).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
}

/// Settings of a client that can verify only signatures of keys that `fits` likes.
fn verifying(tls: &Tls, fits: fn(SignatureScheme) -> bool) -> Tls {
    let mut provider = (*tls.provider).clone();
    let all = provider.signature_verification_algorithms;
    let mapping: Vec<_> = all.mapping.iter().copied().filter(|(scheme, _)| fits(*scheme)).collect();
    // Chains are signed with ECDSA here, so every algorithm stays for those.
    provider.signature_verification_algorithms.mapping = Box::leak(mapping.into_boxed_slice());
    Tls { provider: Arc::new(provider), ..tls.clone() }
}

#[tokio::test]
async fn of_an_rsa_and_an_ecdsa_certificate_each_client_gets_the_one_it_can_verify() {
    let plan = gate();
    let ecdsa = plan.ca.issue(&Leaf::of(&[HOST]));
    let rsa = plan.ca.issue(&Leaf::of(&[HOST]).rsa());
    let gate = plan.issued(&ecdsa).issued(&rsa).route_all("http://127.0.0.1:9").start().await;
    let is_rsa = |scheme: SignatureScheme| format!("{scheme:?}").starts_with("RSA");
    for version in [&TLS12, &TLS13] {
        let base = gate.tls.clone().versions(&[version]);
        let only_rsa = verifying(&base, is_rsa).build(None);
        let only_ecdsa =
            verifying(&base, |scheme| format!("{scheme:?}").starts_with("ECDSA")).build(None);
        let stream = gate.connect(HOST, &only_rsa).await.unwrap();
        assert_eq!(shown(&stream), rsa.fingerprint(), "a client of RSA alone");
        let stream = gate.connect(HOST, &only_ecdsa).await.unwrap();
        assert_eq!(shown(&stream), ecdsa.fingerprint(), "a client of ECDSA alone");
    }
}

/// Shakes hands, makes one request so that tickets arrive, and tells what kind it was.
async fn visit(gate: &Running, config: &Arc<rustls::ClientConfig>) -> HandshakeKind {
    let stream = gate.connect(HOST, config).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let mut client = Raw::new(stream);
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n").await;
    client.end().await;
    kind
}

/// Puts another certificate in place of number 0 and waits until it is served.
async fn swap(gate: &Running) {
    let renewed = gate.plan.ca.issue(&Leaf::of(&[HOST]).days(-1, 89));
    renewed.write(&gate.certs(0));
    let expected = renewed.fingerprint();
    until("the new certificate", || async {
        // Fresh settings: a resumed session shows what it began with.
        let stream = gate.connect(HOST, &gate.tls.build(None)).await.unwrap();
        (shown(&stream) == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_is_resumed_also_after_its_certificate_was_swapped() {
    let server = upstream::hello("hello").await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    for version in [&TLS12, &TLS13] {
        let config = gate.tls.clone().versions(&[version]).build(None);
        assert_ne!(visit(&gate, &config).await, HandshakeKind::Resumed);
        assert_eq!(visit(&gate, &config).await, HandshakeKind::Resumed);
        swap(&gate).await;
        assert_eq!(visit(&gate, &config).await, HandshakeKind::Resumed, "after the swap");
    }
}

#[tokio::test]
async fn open_connections_go_on_while_new_ones_get_the_new_certificate() {
    let server = upstream::hello("hello").await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut open = gate.both(HOST).await;
    for client in &mut open {
        assert_eq!(client.get("/").await.text, "hello");
    }
    swap(&gate).await;
    for client in &mut open {
        assert_eq!(client.get("/").await.text, "hello");
    }
}

/// A gate whose `app.test` wants client certificates of the CA that is given too.
async fn guarded(mode: &str, server: &str) -> (Running, Ca) {
    let clients = Ca::new();
    let plan = gate().leaf(&Leaf::of(&[HOST, "open.test"]));
    std::fs::write(plan.folder().join("clients.pem"), &clients.pem).unwrap();
    let host = format!("[host.\"{HOST}\"]\nclient_auth = \"{mode}\"\nclient_ca = \"clients.pem\"");
    (plan.text(&host).route_all(server).start().await, clients)
}

/// Whether a request of this client is answered.
async fn answered(gate: &Running, config: &Arc<rustls::ClientConfig>) -> bool {
    // In TLS 1.3 the client is done before the server has seen its certificate.
    let Ok(stream) = gate.connect(HOST, config).await else { return false };
    let mut client = Raw::new(stream);
    let asked = "GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n";
    client.try_send(asked).await && client.end().await.contains("hello")
}

#[tokio::test]
async fn a_host_that_requires_client_certificates_lets_nobody_in_without_one() {
    let server = upstream::hello("hello").await;
    let (gate, clients) = guarded("require", server.url()).await;
    let good = clients.issue(&Leaf::of(&["me"]).client());
    let foreign = Ca::new().issue(&Leaf::of(&["me"]).client());
    let expired = clients.issue(&Leaf::of(&["me"]).client().days(-20, -1));
    let wrong_use = clients.issue(&Leaf::of(&["me"]));
    for version in [&TLS12, &TLS13] {
        let tls = gate.tls.clone().versions(&[version]);
        assert!(!answered(&gate, &tls.build(None)).await, "none");
        assert!(!answered(&gate, &tls.build(Some(&foreign))).await, "of another CA");
        assert!(!answered(&gate, &tls.build(Some(&expired))).await, "expired");
        assert!(!answered(&gate, &tls.build(Some(&wrong_use))).await, "for servers");
        assert!(answered(&gate, &tls.build(Some(&good))).await, "a good one");
    }
}

#[tokio::test]
async fn a_host_that_asks_for_client_certificates_refuses_bad_ones_only() {
    let server = upstream::hello("hello").await;
    let (gate, clients) = guarded("request", server.url()).await;
    let good = clients.issue(&Leaf::of(&["me"]).client());
    let foreign = Ca::new().issue(&Leaf::of(&["me"]).client());
    assert!(answered(&gate, &gate.tls.build(None)).await, "none");
    assert!(answered(&gate, &gate.tls.build(Some(&good))).await, "a good one");
    assert!(!answered(&gate, &gate.tls.build(Some(&foreign))).await, "of another CA");
}

#[tokio::test]
async fn a_host_with_client_certificates_resumes_no_session() {
    let server = upstream::hello("hello").await;
    let (gate, clients) = guarded("require", server.url()).await;
    let good = clients.issue(&Leaf::of(&["me"]).client());
    for version in [&TLS12, &TLS13] {
        let config = gate.tls.clone().versions(&[version]).build(Some(&good));
        for _ in 0..3 {
            assert_ne!(visit(&gate, &config).await, HandshakeKind::Resumed);
        }
    }
}

#[tokio::test]
async fn a_connection_of_another_name_does_not_reach_a_guarded_host() {
    let mut server = upstream::hello("hello").await;
    let (gate, _clients) = guarded("require", server.url()).await;
    let mut client = gate.raw("open.test").await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let (head, text) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 421 "), "{head}{text}");
    let config = gate.tls.clone().alpn(&["h2"]).build(None);
    let stream = gate.connect("open.test", &config).await.unwrap();
    let mut client = Http::h2(stream, HOST, "https").await;
    assert_eq!(client.get("/").await.status.as_u16(), 421);
    assert!(server.untouched(), "the certificate covers both, the terms are not the same");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up_in_time() {
    let limits = "handshake_timeout = \"300ms\"";
    let gate = gate().cert(HOST).limits(limits).route_all("http://127.0.0.1:9").start().await;
    for begun in [&b""[..], &[22, 3, 1, 2, 0, 1][..]] {
        let mut client = within("a connection", TcpStream::connect(gate.address)).await.unwrap();
        client.write_all(begun).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let _ = within("the end", client.read_to_end(&mut answer)).await;
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(200), "after {took:?} already");
        assert!(took < Duration::from_secs(3), "after {took:?} only");
    }
}
