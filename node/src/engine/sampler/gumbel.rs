//! Gumbel noise from a counter: Threefry-2x32 gives the bits, two short tables the logarithms.

use gridhour_protocol::exact::tables;

use super::{super::fixed::round_shift, SamplingKey};

/// No noise is larger, Q16 nats: the variate of the least uniform number, `33 ln 2`, and some slack.
pub(super) const NOISE_MAX: i64 = 23 << 16;
/// No two noises are further apart, Q16 nats: the least is above `-4`. It is where a weight in Q28 is long zero, too.
pub(super) const NOISE_SPAN: i64 = NOISE_MAX + (4 << 16);
/// More than the tables can be off by, Q16.
const SLACK: i64 = 64;
/// One in Q28.
const ONE_Q28: i64 = 1 << 28;

/// The noise of one position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    key: SamplingKey,
    position: u32,
}

/// One uniform number `v / 2^33`, `v` odd.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    v: u64,
}

impl Noise {
    pub(super) fn new(key: SamplingKey, position: u32) -> Self {
        Self { key, position }
    }

    /// The draw of one token.
    #[inline]
    pub(super) fn at(&self, token: u32) -> Draw {
        Draw { v: 2 * u64::from(threefry(self.key.0, [self.position, token])[0]) + 1 }
    }
}

impl Draw {
    /// A bound of the noise from the length of the number alone: an exponential variate is never below its
    /// uniform number, so the noise never above `-ln(v / 2^33)`.
    #[inline]
    pub(super) fn upper_bound(self) -> i64 {
        let halvings = 33 - i64::from(self.v.ilog2());
        ((halvings * tables::LN2_Q30) >> 14) + SLACK
    }

    /// The noise, Q16 nats.
    pub(super) fn value(self) -> i64 {
        let log2_exponential = if self.v < 1 << 32 {
            let (entry, rest) = ((self.v >> 24) as usize, (self.v & 0x00ff_ffff) as i64);
            let ratio = between(&tables::EXPONENTIAL_RATIO, entry, rest, 24);
            log2(self.v * ratio as u64) - 63 * ONE_Q28
        } else {
            let bits = 33 * ONE_Q28 - log2((1 << 33) - self.v);
            log2((tables::LN2_Q30 * bits) as u64) - 58 * ONE_Q28
        };
        round_shift(-log2_exponential * tables::LN2_Q30, 42)
    }
}

/// The base-2 logarithm of `n` in Q28, `n` from 1 to below `2^63`.
pub(super) fn log2(n: u64) -> i64 {
    let whole = n.ilog2();
    let fraction = (((n << (63 - whole)) >> 32) & 0x7fff_ffff) as i64;
    let (entry, rest) = ((fraction >> 23) as usize, fraction & 0x007f_ffff);
    (i64::from(whole) << 28) + between(&tables::LOG2, entry, rest, 23)
}

/// The table's value at `entry + rest / 2^bits`, on a straight line.
fn between(table: &[i32; 257], entry: usize, rest: i64, bits: u32) -> i64 {
    let (lower, upper) = (i64::from(table[entry]), i64::from(table[entry + 1]));
    lower + round_shift((upper - lower) * rest, bits)
}

/// Threefry-2x32 with 20 rounds (Salmon et al., 2011).
#[inline]
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1bd1_1bda];
    let mut x = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for group in 0..5usize {
        for rotation in ROTATIONS[group % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(rotation) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(group + 1) % 3]);
        x[1] = x[1].wrapping_add(keys[(group + 2) % 3]).wrapping_add(group as u32 + 1);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threefry_gives_the_published_known_answers() {
        assert_eq!(threefry([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        let pi = threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]);
        assert_eq!(pi, [0xc492_3a9c, 0x483d_f7a0]);
    }

    #[test]
    fn the_noise_is_gumbel_to_a_few_units_of_sixteen_bits() {
        let numbers = (0..33).flat_map(|bit| [(1u64 << bit) | 1, (3 << bit) >> 1 | 1]);
        for v in numbers.chain([(1 << 33) - 1, (1 << 32) + 1, (1 << 32) - 1]) {
            let u = v as f64 / (1u64 << 33) as f64;
            let exact = -(-(-u).ln_1p()).ln() * 65_536.0;
            let draw = Draw { v };
            assert!((draw.value() as f64 - exact).abs() < 3.0, "{} for {exact}, v = {v}", draw.value());
            assert!(draw.value() <= draw.upper_bound() && draw.value() <= NOISE_MAX, "bounds of v = {v}");
            assert!(draw.value() > NOISE_MAX - NOISE_SPAN, "least of v = {v}");
        }
    }
}
