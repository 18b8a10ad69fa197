//! What several of these tests need: seeded numbers, float bits, and tensors in the file's layout.

use gridhour_protocol::exact::{
    a15::{A15, Scaled},
    scale::Scale,
    weights::{BLOCK, BlockType},
};

/// SplitMix64.
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ (b >> 31)
    }

    /// An integer in `low..=high`.
    pub(crate) fn range(&mut self, low: i64, high: i64) -> i64 {
        low + (self.word() % (high - low + 1) as u64) as i64
    }

    /// A real in [-1, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / 2f64.powi(52) - 1.0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.word() as u8).collect()
    }

    /// Values of up to `bits` bits, of all magnitudes.
    pub(crate) fn ints(&mut self, count: usize, bits: u32) -> Vec<i64> {
        let mut one = || {
            let magnitude = self.word() >> (64 - self.range(1, bits.into()));
            if self.word() & 1 == 1 { -(magnitude as i64) } else { magnitude as i64 }
        };
        (0..count).map(|_| one()).collect()
    }

    pub(crate) fn ints32(&mut self, count: usize) -> Vec<i32> {
        self.ints(count, 31).into_iter().map(|v| v as i32).collect()
    }

    pub(crate) fn codes(&mut self, count: usize) -> Vec<i16> {
        (0..count).map(|_| self.range(-16256, 16256) as i16).collect()
    }

    /// A scale of a value about `2^(e + 30)`.
    pub(crate) fn scale(&mut self, e: i32) -> Scale {
        Scale::from_int(self.word() >> 33 | 1 << 30, e)
    }

    pub(crate) fn a15(&mut self, count: usize, e: i32) -> A15 {
        Scaled { values: self.codes(count), scale: self.scale(e) }
    }

    /// A tensor whose block scales are about `size` times a code of 1, in the file's layout.
    pub(crate) fn tensor(&mut self, kind: BlockType, rows: usize, columns: usize, size: f64) -> Vec<u8> {
        (0..rows * columns / kind.group_columns()).flat_map(|_| self.group(kind, size)).collect()
    }

    fn group(&mut self, kind: BlockType, size: f64) -> Vec<u8> {
        let scale = size * (1.0 + 0.5 * self.unit());
        let half = |v: f64| f16_bits(v).to_le_bytes().to_vec();
        match kind {
            BlockType::Q4_1 => [half(scale), half(-7.5 * scale), self.bytes(16)].concat(),
            BlockType::Q8_0 => [half(scale), self.bytes(32)].concat(),
            BlockType::F32 => {
                (0..BLOCK).flat_map(|_| ((scale * self.unit()) as f32).to_bits().to_le_bytes()).collect()
            }
            BlockType::F16 => {
                let away_from_zero = |v: f64| half(scale * (v + v.signum()) / 2.0);
                (0..BLOCK).flat_map(|_| away_from_zero(self.unit())).collect()
            }
            BlockType::Bf16 => {
                let upper = |v: f64| ((v as f32).to_bits() >> 16) as u16;
                (0..BLOCK).flat_map(|_| upper(scale * self.unit()).to_le_bytes()).collect()
            }
            BlockType::Q4_0 => [half(-scale), self.bytes(16)].concat(),
            BlockType::Q5_0 => [half(scale), self.bytes(20)].concat(),
            BlockType::Q5_1 => [half(scale), half(-15.5 * scale), self.bytes(20)].concat(),
            BlockType::Q4K => [half(scale / 32.0), half(scale / 4.0), self.bytes(140)].concat(),
            BlockType::Q6K => [self.bytes(208), half(scale / 64.0)].concat(),
        }
    }
}

/// The half float nearest below a value of moderate size, as bits.
pub(crate) fn f16_bits(v: f64) -> u16 {
    let bits = (v as f32).to_bits();
    let exponent = (bits >> 23 & 255) as i32 - 127 + 15;
    assert!((1..31).contains(&exponent), "{v} is a normal half float");
    ((bits >> 16 & 0x8000) | (exponent as u32) << 10 | (bits >> 13 & 1023)) as u16
}

/// The value of a half float.
pub(crate) fn f16_value(bits: [u8; 2]) -> f64 {
    let bits = u16::from_le_bytes(bits);
    let (sign, exponent) = (if bits >> 15 == 1 { -1.0 } else { 1.0 }, i32::from(bits >> 10 & 31));
    let fraction = f64::from(bits & 1023) / 1024.0;
    sign * if exponent == 0 { fraction * 2f64.powi(-14) } else { (1.0 + fraction) * 2f64.powi(exponent - 15) }
}

/// The weights of a tensor by the file format's own rule, in float.
pub(crate) fn dequantise(kind: BlockType, bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(kind.group_bytes()).flat_map(|group| dequantise_group(kind, group)).collect()
}

fn dequantise_group(kind: BlockType, b: &[u8]) -> Vec<f64> {
    let half = |at: usize| f16_value([b[at], b[at + 1]]);
    let nibbles = |q: &[u8]| -> Vec<f64> {
        q.iter().map(|q| q & 15).chain(q.iter().map(|q| q >> 4)).map(f64::from).collect()
    };
    // Adds 16 where the bit of the column is set.
    let fives = |bits: &[u8], q: &[u8]| -> Vec<f64> {
        let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
        nibbles(q).into_iter().zip(0..).map(|(q, j)| q + f64::from(bits >> j & 1) * 16.0).collect()
    };
    match kind {
        BlockType::Q4_1 => nibbles(&b[4..]).iter().map(|q| q * half(0) + half(2)).collect(),
        BlockType::Q8_0 => b[2..34].iter().map(|&q| f64::from(q as i8) * half(0)).collect(),
        BlockType::F32 => {
            b.chunks_exact(4).map(|w| f64::from(f32::from_le_bytes([w[0], w[1], w[2], w[3]]))).collect()
        }
        BlockType::F16 => b.chunks_exact(2).map(|w| f16_value([w[0], w[1]])).collect(),
        BlockType::Bf16 => {
            b.chunks_exact(2).map(|w| f64::from(f32::from_le_bytes([0, 0, w[0], w[1]]))).collect()
        }
        BlockType::Q4_0 => nibbles(&b[2..]).iter().map(|q| (q - 8.0) * half(0)).collect(),
        BlockType::Q5_0 => fives(&b[2..6], &b[6..]).iter().map(|q| (q - 16.0) * half(0)).collect(),
        BlockType::Q5_1 => fives(&b[4..8], &b[8..]).iter().map(|q| q * half(0) + half(2)).collect(),
        BlockType::Q4K => dequantise_q4_k(b),
        BlockType::Q6K => dequantise_q6_k(b),
    }
}

/// As the format's reference walks: 64 columns at a time, the low halves of 32 bytes and then the high ones.
fn dequantise_q4_k(b: &[u8]) -> Vec<f64> {
    let (d, least) = (f16_value([b[0], b[1]]), f16_value([b[2], b[3]]));
    let s = &b[4..16];
    let scale = |j: usize| if j < 4 { s[j] & 63 } else { s[j + 4] & 15 | (s[j - 4] >> 6) << 4 };
    let min = |j: usize| if j < 4 { s[j + 4] & 63 } else { s[j + 4] >> 4 | (s[j] >> 6) << 4 };
    let weight = |j: usize, q: u8| d * f64::from(scale(j)) * f64::from(q) - least * f64::from(min(j));
    let pair = |(pair, q): (usize, &[u8])| -> Vec<f64> {
        let low = q.iter().map(|q| weight(2 * pair, q & 15));
        low.chain(q.iter().map(|q| weight(2 * pair + 1, q >> 4))).collect()
    };
    b[16..].chunks_exact(32).enumerate().flat_map(pair).collect()
}

/// As the format's reference walks: 128 columns at a time, four at once.
fn dequantise_q6_k(b: &[u8]) -> Vec<f64> {
    let d = f16_value([b[208], b[209]]);
    let mut y = vec![0.0; 256];
    for n in 0..2 {
        let (ql, qh, sc) = (&b[64 * n..], &b[128 + 32 * n..], &b[192 + 8 * n..]);
        for l in 0..32 {
            let codes = [
                (ql[l] & 15) | (qh[l] & 3) << 4,
                (ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4,
                ql[l] >> 4 | (qh[l] >> 4 & 3) << 4,
                ql[l + 32] >> 4 | (qh[l] >> 6 & 3) << 4,
            ];
            for (i, q) in codes.into_iter().enumerate() {
                let scale = f64::from(sc[l / 16 + 2 * i] as i8);
                y[128 * n + 32 * i + l] = d * scale * (f64::from(q) - 32.0);
            }
        }
    }
    y
}

/// The value of a scale.
pub(crate) fn real(s: Scale) -> f64 {
    f64::from(s.mantissa()) * 2f64.powi(s.exponent())
}

/// The reals that a scaled vector stands for.
pub(crate) fn reals<T: Copy + TryInto<i64>>(v: &Scaled<T>) -> Vec<f64> {
    let integer = |t: T| t.try_into().unwrap_or_else(|_| unreachable!("all integers here fit i64")) as f64;
    v.values.iter().map(|&t| integer(t) * real(v.scale)).collect()
}

/// The largest magnitude.
pub(crate) fn peak(v: &[f64]) -> f64 {
    v.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// The largest difference between two vectors.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (x, y)| m.max((x - y).abs()))
}
