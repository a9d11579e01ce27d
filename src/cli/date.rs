//! The day that `--at` asks about.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, UtcOffset};

/// Takes `2027-03-01`, which is its first second in UTC, or RFC 3339.
pub(super) fn parse(text: &str) -> Result<OffsetDateTime, String> {
    let day = format_description!("[year]-[month]-[day]");
    if let Ok(date) = Date::parse(text, day) {
        return Ok(date.midnight().assume_utc());
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        // The last hours of the year 9999 west of Greenwich have no place in UTC.
        .and_then(|moment| moment.checked_to_offset(UtcOffset::UTC))
        .ok_or_else(|| {
            "not a date: write 2027-03-01, or 2027-03-01T12:00:00Z for an hour of it".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_day_or_a_moment_is_taken() {
        let cases = [
            ("2027-03-01", datetime!(2027-03-01 0:00 UTC)),
            ("2027-03-01T12:30:00Z", datetime!(2027-03-01 12:30 UTC)),
            ("2027-03-01T12:30:00+02:00", datetime!(2027-03-01 10:30 UTC)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2027-02-30",
            "01.03.2027",
            "2027-03-01T12:30:00",
            "9999-12-31T23:00:00-12:00",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
