//! The guard's book: for each slot what lies on disk, what is served, and what was told of it.
//!
//! Everything here is synchronous and takes `now`; [`super::Guard`] decides when it is called.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use super::accept::{self, Accepted, Known, NotAccepted};
use super::anchors::Anchors;
use super::expiry;
use super::finding::{self, Finding};
use super::inspect::{self, Purpose, SharedFacts};
use super::inventory::{Inventory, Served, Snapshot};
use super::load::{Digest, Reader};
use super::picture::{Outcome, Picture, ReportHandle, Row};
use super::report::Level;
use super::routed::Routed;
use super::source::{self, Slot};
use super::standby::Standing;
use super::tell::{Handover, Voice};
use super::verdict::{Incumbent, Verdict, judge};
use crate::changes::Changes;
use crate::config::model::{CertSource, GuardPolicy, Role};
use crate::host::HostPattern;

/// How much of the disk is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// What has another signature than last time.
    Changed,
    /// Everything, and every root too.
    All,
}

/// The book.
#[derive(Debug)]
pub(super) struct Ledger {
    sources: Vec<CertSource>,
    policy: GuardPolicy,
    routed: Routed,
    anchors: Anchors,
    reader: Reader,
    changes: Option<Changes>,
    entries: BTreeMap<PathBuf, Entry>,
    source_findings: Vec<Finding>,
    handover: Handover,
    voice: Voice,
    inventory: Inventory,
    picture: ReportHandle,
    /// When time alone changes something next.
    next: Option<OffsetDateTime>,
    last: Option<OffsetDateTime>,
}

/// One slot.
#[derive(Debug, Default)]
struct Entry {
    /// None where the file is gone.
    disk: Option<Disk>,
    served: Option<Arc<Served>>,
    /// Since when disk and served differ.
    differs_since: Option<OffsetDateTime>,
    trouble: Option<Trouble>,
    /// Of the content that somebody accepted by hand, until other content is in service.
    accepted: Option<Digest>,
    told: Option<(Level, OffsetDateTime)>,
}

#[derive(Debug)]
struct Disk {
    raw: Digest,
    facts: SharedFacts,
    outcome: Outcome,
}

/// What is wrong with a slot, and since when it is exactly this: a half-finished rotation is
/// trouble too, but not for long.
#[derive(Debug)]
struct Trouble {
    raw: Option<Digest>,
    codes: Vec<&'static str>,
    since: OffsetDateTime,
    told: bool,
}

impl Ledger {
    /// An empty book.
    pub(super) fn new(
        sources: Vec<CertSource>,
        policy: GuardPolicy,
        routed: Vec<HostPattern>,
        voice: Voice,
    ) -> Self {
        Self {
            sources,
            policy,
            routed: Routed::new(routed),
            anchors: Anchors::default(),
            reader: Reader::default(),
            changes: None,
            entries: BTreeMap::new(),
            source_findings: Vec::new(),
            handover: Handover::default(),
            voice,
            inventory: Inventory::default(),
            picture: ReportHandle::default(),
            next: None,
            last: None,
        }
    }

    /// Watches the folders of everything that is read from now on.
    pub(super) fn watch(&mut self, changes: Changes) {
        self.changes = Some(changes);
    }

    /// What is published.
    pub(super) fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// What is told about it.
    pub(super) fn picture(&self) -> &ReportHandle {
        &self.picture
    }

    /// How it is judged and timed.
    pub(super) fn policy(&self) -> &GuardPolicy {
        &self.policy
    }

    /// Takes another configuration. Slots that remain keep their last known good.
    pub(super) fn configure(
        &mut self,
        sources: Vec<CertSource>,
        policy: GuardPolicy,
        routed: Vec<HostPattern>,
        now: OffsetDateTime,
    ) {
        let names_path =
            |path: &Path| sources.iter().any(|source| source::could_hold(&source.place, path));
        self.entries.retain(|path, _| names_path(path));
        (self.sources, self.policy, self.routed) = (sources, policy, Routed::new(routed));
        self.scan(now, Reading::All);
    }

    /// Reads the disk, judges what changed, publishes, tells.
    pub(super) fn scan(&mut self, now: OffsetDateTime, reading: Reading) {
        let first = self.last.is_none();
        let all = reading == Reading::All || first;
        if all {
            self.anchors = Anchors::load(&self.policy.roots);
        }
        let entries = &self.entries;
        let known = |path: &Path| entries.contains_key(path);
        let found = source::find(&self.sources, &mut self.reader, &known, now, all);
        let mut findings = found.findings;
        let mut missing: HashSet<PathBuf> = self.entries.keys().cloned().collect();
        let mut changed = all;
        for slot in found.slots {
            missing.remove(&slot.path);
            changed |= self.read(slot, all);
        }
        for path in missing {
            if let Some(entry) = self.entries.get_mut(&path) {
                changed |= entry.disk.take().is_some();
            }
        }
        findings.extend(self.watch_folders(&found.folders));
        changed |= findings != self.source_findings;
        self.source_findings = findings;
        // Most polls find nothing, and 10,000 certificates need not be ranked again for that.
        if changed || self.is_due(now) {
            self.settle(now, first);
        }
    }

    /// Serves the held material that `wanted` names: a fingerprint, or the beginning of one.
    pub(super) fn accept(
        &mut self,
        wanted: &str,
        now: OffsetDateTime,
    ) -> Result<Accepted, NotAccepted> {
        // What lies there now is meant, not what lay there at the last poll.
        self.scan(now, Reading::Changed);
        let known: Vec<_> = self.entries.values().flat_map(Entry::known).collect();
        let fingerprint = accept::choose(wanted, &known)?;
        let (mut sources, mut doubts) = (Vec::new(), Vec::new());
        for entry in self.entries.values_mut() {
            if let Some(disk) = &entry.disk
                && disk.facts.fingerprint() == Some(&fingerprint)
                && let Outcome::Held(why) = &disk.outcome
            {
                entry.accepted = Some(disk.facts.content);
                self.voice.accepted(&disk.facts, why);
                sources.push(disk.facts.source.clone());
                doubts.extend(why.iter().cloned());
            }
        }
        self.settle(now, false);
        Ok(Accepted { fingerprint_sha256: fingerprint, sources, doubts })
    }

    /// Lets time do its work: levels, fail-overs, held material, alarms.
    pub(super) fn tick(&mut self, now: OffsetDateTime) {
        if self.is_due(now) {
            self.settle(now, false);
        }
    }

    /// Whether [`Ledger::tick`] would do anything. A clock that was set back changes everything.
    pub(super) fn is_due(&self, now: OffsetDateTime) -> bool {
        self.last.is_some_and(|last| now < last) || self.next.is_some_and(|next| next <= now)
    }

    /// Takes what lies in one slot; gives whether that is news.
    fn read(&mut self, slot: Slot, force: bool) -> bool {
        let entry = self.entries.entry(slot.path).or_default();
        if slot.gone && entry.served.is_some() {
            return entry.disk.take().is_some();
        }
        let raw = slot.bundle.digest();
        let news = force || entry.disk.as_ref().is_none_or(|disk| disk.raw != raw);
        if news {
            let facts = inspect::inspect(&slot.bundle, &self.anchors, Purpose::Serve);
            // Until it is judged, a moment later.
            let outcome = Outcome::Served;
            entry.disk = Some(Disk { raw, facts: Arc::new(facts), outcome });
        }
        news
    }

    /// Gives what keeps the folders from being watched.
    fn watch_folders(&mut self, folders: &BTreeSet<PathBuf>) -> Option<Finding> {
        let changes = self.changes.as_mut()?;
        if changes.watch(folders) {
            // A folder may have changed between its reading and its watching.
            changes.wake().call();
        }
        changes.problem().map(|problem| finding::WATCH_FAILED.about(&[&problem]))
    }

    /// Judges, publishes, tells.
    fn settle(&mut self, now: OffsetDateTime, first: bool) {
        self.last = Some(now);
        let published = self.judge_all(now);
        self.drop_vanished(now);
        let served: Vec<_> =
            self.entries.values().filter_map(|entry| entry.served.clone()).collect();
        let snapshot = Snapshot::build(&served, self.policy.on_expiry, now);
        for path in published {
            if let Some(served) = self.entries.get(&path).and_then(|entry| entry.served.as_ref()) {
                self.voice.published(served.facts(), now);
            }
        }
        let unserved = self.entries.values().filter(|entry| entry.served.is_none());
        let refused = unserved
            .filter_map(|entry| entry.disk.as_ref())
            .filter(|disk| disk.facts.role == Role::Primary)
            .flat_map(|disk| disk.facts.names())
            .collect();
        self.handover.follow(&snapshot, &served, &refused, (&self.voice, now));
        self.inventory.publish(snapshot);
        self.tell_troubles(now, first);
        self.tell_levels(now);
        self.next = self.next_moment(now);
        self.picture.draw(self.view());
    }

    /// Gives the slots that have another certificate in service than before.
    fn judge_all(&mut self, now: OffsetDateTime) -> Vec<PathBuf> {
        let before = self.inventory.current();
        let mut published = Vec::new();
        for (path, entry) in &mut self.entries {
            let Some(disk) = &mut entry.disk else {
                continue;
            };
            let served = entry.served.as_ref();
            if served.is_some_and(|served| served.facts().content == disk.facts.content) {
                disk.outcome = Outcome::Served;
                continue;
            }
            let relied =
                served.map(|served| self.routed.relied(served, &before)).unwrap_or_default();
            let incumbent = served.map(|served| Incumbent {
                facts: served.facts(),
                relied: &relied,
                accepted: entry.accepted,
            });
            match judge(&disk.facts, now, incumbent.as_ref()) {
                Verdict::Serve(approval) => {
                    entry.served = Some(Arc::new(Served::new(&approval)));
                    entry.told = None;
                    // What was accepted once and replaced since is a doubtful backup again.
                    entry.accepted = entry.accepted.filter(|one| *one == disk.facts.content);
                    disk.outcome = Outcome::Served;
                    published.push(path.clone());
                }
                Verdict::Hold(why) => disk.outcome = Outcome::Held(why),
                Verdict::Refuse(why) => disk.outcome = Outcome::Refused(why),
            }
        }
        published
    }

    /// Forgets slots whose file is gone, once they are not needed any more.
    fn drop_vanished(&mut self, now: OffsetDateTime) {
        let settle = span(self.policy.settle);
        let needed = |path: &Path, entry: &Entry| {
            let Some(served) = &entry.served else {
                return false;
            };
            let settled = entry.differs_since.is_some_and(|since| now - since >= settle);
            !settled || !self.is_covered(path, served, now)
        };
        let gone: Vec<_> = self
            .entries
            .iter()
            .filter(|(path, entry)| entry.disk.is_none() && !needed(path, entry))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.entries.remove(&path);
        }
    }

    /// Whether others that are present and good hold all names of `served`. A standby is no
    /// reason to give up a primary.
    fn is_covered(&self, path: &Path, served: &Served, now: OffsetDateTime) -> bool {
        let snapshot = self.inventory.current();
        let replaces = |other: &Arc<Served>| {
            let facts = other.facts();
            let present = self
                .entries
                .get(Path::new(&facts.source))
                .is_some_and(|entry| entry.disk.is_some());
            Path::new(&facts.source) != path
                && present
                && (facts.role == Role::Primary || served.facts().role == Role::Standby)
                && Standing::of(facts, now).level < Level::Emergency
        };
        let names = served.facts().names();
        names.iter().all(|name| snapshot.candidates_for(name).iter().any(replaces))
    }

    fn tell_troubles(&mut self, now: OffsetDateTime, first: bool) {
        let settle = if first { Duration::ZERO } else { span(self.policy.settle) };
        for (path, entry) in &mut self.entries {
            let Some(findings) = entry.findings(path) else {
                (entry.trouble, entry.differs_since) = (None, None);
                continue;
            };
            // A clock that was set back must not silence anything.
            if entry.served.is_some() && entry.differs_since.is_none_or(|since| now < since) {
                entry.differs_since = Some(now);
            }
            let raw = entry.disk.as_ref().map(|disk| disk.raw);
            let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
            let same = |known: &&mut Trouble| known.raw == raw && known.codes == codes;
            let trouble = match entry.trouble.as_mut().filter(same) {
                Some(known) => known,
                None => entry.trouble.insert(Trouble { raw, codes, since: now, told: false }),
            };
            trouble.since = trouble.since.min(now);
            if trouble.told || now - trouble.since < settle {
                continue;
            }
            trouble.told = true;
            let fingerprint = entry.disk.as_ref().and_then(|disk| disk.facts.fingerprint());
            let held = entry.disk.as_ref().is_some_and(Disk::is_held);
            self.voice.trouble(path, fingerprint, held, &findings);
            if let Some((served, since)) = entry.served.as_ref().zip(entry.differs_since) {
                self.voice.drift(path, served.facts(), since, &findings);
            }
        }
    }

    fn tell_levels(&mut self, now: OffsetDateTime) {
        for (path, entry) in &mut self.entries {
            let Some(served) = &entry.served else {
                continue;
            };
            let facts = served.facts();
            let Some(end) = facts.at(now).effective_not_after else {
                continue;
            };
            let level = expiry::level_at(facts.lifetime(), end, now);
            if expiry::owed(level, facts.lifetime(), entry.told, now) {
                let answers = self.handover.answers(path);
                self.voice.level(facts, level, end, answers, now);
                entry.told = Some((level, now));
            } else if entry.told.is_some_and(|(told, _)| level < told) {
                entry.told = Some((level, now));
            }
        }
    }

    /// The next moment at which time alone changes something.
    fn next_moment(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let settle = span(self.policy.settle);
        let mut next: Option<OffsetDateTime> = None;
        let mut at = |moment: Option<OffsetDateTime>| {
            if let Some(moment) = moment {
                next = Some(next.map_or(moment, |next| next.min(moment)));
            }
        };
        for entry in self.entries.values() {
            if let Some(served) = &entry.served {
                let facts = served.facts();
                at(facts.next_change(now));
                let end = facts.at(now).effective_not_after;
                at(end.and_then(|end| expiry::next_rise(facts.lifetime(), end, now)));
                at(entry.told.and_then(|(level, moment)| {
                    moment.checked_add(expiry::reminder_every(level, facts.lifetime())?)
                }));
            }
            match &entry.disk {
                Some(disk) if !matches!(disk.outcome, Outcome::Served) => {
                    at(disk.facts.next_change(now));
                }
                _ => {}
            }
            let waiting = entry.trouble.as_ref().filter(|trouble| !trouble.told);
            at(waiting.and_then(|trouble| trouble.since.checked_add(settle)));
        }
        next
    }

    fn view(&self) -> Picture {
        let rows = self.entries.iter().map(|(path, entry)| Row {
            path: path.clone(),
            served: entry.served.clone(),
            disk: entry.disk.as_ref().map(|disk| (Arc::clone(&disk.facts), disk.outcome.clone())),
            differs_since: entry.differs_since,
            told: entry.trouble.as_ref().is_some_and(|trouble| trouble.told),
        });
        let mut findings = self.source_findings.clone();
        findings.extend(self.anchors.findings.iter().cloned());
        Picture::new(
            rows.collect(),
            self.routed.clone(),
            self.policy.on_expiry,
            findings,
            &self.inventory.current(),
        )
    }
}

impl Entry {
    /// What can be asked for by its fingerprint.
    fn known(&self) -> impl Iterator<Item = Known<'_>> {
        let disk = self.disk.as_ref().map(|disk| (&*disk.facts, &disk.outcome));
        let served = self.served.as_ref().map(|served| (served.facts(), &Outcome::Served));
        disk.into_iter().chain(served).filter_map(|(facts, outcome)| {
            Some(Known { fingerprint: facts.fingerprint()?, source: &facts.source, outcome })
        })
    }

    /// Why the disk is not what is served; none where it is.
    fn findings(&self, path: &Path) -> Option<Vec<Finding>> {
        match &self.disk {
            None => Some(vec![finding::SOURCE_VANISHED.about(&[&path.display()])]),
            Some(disk) => match &disk.outcome {
                Outcome::Served => None,
                Outcome::Held(why) | Outcome::Refused(why) => Some(why.clone()),
            },
        }
    }
}

impl Disk {
    fn is_held(&self) -> bool {
        matches!(self.outcome, Outcome::Held(_))
    }
}

/// A duration of the configuration on the calendar.
fn span(duration: std::time::Duration) -> Duration {
    Duration::try_from(duration).unwrap_or(Duration::MAX)
}
