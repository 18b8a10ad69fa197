//! Units. Each is a newtype without `From<u64>`, so that a price can never be passed as a count.
//!
//! Arithmetic on money is checked: the methods return `None` where a plain operation would overflow, and nothing here
//! saturates or wraps. Money is rounded in one place only, [`PricePerHour::amount`].

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Nanoseconds in an hour.
const NS_PER_HOUR: u128 = 3_600_000_000_000;
/// Nanoseconds in a second.
const NS_PER_SECOND: u128 = 1_000_000_000;
/// Micro-credits in a credit.
pub const MICRO: u64 = 1_000_000;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The sum, or `None` on overflow.
            #[must_use]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The difference, or `None` below zero.
            #[must_use]
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(difference) => Some(Self(difference)),
                    None => None,
                }
            }

            /// The difference, or zero where it would be negative.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
    };
}

unit! {
    /// Money, in micro-credits.
    Credits(u64)
}
unit! {
    /// A point in time, in milliseconds since the Unix epoch. The caller says whose clock it was.
    Timestamp(u64)
}
unit! {
    /// A span of time in milliseconds.
    Millis(u64)
}
unit! {
    /// Position of a block; genesis is 0.
    Height(u64)
}
unit! {
    /// Work in multiply-accumulate operations (MACs), by the formula of [`crate::work`].
    Work(u64)
}
unit! {
    /// Work per second of a device: MACs/s.
    WorkRate(u64)
}
unit! {
    /// Reference GPU time in nanoseconds: work divided by a device's rate, not time on a clock.
    GpuNs(u64)
}
unit! {
    /// A price, in micro-credits for one reference GPU-hour.
    PricePerHour(u64)
}

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `whole` credits. `None` on overflow.
    #[must_use]
    pub const fn whole(whole: u64) -> Option<Self> {
        match whole.checked_mul(MICRO) {
            Some(micro) => Some(Self(micro)),
            None => None,
        }
    }

    /// Sum of many amounts, or `None` on overflow.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}

impl fmt::Display for Credits {
    /// Credits with six decimals, trailing zeros dropped: `1.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, micro) = (self.0 / MICRO, self.0 % MICRO);
        if micro == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{micro:06}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected credits such as 2 or 0.25, with at most six decimals, got {0:?}")]
pub struct ParseCreditsError(String);

impl FromStr for Credits {
    type Err = ParseCreditsError;

    /// Reads decimal credits exactly; what would have to be rounded is refused.
    fn from_str(text: &str) -> Result<Self, ParseCreditsError> {
        parse_micro(text).map(Self).ok_or_else(|| ParseCreditsError(text.chars().take(40).collect()))
    }
}

fn parse_micro(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
        return None;
    }
    let micro: u64 = format!("{decimals:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(MICRO)?.checked_add(micro)
}

impl fmt::Display for PricePerHour {
    /// Credits per GPU-hour, as [`Credits`] prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Credits(self.0).fmt(f)
    }
}

impl FromStr for PricePerHour {
    type Err = ParseCreditsError;
    fn from_str(text: &str) -> Result<Self, ParseCreditsError> {
        text.parse::<Credits>().map(|credits| Self(credits.0))
    }
}

impl Timestamp {
    /// The time `span` later, or `None` past the end of time.
    #[must_use]
    pub const fn after(self, span: Millis) -> Option<Self> {
        match self.0.checked_add(span.0) {
            Some(at) => Some(Self(at)),
            None => None,
        }
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl WorkRate {
    /// Reference time of `work` at this rate, rounded down to a nanosecond. `None` for a rate of zero or on overflow.
    #[must_use]
    pub fn time(self, work: Work) -> Option<GpuNs> {
        let ns = (u128::from(work.0) * NS_PER_SECOND).checked_div(u128::from(self.0))?;
        u64::try_from(ns).ok().map(GpuNs)
    }
}

impl PricePerHour {
    /// What `time` costs at this price: the one place where money is rounded, down to a micro-credit, against the
    /// claimant. It takes cumulative time, so that many small jobs lose no more to rounding than one large one.
    /// `None` on overflow.
    #[must_use]
    pub fn amount(self, time: GpuNs) -> Option<Credits> {
        let micro = u128::from(self.0) * u128::from(time.0) / NS_PER_HOUR;
        u64::try_from(micro).ok().map(Credits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_costs_its_price() {
        let price = PricePerHour(2_500_000);
        assert_eq!(price.amount(GpuNs(3_600_000_000_000)), Some(Credits(2_500_000)));
        assert_eq!(price.amount(GpuNs(1)), Some(Credits(0)));
    }

    #[test]
    fn money_never_wraps() {
        assert_eq!(Credits(u64::MAX).checked_add(Credits(1)), None);
        assert_eq!(PricePerHour(u64::MAX).amount(GpuNs(u64::MAX)), None);
        assert_eq!(WorkRate(1).time(Work(u64::MAX)), None);
        assert_eq!(WorkRate(0).time(Work(1)), None);
    }

    #[test]
    fn credits_print_without_trailing_zeros() {
        assert_eq!(Credits(1_250_000).to_string(), "1.25");
        assert_eq!(Credits(7).to_string(), "0.000007");
        assert_eq!(Credits(3_000_000).to_string(), "3");
        for micro in [0, 1, 999_999, 1_000_000, 1_250_000, u64::MAX] {
            assert_eq!(Credits(micro).to_string().parse(), Ok(Credits(micro)));
        }
    }

    #[test]
    fn texts_that_are_no_exact_amount_are_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1.0000001", "1e3", "18446744073709.551616", "1,5"] {
            assert!(text.parse::<Credits>().is_err(), "{text}");
        }
    }
}
