//! Asks what day it is: the one place that reads the wall clock.
//!
//! Everything that judges takes `now` as an argument; tasks hold a [`SharedClock`]. Waiting is
//! another matter and uses `tokio::time`.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where the calendar date comes from. Injected so that any verdict can be tested at any date.
pub trait Clock: Debug + Send + Sync {
    /// The present moment in UTC.
    fn now(&self) -> OffsetDateTime;
}

/// A clock that many tasks hold.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// A clock that stands where it was put: for `check --at` and for tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<OffsetDateTime>);

impl ManualClock {
    /// A clock that stands at `now` until [`ManualClock::set`].
    pub fn at(now: OffsetDateTime) -> Arc<Self> {
        Arc::new(Self(Mutex::new(now)))
    }

    /// Puts the clock to another moment.
    pub fn set(&self, now: OffsetDateTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of this machine, ready to be shared.
pub fn system() -> SharedClock {
    Arc::new(SystemClock)
}

/// A moment as the interface shows it: RFC 3339, UTC, whole seconds.
pub fn rfc3339(moment: OffsetDateTime) -> String {
    let whole = moment.replace_nanosecond(0).unwrap_or(moment);
    // Formatting fails for years outside 0..=9999 only, which certificates can hold.
    whole.format(&Rfc3339).unwrap_or_else(|_| format!("year {}", moment.year()))
}

/// Serialises a moment by [`rfc3339`], for `#[serde(serialize_with)]`.
pub fn serialize_rfc3339<S: serde::Serializer>(
    moment: &OffsetDateTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*moment))
}

/// A span for people: the two largest units, as in `9 d 3 h` or `45 s`; a past span as `2 h ago`.
pub fn humane(span: time::Duration) -> String {
    let seconds = span.whole_seconds().unsigned_abs();
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut parts = Vec::with_capacity(2);
    let mut rest = seconds;
    for (unit, size) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        }
        // `9 d 0 h 3 min` helps nobody: stop at the unit after the first that counts.
        if parts.len() == 2 || (!parts.is_empty() && count == 0) {
            break;
        }
    }
    let text = if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") };
    if span.is_negative() { format!("{text} ago") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    #[test]
    fn spans_are_told_by_their_two_largest_units() {
        let cases = [
            (Duration::seconds(0), "0 s"),
            (Duration::seconds(45), "45 s"),
            (Duration::minutes(61), "1 h 1 min"),
            (Duration::days(9) + Duration::hours(3) + Duration::minutes(5), "9 d 3 h"),
            (Duration::days(9) + Duration::minutes(5), "9 d"),
            (Duration::hours(-2), "2 h ago"),
        ];
        for (span, expected) in cases {
            assert_eq!(humane(span), expected);
        }
    }

    #[test]
    fn a_moment_is_shown_without_fractions() {
        let moment = time::macros::datetime!(2026-11-24 03:02:01.5 UTC);
        assert_eq!(rfc3339(moment), "2026-11-24T03:02:01Z");
    }
}
