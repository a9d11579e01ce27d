//! Certificates that run out, as curl and openssl see it: at the start, by a replacement, with a
//! standby, and with nobody who renews.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use super::clients::{printed_fingerprint, s_client};
use super::pki::{Pair, Pki};
use super::program::{Gate, LISTEN, configure, ends};
use super::upstream::{ANSWER, Upstream};
use super::{CURL, OPENSSL, pause, present, said, until};

/// A folder with a root and an upstream.
struct Scene {
    pki: Pki,
    folder: tempfile::TempDir,
    root: PathBuf,
    upstream: Upstream,
}

const PRIMARY: &str = "[[cert]]\nchain = \"primary.crt\"\nkey = \"primary.key\"\n";
const STANDBY: &str = "[[cert]]\nchain = \"standby.crt\"\nkey = \"standby.key\"\nstandby = true\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// What curl answers with (`man curl`, "Exit codes").
const OK: i32 = 0;
const CONNECT_ERROR: i32 = 35;
const NOT_VERIFIED: i32 = 60;

impl Scene {
    fn new() -> Self {
        let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
        let (root, upstream) = (pki.root_in(folder.path()), Upstream::start(folder.path()));
        Self { pki, folder, root, upstream }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A leaf for the host of all these tests, valid from and to these seconds from now.
    fn leaf(&self, from: i64, to: i64) -> Pair {
        let elapsed = evergate::clock::system().now() - self.pki.now;
        let [from, to] = [from, to].map(|seconds| elapsed + time::Duration::seconds(seconds));
        self.pki.issue(&["localhost"], from, to)
    }

    fn good(&self) -> Pair {
        self.leaf(-DAY, 60 * DAY)
    }

    fn expired(&self) -> Pair {
        self.leaf(-30 * DAY, -DAY)
    }

    fn config(&self, certs: &str, guard: &str) -> String {
        let route = format!("[[route]]\nhosts = [\"localhost\"]\nto = \"{}\"\n", self.upstream.url);
        format!("{certs}{route}[guard]\nroots = [\"root.pem\"]\n{guard}")
    }

    fn start(&self, certs: &str, guard: &str) -> Gate {
        Gate::start(self.path(), &self.config(certs, guard))
    }

    fn curl(&self, gate: &Gate, more: &[&str]) -> Output {
        CURL.command()
            .args(["--silent", "--show-error", "--max-time", "10", "--cacert"])
            .arg(&self.root)
            .args(more)
            .arg(gate.url("localhost", "/"))
            .output()
            .unwrap()
    }

    fn curl_is_answered(&self, gate: &Gate) {
        let output = self.curl(gate, &[]);
        assert_eq!(output.status.code(), Some(OK), "{}\n{}", said(&output), gate.log_text());
        assert_eq!(String::from_utf8_lossy(&output.stdout), ANSWER);
    }

    fn openssl(&self, gate: &Gate) -> Output {
        s_client(gate, &self.root, &["-servername", "localhost"])
    }

    /// What openssl sees: this certificate, verified.
    fn openssl_sees(&self, gate: &Gate, pair: &Pair) {
        let output = self.openssl(gate);
        assert_eq!(printed_fingerprint(&output), pair.fingerprint, "{}", gate.log_text());
        assert!(said(&output).contains("Verify return code: 0 (ok)"), "{}", said(&output));
    }

    /// What both see of a dark host: an alert, and no certificate at all.
    fn is_dark(&self, gate: &Gate) {
        let output = self.curl(gate, &["--insecure"]);
        assert_eq!(output.status.code(), Some(CONNECT_ERROR), "{}", said(&output));
        let text = said(&self.openssl(gate));
        assert!(text.contains("alert number 112"), "{text}");
        assert!(!text.contains("BEGIN CERTIFICATE"), "{text}");
        let (ready, why) = gate.get("/readyz?verbose");
        assert_eq!(ready, 503, "{why}");
        assert!(why.contains("localhost"), "{why}");
        assert_eq!(gate.get("/livez").0, 200);
    }

    fn is_ready(&self, gate: &Gate) {
        let (ready, why) = gate.get("/readyz?verbose");
        assert_eq!(ready, 200, "{why}");
    }
}

const DAY: i64 = 86_400;

#[test]
fn a_start_with_nothing_but_an_expired_certificate_exits_with_4() {
    let scene = Scene::new();
    scene.expired().write(scene.path(), "primary");
    let config = configure(scene.path(), &format!("{LISTEN}{}", scene.config(PRIMARY, "")));
    let (output, _) = ends(&["run", "--config", config.to_str().unwrap()], PATIENCE);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let text = said(&output);
    for expected in ["expired", "primary.crt", "evergate check"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_start_that_waits_is_dark_until_a_good_certificate_appears() {
    if !present(&[CURL, OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    scene.expired().write(scene.path(), "primary");
    let gate = scene.start(PRIMARY, "start = \"wait\"\n");
    scene.is_dark(&gate);
    gate.told("certificate_refused", "expired", "primary.crt", PATIENCE);
    let good = scene.good();
    good.write(scene.path(), "primary");
    gate.told("certificate_published", "published", "primary.crt", PATIENCE);
    scene.curl_is_answered(&gate);
    scene.openssl_sees(&gate, &good);
    scene.is_ready(&gate);
    gate.end();
}

#[test]
fn an_expired_replacement_is_refused_and_the_old_one_serves_on() {
    if !present(&[CURL, OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    let good = scene.good();
    good.write(scene.path(), "primary");
    let gate = scene.start(PRIMARY, "");
    scene.openssl_sees(&gate, &good);
    scene.expired().write(scene.path(), "primary");
    let told = gate.told("certificate_refused", "expired", "primary.crt", PATIENCE);
    assert!(!told["remedy"].as_str().unwrap().is_empty(), "{told}");
    gate.told("certificate_drift", "drift", "primary.crt", PATIENCE);
    scene.curl_is_answered(&gate);
    scene.openssl_sees(&gate, &good);
    scene.is_ready(&gate);
    let (status, _) = ends(&["status", "--admin", &gate.admin()], PATIENCE);
    let text = said(&status);
    assert!(!status.status.success() && text.contains("expired"), "{text}");
    gate.end();
}

#[test]
fn a_standby_answers_for_an_expired_primary_until_that_is_renewed() {
    if !present(&[CURL, OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    let standby = scene.good();
    standby.write(scene.path(), "standby");
    scene.expired().write(scene.path(), "primary");
    let gate = scene.start(&format!("{PRIMARY}{STANDBY}"), "");
    gate.told("certificate_failover", "failover", "standby.crt", PATIENCE);
    scene.curl_is_answered(&gate);
    scene.openssl_sees(&gate, &standby);
    scene.is_ready(&gate);
    let renewed = scene.good();
    renewed.write(scene.path(), "primary");
    gate.told("certificate_failover", "failback", "primary.crt", PATIENCE);
    scene.curl_is_answered(&gate);
    scene.openssl_sees(&gate, &renewed);
    gate.end();
}

/// A minute is all it has, and 17 seconds of it are left: these levels are still to come, and how
/// many seconds before its end.
const LEFT: i64 = 17;
const LEVELS: [(&str, i64); 4] = [("due", 30), ("warning", 12), ("critical", 6), ("emergency", 3)];

/// The levels come in their order, each within two seconds of its time.
fn levels_come_in_time(gate: &Gate, start: Instant, mut meanwhile: impl FnMut()) {
    for (code, before_end) in LEVELS {
        let due = Duration::from_secs(u64::try_from((LEFT - before_end).max(0)).unwrap());
        while start.elapsed() < due {
            meanwhile();
            pause(Duration::from_millis(200));
        }
        let told = gate.told("certificate_level", code, "primary.crt", Duration::from_secs(2));
        assert!(!told["remedy"].as_str().unwrap().is_empty(), "{told}");
    }
    let told: Vec<String> = gate
        .log()
        .into_iter()
        .filter(|line| line["event"] == "certificate_level")
        .map(|line| line["code"].as_str().unwrap().to_owned())
        .collect();
    let mut firsts = told.clone();
    firsts.dedup();
    assert_eq!(firsts, LEVELS.map(|(code, _)| code), "{told:?}");
}

#[test]
fn a_dying_certificate_that_nobody_renews_hands_over_to_its_standby_before_its_end() {
    if !present(&[CURL, OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    let (standby, start) = (scene.good(), Instant::now());
    let dying = scene.leaf(LEFT - 60, LEFT);
    standby.write(scene.path(), "standby");
    dying.write(scene.path(), "primary");
    let gate = scene.start(&format!("{PRIMARY}{STANDBY}"), "");
    scene.openssl_sees(&gate, &dying);
    levels_come_in_time(&gate, start, || scene.curl_is_answered(&gate));
    gate.told("certificate_failover", "failover", "standby.crt", Duration::from_secs(2));
    scene.openssl_sees(&gate, &standby);
    // Not one request fails at the end either.
    while start.elapsed() < Duration::from_secs(LEFT.unsigned_abs() + 3) {
        scene.curl_is_answered(&gate);
        pause(Duration::from_millis(100));
    }
    scene.openssl_sees(&gate, &standby);
    scene.is_ready(&gate);
    assert_eq!(gate.level("localhost"), "ok");
    gate.end();
}

#[test]
fn a_dying_certificate_without_a_standby_is_served_beyond_its_end() {
    if !present(&[CURL, OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    let (dying, start) = (scene.leaf(LEFT - 60, LEFT), Instant::now());
    dying.write(scene.path(), "primary");
    let gate = scene.start(PRIMARY, "");
    levels_come_in_time(&gate, start, || scene.curl_is_answered(&gate));
    gate.told("certificate_level", "served_expired", "primary.crt", PATIENCE);
    assert_eq!(gate.level("localhost"), "expired");
    // Who verifies is told what is wrong, and who doesn't is served (rule 11).
    let strict = scene.curl(&gate, &[]);
    assert_eq!(strict.status.code(), Some(NOT_VERIFIED), "{}", said(&strict));
    assert!(said(&strict).contains("certificate has expired"), "{}", said(&strict));
    let lax = scene.curl(&gate, &["--insecure"]);
    assert_eq!(String::from_utf8_lossy(&lax.stdout), ANSWER, "{}", said(&lax));
    let output = scene.openssl(&gate);
    assert_eq!(printed_fingerprint(&output), dying.fingerprint);
    assert!(said(&output).contains("Verify return code: 10"), "{}", said(&output));
    // Help that comes late is help.
    let renewed = scene.good();
    renewed.write(scene.path(), "primary");
    until("the renewed one", PATIENCE, || {
        (printed_fingerprint(&scene.openssl(&gate)) == renewed.fingerprint).then_some(())
    });
    scene.curl_is_answered(&gate);
    assert_eq!(gate.level("localhost"), "ok");
    gate.end();
}

#[test]
fn a_dying_certificate_is_dark_after_its_end_where_the_policy_says_so() {
    if !present(&[CURL, OPENSSL]) {
        return;
    }
    let scene = Scene::new();
    scene.leaf(4 - 60, 4).write(scene.path(), "primary");
    let gate = scene.start(PRIMARY, "on_expiry = \"refuse\"\n");
    scene.curl_is_answered(&gate);
    until("the end", PATIENCE, || (gate.get("/readyz").0 == 503).then_some(()));
    scene.is_dark(&gate);
    gate.end();
}
