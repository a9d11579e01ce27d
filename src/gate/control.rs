//! The control plane: one thread, one runtime of its own for the guard, the admin listener,
//! reloads and signals. A flood of requests can't starve it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::Signals;
use super::reload::Reloader;
use super::worker::Worker;
use crate::admin::{Admin, About, Request};
use crate::changes::Changes;
use crate::clock::SharedClock;
use crate::guard::{Guard, GuardMetrics};
use crate::observe::event::Teller;
use crate::observe::traffic::Traffic;
use crate::tasks::{Stop, Tasks};

/// Everything the control thread works with.
pub(super) struct Control {
    pub(super) guard: Guard,
    pub(super) metrics: GuardMetrics,
    pub(super) admin: Option<Admin>,
    pub(super) reloader: Reloader,
    pub(super) teller: Teller,
    pub(super) traffic: Traffic,
    pub(super) clock: SharedClock,
    pub(super) signals: Signals,
    pub(super) workers: Vec<Worker>,
    pub(super) stop: Stop,
}

/// Commands that may wait for the guard, and requests for a reload.
const WAITING_MAX: usize = 16;

/// How long the control plane's own tasks may take to end after the last connection has.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

impl Control {
    /// Starts the control thread; it ends when the gate has drained.
    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _inside = runtime.enter();
            Heard::new(self.signals)?
        };
        let work = move || runtime.block_on(self.run(signals));
        std::thread::Builder::new().name("evergate-control".to_owned()).spawn(work)
    }

    async fn run(self, signals: Heard) {
        let Self { guard, metrics, admin, mut reloader, teller, traffic, clock, .. } = self;
        let (tasks, stop) = (Tasks::new(), self.stop);
        // The guard, the admin listener and reloads go on while connections drain.
        let ending = Stop::new();
        let (guard_commands, commands) = mpsc::channel(WAITING_MAX);
        let (requests, mut asked) = mpsc::channel::<Request>(WAITING_MAX);
        let picture = guard.picture();
        tasks.spawn("guard", guard.run(commands, ending.clone()));
        if let Some(admin) = admin {
            let mut registry = Registry::default();
            traffic.register(&mut registry);
            metrics.register(&mut registry);
            let about = About {
                picture,
                plan: reloader.plan(),
                teller: teller.clone(),
                clock: Arc::clone(&clock),
                registry,
                stopping: stop.clone(),
                requests,
            };
            tasks.spawn("admin", admin.run(about, ending.clone()));
        }
        signals.relay(&tasks, &stop, &ending);
        let mut signals = signals;
        let mut changes = Changes::new();
        let wake = changes.wake();
        loop {
            changes.watch(&reloader.folders());
            tokio::select! {
                () = stop.wait() => break,
                () = signals.hangup() => {
                    reloader.reload(&guard_commands, &teller, &clock).await;
                }
                Some(request) = asked.recv() => {
                    let outcome = reloader.reload(&guard_commands, &teller, &clock).await;
                    // Whoever asked may have gone.
                    let _ = request.answer.send(outcome);
                }
                () = wake.next(reloader.quiet()) => {
                    if reloader.file_changed() {
                        reloader.reload(&guard_commands, &teller, &clock).await;
                    }
                }
                () = tokio::time::sleep(reloader.poll()) => {
                    if reloader.file_changed() {
                        reloader.reload(&guard_commands, &teller, &clock).await;
                    }
                }
            }
        }
        tracing::info!("stopping: no new connections, open ones may finish");
        let workers = self.workers;
        let joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                worker.join();
            }
        });
        let _ = joined.await;
        ending.request();
        let late = tasks.finish(FINISH_LIMIT).await;
        if !late.is_empty() {
            tracing::warn!(?late, "background tasks did not end in time");
        }
        tracing::info!("stopped");
    }
}
