//! Counters that the parts of the gate hold; names and labels are public interface.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What the guard counts. Cheap to clone; the clones count together.
#[derive(Debug, Clone, Default)]
pub struct GuardMetrics {
    reloads: Family<Reload, Counter>,
    refusals: Family<Refusal, Counter>,
    failovers: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    result: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

impl GuardMetrics {
    /// Makes the counters part of `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "evergate_cert_reloads",
            "Changes of certificates on disk, by what became of them",
            self.reloads.clone(),
        );
        registry.register(
            "evergate_cert_refusals",
            "Certificates that were not taken into service, by finding code",
            self.refusals.clone(),
        );
        registry.register(
            "evergate_cert_failovers",
            "Certificates that another one took over from, or handed back to",
            self.failovers.clone(),
        );
    }

    /// Counts a change on disk: `result` is `published`, `held` or `refused`, `reason` a finding
    /// code.
    pub fn reloaded(&self, result: &'static str, reason: &'static str) {
        self.reloads.get_or_create(&Reload { result, reason }).inc();
    }

    /// Counts a certificate that is not good enough, by finding code.
    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&Refusal { reason }).inc();
    }

    /// Counts one certificate that took over from another.
    pub fn failed_over(&self) {
        self.failovers.inc();
    }

    /// How often one certificate took over from another.
    pub fn failovers(&self) -> u64 {
        self.failovers.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guards_counters_have_their_public_names() {
        let (metrics, mut registry) = (GuardMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.reloaded("published", "published");
        metrics.refused("expired");
        metrics.failed_over();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "evergate_cert_reloads_total{result=\"published\",reason=\"published\"} 1",
            "evergate_cert_refusals_total{reason=\"expired\"} 1",
            "evergate_cert_failovers_total 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
