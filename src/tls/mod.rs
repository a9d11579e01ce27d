//! The handshake: who answers for a name, and who may connect.
//!
//! [`Terminator::accept`] takes a raw stream and gives a [`Session`]. It reads the guard's
//! snapshot and nothing else: no file, no lock, no judgement. rustls types stay in this module,
//! in `crypto` and in the guard's load step.

mod client;
mod client_auth;
mod handshake;
pub mod probe;
mod resolver;
mod tickets;

pub use client::{DialError, Dialer, Negotiated};
pub use handshake::{HandshakeError, Protocol, Session};
pub use tickets::Tickets;

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;

use crate::config::model::{ClientAuth, HostSettings};
use crate::crypto;
use crate::guard::Inventory;
use crate::host::{HostName, HostPattern};

/// Terminates TLS for every host of the gate. Built anew for each configuration; the inventory
/// and the tickets outlive it.
#[derive(Debug, Clone)]
pub struct Terminator {
    inventory: Inventory,
    /// For hosts that ask for no client certificate.
    open: Arc<ServerConfig>,
    /// For the others, most specific pattern first.
    guarded: Vec<(HostPattern, Arc<ServerConfig>)>,
}

/// Why a terminator could not be built.
#[derive(Debug)]
pub enum SetupError {
    /// The client-CA bundle of a host can't be used.
    ClientAuth {
        /// The host whose setting it is; none for the settings that all hosts share.
        host: Option<HostPattern>,
        /// The file and what is wrong with it.
        cause: client_auth::BundleError,
    },
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientAuth { host: Some(host), cause } => {
                write!(f, "client_auth of host {host}: {cause}")
            }
            Self::ClientAuth { host: None, cause } => cause.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {}

impl Terminator {
    /// A terminator for `hosts` over what the guard publishes.
    ///
    /// # Errors
    /// A client-CA bundle that can't be used.
    pub fn new(
        inventory: Inventory,
        hosts: &[HostSettings],
        tickets: &Tickets,
    ) -> Result<Self, SetupError> {
        let open = server_config(&ClientAuth::None, Some(tickets))
            .map_err(|cause| SetupError::ClientAuth { host: None, cause })?;
        let mut guarded = Vec::new();
        for settings in hosts {
            let config = match settings.client_auth {
                ClientAuth::None => Ok(Arc::clone(&open)),
                // No tickets: a resumed session would skip the client's certificate, and a ticket
                // of one host must not open another (CVE-2025-23419).
                _ => server_config(&settings.client_auth, None),
            };
            let host = settings.host.clone();
            match config {
                Ok(config) => guarded.push((host, config)),
                Err(cause) => {
                    return Err(SetupError::ClientAuth { host: Some(host), cause });
                }
            }
        }
        guarded.sort_by_key(|(pattern, _)| matches!(pattern, HostPattern::Wildcard(_)));
        Ok(Self { inventory, open, guarded })
    }

    /// Whether connections for both hosts are accepted on the same terms.
    pub fn same_settings(&self, one: &HostName, other: &HostName) -> bool {
        Arc::ptr_eq(self.config_for(one), self.config_for(other))
    }

    fn config_for(&self, host: &HostName) -> &Arc<ServerConfig> {
        let own = self.guarded.iter().find(|(pattern, _)| pattern.covers(host));
        own.map_or(&self.open, |(_, config)| config)
    }
}

fn server_config(
    auth: &ClientAuth,
    tickets: Option<&Tickets>,
) -> Result<Arc<ServerConfig>, client_auth::BundleError> {
    let builder = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(crypto::VERSIONS)
        .map_err(client_auth::BundleError::Library)?;
    let builder = match client_auth::verifier(auth)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver::Nobody));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Stateless tickets resume sessions; a cache would be a lock that all cores share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match tickets {
        Some(tickets) => config.ticketer = tickets.producer(),
        None => config.send_tls13_tickets = 0,
    }
    Ok(Arc::new(config))
}
