//! The book as it was last settled -> a [`Report`] as of any moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use time::{Duration, OffsetDateTime};

use super::expiry;
use super::finding::{self, Finding};
use super::inspect::{Facts, SharedFacts};
use super::inventory::{HostKey, Served, Snapshot};
use super::report::{CertificateReport, HostReport, Level, Report, State};
use super::routed::Routed;
use super::tell::level_finding;
use crate::clock::{humane, rfc3339};
use crate::config::model::{OnExpiry, Role};
use crate::host::HostPattern;

/// What became of the material on disk.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// It is what is served.
    Served,
    /// It waits.
    Held(Vec<Finding>),
    /// It is not good.
    Refused(Vec<Finding>),
}

/// One slot.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The chain file, as walked.
    pub path: PathBuf,
    /// What is served.
    pub served: Option<Arc<Served>>,
    /// What lies on disk; none where the file is gone.
    pub disk: Option<(SharedFacts, Outcome)>,
    /// Since when the two differ.
    pub differs_since: Option<OffsetDateTime>,
    /// Whether they have differed for long enough to be told.
    pub told: bool,
}

/// Everything a report is drawn from.
#[derive(Debug, Default)]
pub(super) struct Picture {
    rows: Vec<Row>,
    routed: Routed,
    on_expiry: Option<OnExpiry>,
    findings: Vec<Finding>,
    dark: Vec<HostPattern>,
}

/// The guard's picture of itself, for whoever asks. Cheap to clone, never waits.
#[derive(Debug, Clone, Default)]
pub struct ReportHandle(Arc<ArcSwap<Picture>>);

impl ReportHandle {
    /// The picture with levels and ranks as of `now`. Takes time in proportion to the number of
    /// certificates: some 100 ms for 10,000.
    pub fn report(&self, now: OffsetDateTime) -> Report {
        self.0.load_full().report(now)
    }

    /// Routed hosts, and names of refused certificates, that nothing can answer for: each of
    /// them makes the gate not ready.
    pub fn dark(&self) -> Vec<HostPattern> {
        self.0.load().dark.clone()
    }

    /// For how long the files of each slot have differed from what it serves, at `now`.
    pub fn drifts(&self, now: OffsetDateTime) -> Vec<(String, Duration)> {
        let picture = self.0.load();
        let drifting = picture.rows.iter().filter_map(|row| Some((row, row.differs_since?)));
        drifting.map(|(row, since)| (row.path.display().to_string(), now - since)).collect()
    }

    pub(super) fn draw(&self, picture: Picture) {
        self.0.store(Arc::new(picture));
    }
}

impl Picture {
    /// Takes the book as it is; `snapshot` is what was published of it.
    pub(super) fn new(
        rows: Vec<Row>,
        routed: Routed,
        on_expiry: OnExpiry,
        findings: Vec<Finding>,
        snapshot: &Snapshot,
    ) -> Self {
        let mut picture =
            Self { rows, routed, on_expiry: Some(on_expiry), findings, dark: Vec::new() };
        picture.dark = picture.dark(snapshot);
        picture
    }

    fn report(&self, now: OffsetDateTime) -> Report {
        let served: Vec<_> = self.rows.iter().filter_map(|row| row.served.clone()).collect();
        let on_expiry = self.on_expiry.unwrap_or(OnExpiry::Serve);
        let snapshot = Snapshot::build(&served, on_expiry, now);
        let mut answers: HashMap<&str, usize> = HashMap::new();
        for (_, candidates) in snapshot.entries() {
            if let Some(first) = candidates.first() {
                *answers.entry(first.source()).or_default() += 1;
            }
        }
        let mut certificates = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            row.report(&answers, now, &mut certificates);
        }
        let hosts = self.hosts(&snapshot, now);
        let mut findings = self.findings.clone();
        let dark: HashSet<_> = self.dark(&snapshot).into_iter().collect();
        for host in self.routed.patterns() {
            if dark.contains(host) {
                findings.push(finding::UNCOVERED.about(&[host]));
            }
            findings.extend(common_end(host, snapshot.candidates_for(host), now));
        }
        Report { now, hosts, certificates, watched: Vec::new(), findings }
    }

    fn hosts(&self, snapshot: &Snapshot, now: OffsetDateTime) -> Vec<HostReport> {
        let mut names: BTreeMap<HostPattern, bool> = BTreeMap::new();
        for host in self.routed.patterns() {
            names.insert(host.clone(), true);
        }
        let disk = self.rows.iter().filter_map(|row| row.disk.as_ref()).map(|(facts, _)| facts);
        let served = self.rows.iter().filter_map(|row| row.served.as_ref());
        let facts = disk.map(Arc::as_ref).chain(served.map(|served| served.facts()));
        for name in facts.flat_map(Facts::names) {
            if !names.contains_key(name) {
                names.insert(name.clone(), self.routed.holds(name));
            }
        }
        let report = |(host, routed): (HostPattern, bool)| {
            let candidates = snapshot.candidates_for(&host);
            let mut fingerprints = candidates.iter().map(|one| one.fingerprint().to_owned());
            let level = candidates.first().map_or(Level::Expired, |one| level(one.facts(), now));
            HostReport {
                serving: fingerprints.next(),
                next: fingerprints.collect(),
                host,
                level,
                routed,
                client_alerts: Vec::new(),
            }
        };
        names.into_iter().map(report).collect()
    }

    fn dark(&self, snapshot: &Snapshot) -> Vec<HostPattern> {
        // A wildcard route is served as soon as one name below it is: nobody can list the rest.
        let mut parents = HashSet::new();
        for (key, candidates) in snapshot.entries() {
            if let HostKey::Exact(name) = key
                && !candidates.is_empty()
                && let Some((_, parent)) = name.split_once('.')
            {
                parents.insert(parent);
            }
        }
        let is_dark = |pattern: &&HostPattern| {
            let partly = matches!(pattern, HostPattern::Wildcard(parent)
                if parents.contains(parent.as_str()));
            snapshot.candidates_for(pattern).is_empty() && !partly
        };
        let refused = self.rows.iter().filter_map(|row| row.disk.as_ref());
        let mut dark: Vec<_> = refused
            .flat_map(|(facts, _)| facts.names())
            .chain(self.rows.iter().filter_map(|row| row.served.as_ref()).flat_map(|served| {
                // Where `on_expiry` refuses them.
                served.facts().names()
            }))
            .chain(self.routed.patterns())
            .filter(is_dark)
            .cloned()
            .collect();
        dark.sort_unstable();
        dark.dedup();
        dark
    }
}

impl Row {
    fn report(
        &self,
        answers: &HashMap<&str, usize>,
        now: OffsetDateTime,
        reports: &mut Vec<CertificateReport>,
    ) {
        if let Some(served) = &self.served {
            let answers = answers.get(served.source()).copied().unwrap_or(0);
            let state = if answers > 0 { State::Active } else { State::Ready };
            let mut report = describe(served.facts(), state, answers, now);
            report.drift_since = self.differs_since;
            report.findings.extend(self.difference());
            report.findings.extend(rotten(served.facts(), report.level, None));
            reports.push(report);
        }
        let Some((facts, outcome)) = &self.disk else {
            return;
        };
        let (state, why) = match outcome {
            Outcome::Served => return,
            Outcome::Held(why) => (State::Held, why),
            Outcome::Refused(why) => (State::Refused, why),
        };
        let mut report = describe(facts, state, 0, now);
        // Those of the verdict that inspection alone does not find.
        let known: Vec<_> = report.findings.iter().map(|finding| finding.code).collect();
        let more = why.iter().filter(|finding| !known.contains(&finding.code));
        report.findings.extend(more.cloned());
        report.findings.extend(rotten(facts, report.level, why.first()));
        reports.push(report);
    }

    /// What there is to say where disk and served have differed for longer than a rotation.
    fn difference(&self) -> Option<Finding> {
        let since = self.differs_since.filter(|_| self.told)?;
        let path = self.path.display();
        let why = match &self.disk {
            None => return Some(finding::SOURCE_VANISHED.about(&[&path])),
            Some((_, Outcome::Served)) => return None,
            Some((_, Outcome::Held(why) | Outcome::Refused(why))) => why,
        };
        let why = why.first().map_or("", |finding| finding.message.as_str());
        Some(finding::DRIFT.about(&[&path, &rfc3339(since), &why]))
    }
}

/// One certificate as the interface shows it.
pub(super) fn describe(
    facts: &Facts,
    state: State,
    answers: usize,
    now: OffsetDateTime,
) -> CertificateReport {
    let inspection = facts.at(now);
    let leaf = facts.leaf_sent();
    let end = inspection.effective_not_after;
    let level = level(facts, now);
    let mut findings = inspection.findings;
    if let Some(end) = end
        && (level < Level::Expired || answers > 0)
    {
        findings.extend(level_finding(facts, level, end, answers, now));
    }
    CertificateReport {
        fingerprint_sha256: facts.fingerprint().map(ToOwned::to_owned),
        names: facts.names().iter().map(ToString::to_string).collect(),
        role: facts.role,
        state,
        level,
        not_before: leaf.map(|leaf| leaf.not_before),
        not_after: leaf.map(|leaf| leaf.not_after),
        effective_not_after: end,
        issuer: leaf.map(|leaf| leaf.issuer.clone()),
        source: finding::printable(&facts.source),
        drift_since: None,
        findings,
    }
}

/// How near the end is; `Expired` for what has no readable end.
fn level(facts: &Facts, now: OffsetDateTime) -> Level {
    facts
        .at(now)
        .effective_not_after
        .map_or(Level::Expired, |end| expiry::level_at(facts.lifetime(), end, now))
}

fn rotten(facts: &Facts, level: Level, refused: Option<&Finding>) -> Option<Finding> {
    if facts.role != Role::Standby {
        return None;
    }
    let why = match refused {
        Some(finding) => finding.message.clone(),
        None if level >= Level::Emergency => format!("it is at level {level:?}").to_lowercase(),
        None => return None,
    };
    Some(finding::STANDBY_ROTTEN.about(&[&facts.source, &why]))
}

/// A standby that dies with what it stands in for is none. Certificates of two key types that
/// were issued together are no standbys of each other, and are not told.
fn common_end(
    host: &HostPattern,
    candidates: &[Arc<Served>],
    now: OffsetDateTime,
) -> Option<Finding> {
    let standby = candidates.iter().any(|one| one.facts().role == Role::Standby);
    if !standby || candidates.len() < 2 {
        return None;
    }
    let ends: Vec<_> =
        candidates.iter().filter_map(|one| one.facts().at(now).effective_not_after).collect();
    let apart = *ends.iter().max()? - *ends.iter().min()?;
    let longest = candidates.iter().map(|one| one.facts().lifetime()).max()?;
    // A day is long for a certificate of three months and an eternity for one of a day.
    let bound = Duration::DAY.min(longest / 20);
    (apart <= bound).then(|| finding::COMMON_END.about(&[&candidates.len(), host, &humane(apart)]))
}
