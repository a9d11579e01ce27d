//! Accepts connections: a permit first, so that what is too much waits in the kernel.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::connection;
use crate::config::model::ListenerMode;
use crate::proxy::Proxy;
use crate::tasks::Stop;

/// What one worker needs to serve connections. Shared by its listeners.
#[derive(Debug)]
pub struct Acceptor {
    /// Answers requests.
    pub proxy: Rc<Proxy>,
    /// Connections that may still be opened, over all workers.
    pub permits: Arc<Semaphore>,
    /// Connections that are open on this worker.
    pub connections: TaskTracker,
    /// Asked to stop, connections finish what they are doing.
    pub stop: Stop,
}

/// A peer that vanished without a word is noticed after about this long.
const KEEPALIVE: Duration = Duration::from_secs(60);

impl Acceptor {
    /// Accepts on `listener` until `closing`. Connections that have been shaken by the kernel
    /// already are taken before the socket closes: their clients believe to be connected.
    ///
    /// # Errors
    /// The socket can't be used at all.
    pub async fn run(
        self: Rc<Self>,
        listener: std::net::TcpListener,
        mode: ListenerMode,
        closing: Stop,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let mut pause = Duration::ZERO;
        loop {
            let permit = tokio::select! {
                biased;
                () = closing.wait() => break,
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                biased;
                () = closing.wait() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = Duration::ZERO;
                    self.begin(stream, peer, mode, permit);
                }
                Err(error) => {
                    // Most often too many open files: others must close before it gets better.
                    pause = (pause * 2).clamp(Duration::from_millis(5), Duration::from_secs(1));
                    tracing::warn!(%error, ?pause, "can't accept a connection");
                    tokio::time::sleep(pause).await;
                }
            }
        }
        self.take_the_rest(&listener, mode).await;
        Ok(())
    }

    async fn take_the_rest(self: &Rc<Self>, listener: &TcpListener, mode: ListenerMode) {
        while let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            let polled = std::future::poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await;
            match polled {
                Poll::Ready(Ok((stream, peer))) => self.begin(stream, peer, mode, permit),
                _ => break,
            }
        }
    }

    fn begin(
        self: &Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        mode: ListenerMode,
        permit: OwnedSemaphorePermit,
    ) {
        // Neither makes the connection fail: it only works less well.
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let acceptor = Rc::clone(self);
        self.connections.spawn_local(connection::run(acceptor, stream, peer, mode, permit));
    }
}
