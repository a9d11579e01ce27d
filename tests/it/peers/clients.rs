//! Clients that nobody here wrote: curl, openssl, h2load, wrk, nghttp, Python's websockets and
//! gRPC, with what each of them says.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::load::{Count, Load, h2load_count};
use super::pki::Pki;
use super::program::Gate;
use super::upstream::{ANSWER, Upstream};
use super::{CURL, GRPC, H2LOAD, NGHTTP, OPENSSL, Peer, WEBSOCKETS, WRK, present, said, until};

/// A gate before an upstream, with a certificate for `localhost`.
struct Scene {
    gate: Gate,
    root: PathBuf,
    fingerprint: String,
    folder: tempfile::TempDir,
    _upstream: Upstream,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::start(folder.path());
        Self::before(upstream.route(), upstream, folder)
    }

    fn before(routes: String, upstream: Upstream, folder: tempfile::TempDir) -> Self {
        let pki = Pki::new();
        let root = pki.root_in(folder.path());
        let pair = pki.round(&["localhost"], 0);
        pair.write(folder.path(), "tls");
        let text = format!(
            "[[cert]]\nchain = \"tls.crt\"\nkey = \"tls.key\"\n{routes}\
             [guard]\nroots = [\"root.pem\"]\n"
        );
        let gate = Gate::start(folder.path(), &text);
        Self { gate, root, fingerprint: pair.fingerprint, folder, _upstream: upstream }
    }

    fn openssl(&self, arguments: &[&str]) -> Output {
        s_client(&self.gate, &self.root, arguments)
    }
}

/// `openssl s_client` that verifies and says nothing to the server.
pub(super) fn s_client(gate: &Gate, root: &Path, arguments: &[&str]) -> Output {
    OPENSSL
        .command()
        .args(["s_client", "-connect", &gate.connect(), "-CAfile"])
        .arg(root)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The SHA-256 fingerprint of the leaf that `openssl s_client` printed.
pub(super) fn printed_fingerprint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let (start, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let from = text.find(start).unwrap_or_else(|| panic!("no certificate in {}", said(output)));
    let base64: String = text[from + start.len()..text.find(end).unwrap()]
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap();
    evergate::crypto::sha256_hex(&der)
}

#[test]
fn curl_is_answered_over_both_versions_of_http() {
    if !present(&[CURL]) {
        return;
    }
    let scene = Scene::new();
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for tls in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
            let output = CURL
                .command()
                .args(["--silent", "--show-error", "--write-out", "%{http_code} %{http_version}"])
                .args(tls)
                .args([flag, "--cacert"])
                .arg(&scene.root)
                .arg(scene.gate.url("localhost", "/"))
                .output()
                .unwrap();
            let expected = format!("{ANSWER}200 {version}");
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(text, expected, "{flag} {tls:?}: {}", said(&output));
        }
    }
    assert_eq!(scene.gate.handshakes(), (4, 0));
}

#[test]
fn openssl_verifies_the_chain_over_tls_1_2_and_1_3() {
    if !present(&[OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let arguments = ["-servername", "localhost", "-verify_hostname", "localhost", flag];
        let output = scene.openssl(&arguments);
        let text = said(&output);
        assert!(output.status.success(), "{flag}: {text}");
        assert!(text.contains("Verify return code: 0 (ok)"), "{flag}: {text}");
        assert!(text.contains(&format!("New, {version}, ")), "{flag}: {text}");
        assert_eq!(printed_fingerprint(&output), scene.fingerprint, "{flag}");
    }
}

#[test]
fn openssl_is_told_by_an_alert_what_is_refused() {
    if !present(&[OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    // OpenSSL 3 offers TLS 1.1 only at security level 0.
    let old = ["-servername", "localhost", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let unknown = ["-servername", "unknown.test"];
    // RFC 8446 section 6.2: 40 is handshake_failure, since such a client names no signature
    // algorithm in common, and 112 is unrecognized_name.
    for (arguments, alert) in [(&old[..], "alert number 40"), (&unknown[..], "alert number 112")] {
        let output = scene.openssl(arguments);
        let text = said(&output);
        assert!(!output.status.success(), "{arguments:?}: {text}");
        assert!(text.contains(alert), "{arguments:?}: {text}");
        assert!(!text.contains("BEGIN CERTIFICATE"), "{arguments:?}: {text}");
    }
}

#[test]
fn openssl_resumes_a_session_and_reads_an_answer() {
    if !present(&[OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let session = scene.folder.path().join(format!("{version}.pem"));
        let session = session.to_str().unwrap();
        for (keep, expected) in [("-sess_out", "New, "), ("-sess_in", "Reused, ")] {
            let output = talk(&scene, &["-servername", "localhost", flag, keep, session]);
            let text = said(&output);
            assert!(text.contains(&format!("{expected}{version}")), "{flag} {keep}: {text}");
            assert!(text.contains(ANSWER), "{flag} {keep}: {text}");
        }
    }
}

/// A session ticket of TLS 1.3 comes with the answer, so there has to be a request.
fn talk(scene: &Scene, arguments: &[&str]) -> Output {
    let mut child = OPENSSL
        .command()
        .args(["s_client", "-ign_eof", "-connect", &scene.gate.connect(), "-CAfile"])
        .arg(&scene.root)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut input, request).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(input);
    output
}

#[test]
fn nghttp_multiplexes_and_is_answered() {
    if !present(&[NGHTTP]) {
        return;
    }
    let scene = Scene::new();
    let output = NGHTTP
        .command()
        .args(["--null-out", "--stat", "--multiply", "50"])
        .arg(scene.gate.url("localhost", "/"))
        .output()
        .unwrap();
    let text = said(&output);
    // One line for each stream: id, three times, status, size, path.
    let answered = text.lines().filter(|line| line.contains(" 200 ")).count();
    assert_eq!(answered, 50, "{text}");
    assert!(output.status.success(), "{text}");
}

#[test]
fn h2load_loses_no_request_over_either_version_of_http() {
    if !present(&[H2LOAD]) {
        return;
    }
    let scene = Scene::new();
    for more in [&["-m", "16"][..], &["--h1"][..]] {
        let output = H2LOAD
            .command()
            .args(["-n", "2000", "-c", "8"])
            .args(more)
            .arg(format!("--connect-to={}", scene.gate.address))
            .arg(scene.gate.url("localhost", "/"))
            .output()
            .unwrap();
        let count = h2load_count(&said(&output));
        assert_eq!(count, Count { requests: 2000, failures: 0 }, "{more:?}: {}", said(&output));
    }
    assert_eq!(scene.gate.handshakes(), (16, 0));
}

#[test]
fn wrk_loses_no_request() {
    if !present(&[WRK, H2LOAD]) {
        return;
    }
    let scene = Scene::new();
    let load = Load::start(scene.folder.path(), scene.gate.address);
    until("a hundred handshakes", std::time::Duration::from_secs(20), || {
        (scene.gate.handshakes().0 >= 100).then_some(())
    });
    let totals = load.end();
    for count in [totals.kept_alive, totals.closing, totals.h2] {
        assert!(count.requests > 0 && count.failures == 0, "{totals:?}");
    }
}

/// A Python program beside this file.
struct Script {
    child: Child,
    port: u16,
}

impl Script {
    /// Starts it as a server and reads from its first line which port it listens on.
    fn serve(peer: Peer, name: &str) -> Self {
        let mut child = script(peer, name).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("no port: {line:?}"));
        Self { child, port }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(peer: Peer, name: &str) -> Command {
    let mut command = peer.command();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers");
    command.arg(folder.join(name)).stdin(Stdio::null());
    command
}

/// Runs the client half of a script through a gate before the other half.
fn converse(peer: Peer, name: &str, to: &dyn Fn(u16) -> String) {
    if !present(&[peer]) {
        return;
    }
    let server = Script::serve(peer, name);
    let route = format!("[[route]]\nto = \"{}\"\n", to(server.port));
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(folder.path());
    let scene = Scene::before(route, upstream, folder);
    let output = script(peer, name)
        .arg("call")
        .arg(scene.gate.address.port().to_string())
        .arg(&scene.root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{}", said(&output), scene.gate.log_text());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all well\n", "{}", said(&output));
}

#[test]
fn a_websocket_of_python_works_through_the_gate() {
    converse(WEBSOCKETS, "websocket_echo.py", &|port| format!("http://127.0.0.1:{port}"));
}

#[test]
fn grpc_of_python_works_through_the_gate() {
    converse(GRPC, "grpc_echo.py", &|port| format!("h2c://127.0.0.1:{port}"));
}
