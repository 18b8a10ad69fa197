//! Hand-laid bytes: what signatures and hashes cover.
//!
//! Every signed or hashed object starts with a domain string and a zero byte, then its fields in a fixed order:
//! integers little-endian, texts and lists behind their length as u32. No two objects of different kinds, and no two
//! values of one kind, lay out the same bytes.

use crate::id::to_hex;

/// Collects the bytes of one object.
#[derive(Clone, Debug)]
pub struct Layout(Vec<u8>);

impl Layout {
    /// Starts an object of the kind `domain`, such as `gridhour/order/v5`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(domain.as_bytes());
        bytes.push(0);
        Self(bytes)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.fixed(&[value])
    }

    /// Two bytes, little-endian.
    #[inline]
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    /// Four bytes, little-endian, two's complement.
    #[inline]
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.fixed(&value.to_le_bytes())
    }

    /// Bytes whose number the format fixes, such as a hash.
    #[inline]
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A text or bytes of any length, behind the length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).fixed(bytes)
    }

    /// The number of items that follow.
    ///
    /// # Panics
    /// Over 2^32 items; every list has a limit far below.
    pub fn count(&mut self, items: usize) -> &mut Self {
        self.u32(u32::try_from(items).expect("every list has a limit below 2^32"))
    }

    /// A list of token ids.
    pub fn tokens(&mut self, tokens: &[u32]) -> &mut Self {
        self.count(tokens.len());
        for token in tokens {
            self.u32(*token);
        }
        self
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// BLAKE3 of the bytes.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }
}

impl core::fmt::Display for Layout {
    /// The bytes in hexadecimal, for fixtures.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}
