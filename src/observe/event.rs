//! The gate's vocabulary of happenings, in plain fields, and the one who tells them.
//!
//! Event names are public interface (docs/operating.md lists them). This module knows nothing of
//! what it is told: other modules translate.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should act in time.
    Warning,
    /// Somebody should act now.
    Critical,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// A stable name such as `certificate_refused`.
    pub event: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// A stable finding code such as `expired`.
    pub code: &'static str,
    /// The file, host, server or listener it is about.
    pub thing: String,
    /// One sentence: what happened.
    pub message: String,
    /// One sentence: what to do. Empty where nothing is to be done.
    pub remedy: String,
    /// The SHA-256 fingerprint of the certificate it is about.
    pub fingerprint: Option<String>,
}

/// Tells events to the log and remembers the last of them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Teller {
    recent: Arc<Mutex<VecDeque<Event>>>,
}

/// Events that [`Teller::recent`] goes back to.
const RECENT_MAX: usize = 256;

impl Teller {
    /// A teller that has told nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells `event`.
    pub fn tell(&self, event: Event) {
        log(&event);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(event);
    }

    /// The last events, oldest first.
    pub fn recent(&self) -> Vec<Event> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().cloned().collect()
    }
}

fn log(told: &Event) {
    let Event { event, code, thing, message, remedy, fingerprint, severity } = told;
    let fingerprint = fingerprint.as_deref();
    match severity {
        Severity::Info => {
            tracing::info!(event, code, thing, remedy, fingerprint, "{message}");
        }
        Severity::Warning => {
            tracing::warn!(event, code, thing, remedy, fingerprint, "{message}");
        }
        Severity::Critical => {
            tracing::error!(event, code, thing, remedy, fingerprint, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_events_is_bounded() {
        let teller = Teller::new();
        for number in 0..RECENT_MAX + 3 {
            teller.tell(Event {
                event: "config_published",
                severity: Severity::Info,
                code: "reloaded",
                thing: number.to_string(),
                message: "read".to_owned(),
                remedy: String::new(),
                fingerprint: None,
            });
        }
        let recent = teller.recent();
        assert_eq!(recent.len(), RECENT_MAX);
        assert_eq!(recent.first().map(|event| event.thing.as_str()), Some("3"));
    }
}
