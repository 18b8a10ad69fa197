//! Times and spans as people read and write them.

use gridhour_protocol::units::{Millis, Timestamp};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// The units of a span, longest first.
const UNITS: [(&str, u64); 4] = [("d", DAY_MS), ("h", HOUR_MS), ("min", MINUTE_MS), ("s", SECOND_MS)];

/// A time and how far it is: `2026-12-08 09:14 UTC, in 15 d 23 h`.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    let distance =
        if at > now { format!("in {}", span(at.since(now))) } else { format!("{} ago", span(now.since(at))) };
    format!("{}, {distance}", date(at))
}

/// A span in its two largest units: `15 d 23 h`, `4 min`, `0 s`.
pub fn span(span: Millis) -> String {
    let first = UNITS.iter().position(|(_, ms)| span.0 >= *ms).unwrap_or(UNITS.len() - 1);
    let (mut left, mut parts) = (span.0, Vec::new());
    for (unit, ms) in UNITS.iter().skip(first).take(2) {
        if left >= *ms || parts.is_empty() {
            parts.push(format!("{} {unit}", left / ms));
        }
        left %= ms;
    }
    parts.join(" ")
}

/// A span as it is typed: a whole number with `s`, `min`, `h` or `d`.
///
/// # Errors
/// With a sentence that says what is expected.
pub fn parse_span(text: &str) -> Result<Millis, String> {
    let wrong =
        || format!("{text:?} is no span of time: write a whole number with s, min, h or d, such as 30d");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*ms).map(Millis).ok_or_else(wrong)
}

/// Date and time of day, to the minute, in UTC.
fn date(at: Timestamp) -> String {
    let (days, minutes) = (at.0 / DAY_MS, at.0 % DAY_MS / MINUTE_MS);
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// Year, month and day of a number of days since 1970-01-01, by the Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years, which begin on a first of March.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_and_a_distance() {
        // `date -u -d @1700000000`: Tue Nov 14 22:13:20 UTC 2023.
        let at = Timestamp(1_700_000_000_000);
        assert_eq!(when(at, Timestamp(at.0 - 2 * DAY_MS - 1)), "2023-11-14 22:13 UTC, in 2 d");
        assert_eq!(when(at, Timestamp(at.0 + HOUR_MS + MINUTE_MS)), "2023-11-14 22:13 UTC, 1 h 1 min ago");
        assert_eq!(when(at, at), "2023-11-14 22:13 UTC, 0 s ago");
    }

    #[test]
    fn dates_know_leap_years() {
        let dates = [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (4_107_542_400, "2100-03-01")];
        for (seconds, expected) in dates {
            assert!(date(Timestamp(seconds * 1_000)).starts_with(expected), "{seconds}");
        }
    }

    #[test]
    fn spans_are_read_as_they_are_written() {
        for (text, ms) in [("30d", 30 * DAY_MS), ("12 h", 12 * HOUR_MS), ("5min", 5 * MINUTE_MS), ("0s", 0)] {
            assert_eq!(parse_span(text), Ok(Millis(ms)), "{text}");
        }
        for text in ["", "30", "d", "1.5h", "-1d", "3w", "99999999999999999999d", "99999999999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        assert_eq!(span(Millis(DAY_MS + 1)), "1 d");
        assert_eq!(span(Millis(999)), "0 s");
    }
}
