//! Resumption keys: one set for the whole gate, rotating, outliving every swap and reload.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

/// The keys that session tickets are sealed with (RFC 5077 section 4): new ones every six hours,
/// the ones before still open tickets for six more. Made once and shared by every configuration
/// and worker, so that a certificate swap or a reload costs no client its session.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// Fresh keys.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new() -> Result<Self, rustls::Error> {
        Ticketer::new().map(Self)
    }

    pub(super) fn producer(&self) -> Arc<dyn ProducesTickets> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(secret)")
    }
}
