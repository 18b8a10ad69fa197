//! What a sample of results says about the others.
//!
//! Of n results, m are drawn without replacement, each set of m as likely as any other, and computed again. If k of the
//! n are false, the chance that none of them is drawn is hypergeometric (Feller, An Introduction to Probability Theory
//! and Its Applications, volume 1, II.6, with no defective in the sample):
//!
//! ```text
//!  C(n - k, m) / C(n, m)  =  Π (n - max(k, m) - i) / (n - i),  i = 0 .. min(k, m)
//! ```
//! So k false results escape with at least a given risk, or they do not: both sides are whole numbers, and are compared
//! as such.

mod natural;

use core::{cmp::Ordering, fmt, str::FromStr};

use gridhour_protocol::{id::ReceiptId, layout::Layout};

use self::natural::Natural;

/// Parts of a whole.
const MILLION: u32 = 1_000_000;

/// A share of something, in millionths; at most all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// A text that is no share. Always the fault of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share: write a number such as 0.05, with at most six decimals, above 0 and at most 1")]
pub struct ParseShareError(String);

impl Share {
    /// In millionths.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// What is left of the whole.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(MILLION - self.0)
    }

    /// This share of `count`, rounded up.
    #[must_use]
    pub fn of(self, count: u64) -> u64 {
        let product = u128::from(count) * u128::from(self.0);
        u64::try_from(product.div_ceil(MILLION.into())).unwrap_or(count)
    }
}

impl FromStr for Share {
    type Err = ParseShareError;

    /// Reads a decimal number exactly.
    fn from_str(text: &str) -> Result<Self, ParseShareError> {
        let parsed = || {
            let (whole, decimals) = text.split_once('.')?;
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(decimals) || whole.len() > 1 || decimals.len() > 6 {
                return None;
            }
            let parts =
                whole.parse::<u32>().ok()? * MILLION + format!("{decimals:0<6}").parse::<u32>().ok()?;
            (1..=MILLION).contains(&parts).then_some(Self(parts))
        };
        parsed().ok_or_else(|| ParseShareError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:06}", self.0 % MILLION);
        let decimals = decimals.trim_end_matches('0');
        write!(f, "{}.{}", self.0 / MILLION, if decimals.is_empty() { "0" } else { decimals })
    }
}

/// How many are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleSize {
    /// A share of all, rounded up.
    Share(Share),
    /// So many, or all if there are fewer.
    Count(u64),
}

impl SampleSize {
    /// How many of `count`.
    #[must_use]
    pub fn of(self, count: u64) -> u64 {
        match self {
            Self::Share(share) => share.of(count),
            Self::Count(wanted) => wanted.min(count),
        }
    }
}

impl FromStr for SampleSize {
    type Err = String;

    /// With a point a share, without one a number.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('.') {
            return text.parse().map(Self::Share).map_err(|error: ParseShareError| error.to_string());
        }
        match text.parse() {
            Ok(0) => Err("a sample of nothing says nothing: ask for at least 1".into()),
            Ok(count) => Ok(Self::Count(count)),
            Err(error) => Err(format!("{error}: write a share such as 0.05, or a number of results")),
        }
    }
}

/// Draws `size` of `receipts`, as places in the list, rising: those with the smallest hash of seed and receipt. Whoever
/// knew neither the seed nor its hash function's weaknesses could not know which; with the seed, anyone draws the same.
#[must_use]
pub fn draw(seed: &[u8; 32], receipts: &[ReceiptId], size: u64) -> Vec<usize> {
    let lot = |receipt: &ReceiptId| {
        let mut out = Layout::new("gridhour/audit-sample/v1");
        out.fixed(seed).fixed(&receipt.0);
        out.hash()
    };
    let mut lots: Vec<_> =
        receipts.iter().enumerate().map(|(place, receipt)| (lot(receipt), place)).collect();
    lots.sort_unstable();
    lots.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let mut places: Vec<usize> = lots.into_iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    places
}

/// The most results that can be false among `all`, of which `drawn` were drawn and found good, so that a risk of at least
/// `risk` was left that none of them is drawn.
///
/// # Panics
/// If more were drawn than there are.
#[must_use]
pub fn hidden_most(all: u64, drawn: u64, risk: Share) -> u64 {
    assert!(drawn <= all, "no more are drawn than there are");
    // The chance falls as more are false: first double while it is large enough, then halve what is between.
    let (mut least, mut above) = (0, 1);
    while escape(all, drawn, above, risk) {
        (least, above) = (above, above * 2);
    }
    while above - least > 1 {
        let middle = least + (above - least) / 2;
        if escape(all, drawn, middle, risk) { least = middle } else { above = middle }
    }
    least
}

/// Whether `hidden` false results escape with at least this risk.
fn escape(all: u64, drawn: u64, hidden: u64, risk: Share) -> bool {
    if hidden > all - drawn {
        return false;
    }
    let (few, many) = (hidden.min(drawn), hidden.max(drawn));
    let (mut missed, mut possible) = (Natural::from(MILLION), Natural::from(risk.0));
    for index in 0..few {
        missed.multiply(all - many - index);
        possible.multiply(all - index);
    }
    missed.compare(&possible) != Ordering::Less
}

#[cfg(test)]
mod tests;
