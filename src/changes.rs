//! Files that changed, gathered into quiet batches.
//!
//! Folders are watched, never files: a watched file is an inode, and the first rename over it,
//! or the first swap of `..data`, leaves the watch on the old one. An event says nothing but
//! "look again": which file it names is not asked, since a swap names `..data` and nothing else.
//! Whoever waits here also polls, because events get lost (NFS, limits, other machines).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches folders.
#[derive(Debug)]
pub struct Changes {
    wake: Wake,
    watcher: Option<RecommendedWatcher>,
    /// Each watched folder with the inode it had: one that was deleted and made again under the
    /// same name is another.
    watched: HashMap<PathBuf, (u64, u64)>,
    problem: Option<String>,
}

/// The waiting end. Cheap to clone; one waiter at a time.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    notify: Notify,
    /// Outlives a cancelled wait, which the permit of [`Notify`] does not.
    pending: AtomicBool,
    stale: Mutex<Stale>,
}

/// What can't be relied on to be watched any more. A folder that was deleted and made again may
/// have the inode it had, so that only the event tells.
#[derive(Debug, Default)]
struct Stale {
    all: bool,
    paths: HashSet<PathBuf>,
}

/// Removed paths that are remembered; beyond, every folder is watched anew.
const STALE_MAX: usize = 1_024;

/// Folders watched at once: a bound on kernel memory, of which each takes about 1 KiB.
const FOLDERS_MAX: usize = 16_384;
/// A storm of events is cut off after this many quiet periods.
const STORM_MAX: u32 = 10;

impl Changes {
    /// Watches nothing yet. Where the system offers no events, [`Changes::problem`] says so.
    pub fn new() -> Self {
        let wake = Wake::default();
        let told = wake.clone();
        let (watcher, problem) = match notify::recommended_watcher(move |event| {
            if is_change(&event) {
                told.mark_stale(event);
                told.call();
            }
        }) {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self { wake, watcher, watched: HashMap::new(), problem }
    }

    /// The end to wait at.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Watches exactly these folders from now on; those that do not exist are tried again by the
    /// next call. Gives true where a folder is watched that was not before: what happened in it
    /// until now was not seen, so the caller should look once more.
    pub fn watch(&mut self, folders: &BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let stale = std::mem::take(&mut *self.wake.stale());
        self.watched.retain(|folder, inode| {
            let known = !stale.all && !stale.paths.contains(folder);
            let stays = known && folders.contains(folder) && inode_of(folder) == Some(*inode);
            if !stays {
                // Gone with the folder, most likely.
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        self.problem = None;
        let mut added = false;
        for folder in folders {
            if self.watched.contains_key(folder) {
                continue;
            }
            let Some(inode) = inode_of(folder) else {
                continue;
            };
            if self.watched.len() == FOLDERS_MAX {
                self.problem = Some(format!("more than {FOLDERS_MAX} folders"));
                break;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder.clone(), inode);
                    added = true;
                }
                Err(error) => self.problem = Some(error.to_string()),
            }
        }
        added
    }

    /// Why some folders can't be watched, if so. Polling goes on without.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

impl Wake {
    /// Waits for a change, and then until nothing has changed for `quiet`, but not for longer
    /// than ten times that. Safe to cancel: a change that was heard is not forgotten.
    pub async fn next(&self, quiet: Duration) {
        while !self.0.pending.load(Ordering::Acquire) {
            self.0.notify.notified().await;
        }
        let storm = tokio::time::sleep(quiet * STORM_MAX);
        tokio::pin!(storm);
        loop {
            tokio::select! {
                () = &mut storm => break,
                () = self.0.notify.notified() => {}
                () = tokio::time::sleep(quiet) => break,
            }
        }
        // Before the caller looks: what changes from here on is another batch.
        self.0.pending.store(false, Ordering::Release);
    }

    /// Remembers which watches `event` ends: the watcher drops them by itself.
    fn mark_stale(&self, event: notify::Result<Event>) {
        let mut stale = self.stale();
        match event {
            Ok(event) if event.need_rescan() => stale.all = true,
            Ok(event) => match event.kind {
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                    stale.paths.extend(event.paths);
                }
                _ => {}
            },
            Err(_) => stale.all = true,
        }
        if stale.paths.len() > STALE_MAX {
            *stale = Stale { all: true, paths: HashSet::new() };
        }
    }

    fn stale(&self) -> MutexGuard<'_, Stale> {
        self.0.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits, as a change on disk does.
    pub fn call(&self) {
        self.0.pending.store(true, Ordering::Release);
        self.0.notify.notify_one();
    }
}

/// Reading is no change; without this, every reading would call for another.
fn is_change(event: &notify::Result<Event>) -> bool {
    match event {
        Ok(event) => match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        },
        // Such as an overflow of the kernel's queue: something happened.
        Err(_) => true,
    }
}

fn inode_of(folder: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(folder).ok()?;
    metadata.is_dir().then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(20);

    fn watched(folders: &[&Path]) -> (Changes, Wake) {
        let mut changes = Changes::new();
        assert!(changes.watch(&folders.iter().map(|f| f.to_path_buf()).collect()));
        assert_eq!(changes.problem(), None);
        let wake = changes.wake();
        (changes, wake)
    }

    async fn heard(wake: &Wake) -> bool {
        tokio::time::timeout(Duration::from_secs(5), wake.next(QUIET)).await.is_ok()
    }

    async fn silent(wake: &Wake) -> bool {
        tokio::time::timeout(QUIET * 10, wake.next(QUIET)).await.is_err()
    }

    #[tokio::test]
    async fn writing_wakes_and_reading_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (_changes, wake) = watched(&[folder.path()]);
        fs::write(folder.path().join("a"), "1").unwrap();
        assert!(heard(&wake).await);
        fs::read(folder.path().join("a")).unwrap();
        assert!(silent(&wake).await);
    }

    #[tokio::test]
    async fn every_swap_of_a_link_is_heard() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (_changes, wake) = watched(&[folder.path()]);
        for round in 0..3 {
            symlink(format!("..{round}"), folder.path().join("..tmp")).unwrap();
            fs::rename(folder.path().join("..tmp"), folder.path().join("..data")).unwrap();
            assert!(heard(&wake).await, "round {round}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_was_made_again_is_watched_again() {
        // Often enough for the new folder to get the old one's inode.
        for round in 0..10 {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("live");
            fs::create_dir(&folder).unwrap();
            let (mut changes, wake) = watched(&[root.path(), &folder]);
            fs::remove_dir(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
            assert!(heard(&wake).await);
            changes.watch(&[root.path().to_owned(), folder.clone()].into());
            assert!(silent(&wake).await);
            fs::write(folder.join("a"), "1").unwrap();
            assert!(heard(&wake).await, "round {round}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_one_batch_and_has_an_end() {
        let wake = Wake::default();
        let storm = wake.clone();
        let storm = tokio::spawn(async move {
            loop {
                storm.call();
                tokio::time::sleep(QUIET / 2).await;
            }
        });
        let start = tokio::time::Instant::now();
        wake.next(QUIET).await;
        assert_eq!(start.elapsed(), QUIET * STORM_MAX);
        storm.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_forgets_no_change() {
        let wake = Wake::default();
        wake.call();
        let cut = tokio::time::timeout(QUIET / 2, wake.next(QUIET)).await;
        assert!(cut.is_err());
        tokio::time::timeout(QUIET * 2, wake.next(QUIET)).await.unwrap();
    }
}
