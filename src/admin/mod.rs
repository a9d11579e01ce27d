//! What a running gate says about itself, and what it can be asked to do: reload, accept.
//!
//! `/livez` never depends on certificates: restarting would not mend them. `/readyz` does.

mod answer;
mod gauges;
mod guarded;
mod listen;

pub use answer::{About, Outcome, Request};
pub use listen::{Address, StartError};

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::config::model::AdminSettings;
use crate::tasks::Stop;
use guarded::Door;
use listen::Socket;

/// The admin listener, bound.
#[derive(Debug)]
pub struct Admin {
    socket: Socket,
    address: Address,
    door: Door,
}

/// Admin connections at once; a scrape takes one for some milliseconds.
const CONNECTIONS_MAX: usize = 64;

/// A connection that says nothing for this long is closed, and none lives for longer than ten
/// times that.
const SILENCE_MAX: Duration = Duration::from_secs(30);

impl Admin {
    /// Binds the address and reads the token.
    ///
    /// # Errors
    /// The address can't be bound, or the token file gives no token.
    pub fn bind(settings: &AdminSettings) -> Result<Self, StartError> {
        let door = Door::new(settings)?;
        let (socket, address) = Socket::bind(&settings.address)?;
        Ok(Self { socket, address, door })
    }

    /// Reads the token, if there is one, and binds nothing.
    ///
    /// # Errors
    /// The token file gives no token.
    pub fn prove(settings: &AdminSettings) -> Result<(), StartError> {
        Door::new(settings).map(|_| ())
    }

    /// Where it listens; a port 0 has become a real one.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Answers until `stop`.
    pub async fn run(self, about: About, stop: Stop) {
        let (about, door) = (Arc::new(about), Arc::new(self.door));
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let socket = match self.socket.listen() {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(%error, "the admin listener can't start"),
        };
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = stop.wait() => return,
                accepted = socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the admin listener can't accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (about, door) = (Arc::clone(&about), Arc::clone(&door));
            tokio::spawn(async move {
                serve(stream, about, door).await;
                drop(permit);
            });
        }
    }
}

async fn serve<IO>(stream: IO, about: Arc<About>, door: Arc<Door>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (about, door) = (Arc::clone(&about), Arc::clone(&door));
        async move {
            let response = match door.refuse(&request) {
                Some(refusal) => refusal,
                None => about.answer(&request).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(SILENCE_MAX * 10, connection).await {
        tracing::debug!(%error, "an admin connection ended");
    }
}
