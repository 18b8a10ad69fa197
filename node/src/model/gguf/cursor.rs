//! A reader of little-endian fields that cannot run past the end or allocate on a claim.

use super::GgufError;

/// Position in the file's bytes.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes; `what` names the structure in the error.
    pub(super) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], GgufError> {
        if count > self.remaining() {
            return Err(GgufError::Truncated { what: what.to_owned() });
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut field = [0; N];
        field.copy_from_slice(self.take(N, what)?);
        Ok(field)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of at most `max`, each counted thing taking at least `each` more bytes of the file, so that
    /// nothing is allocated for a claim that the file is too short to keep.
    pub(super) fn count(&mut self, max: u64, each: usize, what: &str) -> Result<usize, GgufError> {
        let found = self.u64(what)?;
        if found > max {
            return Err(GgufError::TooMany { what: what.to_owned(), found, max });
        }
        // `max` is far below `usize::MAX` on every platform with 32 bits or more.
        let count = found as usize;
        if count.saturating_mul(each) > self.remaining() {
            return Err(GgufError::Truncated { what: what.to_owned() });
        }
        Ok(count)
    }

    /// A UTF-8 string of at most `max` bytes.
    pub(super) fn text(&mut self, max: u64, what: &str) -> Result<&'a str, GgufError> {
        let length = self.count(max, 1, what)?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes)
            .map_err(|_| GgufError::Key { key: what.to_owned(), reason: "is not valid UTF-8".to_owned() })
    }
}
