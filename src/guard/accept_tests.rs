//! Acceptance by hand, against real files: what it reaches, how long it holds, what it can't.

use time::Duration;

use super::report::State;
use super::testing::*;
use super::{Accepted, NotAccepted, lock};
use crate::clock::Clock;
use crate::config::model::Role;

fn accept(bench: &Bench, fingerprint: &str) -> Result<Accepted, NotAccepted> {
    let now = bench.clock.now();
    lock(&bench.guard.ledger).accept(fingerprint, now)
}

fn states(bench: &Bench) -> Vec<State> {
    let report = bench.picture.report(bench.clock.now());
    report.certificates.iter().map(|one| one.state).collect()
}

#[test]
fn what_is_held_serves_once_it_is_accepted_and_goes_on_after_rescans() {
    let pki = Pki::new();
    let both = pki.issue(&spec(&["a.test", "b.test"]));
    let one = pki.issue(&spec(&["a.test"]));
    let setup = Setup::new().routed(&["a.test", "b.test"]);
    let bench = setup.pair("a", Role::Primary, &both).start();
    write(&bench.at("a.crt"), &one.0);
    write(&bench.at("a.key"), &one.1);
    bench.guard.scan();
    assert_eq!(states(&bench), [State::Active, State::Held]);
    let accepted = accept(&bench, &fingerprint(&one.0)[..8]).unwrap();
    assert_eq!(accepted.fingerprint_sha256, fingerprint(&one.0));
    assert_eq!(accepted.doubts[0].code, "drops_name");
    assert_eq!(bench.told("certificate_accepted"), ["accepted"]);
    for _ in 0..2 {
        assert_eq!(bench.serving("a.test"), [fingerprint(&one.0)]);
        assert!(bench.serving("b.test").is_empty());
        bench.tick_at(Duration::seconds(10));
        bench.guard.scan();
    }
    let again = accept(&bench, &fingerprint(&one.0));
    assert!(matches!(again, Err(NotAccepted::Served(_))), "{again:?}");
}

#[test]
fn an_acceptance_is_for_one_content_and_ends_with_its_service() {
    let pki = Pki::new();
    let new = pki.issue(&spec(&["a.test"]));
    let backup = pki.issue(&spec(&["a.test"]).days(-40, 50));
    let other_backup = pki.issue(&spec(&["a.test"]).days(-41, 49));
    let bench = Setup::new().pair("a", Role::Primary, &new).start();
    let put = |issued: &(String, String)| {
        write(&bench.at("a.crt"), &issued.0);
        write(&bench.at("a.key"), &issued.1);
        bench.guard.scan();
    };
    put(&backup);
    accept(&bench, &fingerprint(&backup.0)).unwrap();
    assert_eq!(bench.serving("a.test"), [fingerprint(&backup.0)]);
    put(&other_backup);
    assert_eq!(bench.serving("a.test"), [fingerprint(&backup.0)], "another content");
    put(&new);
    assert_eq!(bench.serving("a.test"), [fingerprint(&new.0)]);
    put(&backup);
    assert_eq!(bench.serving("a.test"), [fingerprint(&new.0)], "replaced since");
}

#[test]
fn what_is_refused_or_gone_from_disk_can_not_be_accepted() {
    let pki = Pki::new();
    let good = pki.issue(&spec(&["a.test"]));
    let expired = pki.issue(&spec(&["a.test"]).days(-40, -1));
    let backup = pki.issue(&spec(&["a.test"]).days(-40, 50));
    let bench = Setup::new().pair("a", Role::Primary, &good).start();
    let put = |issued: &(String, String)| {
        write(&bench.at("a.crt"), &issued.0);
        write(&bench.at("a.key"), &issued.1);
    };
    put(&expired);
    let refused = accept(&bench, &fingerprint(&expired.0));
    let Err(NotAccepted::Refused(_, why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("expired at"), "{why}");
    put(&backup);
    bench.guard.scan();
    assert!(states(&bench).contains(&State::Held));
    // It went away after the last look, and before somebody said yes to it.
    put(&good);
    assert_eq!(accept(&bench, &fingerprint(&backup.0)), Err(NotAccepted::Unknown));
    assert_eq!(bench.serving("a.test"), [fingerprint(&good.0)]);
}
