//! Certificates are swapped under load, in the five manners that there are: every new one is
//! served within two seconds, and no request and no handshake is lost on the way.
//!
//! `EVERGATE_SWAPS` says how many times in each manner.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::handshake::Looker;
use super::load::{Load, SILENT_CONNECTIONS};
use super::pki::{Pair, Pki};
use super::program::Gate;
use super::upstream::Upstream;
use super::{H2LOAD, WRK, pause, present, until};

/// How certificates lie on disk and are replaced there.
struct Manner {
    name: &'static str,
    /// The `[[cert]]` that reads them.
    source: &'static str,
    /// Puts the pair of round `n` in place of the one before; round 0 finds an empty folder.
    put: fn(folder: &Path, n: usize, pair: &Pair),
}

const PAIR: &str = "[[cert]]\nchain = \"tls.crt\"\nkey = \"tls.key\"\n";

const RENAME: Manner = Manner {
    name: "rename-over of both files",
    source: PAIR,
    put: |folder, _, pair| {
        for (name, text) in [("tls.crt", &pair.chain), ("tls.key", &pair.key)] {
            let beside = folder.join(format!("{name}.new"));
            fs::write(&beside, text).unwrap();
            fs::rename(beside, folder.join(name)).unwrap();
        }
    },
};

const CHAIN_THEN_KEY: Manner = Manner {
    name: "rewrite in place, chain then key",
    source: PAIR,
    put: |folder, _, pair| {
        fs::write(folder.join("tls.crt"), &pair.chain).unwrap();
        fs::write(folder.join("tls.key"), &pair.key).unwrap();
    },
};

const KEY_THEN_CHAIN: Manner = Manner {
    name: "rewrite in place, key then chain",
    source: PAIR,
    put: |folder, _, pair| {
        fs::write(folder.join("tls.key"), &pair.key).unwrap();
        fs::write(folder.join("tls.crt"), &pair.chain).unwrap();
    },
};

/// As the kubelet's atomic writer does it: a new folder, one rename, the old folder goes.
const DATA_LINK: Manner = Manner {
    name: "..data symlink swap",
    source: "[[cert]]\ndirectory = \"mount\"\n",
    put: |folder, n, pair| {
        let mount = folder.join("mount");
        let stamped = format!("..2026_11_24_{n}");
        fs::create_dir_all(mount.join(&stamped)).unwrap();
        fs::write(mount.join(&stamped).join("tls.crt"), &pair.chain).unwrap();
        fs::write(mount.join(&stamped).join("tls.key"), &pair.key).unwrap();
        symlink(&stamped, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        if n == 0 {
            symlink("..data/tls.crt", mount.join("tls.crt")).unwrap();
            symlink("..data/tls.key", mount.join("tls.key")).unwrap();
        } else {
            fs::remove_dir_all(mount.join(format!("..2026_11_24_{}", n - 1))).unwrap();
        }
    },
};

/// As certbot does it: four numbered files, and each link is unlinked and made again.
const LIVE_LINKS: Manner = Manner {
    name: "certbot live/ symlink swap",
    source: "[[cert]]\ndirectory = \"live\"\n",
    put: |folder, n, pair| {
        let (live, archive) = (folder.join("live/localhost"), folder.join("archive/localhost"));
        fs::create_dir_all(&live).unwrap();
        fs::create_dir_all(&archive).unwrap();
        let kinds = [
            ("cert", &pair.leaf),
            ("privkey", &pair.key),
            ("chain", &pair.issuer),
            ("fullchain", &pair.chain),
        ];
        for (kind, text) in kinds {
            fs::write(archive.join(format!("{kind}{}.pem", n + 1)), text).unwrap();
        }
        for (kind, _) in kinds {
            let link = live.join(format!("{kind}.pem"));
            if n > 0 {
                fs::remove_file(&link).unwrap();
            }
            symlink(format!("../../archive/localhost/{kind}{}.pem", n + 1), link).unwrap();
        }
    },
};

#[test]
fn no_request_is_lost_when_both_files_are_renamed_over() {
    rotate(&RENAME);
}

#[test]
fn no_request_is_lost_when_the_chain_is_rewritten_before_the_key() {
    rotate(&CHAIN_THEN_KEY);
}

#[test]
fn no_request_is_lost_when_the_key_is_rewritten_before_the_chain() {
    rotate(&KEY_THEN_CHAIN);
}

#[test]
fn no_request_is_lost_when_a_kubernetes_mount_is_swapped() {
    rotate(&DATA_LINK);
}

#[test]
fn no_request_is_lost_when_certbot_renews() {
    rotate(&LIVE_LINKS);
}

/// After this long at most, the new certificate is what clients get.
const SERVED_WITHIN: Duration = Duration::from_secs(2);

/// Each manner has the load to itself.
static LOADED: Mutex<()> = Mutex::new(());

fn rotate(manner: &Manner) {
    if !present(&[WRK, H2LOAD]) {
        return;
    }
    let _alone = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let swaps: usize = std::env::var("EVERGATE_SWAPS").map_or(10, |swaps| swaps.parse().unwrap());
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    let root = pki.root_in(folder.path());
    let upstream = Upstream::start(folder.path());
    let mut served = pki.round(&["localhost"], 0);
    (manner.put)(folder.path(), 0, &served);
    let trust = format!("[guard]\nroots = [\"{}\"]\n", root.display());
    let text = format!("{}{}{trust}", manner.source, upstream.route());
    let gate = Gate::start(folder.path(), &text);
    let looker = Looker::new(gate.address, "localhost", &pki.root_pem);
    assert_eq!(looker.look(), Ok(served.fingerprint.clone()));
    let load = Load::start(folder.path(), gate.address);
    until("the load", Duration::from_secs(10), || {
        (gate.handshakes().1 == SILENT_CONNECTIONS).then_some(())
    });
    let mut times = Vec::with_capacity(swaps);
    for n in 1..=swaps {
        let next = pki.round(&["localhost"], n);
        (manner.put)(folder.path(), n, &next);
        times.push(time_to_served(&looker, &served, &next, n));
        served = next;
    }
    // Before the load ends: wrk breaks off whatever it is at, handshakes too.
    let (handshakes, failed) = gate.handshakes();
    let failed = failed - SILENT_CONNECTIONS;
    let totals = load.end();
    times.sort_unstable();
    let share = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let (median, most, longest) = (share(50), share(99), share(100));
    let line = format!(
        "{}: {swaps} swaps; served after {median:?} (median), {most:?} (99 %), \
         {longest:?} (longest); \
         {handshakes} handshakes, {failed} failed; wrk keep-alive {} requests, {} failed; \
         wrk Connection: close {} requests, {} failed; h2load {} requests, {} failed\n",
        manner.name,
        totals.kept_alive.requests,
        totals.kept_alive.failures,
        totals.closing.requests,
        totals.closing.failures,
        totals.h2.requests,
        totals.h2.failures,
    );
    // For the record, past the test harness.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    assert_eq!(failed, 0, "{line}\n{}", gate.log_text());
    for count in [totals.kept_alive, totals.closing, totals.h2] {
        assert_eq!(count.failures, 0, "{line}\n{}", gate.log_text());
    }
    assert_eq!(refusals_told(&gate), Vec::<String>::new());
    gate.end();
}

/// Shakes hands until `next` is shown. Until then it has to be `old`, and never nothing.
fn time_to_served(looker: &Looker, old: &Pair, next: &Pair, n: usize) -> Duration {
    let start = Instant::now();
    loop {
        let shown = looker.look().unwrap_or_else(|error| panic!("swap {n}: {error}"));
        let took = start.elapsed();
        if shown == next.fingerprint {
            assert!(took <= SERVED_WITHIN, "swap {n}: served only after {took:?}");
            return took;
        }
        assert_eq!(shown, old.fingerprint, "swap {n}: neither the old nor the new one");
        assert!(took <= SERVED_WITHIN, "swap {n}: the old one is served after {took:?}");
        pause(Duration::from_millis(5));
    }
}

/// A rotation that goes well is no reason to alarm anybody.
fn refusals_told(gate: &Gate) -> Vec<String> {
    let alarming = ["certificate_refused", "certificate_held", "certificate_drift"];
    let told = gate.log().into_iter().filter(|line| alarming.iter().any(|a| line["event"] == *a));
    told.map(|line| line.to_string()).collect()
}
