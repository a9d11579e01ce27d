//! A file that is cut short at any byte, written over the served one, never replaces it.
//!
//! `EVERGATE_CUTS=all` tries every offset on the real program, as the guard's own tests do
//! without one; otherwise it is every twenty-ninth, and those around the seams of the PEM blocks.

use std::fs;
use std::path::Path;

use rcgen::KeyPair;
use time::Duration;

use super::handshake::Looker;
use super::pki::{Pair, Pki};
use super::program::Gate;
use super::upstream::Upstream;

/// One file that is cut while the rest is there already.
struct Case {
    name: &'static str,
    /// The `[[cert]]` that reads the files.
    source: &'static str,
    /// What is served before.
    before: Vec<(&'static str, String)>,
    /// Files of the new pair that are whole.
    whole: Vec<(&'static str, String)>,
    /// The file that is cut.
    cut: (&'static str, String),
    /// What is served before and after.
    fingerprints: [String; 2],
}

const PAIR: &str = "[[cert]]\nchain = \"tls.crt\"\nkey = \"tls.key\"\n";
const COMBINED: &str = "[[cert]]\nbundle = \"all.pem\"\n";

#[test]
fn a_chain_cut_at_any_byte_never_replaces_the_one_that_is_served() {
    let pki = Pki::new();
    // The hardest kind of renewal keeps the key: the first certificate alone is a pair already.
    let key = KeyPair::generate().unwrap();
    let days = |from, to| (Duration::days(from), Duration::days(to));
    let [old, new] = [days(-30, 60), days(-1, 89)]
        .map(|(from, to)| pki.issue_for(&key, &["localhost"], from, to));
    let case = Case {
        name: "chain, same key",
        source: PAIR,
        before: vec![("tls.crt", old.chain), ("tls.key", old.key)],
        whole: Vec::new(),
        cut: ("tls.crt", new.chain),
        fingerprints: [old.fingerprint, new.fingerprint],
    };
    case.run(&pki);
    let [old, new] = rounds(&pki);
    let case = Case {
        name: "chain, new key there",
        source: PAIR,
        before: vec![("tls.crt", old.chain), ("tls.key", old.key)],
        whole: vec![("tls.key", new.key)],
        cut: ("tls.crt", new.chain),
        fingerprints: [old.fingerprint, new.fingerprint],
    };
    case.run(&pki);
}

#[test]
fn a_key_cut_at_any_byte_never_replaces_the_one_that_is_served() {
    let pki = Pki::new();
    let [old, new] = rounds(&pki);
    let case = Case {
        name: "key, new chain there",
        source: PAIR,
        before: vec![("tls.crt", old.chain), ("tls.key", old.key)],
        whole: vec![("tls.crt", new.chain)],
        cut: ("tls.key", new.key),
        fingerprints: [old.fingerprint, new.fingerprint],
    };
    case.run(&pki);
}

#[test]
fn a_combined_file_cut_at_any_byte_never_replaces_the_one_that_is_served() {
    let pki = Pki::new();
    type Join = fn(&Pair) -> String;
    let orders: [(&str, Join); 2] = [
        ("combined, key last", |pair| format!("{}{}", pair.chain, pair.key)),
        ("combined, key first", |pair| format!("{}{}", pair.key, pair.chain)),
    ];
    for (name, join) in orders {
        let [old, new] = rounds(&pki);
        let case = Case {
            name,
            source: COMBINED,
            before: vec![("all.pem", join(&old))],
            whole: Vec::new(),
            cut: ("all.pem", join(&new)),
            fingerprints: [old.fingerprint, new.fingerprint],
        };
        case.run(&pki);
    }
}

fn rounds(pki: &Pki) -> [Pair; 2] {
    [0, 1].map(|n| pki.round(&["localhost"], n))
}

impl Case {
    fn run(&self, pki: &Pki) {
        let folder = tempfile::tempdir().unwrap();
        let root = pki.root_in(folder.path());
        write_all(folder.path(), &self.before);
        let upstream = Upstream::start(folder.path());
        // Without polls and with a long silence, every look at the disk is one that is asked for.
        let guard = format!("[guard]\nquiet = \"5s\"\nroots = [\"{}\"]\n", root.display());
        let text = format!("{}{}{guard}", self.source, upstream.route());
        let gate = Gate::start(folder.path(), &text);
        let looker = Looker::new(gate.address, "localhost", &pki.root_pem);
        let [old, new] = &self.fingerprints;
        assert_eq!(looker.look().as_ref(), Ok(old), "{}", self.name);
        write_all(folder.path(), &self.whole);
        let (file, text) = &self.cut;
        let offsets = offsets(text);
        for cut in &offsets {
            fs::write(folder.path().join(file), &text[..*cut]).unwrap();
            gate.reload();
            assert_eq!(looker.look().as_ref(), Ok(old), "{}: cut at {cut}", self.name);
        }
        fs::write(folder.path().join(file), text).unwrap();
        gate.reload();
        assert_eq!(looker.look().as_ref(), Ok(new), "{}: whole at last", self.name);
        eprintln!("{}: {} cuts of {} bytes, none served", self.name, offsets.len(), text.len());
    }
}

fn write_all(folder: &Path, files: &[(&str, String)]) {
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// Where to cut. The last line's end is nothing that a file could miss.
fn offsets(text: &str) -> Vec<usize> {
    let all = std::env::var("EVERGATE_CUTS").is_ok_and(|cuts| cuts == "all");
    let seams: Vec<usize> = text.match_indices("-----").map(|(at, _)| at).collect();
    let near_seam = |offset: usize| seams.iter().any(|seam| seam.abs_diff(offset) <= 3);
    (0..text.trim_end().len()).filter(|at| all || at % 29 == 0 || near_seam(*at)).collect()
}
