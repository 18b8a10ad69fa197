//! The blocks of the quantised tensor types.

use super::{BLOCK, Kind, NonFinite, rational::Rational};

/// Bytes of a super-block of Q4_K, and of Q6_K.
const Q4_K_BYTES: usize = 144;
const Q6_K_BYTES: usize = 210;

/// The blocks of one row: a scale each, a minimum each where the kind has them, and all codes.
#[derive(Default)]
pub(super) struct Blocks {
    pub(super) scales: Vec<Rational>,
    pub(super) minima: Vec<Rational>,
    pub(super) codes: Vec<i16>,
}

impl Blocks {
    /// Reads the bytes of a row of a quantised kind.
    pub(super) fn read(kind: Kind, bytes: &[u8]) -> Result<Self, NonFinite> {
        let mut row = Self::default();
        match kind {
            Kind::Q4_0 => row.read_plain::<18>(bytes, |codes, out| nibbles(codes, 8, out))?,
            Kind::Q4_1 => row.read_with_minima::<20>(bytes, |codes, out| nibbles(codes, 0, out))?,
            Kind::Q5_0 => row.read_plain::<22>(bytes, |codes, out| five_bits(codes, 16, out))?,
            Kind::Q5_1 => row.read_with_minima::<24>(bytes, |codes, out| five_bits(codes, 0, out))?,
            Kind::Q4K => bytes.as_chunks().0.iter().try_for_each(|block| row.read_q4_k(block))?,
            Kind::Q6K => bytes.as_chunks().0.iter().try_for_each(|block| row.read_q6_k(block))?,
            // Floats have no blocks, and are read elsewhere.
            Kind::Q8_0 | Kind::F32 | Kind::F16 | Kind::Bf16 => {
                row.read_plain::<34>(bytes, |codes, out| {
                    out.extend(codes.iter().map(|code| i16::from(code.cast_signed())));
                })?
            }
        }
        Ok(row)
    }

    /// Blocks of `N` bytes that start with their scale.
    fn read_plain<const N: usize>(
        &mut self,
        bytes: &[u8],
        codes: impl Fn(&[u8], &mut Vec<i16>),
    ) -> Result<(), NonFinite> {
        for block in bytes.as_chunks::<N>().0 {
            self.scales.push(Rational::from_f16([block[0], block[1]])?);
            codes(&block[2..], &mut self.codes);
        }
        Ok(())
    }

    /// Blocks of `N` bytes that start with their scale and their minimum.
    fn read_with_minima<const N: usize>(
        &mut self,
        bytes: &[u8],
        codes: impl Fn(&[u8], &mut Vec<i16>),
    ) -> Result<(), NonFinite> {
        for block in bytes.as_chunks::<N>().0 {
            self.scales.push(Rational::from_f16([block[0], block[1]])?);
            self.minima.push(Rational::from_f16([block[2], block[3]])?);
            codes(&block[4..], &mut self.codes);
        }
        Ok(())
    }

    /// Two units, 8 scales and 8 minima of six bits in twelve bytes, 128 bytes of nibbles: of each 32 bytes, the
    /// low halves are a block and the high halves the next.
    fn read_q4_k(&mut self, bytes: &[u8; Q4_K_BYTES]) -> Result<(), NonFinite> {
        let unit = Rational::from_f16([bytes[0], bytes[1]])?;
        let minimum_unit = Rational::from_f16([bytes[2], bytes[3]])?;
        let (small, codes) = bytes[4..].split_at(12);
        for block in 0..4 {
            self.scales.push(unit.times((small[block] & 63) as i8));
            self.minima.push(minimum_unit.times(-((small[4 + block] & 63) as i8)));
        }
        for block in 0..4 {
            // The upper two bits are those that the bytes above left.
            let (low, last) = (small[8 + block] & 15, small[8 + block] >> 4);
            self.scales.push(unit.times((low | small[block] >> 6 << 4) as i8));
            self.minima.push(minimum_unit.times(-((last | small[4 + block] >> 6 << 4) as i8)));
        }
        codes.as_chunks::<BLOCK>().0.iter().for_each(|pair| nibbles(pair, 0, &mut self.codes));
        Ok(())
    }

    /// 128 bytes of low halves, 64 of high quarters, 16 scales, their unit.
    fn read_q6_k(&mut self, bytes: &[u8; Q6_K_BYTES]) -> Result<(), NonFinite> {
        let unit = Rational::from_f16([bytes[208], bytes[209]])?;
        self.scales.extend(bytes[192..208].iter().map(|scale| unit.times(scale.cast_signed())));
        for half in 0..2 {
            let (low, high) = (&bytes[64 * half..][..64], &bytes[128 + 32 * half..][..32]);
            let columns = low.iter().map(|byte| byte & 15).chain(low.iter().map(|byte| byte >> 4));
            let quarters = (0..4).flat_map(|quarter| high.iter().map(move |byte| byte >> (2 * quarter) & 3));
            self.codes.extend(columns.zip(quarters).map(|(low, high)| i16::from(low | high << 4) - 32));
        }
        Ok(())
    }
}

/// The low halves of all bytes, then the high halves, `less` taken off each.
fn nibbles(bytes: &[u8], less: i16, out: &mut Vec<i16>) {
    out.extend(bytes.iter().map(|byte| i16::from(byte & 15) - less));
    out.extend(bytes.iter().map(|byte| i16::from(byte >> 4) - less));
}

/// Four bytes of fifth bits, then nibbles.
fn five_bits(bytes: &[u8], less: i16, out: &mut Vec<i16>) {
    let at = out.len();
    let (fifths, low) = bytes.split_at(4);
    nibbles(low, less, out);
    for (column, code) in out[at..].iter_mut().enumerate() {
        *code += i16::from(fifths[column / 8] >> (column % 8) & 1) << 4;
    }
}
