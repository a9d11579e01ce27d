//! Data path threads: one single-threaded runtime each, nothing shared but what is published.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio_util::task::TaskTracker;

use crate::config::model::ListenerSettings;
use crate::listener::Acceptor;
use crate::observe::traffic::{Traffic, WorkerTraffic};
use crate::proxy::{Plan, Plans, Proxy};
use crate::tasks::Stop;

/// What a worker is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Accept on this socket until `closing`.
    Listen { socket: TcpListener, settings: ListenerSettings, closing: Stop },
}

/// What all workers share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) plan: Arc<ArcSwap<Plan>>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) traffic: Traffic,
    pub(super) stop: Stop,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

/// Orders that may wait: one for each listener of a configuration, with room for a second.
const ORDERS_MAX: usize = 1_024;

/// How often idle connections to servers are looked through.
const PRUNE_EVERY: Duration = Duration::from_secs(5);

impl Worker {
    /// Starts worker number `index`.
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub(super) fn start(index: usize, shared: Shared) -> io::Result<Self> {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            let local = LocalSet::new();
            local.block_on(&runtime, serve(shared, received));
            // Connections that did not finish within the drain's limit end here, with the tasks.
        };
        let thread = std::thread::Builder::new().name(format!("evergate-{index}")).spawn(work)?;
        Ok(Self { orders, thread })
    }

    /// Waits until the worker has drained and ended.
    pub(super) fn join(self) {
        drop(self.orders);
        if self.thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
}

async fn serve(shared: Shared, mut orders: mpsc::Receiver<Order>) {
    let (connections, listeners) = (TaskTracker::new(), TaskTracker::new());
    let traffic = WorkerTraffic::new(shared.traffic);
    let proxy = Proxy::new(Plans::of(shared.plan), traffic, connections.clone());
    // A token of this worker alone: its connections wait at it without touching other cores.
    let ending = Stop::new();
    let acceptor = Rc::new(Acceptor {
        proxy: Rc::clone(&proxy),
        permits: shared.permits,
        connections: connections.clone(),
        stop: ending.clone(),
    });
    let mut prune = tokio::time::interval(PRUNE_EVERY);
    let mut open = true;
    loop {
        tokio::select! {
            () = shared.stop.wait() => break,
            order = orders.recv(), if open => match order {
                Some(order) => follow(order, &acceptor, &listeners, &shared.stop),
                None => open = false,
            },
            _ = prune.tick() => proxy.prune(),
        }
    }
    drain(&proxy, &listeners, &connections, &ending).await;
}

fn follow(order: Order, acceptor: &Rc<Acceptor>, listeners: &TaskTracker, stop: &Stop) {
    let Order::Listen { socket, settings, closing } = order;
    let (acceptor, stop) = (Rc::clone(acceptor), stop.clone());
    listeners.spawn_local(async move {
        let either = Stop::new();
        let relay = either.clone();
        // The gate's end and the listener's own end look alike to the acceptor.
        let watch = tokio::task::spawn_local(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = closing.wait() => {}
            }
            relay.request();
        });
        if let Err(error) = acceptor.run(socket, settings.mode, either).await {
            tracing::error!(address = %settings.address, %error, "can't accept");
        }
        watch.abort();
    });
}

/// Stops accepting, then lets connections finish what they began, within the time limit.
async fn drain(proxy: &Proxy, listeners: &TaskTracker, connections: &TaskTracker, ending: &Stop) {
    let limit = proxy.plan().config().gate.drain_timeout;
    listeners.close();
    connections.close();
    let finish = async {
        listeners.wait().await;
        ending.request();
        connections.wait().await;
    };
    if tokio::time::timeout(limit, finish).await.is_err() {
        let left = connections.len();
        tracing::warn!(left, limit_s = limit.as_secs(), "connections cut off: the drain is over");
    }
}
