//! What a running gate says about itself, and to whom.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::harness::client::{Answer, Http};
use crate::harness::gate::Running;
use crate::harness::pki::Leaf;
use crate::harness::{body, gate, pki, scripted, until, upstream, within};

const HOST: &str = "app.test";

/// A gate that serves one name and has another in the dark.
async fn half_dark(to: &str) -> Running {
    let plan = gate().admin().cert(HOST);
    let expired = plan.ca.issue(&Leaf::of(&["dark.test"]).days(-60, -1));
    plan.issued(&expired).route(HOST, to).route("dark.test", to).start().await
}

fn parsed(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("application/json"), "{answer:?}");
    serde_json::from_str(&answer.text).unwrap()
}

#[tokio::test]
async fn a_gate_that_serves_every_routed_host_is_ready() {
    let gate = gate().admin().cert(HOST).route(HOST, "http://127.0.0.1:9").start().await;
    for (path, expected) in [("/livez", "ok\n"), ("/readyz", "ok\n")] {
        let answer = gate.admin("GET", path).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, expected), "{path}");
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    let answer = gate.admin("GET", "/readyz?verbose").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text.contains(&format!("[+] host {HOST}")), "{answer:?}");
}

#[tokio::test]
async fn a_dark_host_makes_the_gate_unready_but_not_dead() {
    let gate = half_dark("http://127.0.0.1:9").await;
    let answer = gate.admin("GET", "/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("dark: dark.test"), "{answer:?}");
    assert!(!answer.text.contains(HOST), "{answer:?}");
    let answer = gate.admin("GET", "/readyz?verbose").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("[-] host dark.test"), "{answer:?}");
    assert!(answer.text.contains(&format!("[+] host {HOST}")), "{answer:?}");
    assert_eq!(gate.admin("GET", "/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_host_that_gets_its_certificate_makes_the_gate_ready() {
    let gate = half_dark("http://127.0.0.1:9").await;
    gate.plan.ca.issue(&Leaf::of(&["dark.test"])).write(&gate.certs(1));
    until("the gate to be ready", || async {
        let answer = gate.admin("GET", "/readyz").await;
        (answer.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gate_that_drains_is_not_ready_and_still_tells() {
    let mut server = scripted::h1().await;
    let mut gate = gate().admin().cert(HOST).route(HOST, server.url()).start().await;
    let mut client = gate.h1(HOST).await;
    let request = client.request("GET", "/").body(body::empty()).unwrap();
    let waiting = tokio::spawn(client.begin(request));
    let (hand, _) = server.next().await.answer_by_hand();
    let response = within("the header section", waiting).await.unwrap().unwrap();
    gate.stop();
    let answer = gate.admin("GET", "/readyz?verbose").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert!(answer.text.contains("[-] stop: draining"), "{answer:?}");
    assert_eq!(gate.admin("GET", "/livez").await.status, StatusCode::OK);
    drop(hand);
    assert_eq!(body::text(response.into_body()).await, "");
    gate.ended().await;
}

#[tokio::test]
async fn certificates_are_told_in_the_documented_shape() {
    let plan = gate().admin();
    let primary = plan.ca.issue(&Leaf::of(&[HOST, "127.0.0.1"]));
    let standby = plan.ca.issue(&Leaf::of(&[HOST]).days(-10, 80));
    let expired = plan.ca.issue(&Leaf::of(&["dark.test"]).days(-60, -1));
    let plan = plan.issued(&primary).issued(&expired);
    standby.write(&plan.folder().join("standby"));
    let text = "[[cert]]\nchain = \"standby/chain.pem\"\nkey = \"standby/key.pem\"\nstandby = true";
    let gate = plan.text(text).route(HOST, "http://127.0.0.1:9").start().await;
    let told = parsed(&gate.admin("GET", "/api/certificates").await);
    let keys: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["certificates", "findings", "hosts", "now", "watched"]);
    moment(&told["now"]);
    let host = told["hosts"].as_array().unwrap().iter().find(|host| host["host"] == HOST).unwrap();
    assert_eq!(host["serving"], primary.fingerprint());
    assert_eq!(host["level"], "ok");
    assert_eq!(host["next"], json!([standby.fingerprint()]));
    let one = |fingerprint: &str| {
        let all = told["certificates"].as_array().unwrap();
        all.iter().find(|one| one["fingerprint_sha256"] == fingerprint).unwrap().clone()
    };
    let active = one(&primary.fingerprint());
    assert_eq!(active["names"], json!(["127.0.0.1", HOST]));
    assert_eq!((&active["role"], &active["state"]), (&"primary".into(), &"active".into()));
    assert_eq!(active["level"], "ok");
    for name in ["not_before", "not_after", "effective_not_after"] {
        moment(&active[name]);
    }
    assert!(active["issuer"].as_str().unwrap().contains("Test CA"), "{active}");
    assert!(active["source"].as_str().unwrap().ends_with("certs/0/chain.pem"), "{active}");
    assert_eq!(active["findings"], json!([]));
    let ready = one(&standby.fingerprint());
    assert_eq!((&ready["role"], &ready["state"]), (&"standby".into(), &"ready".into()));
    let refused = one(&expired.fingerprint());
    assert_eq!((&refused["state"], &refused["level"]), (&"refused".into(), &"expired".into()));
    let finding = &refused["findings"][0];
    assert_eq!(finding["code"], "expired", "{refused}");
    assert_eq!(finding["severity"], "critical", "{refused}");
    for name in ["message", "remedy"] {
        assert!(finding[name].as_str().is_some_and(|text| !text.is_empty()), "{refused}");
    }
}

/// RFC 3339, UTC, whole seconds.
fn moment(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    let form = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    assert!(form, "{value} is no moment");
}

#[tokio::test]
async fn routes_and_upstreams_are_told() {
    let text = "[[route]]\nname = \"login\"\nhosts = [\"app.test\"]\npath_exact = \"/login\"\n\
                to = \"up\"";
    let servers = ["http://127.0.0.1:9", "http://127.0.0.1:10"];
    let plan = gate().admin().cert(HOST).upstream(HOST, &servers, "").text(text);
    let gate = plan.start().await;
    let routes = parsed(&gate.admin("GET", "/api/routes").await);
    let expected = json!({
        "name": "login", "hosts": [HOST], "path": "/login", "match": "exact", "upstream": "up",
    });
    let all = routes["routes"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{routes}");
    assert!(all.contains(&expected), "{routes}");
    let upstreams = parsed(&gate.admin("GET", "/api/upstreams").await);
    let expected = json!({"upstreams": [{"name": "up", "servers": servers}]});
    assert_eq!(upstreams, expected);
}

/// Every sample of an exposition: name and labels -> value. Panics where it is none.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert!(lines.peek().is_none(), "something behind the end");
            return found;
        }
        if line.starts_with("# HELP ") || line.starts_with("# TYPE ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        let value = value.parse().unwrap_or_else(|_| panic!("no number in {line:?}"));
        let name = series.split('{').next().unwrap();
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.starts_with("evergate_") && name.chars().all(good), "{line:?}");
        assert!(!series.contains('{') || series.ends_with('}'), "{line:?}");
        assert!(found.insert(series.to_owned(), value).is_none(), "{series} twice");
    }
    panic!("no end")
}

#[tokio::test]
async fn metrics_have_every_family_and_parse() {
    let server = upstream::hello("ok").await;
    let gate = half_dark(server.url()).await;
    let mut client = gate.h1(HOST).await;
    assert_eq!(client.get("/").await.text, "ok");
    // A client that trusts another CA says so in an alert.
    let foreign = crate::harness::client::Tls::trusting(pki::Ca::new().roots()).build(None);
    gate.connect(HOST, &foreign).await.unwrap_err();
    let families = [
        "evergate_cert_not_after_timestamp_seconds{",
        "evergate_cert_effective_not_after_timestamp_seconds{",
        "evergate_cert_level{",
        "evergate_cert_lifetime_remaining_ratio{",
        "evergate_cert_reloads_total{result=",
        "evergate_cert_refusals_total{reason=\"expired\"}",
        "evergate_cert_failovers_total",
        "evergate_tls_handshakes_total{result=\"ok\",version=\"1.3\",resumed=\"false\"}",
        "evergate_tls_client_alerts_total{host=\"app.test\",alert=\"unknown_ca\"}",
        "evergate_http_requests_total{route=",
        "evergate_http_request_duration_seconds_bucket{",
        "evergate_http_request_duration_seconds_count",
        "evergate_upstream_requests_total{",
        "evergate_upstream_connects_total{",
        "evergate_connections",
    ];
    until("every family of metrics", || async {
        let answer = gate.admin("GET", "/metrics").await;
        let kind = answer.field("content-type").unwrap();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        let samples = samples(&answer.text);
        let missing = |family: &&&str| !samples.keys().any(|series| series.starts_with(**family));
        let missing: Vec<_> = families.iter().filter(missing).collect();
        if !missing.is_empty() {
            eprintln!("still missing: {missing:?}");
            return None;
        }
        assert_eq!(samples["evergate_connections"], 1.0);
        let served: Vec<_> = samples.iter().filter(|(s, _)| s.contains("status=\"200\"")).collect();
        assert!(served.iter().any(|(_, count)| **count == 1.0), "{served:?}");
        let dark = samples.iter().find(|(series, _)| series.contains("host=\"dark.test\""));
        assert_eq!(dark.map(|(_, level)| *level), Some(5.0));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn off_loopback_nothing_but_probes_is_answered_without_the_token() {
    let plan = gate().cert(HOST).route(HOST, "http://127.0.0.1:9");
    std::fs::write(plan.folder().join("token"), "s3cret\n").unwrap();
    let admin = "[admin]\naddress = \"0.0.0.0:0\"\ntoken_file = \"token\"";
    let gate = plan.text(admin).start().await;
    let cases = [
        ("GET", "/livez", None, 200),
        ("GET", "/readyz", None, 200),
        ("GET", "/readyz?verbose", None, 401),
        ("GET", "/metrics", None, 401),
        ("GET", "/api/certificates", Some("Bearer wrong"), 401),
        ("GET", "/api/certificates", Some("Bearer s3cret"), 200),
        ("POST", "/api/reload", None, 401),
        ("POST", "/api/reload", Some("Bearer s3cret"), 200),
    ];
    for (method, path, token, code) in cases {
        let mut http = gate.admin_http().await;
        let mut request = http.request(method, path);
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let answer = http.exchange(request.body(body::empty()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), code, "{method} {path} {token:?}: {answer:?}");
        assert!(code != 401 || answer.field("www-authenticate") == Some("Bearer"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner_alone_and_goes_with_the_gate() {
    let plan = gate().cert(HOST).route(HOST, "http://127.0.0.1:9");
    let path = plan.folder().join("admin.sock");
    let mut gate = plan.text("[admin]\naddress = \"unix:admin.sock\"").start().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stream = within("the admin listener", UnixStream::connect(&path)).await.unwrap();
    let mut http = Http::h1(stream, "whatever", "http").await;
    assert_eq!(http.get("/livez").await.text, "ok\n");
    gate.stop();
    gate.ended().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_page_that_was_led_here_by_another_name_learns_nothing() {
    let gate = gate().admin().cert(HOST).route(HOST, "http://127.0.0.1:9").start().await;
    let cases = [
        ("GET", "/metrics", "host", "evil.test", 403),
        ("GET", "/api/certificates", "host", "127.0.0.1.evil.test", 403),
        ("POST", "/api/reload", "origin", "http://evil.test", 403),
        ("GET", "/metrics", "host", "localhost:9180", 200),
    ];
    for (method, path, name, value, code) in cases {
        let mut http = gate.admin_http().await;
        let mut request = http.request(method, path).body(body::empty()).unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        let answer = http.exchange(request).await;
        assert_eq!(answer.status.as_u16(), code, "{method} {path} {name}: {value}");
    }
}

#[tokio::test]
async fn the_admin_listener_says_what_it_does_not_take() {
    let gate = gate().admin().cert(HOST).route(HOST, "http://127.0.0.1:9").start().await;
    let cases = [
        ("GET", "/", 200),
        ("HEAD", "/livez", 200),
        ("GET", "/nothing", 404),
        ("POST", "/livez", 405),
        ("GET", "/api/reload", 405),
    ];
    for (method, path, code) in cases {
        let answer = gate.admin(method, path).await;
        assert_eq!(answer.status.as_u16(), code, "{method} {path}: {answer:?}");
        if code == 405 {
            assert!(answer.field("allow").is_some(), "{answer:?}");
        }
    }
}
