//! Durations and sizes as people type them: `1m30s`, `64KiB`.

use std::time::Duration;

use super::diagnostic::{Complaint, complaint, quoted};

/// Units of time from the largest, in milliseconds.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size from the largest, in bytes.
const SIZE_UNITS: [(&str, u64); 3] = [("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `250ms`, `10s`, `1m30s`, `2h`, `7d`: whole numbers, each with its unit, largest first.
pub(super) fn duration(text: &str) -> Result<Duration, Complaint> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let help = format!("write {} for seconds; ms, m, h and d are known too", typed(text, "s"));
        return Err(complaint(format!("{} has no unit", quoted(text)), help));
    }
    milliseconds(text).map(Duration::from_millis).ok_or_else(|| {
        let help = "write whole numbers with d, h, m, s or ms, largest first: `\"1m30s\"`";
        complaint(format!("{} is no duration", quoted(text)), help)
    })
}

fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = TIME_UNITS.iter();
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit());
        let (unit, after) = split_while(after, |c| c.is_ascii_alphabetic());
        // Units that were passed over are gone, so that `30s1m` is no duration.
        let (_, size) = units.find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*size)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// Reads `65536`, `64KiB`, `1MiB`.
pub(super) fn size(text: &str) -> Result<u64, Complaint> {
    let (number, unit) = split_while(text, |c| c.is_ascii_digit());
    let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit || unit.is_empty());
    let factor = known.map(|(_, size)| if unit.is_empty() { 1 } else { *size });
    factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor)).ok_or_else(|| {
        let help = "write a whole number of bytes, or one with KiB or MiB: `\"64KiB\"`";
        complaint(format!("{} is no size", quoted(text)), help)
    })
}

/// A duration as it is typed.
pub(super) fn spell_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, size) in TIME_UNITS {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size as it is typed.
pub(super) fn spell_size(bytes: u64) -> String {
    let whole = SIZE_UNITS.iter().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size));
    match whole {
        Some((unit, size)) if *size > 1 => format!("{}{unit}", bytes / size),
        _ => bytes.to_string(),
    }
}

/// A number with a unit in TOML's quotes, ready to be copied.
fn typed(number: &str, unit: &str) -> String {
    quoted(&format!("\"{number}{unit}\""))
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !keep(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_spelt_alike() {
        let cases = [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1d2h3m4s5ms", 93_784_005),
        ];
        for (text, millis) in cases {
            let expected = Duration::from_millis(millis);
            assert_eq!(duration(text).unwrap(), expected, "{text}");
            assert_eq!(spell_duration(expected), text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let cases = [
            "",
            "s",
            "10",
            "-1s",
            "1.5s",
            "10 s",
            "10sec",
            "30s1m",
            "1s1s",
            "1S",
            "١s",
            "99999999999999999999s",
            "18446744073709551615d",
        ];
        for text in cases {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("10").unwrap_err().help.contains("`\"10s\"`"));
    }

    #[test]
    fn sizes_are_read_and_spelt_alike() {
        for (text, bytes) in
            [("0", 0), ("1", 1), ("1500", 1500), ("64KiB", 65_536), ("2MiB", 2 << 20)]
        {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
            assert_eq!(spell_size(bytes), text);
        }
        assert_eq!(size("7B").unwrap(), 7);
        for text in ["", "KiB", "64K", "64KB", "64kib", "-1", "1.5KiB", "99999999999999MiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
