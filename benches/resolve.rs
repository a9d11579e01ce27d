//! Who answers for a server name, among 10,000 names of 1,000 certificates: what each handshake
//! asks the published snapshot.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

use std::hint::black_box;

use criterion::Criterion;
use evergate::clock;
use evergate::config::model::{CertPlace, CertSource, GuardPolicy, Role};
use evergate::guard::{Guard, Inventory};
use evergate::host::HostName;
use evergate::observe::event::Teller;
use evergate::observe::metrics::GuardMetrics;

mod scene;

use scene::Authority;

const CERTIFICATES: usize = 1_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let inventory = inventory();
    // The name as it comes in a handshake is parsed first.
    let cases = [
        ("resolve_10k_names", "h7.c567.bench.test", 1),
        ("resolve_10k_names_by_wildcard", "any.w567.bench.test", 1),
        ("resolve_10k_names_unknown", "h7.c567.other.test", 0),
    ];
    for (bench, name, candidates) in cases {
        criterion.bench_function(bench, |bencher| {
            bencher.iter(|| {
                let host = HostName::parse(black_box(name)).unwrap();
                assert_eq!(inventory.current().candidates(&host).len(), candidates);
            });
        });
    }
    criterion.final_summary();
}

/// Nine names and a wildcard for each certificate, read from a folder as in service.
fn inventory() -> Inventory {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    for certificate in 0..CERTIFICATES {
        let exact = (0..9).map(|host| format!("h{host}.c{certificate}.bench.test"));
        let names = exact.chain([format!("*.w{certificate}.bench.test")]).collect();
        let (chain, key) = authority.issue(names);
        let path = folder.path().join(format!("{certificate}.pem"));
        std::fs::write(path, chain + &key).unwrap();
    }
    let place = CertPlace::Directory(folder.path().to_owned());
    let guard = Guard::new(
        vec![CertSource { place, role: Role::Primary }],
        GuardPolicy::default(),
        Vec::new(),
        clock::system(),
        Teller::new(),
        GuardMetrics::default(),
    );
    guard.scan();
    guard.inventory()
}
