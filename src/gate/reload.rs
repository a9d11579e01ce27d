//! New configuration -> prove -> build the next plan beside the old -> swap once; or keep the old
//! and explain.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::routed_hosts;
use super::worker::Order;
use crate::admin::Outcome;
use crate::clock::SharedClock;
use crate::config;
use crate::config::model::{Config, ListenerSettings};
use crate::crypto::sha256_hex;
use crate::guard::{self, Inventory};
use crate::listener;
use crate::observe::event::{Event, Severity, Teller};
use crate::proxy::Plan;
use crate::tasks::Stop;
use crate::tls::Tickets;

/// Puts configurations into force.
pub(super) struct Reloader {
    config: Config,
    plan: Arc<ArcSwap<Plan>>,
    inventory: Inventory,
    tickets: Tickets,
    listeners: Listeners,
    /// Of the file as it was last looked at, whether it was taken or refused.
    seen: Option<String>,
}

/// The listeners in force, and the workers that serve them.
pub(super) struct Listeners {
    workers: Vec<mpsc::Sender<Order>>,
    open: Vec<(ListenerSettings, Stop)>,
}

/// Everything that is built before anything is swapped.
struct Next {
    config: Config,
    plan: Plan,
    opened: Vec<(ListenerSettings, Vec<std::net::TcpListener>)>,
}

impl Listeners {
    pub(super) fn new(workers: Vec<mpsc::Sender<Order>>) -> Self {
        Self { workers, open: Vec::new() }
    }

    /// Hands one socket to each worker.
    pub(super) fn open(&mut self, settings: ListenerSettings, sockets: Vec<std::net::TcpListener>) {
        let closing = Stop::new();
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let (settings, closing) = (settings.clone(), closing.clone());
            let order = Order::Listen { socket, settings, closing };
            if worker.try_send(order).is_err() {
                tracing::error!("a worker takes no orders");
            }
        }
        self.open.push((settings, closing));
    }

    /// Stops accepting where `wanted` does not say to; open connections go on.
    fn close_all_but(&mut self, wanted: &[ListenerSettings]) {
        self.open.retain(|(settings, closing)| {
            let stays = wanted.contains(settings);
            if !stays {
                closing.request();
            }
            stays
        });
    }

    fn serves(&self, settings: &ListenerSettings) -> bool {
        self.open.iter().any(|(open, _)| open == settings)
    }
}

impl Reloader {
    pub(super) fn new(
        config: Config,
        plan: Arc<ArcSwap<Plan>>,
        inventory: Inventory,
        tickets: Tickets,
        listeners: Listeners,
    ) -> Self {
        let seen = config.path.as_deref().and_then(digest);
        Self { config, plan, inventory, tickets, listeners, seen }
    }

    /// The plan in force, for whoever shows it.
    pub(super) fn plan(&self) -> Arc<ArcSwap<Plan>> {
        Arc::clone(&self.plan)
    }

    /// Where a change of the configuration file shows.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        let Some(path) = &self.config.path else { return BTreeSet::new() };
        let target = std::fs::canonicalize(path).ok();
        let folder = |path: &Path| match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => PathBuf::from("/"),
        };
        [Some(path.clone()), target].into_iter().flatten().map(|path| folder(&path)).collect()
    }

    pub(super) fn quiet(&self) -> Duration {
        self.config.guard.quiet
    }

    pub(super) fn poll(&self) -> Duration {
        self.config.guard.poll
    }

    /// Whether the file differs from what was last looked at. A file that can't be read is no
    /// change: an editor may be about to put a new one in its place.
    pub(super) fn file_changed(&mut self) -> bool {
        let Some(now) = self.config.path.as_deref().and_then(digest) else { return false };
        let changed = self.seen.as_ref() != Some(&now);
        self.seen = Some(now);
        changed
    }

    /// Reads everything anew: the configuration file, if there is one, and all certificates.
    pub(super) async fn reload(
        &mut self,
        guard: &mpsc::Sender<guard::Command>,
        teller: &Teller,
        clock: &SharedClock,
    ) -> Outcome {
        let prepared = self.prepare(clock).await;
        match prepared {
            Ok(next) => {
                let outcome = self.publish(next, guard).await;
                tell(teller, &outcome, self.config.path.as_deref());
                outcome
            }
            Err(complaints) => {
                // What is on disk may be good although the configuration is not.
                let (reply, _) = oneshot::channel();
                let _ = guard.send(guard::Command::Reload(reply)).await;
                let outcome = Outcome::Refused { complaints };
                tell(teller, &outcome, self.config.path.as_deref());
                outcome
            }
        }
    }

    /// Builds the next plan beside the one in force; nothing has changed when it fails.
    async fn prepare(&mut self, clock: &SharedClock) -> Result<Next, String> {
        let config = match &self.config.path {
            Some(path) => {
                self.seen = digest(path);
                let proved = config::load(path).map_err(|refusal| refusal.to_string())?;
                if !proved.warnings.is_empty() {
                    tracing::warn!("{}", proved.warnings);
                }
                proved.config
            }
            None => self.config.clone(),
        };
        self.refuse_new_darkness(&config, clock).await?;
        let before = self.plan.load_full();
        let plan = Plan::new(config.clone(), Some(&before), &self.inventory, &self.tickets)
            .map_err(|cause| cause.to_string())?;
        let mut opened = Vec::new();
        for settings in &config.listeners {
            if !self.listeners.serves(settings) {
                opened.push((settings.clone(), self.bind(settings)?));
            }
        }
        Ok(Next { config, plan, opened })
    }

    fn bind(&self, settings: &ListenerSettings) -> Result<Vec<std::net::TcpListener>, String> {
        let taken = self.config.listeners.iter().any(|open| open.address == settings.address);
        if taken {
            return Err(format!(
                "listener {}: its mode can't change while it is open; restart the gate, or move \
                 the listener to another port",
                settings.address
            ));
        }
        let count = self.listeners.workers.len();
        listener::bind(settings.address, count).map_err(|cause| cause.to_string())
    }

    /// A configuration that takes the certificate away from a host which has one now is refused:
    /// whoever means it removes the route too.
    async fn refuse_new_darkness(&self, next: &Config, clock: &SharedClock) -> Result<(), String> {
        if next.certs == self.config.certs && next.guard == self.config.guard {
            return Ok(());
        }
        let (sources, policy) = (next.certs.clone(), next.guard.clone());
        let (routed, now) = (routed_hosts(next), clock.now());
        let assess = move || guard::assess(sources, policy, routed, now);
        let report = tokio::task::spawn_blocking(assess)
            .await
            .map_err(|_| "the certificates could not be judged".to_owned())?;
        let snapshot = self.inventory.current();
        let dark: Vec<String> = report
            .hosts
            .iter()
            .filter(|host| host.routed && host.serving.is_none())
            .filter(|host| !snapshot.candidates_for(&host.host).is_empty())
            .map(|host| host.host.to_string())
            .collect();
        if dark.is_empty() {
            return Ok(());
        }
        Err(format!(
            "no servable certificate would be left for {}; add one (`evergate check` tells what is \
             wrong with those there are), or remove the routes of these hosts too",
            dark.join(", ")
        ))
    }

    /// Swaps: first the certificates, so that no route is without its own; then the plan.
    async fn publish(&mut self, next: Next, guard: &mpsc::Sender<guard::Command>) -> Outcome {
        let (reply, report) = oneshot::channel();
        let command = guard::Command::Configure {
            sources: next.config.certs.clone(),
            policy: next.config.guard.clone(),
            routed: routed_hosts(&next.config),
            reply,
        };
        if guard.send(command).await.is_err() || report.await.is_err() {
            let complaints = "the guard does not answer; the gate is stopping".to_owned();
            return Outcome::Refused { complaints };
        }
        let restart = needs_restart(&self.config, &next.config);
        let changed = self.config != next.config;
        self.plan.store(Arc::new(next.plan));
        self.listeners.close_all_but(&next.config.listeners);
        for (settings, sockets) in next.opened {
            self.listeners.open(settings, sockets);
        }
        self.config = next.config;
        Outcome::Published { changed, restart }
    }
}

/// What a running gate can't change: told, so that nobody waits for it.
fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut settings = Vec::new();
    if before.gate.workers != after.gate.workers {
        settings.push("[gate] workers");
    }
    if before.gate.connections_max != after.gate.connections_max {
        settings.push("[gate] connections_max");
    }
    if before.admin != after.admin {
        settings.push("[admin]");
    }
    settings
}

fn tell(teller: &Teller, outcome: &Outcome, path: Option<&Path>) {
    let thing = path.map_or("(flags)".to_owned(), |path| path.display().to_string());
    let event = match outcome {
        Outcome::Published { changed, restart } => Event {
            event: "config_published",
            severity: if restart.is_empty() { Severity::Info } else { Severity::Warning },
            code: if *changed { "config_changed" } else { "config_reread" },
            thing,
            message: if *changed {
                "the configuration is in force".to_owned()
            } else {
                "everything was read anew; the configuration is the same".to_owned()
            },
            remedy: if restart.is_empty() {
                String::new()
            } else {
                format!("restart the gate to change {}", restart.join(", "))
            },
            fingerprint: None,
        },
        Outcome::Refused { complaints } => Event {
            event: "config_refused",
            severity: Severity::Warning,
            code: "config_invalid",
            thing,
            message: format!("refused; the configuration before stays in force\n{complaints}"),
            remedy: "mend it and save, or ask `evergate check`".to_owned(),
            fingerprint: None,
        },
    };
    teller.tell(event);
}

/// Of a file as it is now; none where it can't be read.
fn digest(path: &Path) -> Option<String> {
    config::read(path).ok().map(|bytes| sha256_hex(&bytes))
}
