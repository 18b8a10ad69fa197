//! What may be said between Gridhour peers, and what may be said next.
//!
//! This crate is words and rules: no sockets, clocks, floats, hash maps or randomness. Time, seeds and messages are
//! inputs; what to do about them are outputs.
//!
//! ```text
//!  advert ──┐                                             receipt ──> session root ──> ledger
//!           ├─> match ─> terms ─> [session] ─> request ─> tokens ──┘
//!  order ───┘            (one hold)            voucher n ─> chunk n
//! ```
//!
//! | step | words | rules |
//! |---|---|---|
//! | a provider is timed | [`calibration::message`] | [`calibration::challenger`] and [`calibration::provider`] |
//! | a provider offers | [`market::advert`] | [`market::book`] |
//! | a client orders | [`market::order`] | [`market::matching`], with a reason for every refusal |
//! | a session opens | [`session::terms`] | the ledger's, in `contracts-sim` |
//! | a job runs | [`job::message`], [`session::voucher`] | [`job::buyer`] and [`job::provider`] |
//! | it is answered for | [`receipt`] | [`work`] says what it costs |
//! | it can be looked up | [`note`]: signed heads of the public log | [`merkle`]: trees, proofs, tiles |
//! | it is witnessed | [`add_checkpoint`] | the witness's, in `contracts-sim` |
//! | it is computed | the model manifest | `exact`, the definition of the arithmetic |
//!
//! Bytes come in through [`wire`] alone; a signed object is a [`signed::Signed`] until its signature is checked and a
//! [`signed::Verified`] afterwards, and rules accept only the latter.

pub mod add_checkpoint;
#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
pub mod calibration;
pub mod exact;
pub mod id;
pub mod job;
pub mod layout;
pub mod limits;
pub mod market;
pub mod merkle;
pub mod model;
pub mod note;
pub mod receipt;
#[cfg(test)]
mod sample;
pub mod session;
pub mod signed;
pub mod units;
pub mod wire;
#[cfg(test)]
mod wire_tests;
pub mod work;
