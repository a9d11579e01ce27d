//! (facts, now, what is served) -> Serve, Hold or Refuse. Pure.
//!
//! Two questions in this order: may it be served at all (rule 2), and does it make anything worse
//! than what is served now (rules 3 and 4).

use time::OffsetDateTime;

use super::chain::Completeness;
use super::expiry;
use super::finding::{self, Finding};
use super::inspect::{Facts, Inspection, SharedFacts};
use super::load::{Digest, Key};
use super::report::Level;
use crate::clock::rfc3339;
use crate::host::HostPattern;
use rustls::pki_types::CertificateDer;

/// What becomes of a bundle.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes into service.
    Serve(Approval),
    /// It is good but suspicious: what is served stays. Holds the reasons.
    Hold(Vec<Finding>),
    /// It is not good. Holds the reasons.
    Refuse(Vec<Finding>),
}

/// The proof that [`judge`] let a bundle through: nobody else can make one, and the inventory
/// takes nothing else.
#[derive(Debug)]
pub(super) struct Approval {
    facts: SharedFacts,
    path: usize,
    key: Key,
}

impl Approval {
    /// What was approved.
    pub(super) fn facts(&self) -> &SharedFacts {
        &self.facts
    }

    /// Its key.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// What to send: the best path in order, then whatever else was sent, in its own.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let path = self.facts.paths.get(self.path).map_or(&[][..], |path| &path.certs);
        let rest = (0..self.facts.sent.len()).filter(|index| !path.contains(index));
        path.iter()
            .copied()
            .chain(rest)
            .filter_map(|index| self.facts.sent.get(index))
            .map(|sent| sent.der.clone())
            .collect()
    }
}

/// What a bundle would replace.
#[derive(Debug)]
pub(super) struct Incumbent<'a> {
    /// What is served now.
    pub facts: &'a Facts,
    /// The routed names that it alone holds.
    pub relied: &'a [HostPattern],
    /// The content that somebody accepted in its place, whatever it makes worse.
    pub accepted: Option<Digest>,
}

/// Decides about one bundle at `now`; without an incumbent nothing can be made worse.
pub(super) fn judge(
    facts: &SharedFacts,
    now: OffsetDateTime,
    incumbent: Option<&Incumbent<'_>>,
) -> Verdict {
    let inspection = facts.at(now);
    let refusals: Vec<_> = inspection.refusals().cloned().collect();
    if !refusals.is_empty() {
        return Verdict::Refuse(refusals);
    }
    let (Some(path), Some(key)) = (inspection.path, facts.key.clone()) else {
        // Not reached: a bundle without path or key has a finding that says so.
        return Verdict::Refuse(vec![finding::NO_CERTIFICATE.about(&[&facts.source])]);
    };
    if let Some(incumbent) = incumbent {
        let doubts = doubts(facts, &inspection, incumbent, now);
        let accepted = incumbent.accepted == Some(facts.content);
        if !doubts.is_empty() && !accepted && !rescues(facts, &inspection, incumbent.facts, now) {
            return Verdict::Hold(doubts);
        }
    }
    Verdict::Serve(Approval { facts: SharedFacts::clone(facts), path, key })
}

/// Whether held material is better than none: what is served is about to die, or dead, and this
/// lives longer.
fn rescues(facts: &Facts, inspection: &Inspection, served: &Facts, now: OffsetDateTime) -> bool {
    let served_end = served.at(now).effective_not_after;
    let dying = served_end
        .is_none_or(|end| expiry::level_at(served.lifetime(), end, now) >= Level::Emergency);
    dying
        && facts.fingerprint() != served.fingerprint()
        && inspection.effective_not_after > served_end
}

/// What the replacement would make worse.
fn doubts(
    facts: &Facts,
    inspection: &Inspection,
    incumbent: &Incumbent<'_>,
    now: OffsetDateTime,
) -> Vec<Finding> {
    let served = incumbent.facts;
    let mut doubts = Vec::new();
    if facts.fingerprint() == served.fingerprint() && facts.sent.len() < served.sent.len() {
        let counts: [&dyn std::fmt::Display; 3] =
            [&facts.source, &facts.sent.len(), &served.sent.len()];
        doubts.push(finding::CHAIN_SHORTENED.about(&counts));
    } else if let Some(issuer) = missing_issuer(facts, inspection, served, now) {
        doubts.push(finding::CHAIN_INCOMPLETE.about(&[&facts.source, &issuer]));
    }
    let dropped = |name: &&HostPattern| !facts.names().iter().any(|n| n.covers_pattern(name));
    if let Some(name) = incumbent.relied.iter().find(dropped) {
        doubts.push(finding::DROPS_NAME.about(&[&facts.source, name]));
    }
    if let Some(usage) = lost_usage(facts, served) {
        doubts.push(finding::LOSES_EKU.about(&[&facts.source, &usage]));
    }
    if let (Some(new), Some(old)) = (facts.leaf_sent(), served.leaf_sent())
        && new.not_before < old.not_before
        && new.not_after < old.not_after
    {
        doubts.push(finding::OLDER.about(&[&facts.source, &rfc3339(new.not_after)]));
    }
    doubts
}

/// The issuer that the new chain ends before, although what is served goes further: a new chain
/// whose file is written only as far as its first certificates.
fn missing_issuer(
    facts: &Facts,
    inspection: &Inspection,
    served: &Facts,
    now: OffsetDateTime,
) -> Option<String> {
    let path = facts.paths.get(inspection.path?)?;
    let last = facts.sent.get(*path.certs.last()?)?;
    if inspection.completeness == Completeness::Anchored || path.anchor_end().is_some() {
        return None;
    }
    let was_sent = served
        .sent
        .iter()
        // That a root is no longer sent is an improvement.
        .any(|sent| sent.subject == last.issuer && !sent.self_issued);
    let was_complete = served.at(now).completeness > inspection.completeness;
    (was_sent || was_complete).then(|| last.issuer.clone())
}

/// A usage that is named in the served leaf and missing in the new one.
fn lost_usage(facts: &Facts, served: &Facts) -> Option<String> {
    let new = facts.leaf.as_ref()?.usages.as_ref()?;
    let old = served.leaf.as_ref()?.usages.as_ref()?;
    old.iter().find(|usage| !new.contains(usage)).map(|oid| usage_name(oid).to_owned())
}

fn usage_name(oid: &str) -> &str {
    match oid {
        "1.3.6.1.5.5.7.3.1" => "serverAuth",
        "1.3.6.1.5.5.7.3.2" => "clientAuth",
        other => other,
    }
}
