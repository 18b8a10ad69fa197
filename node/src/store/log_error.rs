//! What goes wrong with a log, and whose fault it is: always this node's disk, never a peer's.

use std::io;

/// What a damaged place in a log breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The first bytes of the file are not this log's.
    #[error("the segment's header is damaged or of another network")]
    Header,
    /// A frame says that it is longer than any frame may be.
    #[error("the frame's length is over the limit")]
    Length,
    /// The file ends inside a frame.
    #[error("the frame is cut short")]
    Unfinished,
    /// The bytes are not those that were written.
    #[error("the frame's hash does not fit its bytes")]
    Hash,
    /// The frame is not the next one.
    #[error("the frame's number is not the next one")]
    Number,
    /// The frame does not follow the one before it.
    #[error("the frame does not hold the hash of the one before")]
    Previous,
    /// A file of the log is gone.
    #[error("the segment that should hold it is missing")]
    Missing,
    /// The frame is whole, but what it holds is not what such a log holds.
    #[error("the frame's body is not what this log holds")]
    Body,
}

/// Why a log could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Bytes that were durable are not what was written. Nothing is dropped: the operator decides.
    #[error(
        "{segment} is damaged at byte {offset} (frame {number}): {rule}; restore the file from a copy, or fetch the log again"
    )]
    Corrupt {
        /// Name of the file.
        segment: String,
        /// Byte at which the damaged frame starts.
        offset: u64,
        /// Number of the frame that should be there; of a block, its height.
        number: u64,
        /// What is wrong with it.
        rule: Rule,
    },
    /// The file system refused.
    #[error("cannot {action} {file}: {source}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or sync failed, so it is unknown what is durable.
    #[error("an earlier write failed, so nothing more is written; free or replace the disk and restart")]
    Poisoned,
    /// The body is longer than this log takes.
    #[error("{len} bytes are over the log's limit of {max} bytes")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The log holds as much as it may.
    #[error("the store is full ({max} bytes): delete records that are settled")]
    Full {
        /// Bytes allowed in all.
        max: usize,
    },
    /// No such frame.
    #[error("there is no frame {number}; the log ends before {end}")]
    NoFrame {
        /// Number asked for.
        number: u64,
        /// Number of the frame that would come next.
        end: u64,
    },
}

impl LogError {
    pub(crate) fn disk(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let file = file.to_owned();
        move |source| Self::Disk { action, file, source }
    }
}

/// What an interrupted write left behind, and opening the log removed. None of it was ever acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Name of the file.
    pub segment: String,
    /// Byte at which the log now ends.
    pub offset: u64,
    /// Bytes removed behind it.
    pub removed: u64,
    /// What was wrong with the first of them.
    pub rule: Rule,
}
