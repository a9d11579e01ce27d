//! The real program: exit codes, what it prints, signals.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::harness::client::{self, Tls};
use crate::harness::gate::Plan;
use crate::harness::pki::Leaf;
use crate::harness::program::{Program, run};
use crate::harness::raw::Raw;
use crate::harness::{gate, until, upstream, within};

const HOST: &str = "app.test";

/// Where a running program accepts, from its log.
async fn listening(program: &Program) -> SocketAddr {
    let line = program.line(&["listening", "address="]).await;
    let (_, rest) = line.split_once("address=").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Asks over TLS what the server answers.
async fn asked(plan: &Plan, address: SocketAddr) -> String {
    let config = Tls::trusting(plan.ca.roots()).build(None);
    let mut client = Raw::new(client::connect(address, HOST, &config).await.unwrap());
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n").await;
    client.response().await.1
}

#[tokio::test]
async fn run_needs_no_file_and_ends_well_when_told_to() {
    let server = upstream::hello("hello").await;
    let plan = gate().cert(HOST);
    let arguments = ["run", "--cert", "certs/0/chain.pem", "--key", "certs/0/key.pem", "--to"];
    let listen = [server.url(), "--listen", "127.0.0.1:0"];
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(plan.folder(), &[&arguments[..], &listen[..]].concat());
        let address = listening(&program).await;
        assert_eq!(asked(&plan, address).await, "hello");
        program.signal(signal).await;
        assert_eq!(program.ended().await, Some(0), "{signal}: {}", program.said());
    }
}

#[tokio::test]
async fn run_says_by_its_exit_code_why_it_does_not_start() {
    let plan = gate().cert(HOST).route(HOST, "http://127.0.0.1:9");
    plan.write();
    let folder = plan.folder();
    std::fs::write(folder.join("broken.toml"), "[[listn]]\naddress = 1\n").unwrap();
    let dark = plan.ca.issue(&Leaf::of(&[HOST]).days(-60, -1));
    dark.write(&folder.join("dark"));
    let text = plan.written().replace("certs/0/", "dark/");
    std::fs::write(folder.join("dark.toml"), text).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = plan.written().replace("127.0.0.1:0", &address);
    std::fs::write(folder.join("taken.toml"), text).unwrap();
    let cases: [(&[&str], i32, &[&str]); 7] = [
        (&["run", "--config", "broken.toml"], 3, &["broken.toml:1:3", "did you mean `[[listen]]`"]),
        (&["run", "--config", "missing.toml"], 3, &["missing.toml"]),
        (&["run"], 3, &["evergate dev"]),
        (&["run", "--config", "dark.toml"], 4, &["no name has a certificate", "evergate check"]),
        (&["run", "--config", "taken.toml"], 5, &[&address]),
        (&["run", "--cert", "only"], 64, &["--key"]),
        (&["fly"], 64, &["fly"]),
    ];
    for (arguments, code, words) in cases {
        let ended = run(folder, arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        for word in words {
            assert!(ended.err.contains(word), "no {word:?}: {ended:?}");
        }
    }
}

#[tokio::test]
async fn check_judges_as_a_monitoring_plug_in_does() {
    let plan = gate().cert(HOST).route(HOST, "http://127.0.0.1:9");
    plan.write();
    let config = ["check", "--config", "evergate.toml"];
    let late = (crate::harness::pki::now() + time::Duration::days(59)).date().to_string();
    let over = (crate::harness::pki::now() + time::Duration::days(70)).date().to_string();
    let cases: [(&[&str], i32, &str); 5] = [
        (&[], 0, "OK - "),
        (&["--at", &late], 2, "CRITICAL - "),
        (&["--at", &over], 2, "CRITICAL - "),
        (&["--at", "2001-01-01"], 2, "CRITICAL - "),
        (&["--at", "tomorrow"], 64, ""),
    ];
    for (more, code, begin) in cases {
        let ended = run(plan.folder(), &[&config[..], more].concat()).await;
        assert_eq!(ended.code, code, "{more:?}: {ended:?}");
        assert!(ended.out.starts_with(begin), "{more:?}: {ended:?}");
    }
    std::fs::write(plan.folder().join("broken.toml"), "[[listn]]\n").unwrap();
    let ended = run(plan.folder(), &["check", "--config", "broken.toml"]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
}

#[tokio::test]
async fn check_tells_machines_the_same_as_people() {
    let plan = gate().cert(HOST).route(HOST, "http://127.0.0.1:9");
    plan.write();
    let arguments = ["check", "--config", "evergate.toml", "--format", "json"];
    let ended = run(plan.folder(), &arguments).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(told["hosts"][0]["host"], HOST);
    let fingerprint = told["certificates"][0]["fingerprint_sha256"].as_str().unwrap();
    assert_eq!(told["hosts"][0]["serving"], fingerprint);
    assert_eq!(told["certificates"][0]["state"], "active");
    let people = run(plan.folder(), &arguments[..3]).await;
    assert!(people.out.contains(fingerprint), "{people:?}");
}

#[tokio::test]
async fn inspect_tells_what_a_file_holds_and_what_an_endpoint_serves() {
    let plan = gate().leaf(&Leaf::of(&[HOST, "127.0.0.1"]));
    let chain = std::fs::read_to_string(plan.folder().join("certs/0/chain.pem")).unwrap();
    let gate = plan.route_all("http://127.0.0.1:9").start().await;
    let folder = gate.plan.folder();
    let der = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::
        from_pem_slice(chain.as_bytes()).unwrap();
    let fingerprint = evergate::crypto::sha256_hex(&der);
    let endpoint = gate.address.to_string();
    for target in ["certs/0/chain.pem", &endpoint] {
        let ended = run(folder, &["inspect", target]).await;
        // A private root is unknown to whoever inspects from outside.
        assert!(ended.code <= 1, "{target}: {ended:?}");
        for word in [HOST, &fingerprint, "Test CA"] {
            assert!(ended.out.contains(word), "no {word} of {target}: {ended:?}");
        }
        let ended = run(folder, &["inspect", target, "--format", "json"]).await;
        let told: Value = serde_json::from_str(&ended.out).unwrap();
        assert!(told.to_string().contains(&fingerprint), "{target}: {told}");
        let ended = run(folder, &["inspect", target, "--at", "2001-01-01"]).await;
        assert_eq!(ended.code, 2, "{target}: {ended:?}");
    }
    let ended = run(folder, &["inspect", &endpoint, "--name", "unknown.test"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let nobody = upstream::nobody().await.to_string();
    let ended = run(folder, &["inspect", &nobody]).await;
    assert!(ended.code >= 2, "{ended:?}");
    let ended = run(folder, &["inspect", "certs/0/key.pem"]).await;
    assert!(ended.code >= 2, "{ended:?}");
}

#[tokio::test]
async fn status_and_reload_ask_a_running_gate() {
    let gate = gate().admin().cert(HOST).route(HOST, "http://127.0.0.1:9").start().await;
    let folder = gate.plan.folder().to_owned();
    let Some(evergate::admin::Address::Tcp(address)) = gate.gate().admin() else { panic!() };
    let admin = address.to_string();
    let ended = run(&folder, &["status", "--admin", &admin]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.starts_with("OK - ") && ended.out.contains(HOST), "{ended:?}");
    let ended = run(&folder, &["status", "--admin", &admin, "--format", "json"]).await;
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(told["hosts"][0]["host"], HOST);
    let ended = run(&folder, &["reload", "--admin", &admin]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    std::fs::write(folder.join("evergate.toml"), "[[listn]]\n").unwrap();
    let ended = run(&folder, &["reload", "--admin", &admin]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(format!("{}{}", ended.out, ended.err).contains("listn"), "{ended:?}");
    let nobody = upstream::nobody().await.to_string();
    let ended = run(&folder, &["status", "--admin", &nobody]).await;
    assert_eq!(ended.code, 3, "{ended:?}");
}

#[tokio::test]
async fn sighup_makes_the_program_read_everything_anew() {
    let (old, new) = (upstream::hello("old").await, upstream::hello("new").await);
    let plan = gate().cert(HOST).route(HOST, old.url());
    // Slower than the test by its own means.
    let text = plan.written().replace("poll = \"200ms\"", "poll = \"1h\"");
    let text = text.replace("quiet = \"10ms\"", "quiet = \"1m\"");
    let path = plan.folder().join("evergate.toml");
    std::fs::write(&path, &text).unwrap();
    let mut program = Program::start(plan.folder(), &["run", "--config", "evergate.toml"]);
    let address = listening(&program).await;
    assert_eq!(asked(&plan, address).await, "old");
    std::fs::write(&path, text.replace(old.url(), new.url())).unwrap();
    program.signal("HUP").await;
    program.line(&["config_published", "config_changed"]).await;
    assert_eq!(asked(&plan, address).await, "new");
    std::fs::write(&path, "[[listn]]").unwrap();
    program.signal("HUP").await;
    program.line(&["config_refused"]).await;
    assert_eq!(asked(&plan, address).await, "new");
    program.signal("TERM").await;
    assert_eq!(program.ended().await, Some(0));
}

#[tokio::test]
async fn dev_prints_a_command_that_works_as_it_stands() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        return; // A machine without curl.
    }
    let server = upstream::hello("mine").await;
    let to = format!("app.localhost={}", server.address.port());
    let port = upstream::nobody().await.port().to_string();
    let folder = tempfile::tempdir().unwrap();
    for (mapping, expected) in [(None, "\"method\": \"GET\""), (Some(to.as_str()), "mine")] {
        let mut arguments = vec!["dev", "--listen", &port];
        arguments.extend(mapping);
        let mut program = Program::start(folder.path(), &arguments);
        let line = program.line(&["curl --cacert"]).await;
        let said = shell(folder.path(), line.trim()).await;
        assert!(said.contains(expected), "{line}: {said}");
        program.signal("INT").await;
        assert_eq!(program.ended().await, Some(0), "{}", program.said());
    }
}

/// Runs exactly this line; gives what it printed.
async fn shell(place: &Path, line: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(place).stdin(Stdio::null());
    let output = within(line, command.output()).await.unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn dev_names_the_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let ended = run(folder.path(), &["dev", "--listen", &port]).await;
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.err.contains(&port), "{ended:?}");
}

#[tokio::test]
async fn a_certificate_that_is_renewed_on_disk_is_served_by_the_running_program() {
    let plan = gate().cert(HOST).route(HOST, "http://127.0.0.1:9");
    plan.write();
    let program = Program::start(plan.folder(), &["run", "--config", "evergate.toml"]);
    let address = listening(&program).await;
    let renewed = plan.ca.issue(&Leaf::of(&[HOST]).days(-1, 89));
    renewed.write(&plan.folder().join("certs/0"));
    let config = || Tls::trusting(plan.ca.roots()).build(None);
    until("the new certificate", || async {
        let stream = client::connect(address, HOST, &config()).await.unwrap();
        let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
        (evergate::crypto::sha256_hex(shown) == renewed.fingerprint()).then_some(())
    })
    .await;
    program.line(&["certificate_published", &renewed.fingerprint()[..16]]).await;
}
