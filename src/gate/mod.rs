//! The running product: builds the parts from a configuration, in order; the only place where
//! all of them meet.

mod control;
mod reload;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc};

use crate::admin::{self, Admin};
use crate::clock::SharedClock;
use crate::config::model::{Config, ListenerMode, OnDarkStart};
use crate::guard::{self, ClientAlerts, Guard, Inventory};
use crate::host::HostPattern;
use crate::listener::{self, BindError};
use crate::observe::event::Teller;
use crate::observe::metrics::GuardMetrics;
use crate::observe::traffic::Traffic;
use crate::proxy::{Plan, PlanError};
use crate::tasks::Stop;
use crate::tls::Tickets;
use control::Control;
use reload::{Listeners, Reloader};
use worker::{Shared, Worker};

/// A gate that serves. Dropped, it stops without waiting.
#[derive(Debug)]
pub struct Gate {
    stop: Stop,
    addresses: Vec<SocketAddr>,
    admin: Option<admin::Address>,
    inventory: Inventory,
    control: Option<JoinHandle<()>>,
}

/// How a gate is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signals {
    /// SIGTERM and SIGINT stop the gate, SIGHUP makes it read everything anew.
    Heed,
    /// For a gate inside another program.
    #[default]
    Leave,
}

/// Why a gate did not start.
#[derive(Debug)]
pub enum StartError {
    /// TLS was asked for, and no name has a certificate that may be served (rule 2).
    NoServableCertificate,
    /// An address can't be listened on.
    Bind(BindError),
    /// The admin listener can't start.
    Admin(admin::StartError),
    /// The configuration can't be put into force.
    Plan(PlanError),
    /// The system refused a thread, random bytes or the like.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServableCertificate => {
                f.write_str("no name has a certificate that may be served")
            }
            Self::Bind(cause) => cause.fmt(f),
            Self::Admin(cause) => cause.fmt(f),
            Self::Plan(cause) => cause.fmt(f),
            Self::System(cause) => write!(f, "the system refuses: {cause}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Gate {
    /// Starts a gate for `config`: when this returns it accepts connections.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub fn start(config: Config, clock: SharedClock, signals: Signals) -> Result<Self, StartError> {
        let stop = Stop::new();
        let started = Self::assemble(config, clock, signals, stop.clone());
        if started.is_err() {
            // Workers may run already.
            stop.request();
        }
        started
    }

    fn assemble(
        config: Config,
        clock: SharedClock,
        signals: Signals,
        stop: Stop,
    ) -> Result<Self, StartError> {
        let (teller, metrics) = (Teller::new(), GuardMetrics::default());
        let (alerts, heard) = mpsc::channel(guard::WAITING_MAX);
        let traffic = Traffic::new().with_alerts(alerts);
        let guard = Guard::new(
            config.certs.clone(),
            config.guard.clone(),
            routed_hosts(&config),
            Arc::clone(&clock),
            teller.clone(),
            metrics.clone(),
        );
        guard.scan();
        let inventory = guard.inventory();
        refuse_darkness(&config, &inventory)?;
        let tickets =
            Tickets::new().map_err(|cause| StartError::System(io::Error::other(cause)))?;
        let plan =
            Plan::new(config.clone(), None, &inventory, &tickets).map_err(StartError::Plan)?;
        let plan = Arc::new(ArcSwap::from_pointee(plan));
        let workers_count = config.gate.workers.max(1);
        let mut bound = Vec::with_capacity(config.listeners.len());
        for settings in &config.listeners {
            let sockets =
                listener::bind(settings.address, workers_count).map_err(StartError::Bind)?;
            bound.push((settings.clone(), sockets));
        }
        let admin = match &config.admin {
            Some(settings) => Some(Admin::bind(settings).map_err(StartError::Admin)?),
            None => None,
        };
        let shared = Shared {
            plan: Arc::clone(&plan),
            permits: Arc::new(Semaphore::new(config.gate.connections_max)),
            traffic: traffic.clone(),
            stop: stop.clone(),
        };
        let start = |index| Worker::start(index, shared.clone()).map_err(StartError::System);
        let workers = (0..workers_count).map(start).collect::<Result<Vec<_>, _>>()?;
        let orders = workers.iter().map(|worker| worker.orders.clone()).collect();
        let mut listeners = Listeners::new(orders);
        let mut addresses = Vec::with_capacity(bound.len());
        for (settings, sockets) in bound {
            addresses.push(local_address(&sockets, settings.address));
            listeners.open(settings, sockets);
        }
        let admin_address = admin.as_ref().map(|admin| admin.address().clone());
        let reloader = Reloader::new(config, plan, inventory.clone(), tickets, listeners);
        let control = Control {
            guard,
            metrics,
            admin,
            reloader,
            teller,
            traffic,
            heard,
            client_alerts: ClientAlerts::default(),
            clock,
            signals,
            workers,
            stop: stop.clone(),
        };
        let control = control.start().map_err(StartError::System)?;
        Ok(Self { stop, addresses, admin: admin_address, inventory, control: Some(control) })
    }

    /// Where it accepts, in the order of the configuration; a port 0 has become a real one.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it tells about itself.
    pub fn admin(&self) -> Option<&admin::Address> {
        self.admin.as_ref()
    }

    /// What it serves.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Asks the gate to stop accepting, to finish what began, and to end.
    pub fn stop(&self) {
        self.stop.request();
    }

    /// Waits until the gate has been stopped and has drained.
    pub fn wait(mut self) {
        if let Some(control) = self.control.take()
            && control.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.request();
    }
}

/// Reads what `config` names beside certificates and configuration, as a start would: CA bundles
/// of hosts and upstreams, the admin token.
///
/// # Errors
/// The first that can't be used.
pub fn prove(config: &Config) -> Result<(), StartError> {
    let tickets = Tickets::new().map_err(|cause| StartError::System(io::Error::other(cause)))?;
    Plan::new(config.clone(), None, &Inventory::default(), &tickets).map_err(StartError::Plan)?;
    match &config.admin {
        Some(settings) => Admin::prove(settings).map_err(StartError::Admin),
        None => Ok(()),
    }
}

fn refuse_darkness(config: &Config, inventory: &Inventory) -> Result<(), StartError> {
    let tls = config.listeners.iter().any(|listener| listener.mode == ListenerMode::Tls);
    let dark = tls && inventory.current().is_empty();
    if dark && config.guard.start == OnDarkStart::Exit {
        return Err(StartError::NoServableCertificate);
    }
    Ok(())
}

/// The hosts that routes name; a route for every host names none.
pub fn routed_hosts(config: &Config) -> Vec<HostPattern> {
    let mut hosts: Vec<HostPattern> =
        config.routes.iter().flat_map(|route| route.hosts.iter().cloned()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn local_address(sockets: &[std::net::TcpListener], asked: SocketAddr) -> SocketAddr {
    sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(asked)
}
