//! Where maps look for a key first.

use gridhour_protocol::signed::PublicKey;

use super::TxKey;

/// An odd number near 2^64 divided by the golden ratio: multiplied with it, keys that differ a little differ in the high
/// bits (Knuth, The Art of Computer Programming 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A key whose bits say where to look for it first.
pub(super) trait Point: Eq {
    /// No key is less.
    const LEAST: Self;

    /// Bits of which the high ones are spread evenly.
    fn point(&self) -> u64;
}

impl Point for PublicKey {
    const LEAST: Self = Self([0; 32]);

    #[inline]
    fn point(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

impl Point for TxKey {
    const LEAST: Self = Self { sender: PublicKey::LEAST, nonce: 0 };

    #[inline]
    fn point(&self) -> u64 {
        // Senders number their transactions one after the other.
        (self.sender.point() ^ self.nonce).wrapping_mul(GOLDEN)
    }
}
