//! Walks certs/: each folder is a case whose expected.txt says what the guard makes of it.
//!
//! `UPDATE=1 cargo test --test it catalogue` writes down what is found; read the difference before
//! you believe it. `UPDATE=issue` makes all certificates anew before, which needs openssl for
//! what rcgen can't make.

mod issue;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use evergate::config::model::{CertPlace, CertSource, GuardPolicy, Role};
use evergate::guard::{Report, State, assess};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The day as of which new cases are judged.
const AS_OF: &str = "2030-01-01T12:00:00Z";

#[test]
fn every_certificate_of_the_catalogue_is_judged_as_its_folder_says() {
    let update = std::env::var("UPDATE").ok();
    if update.as_deref() == Some("issue") {
        issue::all(&root());
    }
    let mut wrong = String::new();
    let cases = cases();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    for case in cases {
        let file = case.join("expected.txt");
        let expected = fs::read_to_string(&file).unwrap_or_default();
        let found = judged(&case, as_of(&expected));
        if update.is_some() {
            fs::write(&file, &found).unwrap();
        } else if found != expected {
            writeln!(wrong, "{}\nexpected\n{expected}found\n{found}", case.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The name of a folder ends in what it is about, so that a refused case can't be blessed by a
/// careless update.
#[test]
fn good_cases_are_served_and_bad_ones_refused() {
    for case in cases() {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(case.join("expected.txt")).unwrap();
        let verdict = match name.split_once('-').unwrap().0 {
            "good" | "odd" => "verdict: serve",
            "bad" => "verdict: refuse",
            other => panic!("{name}: {other} is neither good, odd nor bad"),
        };
        assert!(expected.lines().any(|line| line == verdict), "{name}: {expected}");
        let silent = expected.lines().any(|line| line == "findings: none");
        assert_eq!(silent, name.starts_with("good-"), "{name}: {expected}");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("certs")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // certs/local is what `dev` keeps there, certs/demo what the demo serves.
        .filter(|path| path.is_dir() && !path.ends_with("local") && !path.ends_with("demo"))
        .collect();
    cases.sort();
    cases
}

fn as_of(expected: &str) -> OffsetDateTime {
    let day = expected.lines().find_map(|line| line.strip_prefix("as of: "));
    OffsetDateTime::parse(day.unwrap_or(AS_OF), &Rfc3339).unwrap()
}

fn judged(case: &Path, now: OffsetDateTime) -> String {
    let (chain, key) = (case.join("chain.pem"), case.join("key.pem"));
    let combined = case.join("combined.pem");
    let place = if combined.exists() {
        CertPlace::Pair { chain: combined.clone(), key: combined }
    } else if chain.exists() && key.exists() {
        CertPlace::Pair { chain, key }
    } else {
        CertPlace::Directory(case.to_owned())
    };
    let roots = case.join("known-roots.pem");
    let policy = GuardPolicy {
        roots: if roots.exists() { vec![roots] } else { Vec::new() },
        ..GuardPolicy::default()
    };
    let sources = vec![CertSource { place, role: Role::Primary }];
    told(&assess(sources, policy, Vec::new(), now), now)
}

fn told(report: &Report, now: OffsetDateTime) -> String {
    let served = report.certificates.iter().any(|one| one.state == State::Active);
    let refused = report.certificates.iter().any(|one| one.state == State::Refused);
    let mut codes: Vec<_> =
        report.certificates.iter().flat_map(|one| &one.findings).map(|f| f.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let codes = if codes.is_empty() { "none".to_owned() } else { codes.join(" ") };
    let names: Vec<_> = report
        .hosts
        .iter()
        .filter(|host| host.serving.is_some())
        .map(|host| host.host.to_string())
        .collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    let verdict = match (served, refused) {
        (true, false) => "serve",
        (false, true) => "refuse",
        (true, true) => "both",
        (false, false) => "nothing",
    };
    format!(
        "as of: {}\nverdict: {verdict}\nfindings: {codes}\nserves: {names}\n",
        evergate::clock::rfc3339(now)
    )
}
