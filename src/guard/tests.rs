//! The guard's promises, against real files and a clock that the test holds.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command as Program;

use time::Duration;

use super::report::{Level, State};
use super::testing::*;
use crate::config::model::{CertPlace, GuardPolicy, OnExpiry, Role};
use crate::host::HostPattern;

fn codes(bench: &Bench) -> Vec<&'static str> {
    let report = bench.picture.report(crate::clock::Clock::now(&*bench.clock));
    let certificates = report.certificates.iter().flat_map(|one| &one.findings);
    certificates.chain(&report.findings).map(|finding| finding.code).collect()
}

/// Which texts a file holds before, and which after a rotation.
struct Rotation {
    name: &'static str,
    /// File -> old text, new text.
    files: Vec<(&'static str, String, String)>,
    chain: &'static str,
    key: &'static str,
    old: String,
    new: String,
}

fn rotations() -> Vec<Rotation> {
    let pki = Pki::new();
    let (old_chain, old_key) = pki.issue(&spec(&["a.test"]));
    let (new_chain, new_key) = pki.issue(&spec(&["a.test"]).days(-1, 89));
    let (old, new) = (fingerprint(&old_chain), fingerprint(&new_chain));
    let with_root = |chain: &str| format!("{chain}{}", pki.root.pem);
    let one = |files, chain, key| (files, chain, key);
    let shapes = [
        (
            "two files",
            one(
                vec![
                    ("a.crt", old_chain.clone(), new_chain.clone()),
                    ("a.key", old_key.clone(), new_key.clone()),
                ],
                "a.crt",
                "a.key",
            ),
        ),
        (
            "combined, key last",
            one(
                vec![("a.pem", format!("{old_chain}{old_key}"), format!("{new_chain}{new_key}"))],
                "a.pem",
                "a.pem",
            ),
        ),
        (
            "combined, key first",
            one(
                vec![("a.pem", format!("{old_key}{old_chain}"), format!("{new_key}{new_chain}"))],
                "a.pem",
                "a.pem",
            ),
        ),
        (
            "the same certificate again",
            one(
                vec![("a.pem", format!("{old_key}{old_chain}"), format!("{old_key}{old_chain}"))],
                "a.pem",
                "a.pem",
            ),
        ),
        (
            "with the root",
            one(
                vec![(
                    "a.pem",
                    format!("{old_key}{}", with_root(&old_chain)),
                    format!("{new_key}{}", with_root(&new_chain)),
                )],
                "a.pem",
                "a.pem",
            ),
        ),
    ];
    shapes
        .into_iter()
        .map(|(name, (files, chain, key))| {
            let new = if name.contains("again") { old.clone() } else { new.clone() };
            Rotation { name, files, chain, key, old: old.clone(), new }
        })
        .collect()
}

#[test]
fn a_file_cut_at_any_byte_never_replaces_the_one_that_is_served() {
    for rotation in rotations() {
        let mut setup = Setup::new();
        for (file, old, _) in &rotation.files {
            write(&setup.at(file), old);
        }
        let place =
            CertPlace::Pair { chain: setup.at(rotation.chain), key: setup.at(rotation.key) };
        setup = setup.source(place, Role::Primary);
        let bench = setup.start();
        let chain_length = || {
            let host = crate::host::HostName::parse("a.test").unwrap();
            bench.inventory.current().candidates(&host)[0].certified().cert.len()
        };
        let whole = chain_length();
        assert_eq!(bench.serving("a.test"), [rotation.old.clone()], "{}", rotation.name);
        for (cut_file, ..) in &rotation.files {
            let others = rotation.files.iter().filter(|(file, ..)| file != cut_file);
            for (file, _, new) in others {
                write(&bench.at(file), new);
            }
            let (_, _, new) = rotation.files.iter().find(|(file, ..)| file == cut_file).unwrap();
            for cut in 0..new.trim_end().len() {
                // That the root is left off is fine, and so is what follows the last key.
                let rest = &new[cut..];
                if rotation.name == "with the root"
                    && rest.matches("BEGIN").count() == 1
                    && !rest.contains("-----END CERTIFICATE-----\n-----BEGIN")
                    && rest.starts_with("-----BEGIN") | rest.starts_with("\n-----BEGIN")
                {
                    continue;
                }
                write(&bench.at(cut_file), &new[..cut]);
                bench.guard.scan();
                let what = format!("{}: {cut_file} cut at {cut}", rotation.name);
                assert_eq!(bench.serving("a.test"), [rotation.old.clone()], "{what}");
                assert_eq!(chain_length(), whole, "{what}");
            }
            for (file, old, _) in &rotation.files {
                write(&bench.at(file), old);
            }
            bench.guard.scan();
        }
        for (file, _, new) in &rotation.files {
            write(&bench.at(file), new);
        }
        bench.guard.scan();
        assert_eq!(bench.serving("a.test"), [rotation.new.clone()], "{}", rotation.name);
    }
}

#[test]
fn a_half_finished_rotation_does_not_alarm_and_a_stuck_one_does() {
    let pki = Pki::new();
    let old = pki.issue(&spec(&["a.test"]));
    let new = pki.issue(&spec(&["a.test"]).days(-1, 89));
    let bench = Setup::new().pair("a", Role::Primary, &old).start();
    write(&bench.at("a.crt"), &new.0);
    bench.guard.scan();
    bench.tick_at(Duration::SECOND);
    assert!(bench.told("certificate_refused").is_empty());
    bench.tick_at(Duration::seconds(4));
    bench.tick_at(Duration::seconds(60));
    assert_eq!(bench.told("certificate_refused"), ["key_mismatch"]);
    assert_eq!(bench.told("certificate_drift"), ["drift"]);
    assert_eq!(bench.serving("a.test"), [fingerprint(&old.0)]);
    assert_eq!(bench.picture.drifts(NOW + Duration::MINUTE)[0].1, Duration::MINUTE);
    assert!(codes(&bench).contains(&"drift"));
    write(&bench.at("a.key"), &new.1);
    bench.guard.scan();
    assert_eq!(bench.serving("a.test"), [fingerprint(&new.0)]);
    assert!(bench.picture.drifts(NOW).is_empty());
    assert!(!codes(&bench).contains(&"drift"));
}

#[test]
fn what_is_refused_at_the_start_leaves_its_names_dark_and_the_others_served() {
    let pki = Pki::new();
    let good = pki.issue(&spec(&["good.test"]));
    let gone = pki.issue(&spec(&["gone.test"]).days(-90, -1));
    let bench = Setup::new()
        .pair("good", Role::Primary, &good)
        .pair("gone", Role::Primary, &gone)
        .routed(&["good.test", "nobody.test"])
        .start();
    assert_eq!(bench.serving("good.test"), [fingerprint(&good.0)]);
    assert!(bench.serving("gone.test").is_empty());
    assert_eq!(bench.told("certificate_refused"), ["expired"]);
    let dark: Vec<_> = bench.picture.dark().iter().map(ToString::to_string).collect();
    assert_eq!(dark, ["gone.test", "nobody.test"]);
    let report = bench.picture.report(NOW);
    let states: Vec<_> = report.certificates.iter().map(|one| one.state).collect();
    assert_eq!(states, [State::Refused, State::Active]);
    assert!(report.findings.iter().any(|finding| finding.code == "uncovered"));
}

#[test]
fn a_certificate_that_becomes_valid_is_taken_into_service_by_itself() {
    let pki = Pki::new();
    let early = pki.issue(&spec(&["a.test"]).days(1, 91));
    let bench = Setup::new().pair("a", Role::Primary, &early).start();
    assert!(bench.serving("a.test").is_empty());
    assert_eq!(bench.told("certificate_refused"), ["not_yet_valid"]);
    bench.tick_at(Duration::days(1));
    assert_eq!(bench.serving("a.test"), [fingerprint(&early.0)]);
}

#[test]
fn a_standby_takes_over_before_the_end_and_hands_back() {
    let pki = Pki::new();
    let primary = pki.issue(&spec(&["a.test"]));
    let standby = pki.issue(&spec(&["*.test", "a.test"]).days(-30, 300));
    let (first, second) = (fingerprint(&primary.0), fingerprint(&standby.0));
    let bench =
        Setup::new().pair("a", Role::Primary, &primary).pair("b", Role::Standby, &standby).start();
    assert_eq!(bench.serving("a.test"), [first.clone(), second.clone()]);
    bench.tick_at(Duration::days(58) - Duration::SECOND);
    assert_eq!(bench.serving("a.test")[0], first);
    bench.tick_at(Duration::days(58));
    assert_eq!(bench.serving("a.test"), [second.clone(), first]);
    assert_eq!(bench.told("certificate_failover"), ["failover"]);
    assert_eq!(bench.metrics.failovers(), 1);
    bench.tick_at(Duration::days(61));
    assert_eq!(bench.serving("a.test"), [second.clone()]);
    let renewed = pki.issue(&spec(&["a.test"]).days(61, 151));
    write(&bench.at("a.crt"), &renewed.0);
    write(&bench.at("a.key"), &renewed.1);
    bench.guard.scan();
    assert_eq!(bench.serving("a.test"), [fingerprint(&renewed.0), second]);
    assert_eq!(bench.told("certificate_failover").last(), Some(&"failback"));
}

#[test]
fn a_dying_intermediate_counts() {
    let root = Authority::root("R");
    let issuer = root.intermediate("I", NOW + Duration::days(3));
    let issued = issuer.issue(&spec(&["a.test"]));
    let pair = (issued.leaf + &issuer.pem, issued.key);
    let bench = Setup::new().pair("a", Role::Primary, &pair).start();
    let report = bench.picture.report(NOW);
    let one = &report.certificates[0];
    assert_eq!(one.effective_not_after, Some(NOW + Duration::days(3)));
    assert_eq!((one.state, one.level), (State::Active, Level::Critical));
    assert_eq!(bench.told("certificate_level"), ["critical"]);
    let later = bench.picture.report(NOW + Duration::days(4));
    assert_eq!(later.certificates[0].level, Level::Expired);
}

#[test]
fn a_served_certificate_that_expires_alone_is_served_on_unless_told_otherwise() {
    let pki = Pki::new();
    let pair = pki.issue(&spec(&["a.test"]));
    for (on_expiry, candidates) in [(OnExpiry::Serve, 1), (OnExpiry::Refuse, 0)] {
        let mut setup = Setup::new().pair("a", Role::Primary, &pair);
        setup.policy = GuardPolicy { on_expiry, ..GuardPolicy::default() };
        let bench = setup.start();
        bench.tick_at(Duration::days(60) + Duration::SECOND);
        assert_eq!(bench.serving("a.test").len(), candidates, "{on_expiry:?}");
        assert_eq!(bench.picture.dark().is_empty(), candidates == 1);
        let last = bench.told("certificate_level").last().copied();
        assert_eq!(last, Some(if candidates == 1 { "served_expired" } else { "expired" }));
    }
}

#[test]
fn levels_are_told_once_and_reminded_of_faster_as_time_runs_out() {
    let pki = Pki::new();
    let bench = Setup::new().pair("a", Role::Primary, &pki.issue(&spec(&["a.test"]))).start();
    let mut last = 0;
    for hour in 0..24 * 60 {
        bench.tick_at(Duration::hours(hour));
        last = hour;
    }
    assert_eq!(last, 1439);
    let told = bench.told("certificate_level");
    let count = |code| told.iter().filter(|told| **told == code).count();
    // 16 days due at one a week, 7 of warning at one a day, 5 critical at four, 2 at 24.
    assert_eq!(
        [count("due"), count("warning"), count("critical"), count("emergency")],
        [3, 7, 20, 48]
    );
}

#[test]
fn doubtful_replacements_are_held_until_the_served_one_is_about_to_die() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let pki = Pki::new();
    let both = super::testing::Spec {
        usages: vec![ServerAuth, ClientAuth],
        ..spec(&["a.test", "b.test"])
    };
    let bare = |spec: &Spec| {
        let issued = pki.issuer.issue(spec);
        (issued.leaf, issued.key)
    };
    let lesser = spec(&["a.test", "b.test"]).days(-1, 89);
    // what, the replacement, finding, accepted at the end
    let cases = [
        (
            "drops a routed name",
            pki.issue(&super::testing::Spec {
                names: vec!["a.test".to_owned()],
                usages: both.usages.clone(),
                ..lesser.clone()
            }),
            "drops_name",
            true,
        ),
        ("loses a usage", pki.issue(&lesser), "loses_eku", true),
        ("older", pki.issue(&both.clone().days(-60, 30)), "older", false),
        (
            "lacks its issuer",
            bare(&super::testing::Spec { usages: both.usages.clone(), ..lesser.clone() }),
            "chain_incomplete",
            true,
        ),
    ];
    for (what, replacement, code, accepted) in cases {
        let served = pki.issue(&both);
        let bench =
            Setup::new().pair("a", Role::Primary, &served).routed(&["a.test", "b.test"]).start();
        write(&bench.at("a.crt"), &replacement.0);
        write(&bench.at("a.key"), &replacement.1);
        bench.guard.scan();
        bench.tick_at(Duration::seconds(4));
        assert_eq!(bench.serving("a.test"), [fingerprint(&served.0)], "{what}");
        assert_eq!(bench.told("certificate_held"), [code], "{what}");
        let states: Vec<_> =
            bench.picture.report(NOW).certificates.iter().map(|one| one.state).collect();
        assert_eq!(states, [State::Active, State::Held], "{what}");
        bench.tick_at(Duration::days(58));
        let now_served = bench.serving("a.test") == [fingerprint(&replacement.0)];
        assert_eq!(now_served, accepted, "{what}");
    }
}

#[test]
fn a_shorter_lifetime_alone_is_no_reason_to_wait() {
    let pki = Pki::new();
    let bench =
        Setup::new().pair("a", Role::Primary, &pki.issue(&spec(&["a.test"]).days(-9, 300))).start();
    let renewed = pki.issue(&spec(&["a.test"]).days(-1, 44));
    write(&bench.at("a.crt"), &renewed.0);
    write(&bench.at("a.key"), &renewed.1);
    bench.guard.scan();
    assert_eq!(bench.serving("a.test"), [fingerprint(&renewed.0)]);
}

#[test]
fn files_that_vanish_cost_nothing() {
    let pki = Pki::new();
    let pair = pki.issue(&spec(&["a.test"]));
    let setup = Setup::new().directory("live");
    write(&setup.at("live/a/tls.crt"), &pair.0);
    write(&setup.at("live/a/tls.key"), &pair.1);
    let bench = setup.start();
    fs::remove_dir_all(bench.at("live")).unwrap();
    bench.guard.scan();
    bench.tick_at(Duration::seconds(5));
    assert_eq!(bench.serving("a.test"), [fingerprint(&pair.0)]);
    assert_eq!(bench.told("certificate_drift"), ["drift"]);
    assert!(codes(&bench).contains(&"source_vanished"));
    let renewed = pki.issue(&spec(&["a.test"]).days(-1, 89));
    write(&bench.at("live/a/tls.crt"), &renewed.0);
    write(&bench.at("live/a/tls.key"), &renewed.1);
    bench.guard.scan();
    assert_eq!(bench.serving("a.test"), [fingerprint(&renewed.0)]);
}

#[test]
fn a_vanished_certificate_is_forgotten_once_another_holds_its_names() {
    let pki = Pki::new();
    let (a, b) = (pki.issue(&spec(&["a.test"])), pki.issue(&spec(&["a.test"]).days(-1, 89)));
    let setup = Setup::new().directory("d");
    write(&setup.at("d/1.pem"), &format!("{}{}", a.0, a.1));
    let bench = setup.start();
    write(&bench.at("d/2.pem"), &format!("{}{}", b.0, b.1));
    fs::remove_file(bench.at("d/1.pem")).unwrap();
    bench.guard.scan();
    bench.tick_at(Duration::seconds(4));
    assert_eq!(bench.serving("a.test"), [fingerprint(&b.0)]);
    assert_eq!(bench.picture.report(NOW).certificates.len(), 1);
}

#[test]
fn what_can_not_be_read_is_judged_in_bounded_time() {
    let pki = Pki::new();
    let pair = pki.issue(&spec(&["a.test"]));
    let setup = Setup::new().directory("d");
    let at = |name: &str| setup.at(name);
    write(&at("d/good.pem"), &format!("{}{}", pair.0, pair.1));
    assert!(Program::new("mkfifo").arg(at("d/fifo.pem")).status().unwrap().success());
    let large = fs::File::create(at("d/large.pem")).unwrap();
    large.set_len(40 * 1024 * 1024).unwrap();
    symlink(at("d/loop.pem"), at("d/loop.pem")).unwrap();
    symlink(at("d"), at("d/again")).unwrap();
    symlink("/dev/zero", at("d/zero.pem")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("d/socket.pem")).unwrap();
    let start = std::time::Instant::now();
    let bench = setup.start();
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(bench.serving("a.test"), [fingerprint(&pair.0)]);
    let mut refused = bench.told("certificate_refused");
    refused.sort_unstable();
    assert_eq!(refused, ["not_a_file", "not_a_file", "not_a_file", "too_large", "unreadable"]);
}

#[test]
fn an_absurd_certificate_stays_quick() {
    let pki = Pki::new();
    let names: Vec<String> = (0..10_000).map(|n| format!("h{n}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pair = pki.issue(&spec(&names));
    let start = std::time::Instant::now();
    let bench = Setup::new().pair("a", Role::Primary, &pair).start();
    bench.picture.report(NOW);
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(bench.serving("h9999.test").len(), 1);
}

#[test]
fn a_directory_pairs_by_public_key_whatever_the_names() {
    let pki = Pki::new();
    let pairs: Vec<_> = ["certbot.test", "kube.test", "step.test", "mkcert.test", "haproxy.test"]
        .iter()
        .map(|name| pki.issue(&spec(&[name])))
        .collect();
    let setup = Setup::new().directory("d");
    let put = |name: &str, text: &str| write(&setup.at(name), text);
    put("d/certbot/fullchain.pem", &pairs[0].0);
    put("d/certbot/privkey.pem", &pairs[0].1);
    put("d/certbot/cert.pem", &pairs[0].0);
    put("d/certbot/chain.pem", &pki.issuer.pem);
    put("d/kube/tls.crt", &pairs[1].0);
    put("d/kube/tls.key", &pairs[1].1);
    put("d/kube/ca.crt", &pki.root.pem);
    put("d/step.test.crt", &pairs[2].0);
    put("d/step.test.key", &pairs[2].1);
    put("d/mkcert.test.pem", &pairs[3].0);
    put("d/mkcert.test-key.pem", &pairs[3].1);
    put("d/haproxy.pem", &format!("{}{}", pairs[4].0, pairs[4].1));
    put("d/README", "not a certificate");
    let bench = setup.start();
    assert_eq!(bench.told("certificate_refused"), Vec::<&str>::new());
    for (name, pair) in
        ["certbot.test", "kube.test", "step.test", "mkcert.test", "haproxy.test"].iter().zip(&pairs)
    {
        assert_eq!(bench.serving(name), [fingerprint(&pair.0)], "{name}");
    }
    assert_eq!(bench.picture.report(NOW).certificates.len(), 5);
}

#[test]
fn a_standby_that_answers_from_the_start_for_a_refused_primary_is_told() {
    let pki = Pki::new();
    let bench = Setup::new()
        .pair("a", Role::Primary, &pki.issue(&spec(&["a.test"]).days(-90, -1)))
        .pair("b", Role::Standby, &pki.issue(&spec(&["a.test", "*.test"])))
        .start();
    assert_eq!(bench.told("certificate_failover"), ["failover"]);
}

#[test]
fn another_configuration_keeps_what_remains_and_drops_the_rest() {
    let pki = Pki::new();
    let (a, b) = (pki.issue(&spec(&["a.test"])), pki.issue(&spec(&["b.test"])));
    let setup = Setup::new().pair("a", Role::Primary, &a).pair("b", Role::Primary, &b);
    let (sources, policy) = (setup.sources.clone(), setup.policy.clone());
    let bench = setup.start();
    write(&bench.at("a.crt"), "");
    let routed = vec![HostPattern::parse("a.test").unwrap()];
    super::lock(&bench.guard.ledger).configure(sources[..1].to_vec(), policy, routed, NOW);
    assert_eq!(bench.serving("a.test"), [fingerprint(&a.0)]);
    assert!(bench.serving("b.test").is_empty());
}

#[test]
fn a_clock_that_was_set_back_ranks_anew() {
    let pki = Pki::new();
    let primary = pki.issue(&spec(&["a.test"]));
    let standby = pki.issue(&spec(&["a.test"]).days(-30, 300));
    let bench =
        Setup::new().pair("a", Role::Primary, &primary).pair("b", Role::Standby, &standby).start();
    bench.tick_at(Duration::days(59));
    assert_eq!(bench.serving("a.test")[0], fingerprint(&standby.0));
    bench.tick_at(Duration::ZERO);
    assert_eq!(bench.serving("a.test")[0], fingerprint(&primary.0));
}

#[test]
fn rotten_standbys_and_common_ends_are_told() {
    let pki = Pki::new();
    let rotten = Setup::new()
        .pair("a", Role::Primary, &pki.issue(&spec(&["a.test"])))
        .pair("b", Role::Standby, &pki.issue(&spec(&["a.test"]).days(-90, -1)))
        .routed(&["a.test"])
        .start();
    assert!(codes(&rotten).contains(&"standby_rotten"));
    let together = Setup::new()
        .pair("a", Role::Primary, &pki.issue(&spec(&["a.test"])))
        .pair("b", Role::Standby, &pki.issue(&spec(&["a.test"])))
        .routed(&["a.test"])
        .start();
    assert!(codes(&together).contains(&"common_end"));
}

#[test]
fn ten_thousand_certificates_are_published_and_polled_quickly() {
    // Every name shares one key: making 10,000 keys is not what is measured.
    let pki = Pki::new();
    let setup = Setup::new().directory("d");
    let (chain, key) = pki.issue(&spec(&["a.test"]));
    for number in 0..300 {
        write(&setup.at(&format!("d/{number}.pem")), &format!("{chain}{key}"));
    }
    let bench = setup.start();
    let start = std::time::Instant::now();
    bench.guard.tick();
    assert!(start.elapsed() < std::time::Duration::from_millis(500));
    assert_eq!(bench.serving("a.test").len(), 1, "copies are one candidate");
}
