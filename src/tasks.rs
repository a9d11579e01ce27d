//! Background work: started by name, asked to stop, awaited.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The request to end. Cheap to clone; every long-lived part takes one.
#[derive(Debug, Clone, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// A request that nobody has made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone who holds a clone to end.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether the end was asked for.
    pub fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the end is asked for.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// A request that follows this one and can also be made alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

/// The only spawner of named background tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    running: Arc<Mutex<Vec<&'static str>>>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `work` on the current runtime; `name` is told if it does not end in time.
    pub fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = Arc::clone(&self.running);
        lock(&running).push(name);
        let task = self.tracker.spawn(work);
        self.tracker.spawn(async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                tracing::error!(task = name, "a background task panicked");
            }
            let mut names = lock(&running);
            if let Some(index) = names.iter().position(|running| *running == name) {
                names.swap_remove(index);
            }
        });
    }

    /// Waits until all have ended, at most for `limit`; gives the names of those that have not.
    pub async fn finish(&self, limit: Duration) -> Vec<&'static str> {
        self.tracker.close();
        let _ = tokio::time::timeout(limit, self.tracker.wait()).await;
        lock(&self.running).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_names_those_who_did_not_come() {
        let (stop, tasks) = (Stop::new(), Tasks::new());
        let polite = stop.clone();
        tasks.spawn("polite", async move { polite.wait().await });
        tasks.spawn("stubborn", std::future::pending());
        stop.request();
        assert_eq!(tasks.finish(Duration::from_secs(1)).await, ["stubborn"]);
    }
}
