//! Chains as clients build them; certs/ has the plain cases, here are those with a twist.

use std::sync::Arc;
use std::time::Instant;

use time::{Duration, OffsetDateTime};

use super::anchors::Anchors;
use super::chain::Completeness;
use super::inspect::{Facts, Inspection, Purpose, inspect};
use super::load::{Bundle, read_file};
use super::testing::*;
use crate::config::model::Role;

/// The facts of a combined file of these texts, with `known` as the only private roots.
fn facts(texts: &[&str], known: &[&str]) -> Facts {
    let folder = tempfile::tempdir().unwrap();
    let (path, roots) = (folder.path().join("a.pem"), folder.path().join("roots.pem"));
    write(&path, &texts.concat());
    write(&roots, &known.concat());
    let anchors = if known.is_empty() { Anchors::default() } else { Anchors::load(&[roots]) };
    let chain = Arc::new(read_file(&path));
    let bundle = Bundle {
        role: Role::Primary,
        key: chain.keys.first().cloned(),
        key_source: path,
        findings: Vec::new(),
        chain,
    };
    inspect(&bundle, &anchors, Purpose::Serve)
}

fn codes(inspection: &Inspection) -> Vec<&'static str> {
    inspection.findings.iter().map(|finding| finding.code).collect()
}

fn in_days(days: i64) -> OffsetDateTime {
    NOW + Duration::days(days)
}

#[test]
fn an_expiring_cross_signature_warns_before_its_end_and_not_after() {
    let (old, new) = (Authority::root("Old"), Authority::root("New"));
    let issuer = new.intermediate("Issuer", FAR);
    let issued = issuer.issue(&spec(&["a.test"]));
    let cross = old.cross_sign(&new, in_days(10));
    let facts = facts(&[&issued.leaf, &issuer.pem, &cross, &issued.key], &[&new.pem]);
    let before = facts.at(NOW);
    assert_eq!(before.effective_not_after, Some(in_days(10)), "old clients follow it");
    assert_eq!(codes(&before), Vec::<&str>::new());
    let after = facts.at(in_days(11));
    assert_eq!(after.effective_not_after, Some(in_days(60)));
    assert_eq!(codes(&after), ["extra_expired"]);
    assert_eq!(after.completeness, Completeness::Anchored);
}

#[test]
fn a_path_that_dies_is_left_for_one_that_lives() {
    // Two certificates of one issuer, name and key alike: a renewed intermediate beside the old.
    let root = Authority::root("Root");
    let issuer = root.intermediate("Issuer", in_days(5));
    let renewed = root.cross_sign(&issuer, FAR);
    let issued = issuer.issue(&spec(&["a.test"]));
    let facts = facts(&[&issued.leaf, &issuer.pem, &renewed, &issued.key], &[&root.pem]);
    assert_eq!(codes(&facts.at(in_days(6))), ["extra_expired"]);
    assert!(facts.at(in_days(6)).refusals().next().is_none());
}

#[test]
fn a_known_root_that_ends_first_is_the_end() {
    let root = Authority::root_until("Root", in_days(20));
    let issuer = root.intermediate("Issuer", FAR);
    let issued = issuer.issue(&spec(&["a.test"]));
    let texts = [issued.leaf.as_str(), &issuer.pem, &issued.key];
    assert_eq!(facts(&texts, &[&root.pem]).at(NOW).effective_not_after, Some(in_days(20)));
    assert_eq!(facts(&texts, &[]).at(NOW).effective_not_after, Some(in_days(60)));
    let sent = [issued.leaf.as_str(), &issuer.pem, &root.pem, &issued.key];
    assert_eq!(facts(&sent, &[]).at(NOW).effective_not_after, Some(in_days(20)));
    assert!(codes(&facts(&texts, &[&root.pem]).at(in_days(21))).contains(&"root_expired"));
}

#[test]
fn a_self_signed_leaf_is_trusted_where_it_is_a_known_root() {
    let own = self_signed(&spec(&["a.test"]));
    let unknown = facts(&[&own.leaf, &own.key], &[]).at(NOW);
    assert_eq!(codes(&unknown), ["self_signed"]);
    let known = facts(&[&own.leaf, &own.key], &[&own.leaf]).at(NOW);
    assert_eq!((codes(&known), known.completeness), (Vec::new(), Completeness::Anchored));
}

#[test]
fn a_maze_of_authorities_is_left_in_bounded_time() {
    // Thirty of one name, each of which might have issued each other.
    let maze: Vec<_> = (0..30).map(|_| Authority::root("Maze")).collect();
    let crossed: Vec<_> = maze
        .iter()
        .zip(maze.iter().skip(1).chain(maze.first()))
        .map(|(above, below)| above.cross_sign(below, FAR))
        .collect();
    let issued = maze[0].issue(&spec(&["a.test"]));
    let mut texts = vec![issued.leaf.as_str(), &issued.key];
    texts.extend(crossed.iter().map(String::as_str));
    let start = Instant::now();
    let facts = facts(&texts, &[]);
    facts.at(NOW);
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(facts.paths.len() <= 16);
}
