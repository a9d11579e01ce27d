//! A handshake with a real gate over loopback: connecting, shaking hands, and reading the session
//! tickets that follow.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::net::TcpStream;
use std::sync::Arc;

use criterion::Criterion;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

mod scene;

use scene::Scene;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let scene = Scene::new();
    let mut config = scene.client("http/1.1");
    config.resumption = Resumption::disabled();
    let full = Arc::new(config);
    criterion.bench_function("handshake_full_ecdsa", |bencher| {
        bencher.iter(|| assert_eq!(shake_hands(&scene, &full), HandshakeKind::Full));
    });
    let resuming = Arc::new(scene.client("http/1.1"));
    shake_hands(&scene, &resuming);
    criterion.bench_function("handshake_resumed", |bencher| {
        bencher.iter(|| assert_eq!(shake_hands(&scene, &resuming), HandshakeKind::Resumed));
    });
    criterion.final_summary();
}

fn shake_hands(scene: &Scene, config: &Arc<ClientConfig>) -> HandshakeKind {
    let mut tcp = TcpStream::connect(scene.address).unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).unwrap();
    }
    while tls.wants_write() {
        tls.write_tls(&mut tcp).unwrap();
    }
    while tls.tls13_tickets_received() == 0 {
        tls.read_tls(&mut tcp).unwrap();
        tls.process_new_packets().unwrap();
    }
    match tls.handshake_kind().unwrap() {
        // The same amount of work for both sides, but for one more round trip.
        HandshakeKind::FullWithHelloRetryRequest => HandshakeKind::Full,
        kind => kind,
    }
}
