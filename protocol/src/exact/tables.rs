//! The tables, made by integer series so that every machine makes the same ones (page, section 5).
//!
//! They are data, shared by the definition and the engines.

mod series;

use series::{LN2, QUARTER_TURN, cos_sin, exp_neg, ln, round_q60};

use super::rational::Dyadic;

/// log2 and ln tables have 256 steps.
const STEPS: usize = 256;

/// ln 2 in Q30, rounded.
pub const LN2_Q30: i64 = 744_261_118;

/// `L` of `exp2_neg`: 2^(-i/64) in Q28.
pub static EXP2: [i32; 65] = exp2_table();

/// log2(1 + i/256) in Q28.
pub static LOG2: [i32; STEPS + 1] = log2_table();

/// `A` of the Gumbel noise: -ln(1-u)/u at u = i/512, in Q30; 1 at u = 0.
pub static EXPONENTIAL_RATIO: [i32; STEPS + 1] = exponential_ratio_table();

const fn exp2_table() -> [i32; 65] {
    let mut table = [0; 65];
    let mut i = 0;
    while i < table.len() {
        table[i] = round_q60(exp_neg(i as i128 * LN2 as i128 / 64), 28);
        i += 1;
    }
    table
}

const fn log2_table() -> [i32; STEPS + 1] {
    let mut table = [0; STEPS + 1];
    let mut i = 0;
    while i <= STEPS {
        let log2 = ln_int(STEPS + i) - 8 * LN2 as i128;
        table[i] = round_q60(((log2 << 60) / LN2 as i128) as i64, 28);
        i += 1;
    }
    table
}

const fn exponential_ratio_table() -> [i32; STEPS + 1] {
    let mut table = [1 << 30; STEPS + 1];
    let mut i = 1;
    while i <= STEPS {
        let exponential = 9 * LN2 as i128 - ln_int(2 * STEPS - i);
        table[i] = round_q60((exponential * 512 / i as i128) as i64, 30);
        i += 1;
    }
    table
}

/// ln of an integer of at least 1, in Q60.
const fn ln_int(v: usize) -> i128 {
    let e = v.ilog2();
    ln((v as i64) << (60 - e), e as i32)
}

/// The cosine and sine of one angle in Q30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RopePair {
    /// `floor(2^30 * cos + 1/2)`.
    pub cos: i32,
    /// `floor(2^30 * sin + 1/2)`.
    pub sin: i32,
}

/// Which values of a head of `d` are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopePairs {
    /// (2i, 2i+1), for i below d/2.
    Neighbours,
    /// (i, i + d/2), for i below d/2.
    Halves,
}

impl RopePairs {
    /// The places of pair `i` in a head of `d` values.
    pub fn places(self, i: usize, d: usize) -> (usize, usize) {
        match self {
            Self::Neighbours => (2 * i, 2 * i + 1),
            Self::Halves => (i, i + d / 2),
        }
    }
}

/// The frequencies of a rotary embedding, from which rows of its table are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RopeFrequencies(Vec<i64>);

impl RopeFrequencies {
    /// `f_i = base^(-2i/d)` in Q60 for `i < head_dim / 2`. The base is at least 1 and at most 2^32.
    pub fn new(base: Dyadic, head_dim: usize) -> Self {
        let ln_base = ln(i64::from(base.numerator()) << 37, base.exponent() + 23);
        let frequency = |i: usize| exp_neg(2 * i as i128 * ln_base / head_dim as i128);
        Self((0..head_dim / 2).map(frequency).collect())
    }

    /// The same frequencies, each divided by its factor: `floor(f_i / factor)` in Q60. Factors are at least 1.
    ///
    /// # Panics
    /// If there is not one factor a frequency.
    pub fn divided(self, factors: &[Dyadic]) -> Self {
        assert_eq!(self.0.len(), factors.len(), "a factor per frequency");
        let quotient = |(&f, by): (&i64, &Dyadic)| {
            let (f, n) = (i128::from(f), i128::from(by.numerator()));
            let quotient =
                if by.exponent() < 0 { (f << -by.exponent()) / n } else { f / (n << by.exponent()) };
            quotient as i64
        };
        Self(self.0.iter().zip(factors).map(quotient).collect())
    }

    /// The table's row of one position.
    pub fn row(&self, position: u32) -> Vec<RopePair> {
        self.0.iter().map(|&f| rope_pair(position, f)).collect()
    }

    /// The rows of positions `0..positions`, one after the other, `head_dim / 2` pairs each.
    pub fn table(&self, positions: u32) -> Vec<RopePair> {
        (0..positions).flat_map(|p| self.row(p)).collect()
    }
}

fn rope_pair(position: u32, frequency: i64) -> RopePair {
    let angle = i128::from(position) * i128::from(frequency);
    let quarter = i128::from(QUARTER_TURN);
    let (c, s) = cos_sin((angle % quarter) as i64);
    let (c, s) = match (angle / quarter) % 4 {
        0 => (c, s),
        1 => (-s, c),
        2 => (-c, -s),
        _ => (s, -c),
    };
    RopePair { cos: round_q60(c, 30), sin: round_q60(s, 30) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_start_and_end_where_mathematics_says() {
        assert_eq!((EXP2[0], EXP2[32], EXP2[64]), (1 << 28, 189_812_531, 1 << 27));
        assert_eq!((LOG2[0], LOG2[128], LOG2[256]), (0, 157_024_676, 1 << 28));
        assert_eq!((EXPONENTIAL_RATIO[0], EXPONENTIAL_RATIO[256]), (1 << 30, 1_488_522_236));
    }

    #[test]
    fn rope_rows_are_rows_of_the_table() {
        let base = Dyadic::from_f32_bits(10_000f32.to_bits()).expect("finite");
        let frequencies = RopeFrequencies::new(base, 8);
        assert_eq!(frequencies.table(40)[37 * 4..38 * 4], frequencies.row(37));
        assert!(frequencies.row(0).iter().all(|p| *p == RopePair { cos: 1 << 30, sin: 0 }));
    }
}
