//! The names that routes name, indexed for the questions the guard asks of them. Pure.

use std::collections::{HashMap, HashSet};

use super::inventory::{Served, Snapshot};
use crate::host::{HostName, HostPattern};

/// Names that matter because a route leads somewhere. Without any, every name matters: a gate
/// whose only route takes every host names none.
#[derive(Debug, Clone, Default)]
pub(super) struct Routed {
    all: Vec<HostPattern>,
    set: HashSet<HostPattern>,
    /// Parent -> the exact names below it.
    below: HashMap<String, Vec<HostName>>,
}

impl Routed {
    /// Indexes `patterns`.
    pub(super) fn new(mut patterns: Vec<HostPattern>) -> Self {
        patterns.sort_unstable();
        patterns.dedup();
        let mut below: HashMap<String, Vec<HostName>> = HashMap::new();
        for pattern in &patterns {
            if let HostPattern::Exact(host) = pattern
                && let Some(parent) = host.parent()
            {
                below.entry(parent.to_owned()).or_default().push(host.clone());
            }
        }
        Self { set: patterns.iter().cloned().collect(), all: patterns, below }
    }

    /// Every pattern, sorted.
    pub(super) fn patterns(&self) -> &[HostPattern] {
        &self.all
    }

    /// Whether a route names `pattern`, or every name of it.
    pub(super) fn holds(&self, pattern: &HostPattern) -> bool {
        self.set.contains(pattern)
            || match pattern {
                HostPattern::Exact(host) => parent(host)
                    .is_some_and(|parent| self.set.contains(&HostPattern::Wildcard(parent))),
                HostPattern::Wildcard(_) => false,
            }
    }

    /// The routed names that only `served` holds, as far as `snapshot` knows.
    pub(super) fn relied(&self, served: &Served, snapshot: &Snapshot) -> Vec<HostPattern> {
        let mut names = Vec::new();
        for name in served.facts().names() {
            if self.all.is_empty() || self.holds(name) {
                names.push(name.clone());
            }
            if let HostPattern::Wildcard(parent) = name {
                let exact = self.below.get(parent.as_str()).into_iter().flatten();
                names.extend(exact.cloned().map(HostPattern::Exact));
            }
        }
        let alone = |name: &HostPattern| {
            let others = snapshot.candidates_for(name);
            !others.iter().any(|other| other.source() != served.source())
        };
        names.retain(alone);
        names
    }
}

fn parent(host: &HostName) -> Option<HostName> {
    HostName::parse(host.parent()?).ok()
}
