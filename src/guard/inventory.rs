//! What is published: one immutable snapshot behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

use crate::host::{HostName, HostPattern};

/// A certificate that was judged good: the only thing a snapshot takes.
#[derive(Debug)]
pub struct Served {
    certified: Arc<CertifiedKey>,
    fingerprint: String,
    names: Vec<HostPattern>,
}

impl Served {
    /// Chain and key in the form that a handshake needs.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// SHA-256 of the leaf, lower-case hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether the certificate holds `host`.
    pub fn covers(&self, host: &HostName) -> bool {
        self.names.iter().any(|name| name.covers(host))
    }
}

/// One immutable picture of what may be served.
#[derive(Debug, Default)]
pub struct Snapshot {}

impl Snapshot {
    /// Who may answer for `host`, best first; empty for an unknown or dark host.
    pub fn candidates(&self, _host: &HostName) -> &[Arc<Served>] {
        &[]
    }
}

/// The readers' end: cheap to clone, never waits.
#[derive(Debug, Clone, Default)]
pub struct Inventory(Arc<ArcSwap<Snapshot>>);

impl Inventory {
    /// The snapshot in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}
