//! Where requests go: named sets of servers, and connections to them.
//!
//! [`Upstream`] is shared by all workers and immutable; each worker has a [`Pool`] of its own,
//! so that no connection and no lock is ever shared between cores.

mod body;
mod connect;
mod pool;

pub use body::{BodyError, ClientFailure, Continue, Progress, RequestBody, ResponseBody};
pub use connect::{ConnectError, LocalExecutor};
pub use pool::{Lease, Need, Pool};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::model::{ServerSettings, UpstreamSettings};
use crate::tls;

/// A named set of servers that answer alike.
#[derive(Debug)]
pub struct Upstream {
    settings: UpstreamSettings,
    endpoints: Vec<Arc<Endpoint>>,
    dialer: Option<tls::Dialer>,
    next: AtomicUsize,
}

/// One server of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// Tells the pools of all workers which connections belong to it. Never used again.
    id: u64,
    server: ServerSettings,
}

/// Why an upstream could not be set up.
#[derive(Debug)]
pub struct SetupError {
    /// The upstream's name.
    pub upstream: String,
    /// What is wrong.
    pub cause: String,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstream `{}`: {}", self.upstream, self.cause)
    }
}

impl std::error::Error for SetupError {}

impl Upstream {
    /// An upstream by `settings`; opens no connection.
    ///
    /// # Errors
    /// Its CA bundle can't be used.
    pub fn new(settings: UpstreamSettings) -> Result<Self, SetupError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let dialer = if settings.servers.iter().any(|server| server.tls) {
            let dialer = tls::Dialer::new(&settings.tls).map_err(|cause| SetupError {
                upstream: settings.name.clone(),
                cause: cause.to_string(),
            })?;
            Some(dialer)
        } else {
            None
        };
        let endpoint = |server: &ServerSettings| {
            let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            Arc::new(Endpoint { id, server: server.clone() })
        };
        let endpoints = settings.servers.iter().map(endpoint).collect();
        Ok(Self { settings, endpoints, dialer, next: AtomicUsize::new(0) })
    }

    /// The settings it was made from: equal settings need no new upstream at a reload.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// Its servers.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Every server once, beginning with the one whose turn it is (round robin).
    pub fn turn(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.endpoints.len();
        let rotated = self.endpoints.iter().cycle();
        rotated.skip(first.checked_rem(count).unwrap_or(0)).take(count)
    }
}

impl Endpoint {
    /// A number that no other endpoint of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether TLS is spoken to it.
    pub fn is_tls(&self) -> bool {
        self.server.tls
    }

    /// The server's URL as it was typed.
    pub fn url(&self) -> &str {
        &self.server.url
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::ServerPlace;

    fn upstream(ports: &[u16]) -> Upstream {
        let server = |port: &u16| ServerSettings {
            url: format!("http://127.0.0.1:{port}"),
            place: ServerPlace::Tcp { host: "127.0.0.1".to_owned(), port: *port },
            tls: false,
        };
        let servers = ports.iter().map(server).collect();
        Upstream::new(UpstreamSettings::new("api".to_owned(), servers)).unwrap()
    }

    #[test]
    fn each_turn_begins_with_the_next_server_and_knows_all() {
        let upstream = upstream(&[1, 2, 3]);
        let mut firsts = Vec::new();
        for _ in 0..4 {
            let turn: Vec<&str> = upstream.turn().map(|endpoint| endpoint.url()).collect();
            assert_eq!(turn.len(), 3);
            firsts.push(turn[0].to_owned());
        }
        let expected = [1, 2, 3, 1].map(|port| format!("http://127.0.0.1:{port}"));
        assert_eq!(firsts, expected);
    }
}
