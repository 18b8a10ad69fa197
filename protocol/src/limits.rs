//! Every limit that several rooms must agree on, with the relations between them checked at compile time.

/// Version of every message on the wire. Peers with another version are refused by name.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bytes of one gossiped message.
pub const GOSSIP_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one frame of a job stream.
pub const JOB_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one transaction.
pub const TX_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one block's body.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a receipt as it is signed, its signature included.
pub const RECEIPT_BYTES_MAX: usize = 512;
/// Bytes of a calibration as it is signed, its signature included.
pub const CALIBRATION_BYTES_MAX: usize = 640;
/// Bytes of a voucher as it is signed, its signature included.
pub const VOUCHER_BYTES_MAX: usize = 200;

/// Models in an advert.
pub const MODELS_MAX: usize = 32;
/// Network addresses in an advert.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of one network address.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Bytes of a name: an adapter, a driver.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a region or jurisdiction code.
pub const REGION_BYTES_MAX: usize = 16;
/// Regions or jurisdictions that an order may list.
pub const REGIONS_MAX: usize = 32;
/// Challengers that an order may list.
pub const CHALLENGERS_MAX: usize = 16;
/// Providers that may run one order at the same time, to be compared.
pub const REDUNDANT_MAX: u8 = 5;
/// How long an advert may live, in milliseconds.
pub const ADVERT_TTL_MS_MAX: u64 = 10 * 60 * 1000;
/// How long an order may live, in milliseconds.
pub const ORDER_TTL_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// How long a posting may wait for quotes, in milliseconds.
pub const POSTING_TTL_MS_MAX: u64 = 30_000;
/// How long a quote may be firm, in milliseconds.
pub const QUOTE_TTL_MS_MAX: u64 = 60_000;
/// How long a spot job goes on, at least, once its slot is wanted back, in milliseconds.
pub const SPOT_NOTICE_MS_MIN: u64 = 1_000;
/// The longest notice that a spot job may be promised, in milliseconds. An order that gets its slot waits for it.
pub const SPOT_NOTICE_MS_MAX: u64 = 30_000;
/// How far a peer's clock may run ahead of ours, in milliseconds.
pub const CLOCK_SKEW_MS_MAX: u64 = 5_000;

/// Tokens of a prompt.
pub const PROMPT_TOKENS_MAX: usize = 128 * 1024;
/// Tokens of one job's output.
pub const OUTPUT_TOKENS_MAX: usize = 128 * 1024;
/// Tokens that one voucher releases: the most that a client can lose to a provider that stops.
pub const CHUNK_TOKENS_MAX: usize = 16;
/// Token ids that end a job.
pub const STOP_TOKENS_MAX: usize = 16;
/// Texts that end a job.
pub const STOP_TEXTS_MAX: usize = 8;
/// Bytes of one such text.
pub const STOP_TEXT_BYTES_MAX: usize = 64;
/// Alternatives whose log probabilities go with an output token.
pub const LOGPROBS_MAX: usize = 20;
/// Lanes of a session: its concurrent jobs.
pub const LANES_MAX: usize = 16;
/// How long a session's use may last, in milliseconds.
pub const SESSION_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Time that a provider has, at least, to collect after a session's use ended, in milliseconds.
pub const GRACE_MS_MIN: u64 = 1_000;
/// Time that a provider has, at most, to collect after a session's use ended, in milliseconds.
pub const GRACE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// Slots of one reservation.
pub const SLOTS_MAX: u16 = 1_024;
/// The shortest slot of a reservation, in milliseconds.
pub const SLOT_MS_MIN: u64 = 60 * 1000;
/// The longest slot of a reservation, in milliseconds: one session may last for all of it.
pub const SLOT_MS_MAX: u64 = SESSION_MS_MAX;
/// Time that a provider has, at least, to answer when a slot is called for, in milliseconds.
pub const ANSWER_MS_MIN: u64 = 10_000;
/// Missed slots after which a reservation ends, at most.
pub const RUNGS_MAX: usize = 8;
/// The most that a missed slot may cost its provider, in thousandths of the slot's price.
pub const RUNG_MAX: u16 = 10_000;

/// Providers whose adverts a node remembers.
pub const OFFERS_MAX: usize = 4096;
/// Bytes of the sentence in a refusal or a fault.
pub const DETAIL_BYTES_MAX: usize = 256;

/// The largest price that anyone may ask or accept, in micro-credits per GPU-hour: a million credits.
pub const PRICE_MAX: u64 = 1_000_000_000_000;
/// The largest rate that a device may claim, in MACs per second.
pub const WORK_RATE_MAX: u64 = 1 << 60;

const _: () = assert!(PROMPT_TOKENS_MAX * 4 < JOB_FRAME_BYTES_MAX, "a prompt fits a frame");
const _: () = assert!(CHUNK_TOKENS_MAX * 4 < JOB_FRAME_BYTES_MAX, "a chunk fits a frame");
const _: () = assert!(TX_BYTES_MAX <= BLOCK_BYTES_MAX, "a transaction fits a block");
const _: () =
    assert!(2 * GOSSIP_BYTES_MAX < TX_BYTES_MAX, "order and advert fit the transaction that opens a session");
const _: () = assert!(QUOTE_TTL_MS_MAX <= ADVERT_TTL_MS_MAX, "a quote is an advert");
const _: () = assert!(GRACE_MS_MIN <= GRACE_MS_MAX);
const _: () =
    assert!(ANSWER_MS_MIN < SLOT_MS_MIN, "a slot that is called for can be answered for before it ends");
