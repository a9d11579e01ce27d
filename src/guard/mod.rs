//! The certificate guard: disk -> judged certificates in service, without ever making it worse.
//!
//! `load -> inspect -> judge -> publish`. Loading has no opinion, the middle two are pure and are
//! what `run`, `check`, `forecast` and `inspect` all call, and the snapshot takes nothing that
//! was not judged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::changes::{Changes, Wake};
use crate::clock::SharedClock;
use crate::config::model::{CertSource, GuardPolicy};
use crate::host::HostPattern;
use crate::observe::event::Teller;
use crate::observe::metrics::GuardMetrics;
use crate::tasks::Stop;

use ledger::{Ledger, Reading};
use tell::Voice;

mod accept;
mod anchors;
mod chain;
mod clients;
mod expiry;
mod finding;
mod inspect;
mod inventory;
mod ledger;
mod load;
mod look;
mod pem;
mod picture;
mod report;
mod routed;
mod source;
mod standby;
mod tell;
mod verdict;
mod walk;

pub use accept::{Accepted, NotAccepted};
pub use clients::{AlertCount, ClientAlerts, WAITING_MAX};
pub use finding::{CATALOGUE, Effect, Finding, Kind, Severity};
pub use inventory::{Inventory, Served, Snapshot};
pub use look::{inspect_chain, inspect_pem};
pub use picture::ReportHandle;
pub use report::{CertificateReport, HostReport, Level, Report, State};

/// Keeps the inventory true for as long as the gate runs.
#[derive(Debug)]
pub struct Guard {
    ledger: Arc<Mutex<Ledger>>,
    wake: Wake,
    clock: SharedClock,
}

/// What the guard is asked to do while it runs. A reply that nobody waits for is no fault.
#[derive(Debug)]
pub enum Command {
    /// Reads everything again, whatever `stat` says.
    Reload(oneshot::Sender<Report>),
    /// Takes another configuration. Certificates of slots that remain are kept unless the disk
    /// has something better.
    Configure {
        /// `[[cert]]`
        sources: Vec<CertSource>,
        /// `[guard]`
        policy: GuardPolicy,
        /// The hosts that routes name.
        routed: Vec<HostPattern>,
        /// Gets the picture after the change.
        reply: oneshot::Sender<Report>,
    },
    /// Serves held material that somebody stands for (rule 4).
    Accept {
        /// Of its leaf: SHA-256 in hex, or its unambiguous beginning of at least 8 digits.
        fingerprint: String,
        /// Gets what is served now because of it.
        reply: oneshot::Sender<Result<Accepted, NotAccepted>>,
    },
}

enum Reason {
    Tick,
    Disk,
    Command(Command),
}

/// How often time alone is looked at. A fail-over takes at most this long.
const TICK: Duration = Duration::from_secs(1);

impl Guard {
    /// A guard that has read nothing yet. `routed` are the hosts that routes name; none stands
    /// for a gate that routes every host.
    pub fn new(
        sources: Vec<CertSource>,
        policy: GuardPolicy,
        routed: Vec<HostPattern>,
        clock: SharedClock,
        teller: Teller,
        metrics: GuardMetrics,
    ) -> Self {
        let changes = Changes::new();
        let wake = changes.wake();
        let mut ledger = Ledger::new(sources, policy, routed, Voice::new(teller, metrics));
        ledger.watch(changes);
        Self { ledger: Arc::new(Mutex::new(ledger)), wake, clock }
    }

    /// Keeps the inventory true until `stop`.
    ///
    /// A change on disk is a hint, not a command: every pass reads what is there and compares it
    /// with what is served, so a missed event costs one poll.
    pub async fn run(self, mut commands: mpsc::Receiver<Command>, stop: Stop) {
        let mut timers = Timers::new(self.poll());
        while let Some(reason) = self.wait(&mut timers, &mut commands, &stop).await {
            let now = self.clock.now();
            match reason {
                Reason::Tick if !lock(&self.ledger).is_due(now) => {}
                Reason::Tick => self.act(move |ledger| ledger.tick(now)).await,
                Reason::Disk => {
                    self.act(move |ledger| ledger.scan(now, Reading::Changed)).await;
                    timers.scanned(self.poll());
                }
                Reason::Command(command) => {
                    self.act(move |ledger| obey(ledger, command, now)).await;
                    timers.scanned(self.poll());
                }
            }
        }
    }

    /// Reads, judges and publishes once, on this thread: the first load. Whatever is refused now
    /// has never been served and is not.
    pub fn scan(&self) {
        let now = self.clock.now();
        lock(&self.ledger).scan(now, Reading::Changed);
    }

    /// Lets time alone do its work once, on this thread.
    pub fn tick(&self) {
        let now = self.clock.now();
        lock(&self.ledger).tick(now);
    }

    /// What handshakes read.
    pub fn inventory(&self) -> Inventory {
        lock(&self.ledger).inventory().clone()
    }

    /// What the guard tells about itself.
    pub fn picture(&self) -> ReportHandle {
        lock(&self.ledger).picture().clone()
    }

    async fn wait(
        &self,
        timers: &mut Timers,
        commands: &mut mpsc::Receiver<Command>,
        stop: &Stop,
    ) -> Option<Reason> {
        let quiet = lock(&self.ledger).policy().quiet;
        tokio::select! {
            biased;
            () = stop.wait() => None,
            Some(command) = commands.recv() => Some(Reason::Command(command)),
            () = self.wake.next(quiet) => Some(Reason::Disk),
            () = tokio::time::sleep_until(timers.poll) => Some(Reason::Disk),
            _ = timers.tick.tick() => Some(Reason::Tick),
        }
    }

    /// Works on the book on a thread that may block: 10,000 files take their time. A panic there
    /// is told and leaves the book and the snapshot as they are.
    async fn act(&self, work: impl FnOnce(&mut Ledger) + Send + 'static) {
        let ledger = Arc::clone(&self.ledger);
        let done = tokio::task::spawn_blocking(move || work(&mut lock(&ledger))).await;
        if let Err(error) = done {
            tracing::error!(%error, "the guard's pass failed; what is served stays");
        }
    }

    fn poll(&self) -> Duration {
        lock(&self.ledger).policy().poll
    }
}

/// Judges everything as a start at `now` would, and serves nothing.
pub fn assess(
    sources: Vec<CertSource>,
    policy: GuardPolicy,
    routed: Vec<HostPattern>,
    now: OffsetDateTime,
) -> Report {
    let mut ledger = Ledger::new(sources, policy, routed, Voice::silent());
    ledger.scan(now, Reading::All);
    ledger.picture().report(now)
}

fn obey(ledger: &mut Ledger, command: Command, now: OffsetDateTime) {
    let reply = match command {
        Command::Reload(reply) => {
            ledger.scan(now, Reading::All);
            reply
        }
        Command::Configure { sources, policy, routed, reply } => {
            ledger.configure(sources, policy, routed, now);
            reply
        }
        Command::Accept { fingerprint, reply } => {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(ledger.accept(&fingerprint, now));
            return;
        }
    };
    // Whoever asked may have stopped waiting.
    let _ = reply.send(ledger.picture().report(now));
}

struct Timers {
    tick: tokio::time::Interval,
    poll: Instant,
}

impl Timers {
    fn new(poll: Duration) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tick, poll: Instant::now() + poll }
    }

    fn scanned(&mut self, poll: Duration) {
        self.poll = Instant::now() + poll;
    }
}

/// A pass that panicked has left whole entries behind: each is written in one assignment.
fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod time_tests;
#[cfg(test)]
mod accept_tests;
