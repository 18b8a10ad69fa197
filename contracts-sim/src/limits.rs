//! Limits of the ledger, and how they relate.

use gridhour_protocol::limits::{BLOCK_BYTES_MAX, TX_BYTES_MAX};

/// Version of the ledger's rules and bytes.
pub const LEDGER_VERSION: u16 = 1;

/// How many blocks ahead a transaction's `valid_until` may lie: for so long its id is kept.
pub const VALID_BLOCKS_MAX: u64 = 16_384;
/// Accounts with a balance at height 0.
pub const ALLOCATIONS_MAX: usize = 1_024;
/// Largest clock skew that a genesis may allow, in milliseconds.
pub const CLOCK_SKEW_MS_LIMIT: u64 = 10 * 60 * 1000;
/// Bootstrap addresses in a network file.
pub const BOOTSTRAP_MAX: usize = 64;
/// Blocks, and entries of the log, that a ledger can count to: so far that none gets there, and no sum overflows.
pub const COUNT_MAX: u64 = 1 << 62;
/// Transactions of one block.
pub const BLOCK_TXS_MAX: usize = 8_192;
/// Bytes that a block's header and lengths take beside its transactions, at most.
pub const HEADER_BYTES_MAX: usize = 1_024;
/// Sessions that may ever open under one order. Their ids are kept until the order expires, so that none opens twice.
pub const ORDER_SESSIONS_MAX: usize = 64;
/// Blocks between two checkpoints of the state, at most.
pub const CHECKPOINT_BLOCKS: u64 = 64;
/// Ledger time between two checkpoints, in milliseconds, as far as there are blocks: the first at least so much later
/// than the last checkpoint takes the next, so that what can be proven of a quiet ledger is not old.
pub const CHECKPOINT_MS: u64 = 10_000;
/// Bytes of one frame of an exported ledger, its payload alone.
pub const FRAME_BYTES_MAX: usize = BLOCK_BYTES_MAX + HEADER_BYTES_MAX;

const _: () = assert!(TX_BYTES_MAX <= BLOCK_BYTES_MAX, "any transaction fits an empty block");
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize, "a frame's length fits its field");
