//! The bytes of one frame of a log, and how frames hold on to each other.
//!
//! ```text
//! length u32 | number u64 | into batch u32 | previous hash 32 | body | hash 32
//! ```
//! The hash is keyed BLAKE3 over everything before it in the frame. As each frame holds the hash of the one before, the
//! last hash stands for the whole log. `into batch` counts the bytes between the start of the frame's batch and the
//! frame: everything before that start was durable when the frame was written, which is how an unfinished write is
//! told from damage.

/// Bytes before the body.
pub(super) const HEAD_BYTES: usize = 48;
/// Bytes behind the body.
pub(super) const HASH_BYTES: usize = 32;
/// Bytes of a frame without its body.
pub(super) const FRAME_BYTES_MIN: usize = HEAD_BYTES + HASH_BYTES;

/// What keys a segment's hashes. Peers cannot know it, so no peer can put bytes into a body that would pass for a frame.
pub(super) type SegmentKey = [u8; 32];

/// The fields before a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the body.
    pub(super) body_len: u32,
    /// Position in the log; the height of a block.
    pub(super) number: u64,
    /// Bytes between the start of the batch and this frame.
    pub(super) into_batch: u32,
    /// Hash of the frame before.
    pub(super) previous: [u8; 32],
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.into_batch.to_le_bytes());
        bytes[16..].copy_from_slice(&self.previous);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Self {
        Self {
            body_len: u32::from_le_bytes(core::array::from_fn(|i| bytes[i])),
            number: u64::from_le_bytes(core::array::from_fn(|i| bytes[4 + i])),
            into_batch: u32::from_le_bytes(core::array::from_fn(|i| bytes[12 + i])),
            previous: core::array::from_fn(|i| bytes[16 + i]),
        }
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_len(&self) -> u64 {
        u64::from(self.body_len) + FRAME_BYTES_MIN as u64
    }
}

/// The hash that closes a frame.
pub(super) fn frame_hash(key: &SegmentKey, head: &[u8], body: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new_keyed(key).update(head).update(body).finalize().as_bytes()
}

/// Appends one frame to `out` and returns its hash. `body` is at most a log's limit, far below 4 GiB.
pub(super) fn encode(out: &mut Vec<u8>, key: &SegmentKey, head: Head, body: &[u8]) -> [u8; 32] {
    let head = head.to_bytes();
    let hash = frame_hash(key, &head, body);
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    out.extend_from_slice(&hash);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_page() {
        let head = Head { body_len: 2, number: 0x0102, into_batch: 7, previous: [9; 32] };
        let mut out = Vec::new();
        let hash = encode(&mut out, &[1; 32], head, b"ab");
        let mut expected = vec![2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        expected.extend([9; 32]);
        expected.extend(b"ab");
        let keyed = blake3::keyed_hash(&[1; 32], &expected);
        expected.extend(keyed.as_bytes());
        assert_eq!((out, hash), (expected, *keyed.as_bytes()));
    }

    #[test]
    fn heads_round_trip() {
        let head = Head { body_len: u32::MAX, number: u64::MAX - 1, into_batch: 3, previous: [7; 32] };
        assert_eq!(Head::from_bytes(&head.to_bytes()), head);
        assert_eq!(head.frame_len(), (1 << 32) - 1 + 80);
    }
}
