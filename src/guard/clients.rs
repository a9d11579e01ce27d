//! What clients say when they break off a handshake, by host, certificate and alert (rule 9).
//!
//! Workers put each alert into a bounded queue and go on; the control plane counts, tells once a
//! minute, and answers whoever asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::finding::{self, printable};
use super::report::Report;
use crate::observe::event::{Event, Teller};
use crate::observe::traffic::ClientAlert;
use crate::tasks::Stop;

/// How often one host's clients broke off with one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlertCount {
    /// As RFC 8446 section 6 calls it, in snake case.
    pub alert: String,
    /// The certificate that was shown.
    pub fingerprint: String,
    /// In the last 60 s.
    pub count_last_minute: u64,
    /// Since the start of the gate.
    pub count: u64,
}

/// The count of what clients said. Cheap to clone; the clones share it.
#[derive(Debug, Clone, Default)]
pub struct ClientAlerts(Arc<Mutex<BTreeMap<ClientAlert, Tally>>>);

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    /// How many were taken when, no more than a minute ago.
    recent: VecDeque<(Instant, u64)>,
    told: Option<Instant>,
}

/// Alerts that may wait for the next count. What comes above it in one period is in the metric
/// alone: the line would not say anything else.
pub const WAITING_MAX: usize = 4_096;

/// How often what waits is counted.
const COUNT_EVERY: Duration = Duration::from_secs(2);

/// The span that is told, and how often.
const MINUTE: Duration = Duration::from_secs(60);

/// Hosts, certificates and alerts that are remembered; the quietest makes room.
const REMEMBERED_MAX: usize = 10_000;

/// Lines in one period; the loudest come first, the others a period later.
const LINES_MAX: usize = 20;

impl ClientAlerts {
    /// Counts and tells what arrives at `heard`, until `stop`.
    pub async fn run(self, mut heard: mpsc::Receiver<ClientAlert>, teller: Teller, stop: Stop) {
        let mut tick = tokio::time::interval(COUNT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.wait() => return,
                _ = tick.tick() => {}
            }
            let now = Instant::now();
            // Whoever goes on filling the queue must not keep this from coming to its end.
            for _ in 0..WAITING_MAX {
                let Ok(alert) = heard.try_recv() else { break };
                self.count(alert, now);
            }
            for event in self.due(now) {
                teller.tell(event);
            }
        }
    }

    /// Adds to each host what its clients said.
    pub fn complete(&self, report: &mut Report) {
        let now = Instant::now();
        let book = self.book();
        let mut hosts: BTreeMap<&str, Vec<AlertCount>> = BTreeMap::new();
        for (said, tally) in book.iter() {
            hosts.entry(&said.host).or_default().push(AlertCount {
                alert: said.alert.clone(),
                fingerprint: said.fingerprint.clone(),
                count_last_minute: tally.last_minute(now),
                count: tally.count,
            });
        }
        if hosts.is_empty() {
            return;
        }
        for host in &mut report.hosts {
            if let Some(counts) = hosts.remove(host.host.to_string().as_str()) {
                host.client_alerts = counts;
            }
        }
    }

    fn count(&self, said: ClientAlert, now: Instant) {
        let mut book = self.book();
        if book.len() >= REMEMBERED_MAX && !book.contains_key(&said) {
            let last = |tally: &Tally| tally.recent.back().map(|(moment, _)| *moment);
            let quietest = book.iter().min_by_key(|(_, tally)| (last(tally), tally.count));
            if let Some(quietest) = quietest.map(|(said, _)| said.clone()) {
                book.remove(&quietest);
            }
        }
        book.entry(said).or_default().add(now);
    }

    /// What is to be told at `now`: each host, certificate and alert once a minute.
    fn due(&self, now: Instant) -> Vec<Event> {
        let mut book = self.book();
        let mut owed: Vec<(u64, &ClientAlert, &mut Tally)> = Vec::new();
        for (said, tally) in book.iter_mut() {
            tally.forget(now);
            let silent = tally.told.is_none_or(|told| now.duration_since(told) >= MINUTE);
            let count = tally.last_minute(now);
            if silent && count > 0 {
                owed.push((count, said, tally));
            }
        }
        owed.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
        owed.truncate(LINES_MAX);
        let tell = |(count, said, tally): (u64, &ClientAlert, &mut Tally)| {
            tally.told = Some(now);
            event(said, count)
        };
        owed.into_iter().map(tell).collect()
    }

    fn book(&self) -> MutexGuard<'_, BTreeMap<ClientAlert, Tally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn add(&mut self, now: Instant) {
        self.count += 1;
        self.forget(now);
        match self.recent.back_mut() {
            Some((moment, count)) if *moment == now => *count += 1,
            _ => self.recent.push_back((now, 1)),
        }
    }

    fn forget(&mut self, now: Instant) {
        let old = |moment: Instant| now.duration_since(moment) >= MINUTE;
        while self.recent.front().is_some_and(|(moment, _)| old(*moment)) {
            self.recent.pop_front();
        }
    }

    fn last_minute(&self, now: Instant) -> u64 {
        let young = |(moment, _): &&(Instant, u64)| now.duration_since(*moment) < MINUTE;
        self.recent.iter().filter(young).map(|(_, count)| count).sum()
    }
}

fn event(said: &ClientAlert, count: u64) -> Event {
    let clients = if count == 1 { "1 client".to_owned() } else { format!("{count} clients") };
    let certificate = super::tell::short(&said.fingerprint);
    let told = finding::CLIENT_ALERTS.about(&[&clients, &said.alert, &said.host, &certificate]);
    Event {
        event: "client_alerts",
        severity: told.severity,
        code: told.code,
        thing: printable(&said.host),
        message: told.message,
        remedy: remedy(&said.alert).map_or(told.remedy, ToOwned::to_owned),
        fingerprint: Some(said.fingerprint.clone()),
    }
}

/// What to do about `alert` (RFC 8446 section 6.2); none where it could mean anything.
fn remedy(alert: &str) -> Option<&'static str> {
    Some(match alert {
        "certificate_expired" => {
            "Check these clients' clocks, and the dates of every certificate in the chain."
        }
        "unknown_ca" => {
            "Send the whole chain, and see that these clients trust its root: roll it out to them."
        }
        "bad_certificate" => {
            "Check that the certificate holds the name they ask for, and that its chain is whole."
        }
        "certificate_unknown" => {
            "Check on these clients that the root is trusted, and the names and the dates: they \
             don't say which it is."
        }
        "certificate_revoked" => "Ask the issuer why it was revoked, and deploy another.",
        "unsupported_certificate" => {
            "Issue it with serverAuth and a key that these clients know, such as RSA 2048."
        }
        "decrypt_error" => {
            "Check that nothing between them and the gate alters the handshake, and that the key \
             is the certificate's."
        }
        "handshake_failure" | "insufficient_security" | "illegal_parameter" => {
            "Update these clients, or add an RSA certificate beside an ECDSA one for old ones."
        }
        "protocol_version" => "Update these clients: the gate speaks TLS 1.2 and 1.3 alone.",
        "access_denied" => "Look at the policy of these clients: they refuse the gate on purpose.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(host: &str, alert: &str) -> ClientAlert {
        let fingerprint = "ab12".repeat(16);
        ClientAlert { host: host.to_owned(), fingerprint, alert: alert.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_s_alerts_are_told_once_a_minute_with_their_number() {
        let alerts = ClientAlerts::default();
        for _ in 0..37 {
            alerts.count(said("api.internal", "certificate_expired"), Instant::now());
        }
        let told = alerts.due(Instant::now());
        assert_eq!(told.len(), 1);
        let expected = "37 clients said certificate_expired for api.internal, certificate \
                        ab12ab12ab12ab12, in the last 60 s";
        assert_eq!(told[0].message, expected);
        assert_eq!((told[0].event, told[0].code), ("client_alerts", "client_alerts"));
        assert!(told[0].remedy.contains("clocks"), "{}", told[0].remedy);
        tokio::time::advance(Duration::from_secs(30)).await;
        alerts.count(said("api.internal", "certificate_expired"), Instant::now());
        assert!(alerts.due(Instant::now()).is_empty(), "within the minute");
        tokio::time::advance(Duration::from_secs(30)).await;
        let told = alerts.due(Instant::now());
        assert!(told[0].message.starts_with("1 client said"), "{}", told[0].message);
        tokio::time::advance(MINUTE).await;
        assert!(alerts.due(Instant::now()).is_empty(), "nothing was said since");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_and_told_is_bounded() {
        let alerts = ClientAlerts::default();
        for number in 0..REMEMBERED_MAX + 5 {
            alerts.count(said(&format!("{number}.test"), "unknown_ca"), Instant::now());
        }
        assert_eq!(alerts.book().len(), REMEMBERED_MAX);
        assert_eq!(alerts.due(Instant::now()).len(), LINES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_alert_has_the_remedy_that_fits() {
        let mut remedies = Vec::new();
        for alert in [
            "certificate_expired",
            "unknown_ca",
            "bad_certificate",
            "certificate_unknown",
            "decrypt_error",
            "handshake_failure",
            "protocol_version",
            "unknown",
        ] {
            remedies.push(event(&said("a.test", alert), 1).remedy);
        }
        let count = remedies.len();
        remedies.sort_unstable();
        remedies.dedup();
        assert_eq!(remedies.len(), count);
        assert!(remedies.iter().all(|remedy| !remedy.is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_workers_hear_is_counted_and_told_by_the_control_plane() {
        let (alerts, teller, stop) = (ClientAlerts::default(), Teller::new(), Stop::new());
        let (sender, heard) = mpsc::channel(8);
        let task = tokio::spawn(alerts.clone().run(heard, teller.clone(), stop.clone()));
        sender.send(said("a.test", "unknown_ca")).await.unwrap();
        tokio::time::sleep(COUNT_EVERY * 2).await;
        assert_eq!(teller.recent().len(), 1);
        stop.request();
        task.await.unwrap();
    }
}
