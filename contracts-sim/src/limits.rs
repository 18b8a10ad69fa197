//! Limits of the ledger, and how they relate.

use gridhour_protocol::{
    limits::{BLOCK_BYTES_MAX, GRACE_MS_MAX, SESSION_MS_MAX, TX_BYTES_MAX},
    note::NOTE_SIGNATURES_MAX,
    units::{Credits, Millis},
};

/// Version of the ledger's rules and bytes. 2: headers count stakes.
pub const LEDGER_VERSION: u16 = 2;

/// How many blocks ahead a transaction's `valid_until` may lie: for so long its id is kept.
pub const VALID_BLOCKS_MAX: u64 = 16_384;
/// Accounts with a balance at height 0.
pub const ALLOCATIONS_MAX: usize = 1_024;
/// Largest clock skew that a genesis may allow, in milliseconds.
pub const CLOCK_SKEW_MS_LIMIT: u64 = 10 * 60 * 1000;
/// Bootstrap addresses in a network file.
pub const BOOTSTRAP_MAX: usize = 64;
/// Witnesses that a network may name.
pub const WITNESSES_MAX: usize = 16;
/// Blocks, and entries of the log, that a ledger can count to: so far that none gets there, and no sum overflows.
pub const COUNT_MAX: u64 = 1 << 62;
/// Transactions of one block.
pub const BLOCK_TXS_MAX: usize = 8_192;
/// Bytes that a block's header and lengths take beside its transactions, at most.
pub const HEADER_BYTES_MAX: usize = 1_024;
/// Sessions that may ever open under one order. Their ids are kept until the order expires, so that none opens twice.
pub const ORDER_SESSIONS_MAX: usize = 64;
/// Devices that one account may have registered at a time.
pub const DEVICES_MAX: usize = 64;
/// Versions of the arithmetic that a device's entry may list.
pub const NUMERICS_MAX: usize = 8;
/// How long a device's entry may live without being renewed, in milliseconds: 400 days.
pub const REGISTRATION_MS_MAX: u64 = 400 * DAY_MS;
/// The least that may be bonded at once: so much, less the accuser's share, every slash costs at least.
pub const BOND_MIN: Credits = Credits(1_000_000);
/// How far ahead the end of a bond may lie, in milliseconds: 400 days.
pub const BOND_MS_MAX: u64 = 400 * DAY_MS;
/// How long after a session's deadline its provider can be accused over it.
pub const DISPUTE_WINDOW: Millis = Millis(7 * DAY_MS);
/// The longest that an accusation may still be good: over a session that opens now, lasts as long as one may, and
/// gives as much grace as it may.
pub const ACCUSATION_MS_MAX: u64 = SESSION_MS_MAX + GRACE_MS_MAX + DISPUTE_WINDOW.0;
/// From unbonding to withdrawing: so long that whatever was at stake when a session opened still is when the last
/// accusation over it may come.
pub const UNBOND_DELAY: Millis = Millis(ACCUSATION_MS_MAX + DAY_MS);
/// Unbondings of one device that wait at a time.
pub const UNBONDINGS_MAX: usize = 8;
/// The least with which a budget begins.
pub const BUDGET_MIN: Credits = Credits(1_000_000);
/// How far ahead the end of a budget may lie, in milliseconds: 400 days.
pub const BUDGET_MS_MAX: u64 = 400 * DAY_MS;
/// Caps of one budget.
pub const CAPS_MAX: usize = 64;
/// Caps on the way from a key's to the organisation's, both counted.
pub const CAP_DEPTH_MAX: usize = 4;
/// The shortest period of a budget, in milliseconds.
pub const PERIOD_MS_MIN: u64 = 60 * 1000;
/// The longest period of a budget, in milliseconds: 400 days.
pub const PERIOD_MS_MAX: u64 = 400 * DAY_MS;
/// How far ahead the end of a reservation may lie, in milliseconds: 400 days.
pub const RESERVATION_MS_MAX: u64 = 400 * DAY_MS;
/// Reservations of one device that are not over at a time.
pub const DEVICE_RESERVATIONS_MAX: usize = 32;
/// Of what is slashed, the accuser is paid one part in so many; the rest is burned.
pub const ACCUSER_PART: u64 = 10;
/// The most that an accuser is paid.
pub const ACCUSER_MAX: Credits = Credits(100_000_000);
/// What a block may cost, in units of [`crate::ledger::cost`]: it bounds the time that checking a block takes, whatever
/// calls fill its bytes.
pub const BLOCK_COST_MAX: u64 = 32_768;
/// After every so many blocks a checkpoint of the state is begun, unless one is pending.
pub const CHECKPOINT_BLOCKS: u64 = 64;
/// A checkpoint is named at latest so many blocks after the one behind which it was begun, so that its hashes may be made
/// while the ledger goes on. Fewer than [`CHECKPOINT_BLOCKS`].
pub const CHECKPOINT_LAG_BLOCKS: u64 = 48;
/// Ledger time between two checkpoints, in milliseconds, as far as there are blocks: the first at least so much later
/// than the last checkpoint begins the next, so that what can be proven of a quiet ledger is not old.
pub const CHECKPOINT_MS: u64 = 10_000;
/// Bytes of one frame of an exported ledger, its payload alone.
pub const FRAME_BYTES_MAX: usize = BLOCK_BYTES_MAX + HEADER_BYTES_MAX;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const _: () =
    assert!(UNBOND_DELAY.0 > ACCUSATION_MS_MAX, "a stake outlasts the accusations that it answers for");
const _: () = assert!(ACCUSER_PART >= 2, "who accuses itself under another key loses at least half");
const _: () = assert!(PERIOD_MS_MIN > 0, "a period divides time");
const _: () = assert!(TX_BYTES_MAX <= BLOCK_BYTES_MAX, "any transaction fits an empty block");
const _: () =
    assert!(WITNESSES_MAX < NOTE_SIGNATURES_MAX, "all witnesses and the operator can sign one note");
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize, "a frame's length fits its field");
