//! The running guard: real events, real rotations, a real clock for waiting.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::testing::*;
use super::{Command, Inventory};
use crate::config::model::{CertPlace, GuardPolicy, Role};
use crate::tasks::Stop;

/// A guard at work.
struct Running {
    folder: tempfile::TempDir,
    inventory: Inventory,
    commands: mpsc::Sender<Command>,
    stop: Stop,
    task: JoinHandle<()>,
}

/// `poll` is an hour where events alone are to do it.
fn run(mut setup: Setup, poll: Duration) -> Running {
    setup.policy = GuardPolicy { poll, quiet: Duration::from_millis(10), ..GuardPolicy::default() };
    let bench = setup.start();
    let (commands, receiver) = mpsc::channel(4);
    let stop = Stop::new();
    let task = tokio::spawn(bench.guard.run(receiver, stop.clone()));
    Running { folder: bench.folder, inventory: bench.inventory, commands, stop, task }
}

impl Running {
    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until `expected` answers for a.test, and fails after five seconds.
    async fn serves(&self, expected: &str, what: &str) {
        let seen = async {
            while serving(&self.inventory, "a.test").first().map(String::as_str) != Some(expected) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(5), seen).await;
        assert!(seen.is_ok(), "{what}: not served within five seconds");
    }

    async fn end(self) {
        self.stop.request();
        tokio::time::timeout(Duration::from_secs(5), self.task).await.unwrap().unwrap();
    }
}

const EVENTS_ONLY: Duration = Duration::from_secs(3600);

fn swap_link(target: &str, link: &Path) {
    let beside = link.with_file_name("..beside");
    symlink(target, &beside).unwrap();
    fs::rename(beside, link).unwrap();
}

/// Issues the certificate of round `n`, each a little later than the one before.
fn round(pki: &Pki, n: i64) -> (String, String) {
    pki.issue(&spec(&["a.test"]).days(n - 30, n + 60))
}

#[tokio::test]
async fn every_manner_of_writing_two_files_is_noticed() {
    type Writer = fn(&Path, &str);
    let manners: [(&str, [&str; 2], Writer); 4] = [
        ("in place, chain first", ["a.crt", "a.key"], write),
        ("in place, key first", ["a.key", "a.crt"], write),
        ("renamed, chain first", ["a.crt", "a.key"], rename_over),
        ("renamed, key first", ["a.key", "a.crt"], rename_over),
    ];
    let pki = Pki::new();
    let first = round(&pki, 0);
    let running = run(Setup::new().pair("a", Role::Primary, &first), EVENTS_ONLY);
    for (n, (what, order, writer)) in manners.into_iter().enumerate() {
        let next = round(&pki, n as i64 + 1);
        for (step, file) in order.into_iter().enumerate() {
            let text = if file == "a.crt" { &next.0 } else { &next.1 };
            writer(&running.at(file), text);
            if step == 0 {
                // Between the two, whatever is read must not be served.
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        running.serves(&fingerprint(&next.0), what).await;
    }
    running.end().await;
}

#[tokio::test]
async fn every_swap_of_a_kubernetes_mount_is_noticed() {
    let pki = Pki::new();
    let setup = Setup::new().directory("mount");
    let put = |base: &Path, n: i64| {
        let pair = round(&pki, n);
        let folder = base.join(format!("..2026_{n}"));
        write(&folder.join("tls.crt"), &pair.0);
        write(&folder.join("tls.key"), &pair.1);
        swap_link(&format!("..2026_{n}"), &base.join("..data"));
        if n > 0 {
            fs::remove_dir_all(base.join(format!("..2026_{}", n - 1))).unwrap();
        }
        fingerprint(&pair.0)
    };
    let first = put(&setup.at("mount"), 0);
    symlink("..data/tls.crt", setup.at("mount/tls.crt")).unwrap();
    symlink("..data/tls.key", setup.at("mount/tls.key")).unwrap();
    let running = run(setup, EVENTS_ONLY);
    running.serves(&first, "the first").await;
    for n in 1..6 {
        let expected = put(&running.at("mount"), n);
        running.serves(&expected, &format!("swap {n}")).await;
    }
    running.end().await;
}

#[tokio::test]
async fn a_renewal_by_certbot_is_noticed() {
    let pki = Pki::new();
    let setup = Setup::new().directory("live");
    let put = |base: &Path, n: i64| {
        let pair = round(&pki, n);
        for (name, text) in [("fullchain", &pair.0), ("privkey", &pair.1)] {
            write(&base.join(format!("archive/a/{name}{n}.pem")), text);
            let link = base.join(format!("live/a/{name}.pem"));
            fs::create_dir_all(base.join("live/a")).unwrap();
            swap_link(&format!("../../archive/a/{name}{n}.pem"), &link);
        }
        fingerprint(&pair.0)
    };
    let first = put(setup.folder.path(), 1);
    let running = run(setup, EVENTS_ONLY);
    running.serves(&first, "the first").await;
    for n in 2..5 {
        let expected = put(running.folder.path(), n);
        running.serves(&expected, &format!("renewal {n}")).await;
    }
    running.end().await;
}

#[tokio::test]
async fn a_folder_that_is_deleted_and_made_again_is_noticed() {
    let pki = Pki::new();
    let setup = Setup::new().directory("d");
    let first = round(&pki, 0);
    write(&setup.at("d/a.pem"), &format!("{}{}", first.0, first.1));
    let running = run(setup, EVENTS_ONLY);
    for n in 1..4 {
        fs::remove_dir_all(running.at("d")).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(serving(&running.inventory, "a.test").len(), 1, "last known good");
        let next = round(&pki, n);
        write(&running.at("d/a.pem"), &format!("{}{}", next.0, next.1));
        running.serves(&fingerprint(&next.0), &format!("round {n}")).await;
    }
    running.end().await;
}

#[tokio::test]
async fn a_link_to_another_release_is_noticed() {
    let pki = Pki::new();
    let setup = Setup::new();
    let put = |base: &Path, n: i64| {
        let pair = round(&pki, n);
        write(&base.join(format!("r{n}/a.pem")), &format!("{}{}", pair.0, pair.1));
        swap_link(&format!("r{n}"), &base.join("current"));
        fingerprint(&pair.0)
    };
    let first = put(setup.folder.path(), 0);
    let path = setup.at("current/a.pem");
    let place = CertPlace::Pair { chain: path.clone(), key: path };
    let running = run(setup.source(place, Role::Primary), EVENTS_ONLY);
    running.serves(&first, "the first").await;
    for n in 1..4 {
        let expected = put(running.folder.path(), n);
        running.serves(&expected, &format!("release {n}")).await;
    }
    running.end().await;
}

#[tokio::test]
async fn a_change_without_any_event_costs_one_poll() {
    let pki = Pki::new();
    let first = round(&pki, 0);
    let mut setup = Setup::new().pair("a", Role::Primary, &first);
    setup.policy.poll = Duration::from_millis(50);
    let policy = setup.policy.clone();
    let sources = setup.sources.clone();
    // A guard that watches nothing, as on NFS.
    let clock = crate::clock::ManualClock::at(NOW);
    let mut ledger = super::Ledger::new(sources, policy, Vec::new(), super::Voice::silent());
    ledger.scan(NOW, super::Reading::Changed);
    let inventory = ledger.inventory().clone();
    let guard = super::Guard {
        ledger: Arc::new(std::sync::Mutex::new(ledger)),
        wake: crate::changes::Wake::default(),
        clock,
    };
    let (commands, receiver) = mpsc::channel(1);
    let stop = Stop::new();
    let task = tokio::spawn(guard.run(receiver, stop.clone()));
    let running = Running { folder: setup.folder, inventory, commands, stop, task };
    let next = round(&pki, 1);
    write(&running.at("a.crt"), &next.0);
    write(&running.at("a.key"), &next.1);
    running.serves(&fingerprint(&next.0), "polled").await;
    running.end().await;
}

#[tokio::test]
async fn a_reload_answers_with_the_picture_after_it() {
    let pki = Pki::new();
    let first = round(&pki, 0);
    let running = run(Setup::new().pair("a", Role::Primary, &first), EVENTS_ONLY);
    let (reply, answer) = oneshot::channel();
    running.commands.send(Command::Reload(reply)).await.unwrap();
    let report = tokio::time::timeout(Duration::from_secs(5), answer).await.unwrap().unwrap();
    assert_eq!(report.certificates.len(), 1);
    running.end().await;
}
