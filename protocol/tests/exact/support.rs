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
        (0..rows * columns / BLOCK).flat_map(|_| self.block(kind, size)).collect()
    }

    fn block(&mut self, kind: BlockType, size: f64) -> Vec<u8> {
        let scale = size * (1.0 + 0.5 * self.unit());
        let half = |v: f64| f16_bits(v).to_le_bytes();
        match kind {
            BlockType::Q4_1 => [half(scale).to_vec(), half(-7.5 * scale).to_vec(), self.bytes(16)].concat(),
            BlockType::Q8_0 => [half(scale).to_vec(), self.bytes(32)].concat(),
            BlockType::F32 => {
                (0..BLOCK).flat_map(|_| ((scale * self.unit()) as f32).to_bits().to_le_bytes()).collect()
            }
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
    let block = |b: &[u8]| -> Vec<f64> {
        let half = |at: usize| f16_value([b[at], b[at + 1]]);
        match kind {
            BlockType::Q4_1 => {
                let low = b[4..20].iter().map(|q| q & 15);
                low.chain(b[4..20].iter().map(|q| q >> 4)).map(|q| f64::from(q) * half(0) + half(2)).collect()
            }
            BlockType::Q8_0 => b[2..34].iter().map(|&q| f64::from(q as i8) * half(0)).collect(),
            BlockType::F32 => {
                b.chunks_exact(4).map(|w| f64::from(f32::from_le_bytes([w[0], w[1], w[2], w[3]]))).collect()
            }
        }
    };
    bytes.chunks_exact(kind.block_bytes()).flat_map(block).collect()
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
