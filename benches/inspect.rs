//! Looking at certificates: one bundle, as `evergate inspect` does; a folder of 100, as `evergate
//! check` does; and a renewal on disk, as the guard does up to its publication.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::fs;

use criterion::{BatchSize, Criterion};
use evergate::clock;
use evergate::config::model::{CertPlace, CertSource, GuardPolicy, Role};
use evergate::guard::{self, Guard, State};
use evergate::host::HostName;
use evergate::observe::event::Teller;
use evergate::observe::metrics::GuardMetrics;

mod scene;

use scene::Authority;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let authority = Authority::new();
    inspect_bundle(&mut criterion, &authority);
    assess_directory(&mut criterion, &authority);
    publish_renewal(&mut criterion, &authority);
    criterion.final_summary();
}

fn bundle(authority: &Authority) -> String {
    let (chain, key) = authority.issue(vec!["a.test".to_owned()]);
    chain + &key
}

/// A leaf below two intermediates. All known roots are read each time, as the command does.
fn inspect_bundle(criterion: &mut Criterion, authority: &Authority) {
    let folder = tempfile::tempdir().unwrap();
    let (path, root) = (folder.path().join("a.pem"), folder.path().join("root.pem"));
    let upper = authority.intermediate("Bench Upper");
    let lower = upper.intermediate("Bench Lower");
    let (leaf, key) = lower.issue(vec!["a.test".to_owned()]);
    fs::write(&path, leaf + &lower.pem + &upper.pem + &key).unwrap();
    fs::write(&root, &authority.pem).unwrap();
    let (roots, now) = ([root], clock::system().now());
    criterion.bench_function("inspect_bundle", |bencher| {
        bencher.iter(|| assert_eq!(guard::inspect_pem(&path, &roots, now).state, State::Ready));
    });
}

/// Every file is read and judged anew.
fn assess_directory(criterion: &mut Criterion, authority: &Authority) {
    const FILES: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    for file in 0..FILES {
        let (chain, key) = authority.issue(vec![format!("{file}.test")]);
        fs::write(folder.path().join(format!("{file}.pem")), chain + &key).unwrap();
    }
    let place = CertPlace::Directory(folder.path().to_owned());
    let sources = vec![CertSource { place, role: Role::Primary }];
    let now = clock::system().now();
    criterion.bench_function("assess_directory_of_100", |bencher| {
        bencher.iter(|| {
            let policy = GuardPolicy::default();
            let report = guard::assess(sources.clone(), policy, Vec::new(), now);
            let active = report.certificates.iter().filter(|one| one.state == State::Active);
            assert_eq!(active.count(), FILES);
        });
    });
}

/// Two renewals replace each other; each has to be in service at once.
fn publish_renewal(criterion: &mut Criterion, authority: &Authority) {
    let folder = tempfile::tempdir().unwrap();
    let (path, beside) = (folder.path().join("a.pem"), folder.path().join("a.new"));
    let renewals = [bundle(authority), bundle(authority)];
    fs::write(&path, &renewals[0]).unwrap();
    let place = CertPlace::Pair { chain: path.clone(), key: path.clone() };
    let guard = Guard::new(
        vec![CertSource { place, role: Role::Primary }],
        GuardPolicy::default(),
        Vec::new(),
        clock::system(),
        Teller::new(),
        GuardMetrics::default(),
    );
    guard.scan();
    let (inventory, host) = (guard.inventory(), HostName::parse("a.test").unwrap());
    let serving = || inventory.current().candidates(&host)[0].fingerprint().to_owned();
    let mut round = 0;
    criterion.bench_function("publish_renewal", |bencher| {
        bencher.iter_batched(
            || {
                round += 1;
                fs::write(&beside, &renewals[round % 2]).unwrap();
                fs::rename(&beside, &path).unwrap();
                serving()
            },
            |before| {
                guard.scan();
                assert_ne!(serving(), before);
            },
            BatchSize::PerIteration,
        );
    });
}
