//! The guard's promises about time: levels, standbys, held material, and the clock itself.

use time::Duration;

use super::report::{Level, State};
use super::testing::*;
use crate::config::model::{GuardPolicy, OnExpiry, Role};

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
    assert_eq!(bench.serving("a.test"), std::slice::from_ref(&second));
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
fn a_standby_that_answers_from_the_start_for_a_refused_primary_is_told() {
    let pki = Pki::new();
    let bench = Setup::new()
        .pair("a", Role::Primary, &pki.issue(&spec(&["a.test"]).days(-90, -1)))
        .pair("b", Role::Standby, &pki.issue(&spec(&["a.test", "*.test"])))
        .start();
    assert_eq!(bench.told("certificate_failover"), ["failover"]);
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
    assert!(rotten.codes().contains(&"standby_rotten"));
    let together = Setup::new()
        .pair("a", Role::Primary, &pki.issue(&spec(&["a.test"])))
        .pair("b", Role::Standby, &pki.issue(&spec(&["a.test"])))
        .routed(&["a.test"])
        .start();
    assert!(together.codes().contains(&"common_end"));
}
