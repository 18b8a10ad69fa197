//! Little-endian fields of the encodings that digests are taken over, laid out by hand so that one content
//! has one encoding.

use thiserror::Error;

/// Bytes that are not an encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the bytes are no valid encoding: {0}")]
pub struct MalformedBytes(pub(super) &'static str);

pub(super) const CUT_SHORT: MalformedBytes = MalformedBytes("they end too early");

/// Appends a text with its length; the length must fit 32 bits, which every bound of this room ensures.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a count as 32 bits.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
}

/// Reads fields from the front of a slice.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts on bytes of at most `max`.
    pub(super) fn new(bytes: &'a [u8], max: usize) -> Result<Self, MalformedBytes> {
        if bytes.len() > max {
            return Err(MalformedBytes("they are longer than the bound"));
        }
        Ok(Self(bytes))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], MalformedBytes> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedBytes> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, MalformedBytes> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, MalformedBytes> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, MalformedBytes> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, MalformedBytes> {
        self.array().map(i16::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, MalformedBytes> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(MalformedBytes("a truth value is neither 0 nor 1")),
        }
    }

    /// A count of at most `max`, each counted thing taking at least `each` more bytes.
    pub(super) fn count(&mut self, max: usize, each: usize) -> Result<usize, MalformedBytes> {
        let count = self.u32()? as usize;
        if count > max {
            return Err(MalformedBytes("a count is above its bound"));
        }
        if count.saturating_mul(each) > self.0.len() {
            return Err(CUT_SHORT);
        }
        Ok(count)
    }

    pub(super) fn text(&mut self, max: usize) -> Result<&'a str, MalformedBytes> {
        let length = self.count(max, 1)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| MalformedBytes("a text is not UTF-8"))
    }

    /// Ends the reading; anything left is refused, so that one content has one encoding.
    pub(super) fn finish(self) -> Result<(), MalformedBytes> {
        if self.0.is_empty() { Ok(()) } else { Err(MalformedBytes("bytes are left over")) }
    }
}
