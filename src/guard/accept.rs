//! Acceptance by hand: which held material somebody means by a fingerprint (rule 4). Pure.

use std::fmt;

use super::finding::Finding;
use super::picture::Outcome;

/// Held material that went into service because somebody said so.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Accepted {
    /// SHA-256 of the leaf, lower-case hex.
    pub fingerprint_sha256: String,
    /// The files it came from: the same leaf may have been held in several places.
    pub sources: Vec<String>,
    /// What had been doubted.
    pub doubts: Vec<Finding>,
}

/// Why nothing was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAccepted {
    /// It is no fingerprint, and too short or too long for the beginning of one.
    Malformed,
    /// No certificate that was read has it.
    Unknown,
    /// Several certificates begin like that. Holds their fingerprints.
    Ambiguous(Vec<String>),
    /// It is served already; nothing waits.
    Served(String),
    /// It can never be accepted. Holds the file and the first reason.
    Refused(String, String),
}

impl fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => write!(
                f,
                "this is no SHA-256 fingerprint: write its 64 hex digits, or at least the first \
                 {DIGITS_MIN}"
            ),
            Self::Unknown => f.write_str(
                "no certificate with this fingerprint was read; `evergate status` lists those held",
            ),
            Self::Ambiguous(all) => {
                write!(f, "several certificates begin like this, write more: {}", all.join(", "))
            }
            Self::Served(source) => {
                write!(f, "{source} is served with this certificate; nothing of it is held")
            }
            Self::Refused(source, why) => {
                write!(f, "{source} is refused, and what is refused is never served: {why}")
            }
        }
    }
}

impl std::error::Error for NotAccepted {}

/// Hex digits by which a certificate may be named; fewer are soon another's too.
const DIGITS_MIN: usize = 8;
/// Of all of SHA-256.
const DIGITS_MAX: usize = 64;

/// One certificate that was read, for whoever is asked for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Of the leaf.
    pub fingerprint: &'a str,
    /// The chain's file.
    pub source: &'a str,
    /// What became of it.
    pub outcome: &'a Outcome,
}

/// The one fingerprint among `known` that `wanted` begins, of which at least one is held.
pub(super) fn choose(wanted: &str, known: &[Known<'_>]) -> Result<String, NotAccepted> {
    let wanted = wanted.replace(':', "").to_ascii_lowercase();
    let hex = wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || !(DIGITS_MIN..=DIGITS_MAX).contains(&wanted.len()) {
        return Err(NotAccepted::Malformed);
    }
    let meant: Vec<_> = known.iter().filter(|one| one.fingerprint.starts_with(&wanted)).collect();
    let mut all: Vec<_> = meant.iter().map(|one| one.fingerprint.to_owned()).collect();
    all.sort_unstable();
    all.dedup();
    let fingerprint = match all.as_slice() {
        [] => return Err(NotAccepted::Unknown),
        [one] => one.clone(),
        _ => return Err(NotAccepted::Ambiguous(all)),
    };
    let held = |one: &&&Known<'_>| matches!(one.outcome, Outcome::Held(_));
    if meant.iter().any(|one| held(&one)) {
        return Ok(fingerprint);
    }
    let refused = meant.iter().find_map(|one| match one.outcome {
        Outcome::Refused(why) => Some((one.source, why)),
        _ => None,
    });
    Err(match (refused, meant.first()) {
        (Some((source, why)), _) => {
            let why = why.first().map_or_else(String::new, |finding| finding.message.clone());
            NotAccepted::Refused(source.to_owned(), why)
        }
        (None, first) => NotAccepted::Served(first.map_or("", |one| one.source).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::finding;

    #[test]
    fn a_fingerprint_or_an_unambiguous_beginning_names_what_is_held() {
        let held = Outcome::Held(vec![finding::OLDER.about(&[&"a", &"b"])]);
        let refused = Outcome::Refused(vec![finding::EMPTY.about(&[&"r.crt"])]);
        let served = Outcome::Served;
        let one = |fingerprint, outcome| Known { fingerprint, source: "s.crt", outcome };
        let known = [
            one("aaaaaaaa11", &held),
            one("aaaaaaaa11", &served),
            one("bbbbbbbb11", &served),
            one("cccccccc11", &refused),
            one("dddddddd11", &held),
            one("dddddddd22", &served),
        ];
        let ok = |text: &str| Ok(text.to_owned());
        let both = vec!["dddddddd11".to_owned(), "dddddddd22".to_owned()];
        let cases = [
            ("aaaaaaaa", ok("aaaaaaaa11")),
            ("AA:AA:AA:AA:11", ok("aaaaaaaa11")),
            ("dddddddd1", ok("dddddddd11")),
            ("dddddddd", Err(NotAccepted::Ambiguous(both))),
            ("bbbbbbbb", Err(NotAccepted::Served("s.crt".to_owned()))),
            (
                "cccccccc",
                Err(NotAccepted::Refused("s.crt".to_owned(), "r.crt is empty".to_owned())),
            ),
            ("eeeeeeee", Err(NotAccepted::Unknown)),
            ("aaaaaaa", Err(NotAccepted::Malformed)),
            ("aaaaaaaaz", Err(NotAccepted::Malformed)),
            ("", Err(NotAccepted::Malformed)),
        ];
        for (wanted, expected) in cases {
            assert_eq!(choose(wanted, &known), expected, "{wanted}");
        }
    }
}
