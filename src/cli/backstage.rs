//! What `dev` runs beside its gate: the echo upstream, and the renewal of the local certificate.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::echo;
use super::local_ca::{LEAF_LIFETIME, LocalCa, LocalCaError};
use super::print::chain;
use crate::clock::SharedClock;
use crate::host::HostPattern;
use crate::tasks::{Stop, Tasks};

/// How often the leaf's age is looked at. A tick rather than one long sleep: wall clocks jump.
const RENEWAL_TICK: Duration = Duration::from_secs(60);

/// Mints the leaf, time and again.
pub(super) struct Minter {
    pub(super) ca: LocalCa,
    pub(super) names: Vec<HostPattern>,
    pub(super) folder: PathBuf,
}

impl Minter {
    /// Signs a new leaf and puts it in the place of the old one.
    pub(super) fn mint(&self, now: OffsetDateTime) -> Result<(), LocalCaError> {
        self.ca.mint(&self.names, now)?.write(&self.folder)
    }

    /// Renews the leaf that was minted at the start before half its life is over.
    async fn keep_fresh(self, clock: SharedClock, stop: Stop) {
        let mut minted = clock.now();
        let mut tick = tokio::time::interval(RENEWAL_TICK);
        loop {
            tokio::select! {
                () = stop.wait() => return,
                _ = tick.tick() => {}
            }
            let now = clock.now();
            if !is_due(minted, now) {
                continue;
            }
            match self.mint(now) {
                Ok(()) => minted = now,
                // The next tick tries again; three days are left.
                Err(error) => tracing::warn!("the local certificate stays: {}", chain(&error)),
            }
        }
    }
}

/// Whether a leaf has lived long enough: a day before half its life is over, when the guard would
/// call it due. A clock set back makes it due too, for it may not be valid yet.
fn is_due(minted: OffsetDateTime, now: OffsetDateTime) -> bool {
    now < minted - time::Duration::hours(1)
        || now - minted > LEAF_LIFETIME / 2 - time::Duration::DAY
}

/// What runs beside the gate, on a thread of its own.
pub(super) struct Backstage {
    stop: Stop,
    thread: std::thread::JoinHandle<()>,
}

impl Backstage {
    /// Starts the echo upstream and the renewal; tells where the echo listens.
    pub(super) fn start(minter: Minter, clock: SharedClock) -> io::Result<(Self, SocketAddr)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let stop = Stop::new();
        let ending = stop.clone();
        let work = move || {
            runtime.block_on(async {
                let tasks = Tasks::new();
                tasks.spawn("echo", echo::serve(listener, ending.clone()));
                tasks.spawn("local renewal", minter.keep_fresh(clock, ending.clone()));
                ending.wait().await;
                tasks.finish(Duration::from_secs(1)).await;
            });
        };
        let thread = std::thread::Builder::new().name("backstage".to_owned()).spawn(work)?;
        Ok((Self { stop, thread }, address))
    }

    /// Ends both, and waits for them.
    pub(super) fn end(self) {
        self.stop.request();
        // It waits a second for its tasks at the most; a panic there was logged.
        drop(self.thread.join());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use time::macros::datetime;

    #[test]
    fn a_leaf_is_renewed_before_the_guard_asks_for_it() {
        let minted = datetime!(2026-11-24 0:00 UTC);
        let cases = [
            (time::Duration::ZERO, false),
            (time::Duration::hours(59), false),
            (time::Duration::hours(61), true),
            (time::Duration::days(30), true),
            (time::Duration::minutes(-59), false),
            (time::Duration::days(-1), true),
        ];
        for (age, due) in cases {
            assert_eq!(is_due(minted, minted + age), due, "{age}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_dev_renews_its_leaf() {
        let place = tempfile::tempdir().unwrap();
        let start = datetime!(2026-11-24 0:00 UTC);
        let clock = ManualClock::at(start);
        let (ca, _) = LocalCa::open(place.path(), start).unwrap();
        let folder = place.path().join("leaf");
        let names = vec![HostPattern::parse("localhost").unwrap()];
        let minter = Minter { ca, names, folder: folder.clone() };
        minter.mint(start).unwrap();
        let first = std::fs::read(folder.join("chain.pem")).unwrap();
        let (stop, tasks) = (Stop::new(), Tasks::new());
        tasks.spawn("renewal", minter.keep_fresh(clock.clone(), stop.clone()));
        tokio::time::sleep(RENEWAL_TICK * 2).await;
        assert_eq!(std::fs::read(folder.join("chain.pem")).unwrap(), first);
        clock.set(start + time::Duration::days(3));
        tokio::time::sleep(RENEWAL_TICK * 2).await;
        assert_ne!(std::fs::read(folder.join("chain.pem")).unwrap(), first);
        stop.request();
        assert!(tasks.finish(Duration::from_secs(1)).await.is_empty());
    }
}
