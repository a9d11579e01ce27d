//! What is published: one immutable snapshot behind one atomic pointer.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::inspect::{Facts, SharedFacts};
use super::standby::{self, Standing};
use super::verdict::Approval;
use crate::config::model::OnExpiry;
use crate::host::{HostName, HostPattern};

/// A certificate that was judged good: the only thing a snapshot takes.
#[derive(Debug)]
pub struct Served {
    certified: Arc<CertifiedKey>,
    fingerprint: String,
    /// Sorted.
    exact: Vec<HostName>,
    /// What follows `*.`, sorted.
    parents: Vec<HostName>,
    facts: SharedFacts,
}

impl Served {
    /// Takes what `judge` let through, and nothing else.
    pub(super) fn new(approval: &Approval) -> Self {
        let facts = approval.facts();
        let signing = Arc::clone(&approval.key().signing);
        let (mut exact, mut parents) = (Vec::new(), Vec::new());
        for name in facts.names() {
            match name {
                HostPattern::Exact(name) => exact.push(name.clone()),
                HostPattern::Wildcard(parent) => parents.push(parent.clone()),
            }
        }
        exact.sort_unstable();
        parents.sort_unstable();
        Self {
            certified: Arc::new(CertifiedKey::new(approval.chain(), signing)),
            fingerprint: facts.fingerprint().unwrap_or_default().to_owned(),
            exact,
            parents,
            facts: Arc::clone(facts),
        }
    }

    /// Chain and key in the form that a handshake needs.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// SHA-256 of the leaf, lower-case hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The file it came from, as it was named.
    pub fn source(&self) -> &str {
        &self.facts.source
    }

    /// Whether the certificate holds `host`. Takes no memory and logarithmic time.
    pub fn covers(&self, host: &HostName) -> bool {
        let parent = || host.parent().is_some_and(|parent| holds(&self.parents, parent));
        holds(&self.exact, host.as_str()) || parent()
    }

    /// The name in the certificate that covers `host`.
    pub fn name_of(&self, host: &HostName) -> Option<HostPattern> {
        if holds(&self.exact, host.as_str()) {
            return Some(HostPattern::Exact(host.clone()));
        }
        let parent = host.parent().filter(|parent| holds(&self.parents, parent))?;
        HostName::parse(parent).ok().map(HostPattern::Wildcard)
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }
}

fn holds(sorted: &[HostName], name: &str) -> bool {
    sorted.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
}

/// One immutable picture of what may be served.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Name -> candidates, those whose wildcard covers it among them.
    exact: HashMap<Box<str>, Vec<Arc<Served>>>,
    /// What follows `*.` -> candidates.
    wildcard: HashMap<Box<str>, Vec<Arc<Served>>>,
}

impl Snapshot {
    /// Ranks everything that is served for each of its names, as of `now`.
    pub(super) fn build(served: &[Arc<Served>], on_expiry: OnExpiry, now: OffsetDateTime) -> Self {
        let standings: Vec<_> = served.iter().map(|one| Standing::of(one.facts(), now)).collect();
        let mut exact: HashMap<&str, Vec<(usize, bool)>> = HashMap::new();
        let mut wildcard: HashMap<&str, Vec<(usize, bool)>> = HashMap::new();
        for (index, one) in served.iter().enumerate() {
            for name in &one.exact {
                exact.entry(name.as_str()).or_default().push((index, true));
            }
            for parent in &one.parents {
                wildcard.entry(parent.as_str()).or_default().push((index, false));
            }
        }
        for (name, candidates) in &mut exact {
            if let Some((_, parent)) = name.split_once('.')
                && name.parse::<std::net::IpAddr>().is_err()
                && let Some(covering) = wildcard.get(parent)
            {
                // Who holds both the name and its wildcard is one candidate, not two.
                let known = candidates.len();
                for candidate in covering {
                    let twice = candidates.iter().take(known).any(|c| c.0 == candidate.0);
                    if !twice {
                        candidates.push(*candidate);
                    }
                }
            }
        }
        let rank = |names: HashMap<&str, Vec<(usize, bool)>>| {
            names
                .into_iter()
                .map(|(name, candidates)| {
                    let order = standby::rank(&standings, candidates, on_expiry);
                    let mut ranked: Vec<Arc<Served>> = Vec::with_capacity(order.len());
                    for one in order.into_iter().filter_map(|index| served.get(index)) {
                        // A copy of the same certificate elsewhere is no second candidate.
                        if !ranked.iter().any(|known| known.fingerprint == one.fingerprint) {
                            ranked.push(Arc::clone(one));
                        }
                    }
                    (Box::from(name), ranked)
                })
                .collect()
        };
        Self { exact: rank(exact), wildcard: rank(wildcard) }
    }

    /// Who may answer for `host`, best first; empty for an unknown or dark host.
    pub fn candidates(&self, host: &HostName) -> &[Arc<Served>] {
        if let Some(candidates) = self.exact.get(host.as_str()) {
            return candidates;
        }
        host.parent().and_then(|parent| self.wildcard.get(parent)).map_or(&[], Vec::as_slice)
    }

    /// Who may answer for every name of `pattern`, best first.
    pub fn candidates_for(&self, pattern: &HostPattern) -> &[Arc<Served>] {
        match pattern {
            HostPattern::Exact(host) => self.candidates(host),
            HostPattern::Wildcard(parent) => {
                self.wildcard.get(parent.as_str()).map_or(&[], Vec::as_slice)
            }
        }
    }

    /// Whether nothing at all can be served.
    pub fn is_empty(&self) -> bool {
        self.exact.values().chain(self.wildcard.values()).all(Vec::is_empty)
    }

    /// Every name and pattern with its candidates, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (HostKey<'_>, &[Arc<Served>])> {
        let exact = self.exact.iter().map(|(name, list)| (HostKey::Exact(name), &list[..]));
        let wild = self.wildcard.iter().map(|(name, list)| (HostKey::Wildcard(name), &list[..]));
        exact.chain(wild)
    }
}

/// A borrowed [`HostPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum HostKey<'a> {
    /// One name.
    Exact(&'a str),
    /// What follows `*.`.
    Wildcard(&'a str),
}

/// The readers' end: cheap to clone, never waits.
#[derive(Debug, Clone, Default)]
pub struct Inventory(Arc<ArcSwap<Snapshot>>);

impl Inventory {
    /// The snapshot in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts `snapshot` in force, all of it at once. The guard is the only one who does.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}
