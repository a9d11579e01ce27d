//! What the guard does -> events and counters.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;

use super::finding::{self, Finding};
use super::inspect::Facts;
use super::inventory::{HostKey, Served, Snapshot};
use super::report::Level;
use super::standby::Standing;
use crate::clock::{humane, rfc3339};
use crate::config::model::Role;
use crate::host::HostPattern;
use crate::observe::event::{Event, Teller};
use crate::observe::metrics::GuardMetrics;

/// Tells and counts; a silent one, for `check`, does neither.
#[derive(Debug, Default)]
pub(super) struct Voice(Option<(Teller, GuardMetrics)>);

/// Names that one message lists before it counts the rest.
const NAMES_MAX: usize = 5;

impl Voice {
    /// A voice that is heard.
    pub(super) fn new(teller: Teller, metrics: GuardMetrics) -> Self {
        Self(Some((teller, metrics)))
    }

    /// A voice that says nothing.
    pub(super) fn silent() -> Self {
        Self(None)
    }

    /// A certificate went into service.
    pub(super) fn published(&self, facts: &Facts, now: OffsetDateTime) {
        let fingerprint = facts.fingerprint().unwrap_or_default();
        let end = facts.at(now).effective_not_after.unwrap_or(now);
        let names = list(facts.names().iter().map(ToString::to_string));
        let does = match facts.role {
            Role::Primary => "serves",
            Role::Standby => "stands by for",
        };
        let things: [&dyn std::fmt::Display; 5] =
            [&short(fingerprint), &facts.source, &does, &names, &rfc3339(end)];
        let told = finding::PUBLISHED.about(&things);
        self.count(|metrics| metrics.reloaded("published", "published"));
        self.tell("certificate_published", &facts.source, Some(fingerprint), &told);
    }

    /// A slot holds something that is not served.
    pub(super) fn trouble(
        &self,
        path: &Path,
        fingerprint: Option<&str>,
        held: bool,
        findings: &[Finding],
    ) {
        let Some(first) = findings.first() else {
            return;
        };
        if first.code == finding::SOURCE_VANISHED.code {
            // Told as drift.
            return;
        }
        let (event, result) =
            if held { ("certificate_held", "held") } else { ("certificate_refused", "refused") };
        self.count(|metrics| {
            metrics.reloaded(result, first.code);
            if !held {
                metrics.refused(first.code);
            }
        });
        let told = Finding { message: joined(findings), ..first.clone() };
        self.tell(event, &path.display().to_string(), fingerprint, &told);
    }

    /// Somebody accepted what was held.
    pub(super) fn accepted(&self, facts: &Facts, doubts: &[Finding]) {
        let fingerprint = facts.fingerprint().unwrap_or_default();
        let things: [&dyn std::fmt::Display; 3] =
            [&short(fingerprint), &facts.source, &joined(doubts)];
        let told = finding::ACCEPTED.about(&things);
        self.tell("certificate_accepted", &facts.source, Some(fingerprint), &told);
    }

    /// Disk and served have differed for longer than a rotation takes.
    pub(super) fn drift(
        &self,
        path: &Path,
        served: &Facts,
        since: OffsetDateTime,
        findings: &[Finding],
    ) {
        let things: [&dyn std::fmt::Display; 3] =
            [&path.display(), &rfc3339(since), &joined(findings)];
        let told = finding::DRIFT.about(&things);
        self.tell("certificate_drift", &served.source, served.fingerprint(), &told);
    }

    /// The end comes nearer.
    pub(super) fn level(
        &self,
        facts: &Facts,
        level: Level,
        end: OffsetDateTime,
        answers: usize,
        now: OffsetDateTime,
    ) {
        if let Some(told) = level_finding(facts, level, end, answers, now) {
            self.tell("certificate_level", &facts.source, facts.fingerprint(), &told);
        }
    }

    fn handed_over(&self, told: &Finding, facts: &Facts) {
        self.count(GuardMetrics::failed_over);
        self.tell("certificate_failover", &facts.source, facts.fingerprint(), told);
    }

    fn count(&self, count: impl FnOnce(&GuardMetrics)) {
        if let Some((_, metrics)) = &self.0 {
            count(metrics);
        }
    }

    fn tell(&self, event: &'static str, thing: &str, fingerprint: Option<&str>, finding: &Finding) {
        if let Some((teller, _)) = &self.0 {
            teller.tell(Event {
                event,
                severity: finding.severity,
                code: finding.code,
                thing: finding::printable(thing),
                message: finding.message.clone(),
                remedy: finding.remedy.clone(),
                fingerprint: fingerprint.map(ToOwned::to_owned),
            });
        }
    }
}

/// What there is to say about `level`; nothing about `Ok`.
pub(super) fn level_finding(
    facts: &Facts,
    level: Level,
    end: OffsetDateTime,
    answers: usize,
    now: OffsetDateTime,
) -> Option<Finding> {
    let kind = match level {
        Level::Ok => return None,
        Level::Due => &finding::DUE,
        Level::Warning => &finding::WARNING,
        Level::Critical => &finding::CRITICAL,
        Level::Emergency => &finding::EMERGENCY,
        Level::Expired if answers > 0 => {
            let names = format!("{answers} of its names");
            let things: [&dyn std::fmt::Display; 4] =
                [&facts.source, &humane(end - now), &rfc3339(end), &names];
            return Some(finding::SERVED_EXPIRED.about(&things));
        }
        Level::Expired => {
            return Some(finding::EXPIRED.about(&[&facts.source, &rfc3339(end)]));
        }
    };
    Some(kind.about(&[&facts.source, &humane(end - now), &rfc3339(end)]))
}

/// Who answered for each name last, to see when that changes.
#[derive(Debug, Default)]
pub(super) struct Handover {
    answering: HashMap<HostPattern, PathBuf>,
    counts: HashMap<PathBuf, usize>,
}

impl Handover {
    /// For how many names the certificate of `path` answers.
    pub(super) fn answers(&self, path: &Path) -> usize {
        self.counts.get(path).copied().unwrap_or(0)
    }

    /// Compares `snapshot` with the last one, and tells who took over from whom. `refused` are
    /// the names of primaries that never came into service.
    pub(super) fn follow(
        &mut self,
        snapshot: &Snapshot,
        served: &[Arc<Served>],
        refused: &HashSet<&HostPattern>,
        (voice, now): (&Voice, OffsetDateTime),
    ) {
        let by_source: HashMap<&str, &Arc<Served>> =
            served.iter().map(|one| (one.source(), one)).collect();
        let mut answering = HashMap::new();
        let mut counts: HashMap<PathBuf, usize> = HashMap::new();
        let mut changes: BTreeMap<(String, Option<String>), Vec<String>> = BTreeMap::new();
        for (key, candidates) in snapshot.entries() {
            let (Some(first), Some(name)) = (candidates.first(), pattern(key)) else {
                continue;
            };
            let before = self.answering.get(&name).map(|path| path.display().to_string());
            // A name that only ever a standby held is nobody's failure.
            let news = before.is_some() || refused.contains(&name);
            if news && before.as_deref() != Some(first.source()) {
                let change = (first.source().to_owned(), before);
                changes.entry(change).or_default().push(name.to_string());
            }
            *counts.entry(PathBuf::from(first.source())).or_default() += 1;
            answering.insert(name, PathBuf::from(first.source()));
        }
        for ((new, old), mut names) in changes {
            let old = old.as_deref().map(|old| (old, by_source.get(old)));
            if let Some(new) = by_source.get(new.as_str()) {
                names.sort_unstable();
                if let Some(told) = handover(new, old, names, now) {
                    voice.handed_over(&told, new.facts());
                }
            }
        }
        (self.answering, self.counts) = (answering, counts);
    }
}

/// What there is to say where `new` answers instead of `old`; nothing where that is only the
/// newer of two good certificates.
fn handover(
    new: &Served,
    old: Option<(&str, Option<&&Arc<Served>>)>,
    names: Vec<String>,
    now: OffsetDateTime,
) -> Option<Finding> {
    let names = list(names.into_iter());
    let is_standby = new.facts().role == Role::Standby;
    let stands_in = |instead: &str, why: &str| {
        Some(finding::FAILOVER.about(&[&new.source(), &names, &instead, &why]))
    };
    match old {
        None if is_standby => stands_in("a primary", "no primary certificate can serve"),
        None => None,
        Some((old, None)) if is_standby => stands_in(old, "it is gone"),
        Some((_, None)) => None,
        Some((source, Some(old))) => {
            if old.facts().role == Role::Standby && !is_standby {
                return Some(finding::FAILBACK.about(&[&new.source(), &names, &source]));
            }
            match Standing::of(old.facts(), now).level {
                Level::Expired => stands_in(source, "it can't be used any more"),
                Level::Emergency => stands_in(source, "it is in its last hours"),
                _ if is_standby => stands_in(source, "it no longer holds the name"),
                _ => None,
            }
        }
    }
}

fn pattern(key: HostKey<'_>) -> Option<HostPattern> {
    match key {
        HostKey::Exact(name) => HostPattern::parse(name).ok(),
        HostKey::Wildcard(parent) => HostPattern::parse(&format!("*.{parent}")).ok(),
    }
}

/// The first names, and how many more there are.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let mut text = names.take(NAMES_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn joined(findings: &[Finding]) -> String {
    let messages: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
    messages.join("; ")
}

/// Enough of a fingerprint for people to compare.
pub(super) fn short(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}
