//! An exported ledger: a file that anyone can check on a laptop, without asking the node that wrote it.
//!
//! ```text
//!  magic, 8 bytes │ frame: network file │ frame: block 1 │ ... │ frame: block n │ frame: end
//!  frame = kind u8 │ payload length u32 little-endian │ payload │ BLAKE3 of all that stands before in the frame
//! ```

use gridhour_protocol::{
    signed::Signed,
    units::Height,
    wire::{self, Wire},
};

use crate::{block::Block, limits::FRAME_BYTES_MAX, network_file::NetworkFile};

/// The first bytes of the file; the last of them is the version. 2: the network file names witnesses.
pub const MAGIC: &[u8; 8] = b"GRIDLDG2";

const HEAD_BYTES: usize = 5;
const HASH_BYTES: usize = 32;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A signed [`NetworkFile`], wire. Once, first.
    Network,
    /// A [`Block`], wire. Heights from 1 upwards without a gap.
    Block,
    /// Height of the last block, u64 little-endian. Once, last: without it the file was cut off.
    End,
}

impl FrameKind {
    const ALL: [Self; 3] = [Self::Network, Self::Block, Self::End];

    const fn tag(self) -> u8 {
        match self {
            Self::Network => 1,
            Self::Block => 2,
            Self::End => 3,
        }
    }

    const fn payload_max(self) -> usize {
        match self {
            Self::Network => <Signed<NetworkFile> as Wire>::BYTES_MAX,
            Self::Block => FRAME_BYTES_MAX,
            Self::End => 8,
        }
    }
}

/// The beginning of a file: magic and network.
#[must_use]
pub fn opening(network: &Signed<NetworkFile>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(frame(FrameKind::Network, &wire::encode(network)));
    bytes
}

/// The frame of the next block.
#[must_use]
pub fn block_frame(block: &Block) -> Vec<u8> {
    frame(FrameKind::Block, &wire::encode(block))
}

/// The end of a file whose last block is at `height`.
#[must_use]
pub fn closing(height: Height) -> Vec<u8> {
    frame(FrameKind::End, &height.0.to_le_bytes())
}

/// A frame around a payload that is within the limit of its kind.
///
/// # Panics
/// On a payload over 4 GiB; every kind's limit is far below.
#[must_use]
pub fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("payloads are far below 4 GiB");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len() + HASH_BYTES);
    bytes.push(kind.tag());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(payload);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// Why bytes are not an exported ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The magic is another.
    #[error("the file does not begin as an exported ledger of this version")]
    Magic,
    /// The kind is unknown.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// The length is over the kind's limit.
    #[error("a frame of {len} bytes is over the limit of {max}")]
    TooLong {
        /// Bytes that the frame says it has.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The hash does not fit the bytes.
    #[error("a frame's bytes do not have the hash that follows them")]
    Hash,
}

/// Cuts a stream of bytes into frames. Holds at most one unfinished frame and what was pushed last.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    used: usize,
    past_magic: bool,
}

impl Decoder {
    /// Takes the next bytes of the file, in pieces of any size.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether every byte was part of a frame that was handed out.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.past_magic && self.used == self.buffer.len()
    }

    /// The next whole frame; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// If the bytes are not frames; the decoder is of no use afterwards.
    pub fn next_frame(&mut self) -> Result<Option<(FrameKind, Vec<u8>)>, FrameError> {
        if !self.past_magic && !self.skip_magic()? {
            return Ok(None);
        }
        let rest = &self.buffer[self.used..];
        let Some(([tag, len @ ..], _)) = rest.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let (kind, len) = check_head(*tag, u32::from_le_bytes(*len))?;
        let Some((covered, tail)) = rest.split_at_checked(HEAD_BYTES + len) else {
            return Ok(None);
        };
        let Some(hash) = tail.first_chunk::<HASH_BYTES>() else {
            return Ok(None);
        };
        if blake3::hash(covered).as_bytes() != hash {
            return Err(FrameError::Hash);
        }
        let payload = covered[HEAD_BYTES..].to_vec();
        self.used += covered.len() + HASH_BYTES;
        Ok(Some((kind, payload)))
    }

    fn skip_magic(&mut self) -> Result<bool, FrameError> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Err(FrameError::Magic);
        }
        self.past_magic = known == MAGIC.len();
        self.used = if self.past_magic { MAGIC.len() } else { 0 };
        Ok(self.past_magic)
    }
}

fn check_head(tag: u8, len: u32) -> Result<(FrameKind, usize), FrameError> {
    let kind = FrameKind::ALL.into_iter().find(|kind| kind.tag() == tag).ok_or(FrameError::Kind(tag))?;
    let (len, max) = (len as usize, kind.payload_max());
    if len > max { Err(FrameError::TooLong { len, max }) } else { Ok((kind, len)) }
}
