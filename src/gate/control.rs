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
use crate::admin::{About, Admin, Outcome, Request};
use crate::changes::Changes;
use crate::clock::SharedClock;
use crate::guard::{self, ClientAlerts, Guard};
use crate::observe::event::Teller;
use crate::observe::metrics::GuardMetrics;
use crate::observe::traffic::{ClientAlert, Traffic};
use crate::tasks::{Stop, Tasks};

/// Everything the control thread works with.
pub(super) struct Control {
    pub(super) guard: Guard,
    pub(super) metrics: GuardMetrics,
    pub(super) admin: Option<Admin>,
    pub(super) reloader: Reloader,
    pub(super) teller: Teller,
    pub(super) traffic: Traffic,
    pub(super) heard: mpsc::Receiver<ClientAlert>,
    pub(super) client_alerts: ClientAlerts,
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
        let work = move || {
            runtime.block_on(self.run(signals));
            // Not dropped: that would wait for the workers even after a second signal.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("evergate-control".to_owned()).spawn(work)
    }

    async fn run(self, mut signals: Heard) {
        let Self { guard, metrics, admin, reloader, teller, traffic, clock, .. } = self;
        let (client_alerts, heard) = (self.client_alerts, self.heard);
        let (tasks, stop) = (Tasks::new(), self.stop);
        // The guard, the admin listener and reloads go on while connections drain.
        let ending = Stop::new();
        let (guard_commands, commands) = mpsc::channel(WAITING_MAX);
        let (requests, asked) = mpsc::channel::<Request>(WAITING_MAX);
        let picture = guard.picture();
        tasks.spawn("guard", guard.run(commands, ending.clone()));
        let listening = client_alerts.clone().run(heard, teller.clone(), ending.clone());
        tasks.spawn("client alerts", listening);
        if let Some(admin) = admin {
            let mut registry = Registry::default();
            traffic.register(&mut registry);
            metrics.register(&mut registry);
            let about = About {
                picture,
                client_alerts,
                plan: reloader.plan(),
                teller: teller.clone(),
                clock: Arc::clone(&clock),
                registry,
                stopping: stop.clone(),
                requests,
                guard: guard_commands.clone(),
            };
            tasks.spawn("admin", admin.run(about, ending.clone()));
        }
        let mut desk = Desk { reloader, guard: guard_commands, teller, clock };
        desk.attend(&mut signals, asked, &stop).await;
        stop.request();
        tracing::info!("stopping: no new connections, open ones may finish");
        let workers = self.workers;
        let joined = tokio::task::spawn_blocking(move || {
            for worker in workers {
                worker.join();
            }
        });
        tokio::select! {
            _ = joined => {}
            // Whoever says it twice does not want to wait.
            () = signals.stop_again() => {
                tracing::warn!("told to stop again: open connections are cut off");
                return;
            }
        }
        ending.request();
        let late = tasks.finish(FINISH_LIMIT).await;
        if !late.is_empty() {
            tracing::warn!(?late, "background tasks did not end in time");
        }
        tracing::info!("stopped");
    }
}

/// Where wishes for a reload arrive: signals, the admin listener, changes of the file.
struct Desk {
    reloader: Reloader,
    guard: mpsc::Sender<guard::Command>,
    teller: Teller,
    clock: SharedClock,
}

impl Desk {
    /// Reloads whenever somebody asks or the file changes, until the gate is to stop. Whoever
    /// asks after that is told so, as the queue is gone.
    async fn attend(
        &mut self,
        signals: &mut Heard,
        mut asked: mpsc::Receiver<Request>,
        stop: &Stop,
    ) {
        let mut changes = Changes::new();
        let wake = changes.wake();
        loop {
            changes.watch(&self.reloader.folders());
            let why = tokio::select! {
                () = stop.wait() => return,
                wanted = signals.next() => match wanted {
                    Wanted::Stop => return,
                    Wanted::Reload => Why::Asked(None),
                },
                Some(request) = asked.recv() => Why::Asked(Some(request)),
                () = wake.next(self.reloader.quiet()) => Why::File,
                () = tokio::time::sleep(self.reloader.poll()) => Why::File,
            };
            match why {
                Why::File if !self.reloader.file_changed() => {}
                Why::File => {
                    self.reload().await;
                }
                Why::Asked(request) => {
                    let outcome = self.reload().await;
                    if let Some(request) = request {
                        // Whoever asked may have gone.
                        let _ = request.answer.send(outcome);
                    }
                }
            }
        }
    }

    async fn reload(&mut self) -> Outcome {
        self.reloader.reload(&self.guard, &self.teller, &self.clock).await
    }
}

/// Why the configuration is looked at.
enum Why {
    /// Its file may have changed.
    File,
    /// By a signal, or by a request that waits for the outcome.
    Asked(Option<Request>),
}

/// What a signal wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Stop,
    Reload,
}

/// The signals that the gate heeds, if it heeds any.
struct Heard(Option<[(Signal, Wanted); 3]>);

impl Heard {
    fn new(signals: Signals) -> io::Result<Self> {
        if signals == Signals::Leave {
            return Ok(Self(None));
        }
        Ok(Self(Some([
            (signal(SignalKind::terminate())?, Wanted::Stop),
            (signal(SignalKind::interrupt())?, Wanted::Stop),
            (signal(SignalKind::hangup())?, Wanted::Reload),
        ])))
    }

    /// The next signal; waits for ever where none is heeded.
    async fn next(&mut self) -> Wanted {
        let Some([terminate, interrupt, hangup]) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.0.recv() => terminate.1,
            _ = interrupt.0.recv() => interrupt.1,
            _ = hangup.0.recv() => hangup.1,
        }
    }

    async fn stop_again(&mut self) {
        while self.next().await != Wanted::Stop {}
    }
}
