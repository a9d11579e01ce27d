//! What falls due when, relative to the lifetime (rule 7), and which reminder is owed. Pure.

use time::{Duration, OffsetDateTime};

use super::report::Level;

/// How near the end is for a certificate of this `lifetime` with `remaining` left.
///
/// Fractions because a 45-day certificate is healthy at 20 days and a 398-day one is not in
/// danger at 30; caps because nobody wants four months of warnings.
pub(super) fn level(lifetime: Duration, remaining: Duration) -> Level {
    if remaining.is_negative() {
        return Level::Expired;
    }
    [Level::Emergency, Level::Critical, Level::Warning, Level::Due]
        .into_iter()
        .find(|level| threshold(*level, lifetime).is_some_and(|from| remaining <= from))
        .unwrap_or(Level::Ok)
}

/// The level at `now` of a certificate that lives for `lifetime` and ends at `end`.
pub(super) fn level_at(lifetime: Duration, end: OffsetDateTime, now: OffsetDateTime) -> Level {
    level(lifetime, end - now)
}

/// The next moment after `now` at which the level rises; none once it is expired.
pub(super) fn next_rise(
    lifetime: Duration,
    end: OffsetDateTime,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    // The end itself is still valid (RFC 5280 section 4.1.2.5), the moment after is not.
    let ended = end.checked_add(Duration::NANOSECOND);
    LADDER
        .into_iter()
        .filter_map(|level| end.checked_sub(threshold(level, lifetime)?))
        .chain(ended)
        .filter(|moment| *moment > now)
        .min()
}

/// How often somebody is reminded at `level`; none where nothing is owed.
pub(super) fn reminder_every(level: Level, lifetime: Duration) -> Option<Duration> {
    let (share, cap): (i32, Duration) = match level {
        Level::Ok => return None,
        Level::Due => (12, Duration::days(7)),
        Level::Warning => (45, Duration::days(1)),
        Level::Critical => (180, Duration::hours(6)),
        Level::Emergency => (1_000, Duration::hours(1)),
        Level::Expired => (4_000, Duration::minutes(15)),
    };
    Some((lifetime / share).min(cap).max(REMINDER_MIN))
}

/// Whether somebody is to be told at `now`, given what was told last. A level that rises is told
/// at once, and each level again by its own cadence; a level that falls is told once.
pub(super) fn owed(
    level: Level,
    lifetime: Duration,
    told: Option<(Level, OffsetDateTime)>,
    now: OffsetDateTime,
) -> bool {
    match told {
        None => level > Level::Ok,
        // A renewal is told as published; that the danger is over needs no second message.
        Some((last, _)) if level < last => false,
        Some((last, _)) if level > last => true,
        // A clock that was set back must not silence reminders until it has caught up.
        Some((_, moment)) => reminder_every(level, lifetime)
            .is_some_and(|every| now - moment >= every || now < moment),
    }
}

/// The remaining time from which on `level` holds; none for the two ends of the scale.
fn threshold(level: Level, lifetime: Duration) -> Option<Duration> {
    let (share, cap): (i32, Duration) = match level {
        Level::Ok | Level::Expired => return None,
        Level::Due if lifetime <= Duration::days(10) => (2, Duration::days(30)),
        Level::Due => (3, Duration::days(30)),
        Level::Warning => (5, Duration::days(14)),
        Level::Critical => (10, Duration::days(7)),
        Level::Emergency => (20, Duration::hours(48)),
    };
    Some((lifetime / share).min(cap))
}

const LADDER: [Level; 4] = [Level::Due, Level::Warning, Level::Critical, Level::Emergency];

/// No certificate is so short-lived that anyone wants a message more often.
const REMINDER_MIN: Duration = Duration::seconds(10);

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn thresholds_are_fractions_of_the_lifetime_with_caps() {
        let (h, d) = (Duration::hours(1), Duration::days(1));
        // lifetime, then the remaining time at which due, warning, critical, emergency begin
        let cases = [
            (
                Duration::MINUTE,
                [
                    Duration::seconds(30),
                    Duration::seconds(12),
                    Duration::seconds(6),
                    Duration::seconds(3),
                ],
            ),
            (24 * h, [12 * h, 24 * h / 5, 24 * h / 10, 24 * h / 20]),
            (160 * h, [80 * h, 32 * h, 16 * h, 8 * h]),
            (45 * d, [15 * d, 9 * d, 45 * d / 10, 48 * h]),
            (90 * d, [30 * d, 14 * d, 7 * d, 48 * h]),
            (398 * d, [30 * d, 14 * d, 7 * d, 48 * h]),
        ];
        let rising = [Level::Due, Level::Warning, Level::Critical, Level::Emergency];
        for (lifetime, thresholds) in cases {
            let mut before = Level::Ok;
            for (from, expected) in thresholds.into_iter().zip(rising) {
                let above = from + Duration::MILLISECOND;
                assert_eq!(level(lifetime, above), before, "{lifetime} above {from}");
                assert_eq!(level(lifetime, from), expected, "{lifetime} at {from}");
                before = expected;
            }
            assert_eq!(level(lifetime, Duration::ZERO), Level::Emergency);
            assert_eq!(level(lifetime, -Duration::NANOSECOND), Level::Expired);
        }
    }

    #[test]
    fn a_healthy_renewal_cycle_never_warns() {
        // Renewed at two thirds of its life, as ACME clients do, a certificate is at most due.
        for days in [3, 6, 10, 45, 47, 64, 90, 100, 200] {
            let lifetime = Duration::days(days);
            assert!(level(lifetime, lifetime / 3) <= Level::Due, "{days} d");
        }
    }

    #[test]
    fn the_next_rise_is_the_next_change_of_level() {
        let end = datetime!(2026-11-24 12:00 UTC);
        let lifetime = Duration::hours(24);
        let mut now = end - lifetime;
        let mut seen = vec![level_at(lifetime, end, now)];
        while let Some(next) = next_rise(lifetime, end, now) {
            let just_before = next - Duration::NANOSECOND;
            assert_eq!(Some(&level_at(lifetime, end, just_before)), seen.last());
            now = next;
            seen.push(level_at(lifetime, end, now));
        }
        assert_eq!(
            seen,
            [
                Level::Ok,
                Level::Due,
                Level::Warning,
                Level::Critical,
                Level::Emergency,
                Level::Expired
            ]
        );
    }

    #[test]
    fn reminders_come_faster_as_time_runs_out() {
        let rising =
            [Level::Due, Level::Warning, Level::Critical, Level::Emergency, Level::Expired];
        for lifetime in [Duration::MINUTE, Duration::hours(160), Duration::days(90)] {
            let cadence: Vec<_> =
                rising.iter().map(|level| reminder_every(*level, lifetime).unwrap()).collect();
            assert!(cadence.is_sorted_by(|a, b| a >= b), "{cadence:?}");
            assert!(cadence.iter().all(|every| *every >= REMINDER_MIN));
        }
        assert_eq!(reminder_every(Level::Warning, Duration::days(90)), Some(Duration::DAY));
    }

    #[test]
    fn each_level_is_told_once_and_then_by_its_cadence() {
        let now = datetime!(2026-11-24 12:00 UTC);
        let lifetime = Duration::days(90);
        let ago = |span| now - span;
        let cases = [
            (Level::Ok, None, false),
            (Level::Due, None, true),
            (Level::Due, Some((Level::Due, ago(Duration::hours(1)))), false),
            (Level::Due, Some((Level::Due, ago(Duration::days(7)))), true),
            (Level::Warning, Some((Level::Due, ago(Duration::SECOND))), true),
            (Level::Emergency, Some((Level::Emergency, ago(Duration::minutes(59)))), false),
            (Level::Emergency, Some((Level::Emergency, ago(Duration::minutes(60)))), true),
            (Level::Expired, Some((Level::Expired, ago(Duration::minutes(15)))), true),
            (Level::Ok, Some((Level::Expired, ago(Duration::days(1)))), false),
            (Level::Due, Some((Level::Due, now + Duration::days(400))), true),
        ];
        for (level, told, expected) in cases {
            assert_eq!(owed(level, lifetime, told, now), expected, "{level:?} {told:?}");
        }
    }
}
