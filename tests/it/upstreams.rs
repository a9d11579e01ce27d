//! How servers are reached: in turn, over sockets of all kinds, verified, and kept alive.

use http::{Response, Version};

use crate::harness::pki::Leaf;
use crate::harness::upstream::{self, Kind};
use crate::harness::{body, gate, within};

const HOST: &str = "app.test";

#[tokio::test]
async fn servers_take_turns() {
    let servers = [upstream::hello("a").await, upstream::hello("b").await];
    let third = upstream::hello("c").await;
    let urls = [servers[0].url(), servers[1].url(), third.url()];
    let gate = gate().cert(HOST).upstream(HOST, &urls, "").start().await;
    let mut client = gate.h1(HOST).await;
    let mut answers = String::new();
    for _ in 0..9 {
        answers += &client.get("/").await.text;
    }
    assert_eq!(answers, "abcabcabc");
}

#[tokio::test]
async fn a_connection_is_used_again() {
    for h2c in [false, true] {
        let answer = |_| async { Response::new(body::full("ok")) };
        let server = match h2c {
            true => upstream::serving_h2c(answer).await,
            false => upstream::serving(answer).await,
        };
        let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
        for mut client in gate.both(HOST).await {
            for _ in 0..10 {
                assert_eq!(client.get("/").await.text, "ok");
            }
        }
        assert_eq!(server.connections(), 1, "h2c: {h2c}");
    }
}

#[tokio::test]
async fn no_more_connections_are_kept_than_is_asked_for() {
    let server = upstream::hello("ok").await;
    let settings = "keepalive_max = 0";
    let gate = gate().cert(HOST).upstream(HOST, &[server.url()], settings).start().await;
    let mut client = gate.h1(HOST).await;
    for _ in 0..3 {
        client.get("/").await;
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_server_behind_a_unix_socket_is_reached() {
    let plan = gate().cert(HOST);
    let path = plan.folder().join("app.sock");
    let mut server = upstream::unix(&path, "from the file system").await;
    let gate = plan.route(HOST, "unix:app.sock").start().await;
    for mut client in gate.both(HOST).await {
        assert_eq!(client.get("/").await.text, "from the file system");
        assert_eq!(server.seen().await.one("host"), Some(HOST));
    }
    assert_eq!(server.connections(), 1);
    assert!(server.url().ends_with("app.sock"));
}

#[tokio::test]
async fn a_server_with_tls_is_verified_and_spoken_to_by_alpn() {
    let cases: [(&[&str], &str, Version); 5] = [
        (&["h2", "http/1.1"], "", Version::HTTP_2),
        (&["http/1.1"], "", Version::HTTP_11),
        (&[], "", Version::HTTP_11),
        (&["h2", "http/1.1"], "protocol = \"h1\"", Version::HTTP_11),
        (&["h2", "http/1.1"], "protocol = \"h2\"", Version::HTTP_2),
    ];
    for (alpn, settings, version) in cases {
        let plan = gate().cert(HOST);
        let issued = plan.ca.issue(&Leaf::of(&["127.0.0.1"]));
        let answer = |_| async { Response::new(body::full("secure")) };
        let mut server = upstream::of_kind(Kind::Tls(&issued, alpn), answer).await;
        let settings = format!("ca = \"ca.pem\"\n{settings}");
        let gate = plan.upstream(HOST, &[server.url()], &settings).start().await;
        for mut client in gate.both(HOST).await {
            assert_eq!(client.get("/").await.text, "secure", "{alpn:?} {settings}");
            assert_eq!(server.seen().await.version, version, "{alpn:?} {settings}");
        }
        assert_eq!(server.connections(), 1, "{alpn:?} {settings}");
    }
}

#[tokio::test]
async fn another_name_than_the_servers_host_can_be_verified() {
    let plan = gate().cert(HOST);
    let issued = plan.ca.issue(&Leaf::of(&["backend.internal"]));
    let answer = |_| async { Response::new(body::full("named")) };
    let server = upstream::of_kind(Kind::Tls(&issued, &["http/1.1"]), answer).await;
    let settings = "ca = \"ca.pem\"\ntls_name = \"backend.internal\"";
    let gate = plan.upstream(HOST, &[server.url()], settings).start().await;
    assert_eq!(gate.h1(HOST).await.get("/").await.text, "named");
}

#[tokio::test]
async fn a_danger_that_is_named_is_accepted() {
    let plan = gate().cert(HOST);
    let issued = crate::harness::pki::Ca::new().issue(&Leaf::of(&["whoever"]));
    let answer = |_| async { Response::new(body::full("anybody")) };
    let server = upstream::of_kind(Kind::Tls(&issued, &["http/1.1"]), answer).await;
    let settings = "dangerously_accept_any_certificate = true";
    let gate = plan.upstream(HOST, &[server.url()], settings).start().await;
    assert_eq!(gate.h1(HOST).await.get("/").await.text, "anybody");
}

#[tokio::test]
async fn a_connection_that_a_server_closed_is_not_used_again() {
    let server = upstream::hello("ok").await;
    let gate = gate().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.h1(HOST).await;
    assert_eq!(client.get("/").await.text, "ok");
    server.cut();
    // A body can't be sent twice: it goes out only where the gate has seen the end before.
    let again = async {
        loop {
            let request = client.request("POST", "/").body(body::full("once")).unwrap();
            if client.exchange(request).await.status.is_success() {
                return;
            }
        }
    };
    within("the gate to have seen the end", again).await;
    assert!(server.connections() >= 2);
}
