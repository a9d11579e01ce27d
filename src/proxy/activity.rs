//! What one client connection is busy with: written on its way by the streams, read by the
//! connection's own watch.
//!
//! Atomics although one thread writes and reads them: an upgraded connection must be `Send`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What one client connection is busy with.
#[derive(Debug)]
pub struct Activity {
    requests: AtomicUsize,
    idle_since: Moment,
    head_since: Moment,
    blocked_since: Moment,
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Activity {
    /// A connection that has just begun. `permit` and its place in `open` are given back when
    /// the last who knows of it is gone: the connection, or the tunnel that grew out of it.
    pub fn begin(permit: OwnedSemaphorePermit, open: &Gauge) -> Arc<Self> {
        open.inc();
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            idle_since: Moment::now(),
            // The first request is due as if its first byte had come with the connection.
            head_since: Moment::now(),
            blocked_since: Moment::never(),
            _permit: permit,
            open: open.clone(),
        })
    }

    /// A request has begun; it ends when what is returned is dropped.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Relaxed);
        self.head_since.clear();
        Busy(Arc::clone(self))
    }

    /// Bytes came in.
    pub fn received(&self) {
        if self.requests.load(Relaxed) == 0 && self.head_since.elapsed().is_none() {
            self.head_since.set();
        }
    }

    /// The client took bytes, or took none.
    pub fn sent(&self, blocked: bool) {
        match (blocked, self.blocked_since.elapsed()) {
            (true, None) => self.blocked_since.set(),
            (false, Some(_)) => self.blocked_since.clear(),
            _ => {}
        }
    }

    /// For how long no request has been under way; none while one is.
    pub fn idle_for(&self) -> Option<Duration> {
        if self.requests.load(Relaxed) == 0 { self.idle_since.elapsed() } else { None }
    }

    /// For how long a header section has been incomplete.
    pub fn head_for(&self) -> Option<Duration> {
        self.head_since.elapsed()
    }

    /// For how long the client has taken nothing.
    pub fn blocked_for(&self) -> Option<Duration> {
        self.blocked_since.elapsed()
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Relaxed) == 1 {
            self.0.idle_since.set();
        }
    }
}

/// A point in time that may be none: milliseconds since the process first asked, plus one.
#[derive(Debug)]
struct Moment(AtomicU64);

impl Moment {
    fn never() -> Self {
        Self(AtomicU64::new(0))
    }

    fn now() -> Self {
        Self(AtomicU64::new(milliseconds()))
    }

    fn set(&self) {
        self.0.store(milliseconds(), Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    fn elapsed(&self) -> Option<Duration> {
        match self.0.load(Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(milliseconds().saturating_sub(since))),
        }
    }
}

fn milliseconds() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = FIRST.get_or_init(Instant::now);
    u64::try_from(first.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_while_no_request_is_under_way() {
        let permits = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
        let open = Gauge::default();
        let activity = Activity::begin(permit, &open);
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        pass(3).await;
        assert_eq!(activity.head_for(), Some(Duration::from_secs(3)));
        let request = activity.busy();
        assert_eq!((activity.idle_for(), activity.head_for()), (None, None));
        drop(request);
        pass(2).await;
        assert_eq!(activity.idle_for(), Some(Duration::from_secs(2)));
        activity.received();
        pass(1).await;
        assert_eq!(activity.head_for(), Some(Duration::from_secs(1)));
        assert_eq!((open.get(), permits.available_permits()), (1, 0));
        drop(activity);
        assert_eq!((open.get(), permits.available_permits()), (0, 1));
    }
}
