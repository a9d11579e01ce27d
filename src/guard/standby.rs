//! Which certificate answers for a name, and which stands in when it cannot (rule 5). Pure.

use std::cmp::Reverse;

use time::OffsetDateTime;

use super::chain::Completeness;
use super::expiry;
use super::inspect::Facts;
use super::report::Level;
use crate::config::model::{OnExpiry, Role};

/// How good a served certificate is at one moment, whichever name it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// What it is for.
    pub role: Role,
    /// How near its end is; `Expired` also before its beginning.
    pub level: Level,
    /// How far its chain leads.
    pub completeness: Completeness,
    /// The leaf's first second.
    pub not_before: OffsetDateTime,
    /// The earliest end of what is sent.
    pub end: OffsetDateTime,
}

impl Standing {
    /// The standing of `facts` at `now`.
    pub(super) fn of(facts: &Facts, now: OffsetDateTime) -> Self {
        let inspection = facts.at(now);
        let end = inspection.effective_not_after.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let not_before = facts.leaf_sent().map_or(now, |leaf| leaf.not_before);
        let level = if now < not_before || inspection.refusals().next().is_some() {
            Level::Expired
        } else {
            expiry::level_at(facts.lifetime(), end, now)
        };
        Self { role: facts.role, level, completeness: inspection.completeness, not_before, end }
    }

    /// Whether it can serve, for the time being.
    pub(super) fn usable(&self) -> bool {
        self.level < Level::Expired
    }
}

/// Puts the candidates of one name into order, best first; each is an index into `standings` and
/// whether it holds the name itself rather than a wildcard.
///
/// RSA and ECDSA certificates are ranked in one list, since the handshake takes the first whose
/// kind the client can verify. What can't be used is dropped unless nothing else is left
/// (rule 11).
pub(super) fn rank(
    standings: &[Standing],
    candidates: Vec<(usize, bool)>,
    on_expiry: OnExpiry,
) -> Vec<usize> {
    let mut known: Vec<(usize, bool, Standing)> = candidates
        .into_iter()
        .filter_map(|(index, exact)| Some((index, exact, *standings.get(index)?)))
        .collect();
    if known.iter().any(|(_, _, standing)| standing.usable()) || on_expiry == OnExpiry::Refuse {
        known.retain(|(_, _, standing)| standing.usable());
    }
    known.sort_by_key(|(_, exact, standing)| order(standing, *exact));
    known.into_iter().map(|(index, ..)| index).collect()
}

type Order = (
    u8,
    Reverse<Completeness>,
    Reverse<OffsetDateTime>,
    Role,
    bool,
    Reverse<OffsetDateTime>,
    Reverse<OffsetDateTime>,
);

/// Smaller is better.
fn order(standing: &Standing, exact: bool) -> Order {
    // Primaries in good health come first, in an order that does not depend on the day. Among
    // the rest time decides before role: a primary in its last hours steps behind a standby
    // that has more, but not behind one that has less.
    let healthy_primary = standing.level < Level::Emergency && standing.role == Role::Primary;
    let class = match standing.level {
        Level::Expired => 2,
        _ if healthy_primary => 0,
        _ => 1,
    };
    let time_first = if class == 0 { OffsetDateTime::UNIX_EPOCH } else { standing.end };
    (
        class,
        Reverse(standing.completeness),
        Reverse(time_first),
        standing.role,
        !exact,
        Reverse(standing.not_before),
        Reverse(standing.end),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);

    fn one(role: Role, level: Level, hours: i64) -> Standing {
        Standing {
            role,
            level,
            completeness: Completeness::Anchored,
            not_before: NOW - Duration::days(10),
            end: NOW + Duration::hours(hours),
        }
    }

    #[test]
    fn the_best_certificate_of_a_name_answers_for_it() {
        use Level::{Critical, Emergency, Expired, Ok};
        use Role::{Primary, Standby};
        let open = |standing: Standing| Standing { completeness: Completeness::Open, ..standing };
        let (exact, wild) = (true, false);
        // what, first candidate, second candidate; the first is to win
        let cases = [
            (
                "primary before standby",
                (one(Primary, Ok, 900), exact),
                (one(Standby, Ok, 999), exact),
            ),
            (
                "even when it is critical",
                (one(Primary, Critical, 90), exact),
                (one(Standby, Ok, 999), exact),
            ),
            (
                "but not in its last hours",
                (one(Standby, Ok, 999), exact),
                (one(Primary, Emergency, 40), exact),
            ),
            (
                "unless the standby has less",
                (one(Primary, Emergency, 40), exact),
                (one(Standby, Ok, 20), exact),
            ),
            (
                "of two dying the longer lives",
                (one(Standby, Emergency, 30), exact),
                (one(Primary, Emergency, 1), exact),
            ),
            (
                "usable before expired",
                (one(Standby, Emergency, 1), exact),
                (one(Primary, Expired, -1), exact),
            ),
            (
                "exact before wildcard",
                (one(Primary, Ok, 900), exact),
                (one(Primary, Ok, 999), wild),
            ),
            (
                "wildcard before expired exact",
                (one(Primary, Ok, 900), wild),
                (one(Primary, Expired, -1), exact),
            ),
            (
                "complete before incomplete",
                (one(Primary, Ok, 900), wild),
                (open(one(Primary, Ok, 999)), exact),
            ),
            ("the later end", (one(Primary, Ok, 999), exact), (one(Primary, Ok, 900), exact)),
        ];
        for (what, winner, loser) in cases {
            for swapped in [false, true] {
                let (a, b) = if swapped { (loser, winner) } else { (winner, loser) };
                let candidates = vec![(0, a.1), (1, b.1)];
                let ranked = rank(&[a.0, b.0], candidates, OnExpiry::Serve);
                assert_eq!(ranked.first(), Some(&usize::from(swapped)), "{what}");
            }
        }
    }

    #[test]
    fn an_expired_certificate_answers_only_alone_and_only_by_policy() {
        let (good, gone) =
            (one(Role::Standby, Level::Ok, 9), one(Role::Primary, Level::Expired, -9));
        let both = vec![(0, true), (1, true)];
        assert_eq!(rank(&[good, gone], both, OnExpiry::Serve), [0]);
        assert_eq!(rank(&[gone], vec![(0, true)], OnExpiry::Serve), [0]);
        assert!(rank(&[gone], vec![(0, true)], OnExpiry::Refuse).is_empty());
    }

    #[test]
    fn rsa_and_ecdsa_primaries_both_come_before_any_standby() {
        let standings = [
            one(Role::Standby, Level::Ok, 999),
            one(Role::Primary, Level::Ok, 500),
            one(Role::Primary, Level::Due, 400),
        ];
        let candidates = vec![(0, true), (1, true), (2, true)];
        assert_eq!(rank(&standings, candidates, OnExpiry::Serve), [1, 2, 0]);
    }
}
