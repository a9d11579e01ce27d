//! The guard's promises about what lies on disk, against real files and a clock that stands.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command as Program;

use time::Duration;

use super::report::State;
use super::testing::*;
use crate::config::model::{CertPlace, Role};
use crate::host::HostPattern;

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
        assert_eq!(
            bench.serving("a.test"),
            std::slice::from_ref(&rotation.old),
            "{}",
            rotation.name
        );
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
                assert_eq!(bench.serving("a.test"), std::slice::from_ref(&rotation.old), "{what}");
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
        assert_eq!(
            bench.serving("a.test"),
            std::slice::from_ref(&rotation.new),
            "{}",
            rotation.name
        );
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
    assert!(bench.codes().contains(&"drift"));
    write(&bench.at("a.key"), &new.1);
    bench.guard.scan();
    assert_eq!(bench.serving("a.test"), [fingerprint(&new.0)]);
    assert!(bench.picture.drifts(NOW).is_empty());
    assert!(!bench.codes().contains(&"drift"));
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
    assert!(bench.codes().contains(&"source_vanished"));
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
fn copies_of_a_certificate_are_one_candidate() {
    let pki = Pki::new();
    let setup = Setup::new().directory("d");
    let (chain, key) = pki.issue(&spec(&["a.test"]));
    for number in 0..3 {
        write(&setup.at(&format!("d/{number}.pem")), &format!("{chain}{key}"));
    }
    assert_eq!(setup.start().serving("a.test").len(), 1);
}
