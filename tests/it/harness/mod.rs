//! The language of the tests: a private CA, upstreams, a real gate over real sockets, clients.
//!
//! ```text
//! let upstream = upstream::hello("api").await;
//! let gate = gate().cert("app.test").route("app.test", upstream.url()).start().await;
//! let answer = gate.h1("app.test").await.get("/").await;
//! ```
//!
//! Nothing sleeps: every wait is for an event, and has a limit and a name.

pub(crate) mod body;
pub(crate) mod client;
pub(crate) mod gate;
pub(crate) mod pki;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod scripted;
pub(crate) mod upstream;

pub(crate) use gate::gate;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// The longest that anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A future that somebody else polls.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Waits for `work`, at most for [`LIMIT`]; `what` says what was waited for.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited {} s for {what}", LIMIT.as_secs()),
    }
}

/// Asks `question` until its answer is something, for what can't be awaited: another process, a
/// file, the guard's next look.
pub(crate) async fn until<T, F>(what: &str, mut question: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(what, async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
