//! Server name -> certificate, from the current snapshot.
//!
//! In this order:
//! 1. the candidates of the exact name, best first;
//! 2. the candidates of the wildcard that covers it (the snapshot has merged them in already);
//! 3. of those, the first whose key the client can verify: RSA and ECDSA stand side by side;
//! 4. nothing: the client gets an alert, never a certificate of another name.

use std::sync::{Arc, OnceLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::guard::{Served, Snapshot};
use crate::host::HostName;

/// The choice for one handshake.
#[derive(Debug)]
pub(super) struct Choice {
    snapshot: Arc<Snapshot>,
    host: HostName,
    chosen: OnceLock<Arc<Served>>,
}

impl Choice {
    pub(super) fn new(snapshot: Arc<Snapshot>, host: HostName) -> Self {
        Self { snapshot, host, chosen: OnceLock::new() }
    }

    /// What the handshake was answered with.
    pub(super) fn chosen(&self) -> Option<Arc<Served>> {
        self.chosen.get().cloned()
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has left out the schemes that fit none of the client's TLS 1.2 cipher suites.
        let schemes = hello.signature_schemes();
        let candidates = self.snapshot.candidates(&self.host);
        let fits = |served: &&Arc<Served>| served.certified().key.choose_scheme(schemes).is_some();
        let served = candidates.iter().find(fits)?;
        let _ = self.chosen.set(Arc::clone(served));
        Some(Arc::clone(served.certified()))
    }
}

/// Stands in the settings that each handshake copies; never asked.
#[derive(Debug)]
pub(super) struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
