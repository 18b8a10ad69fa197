//! A pretend chain: money, and the rules that move it. Deterministic: no clock, no I/O, no randomness.
//!
//! ```text
//!  tx ── ledger ──> entries ──> log ──┐
//!           │                         ├── block ── signed by the operator ──> journal, export
//!           └────> changes ──> state ─┘                                            │
//!                     ^                                                            │
//!                     └──────────── verify: the one path from blocks to state <────┘
//! ```
//!
//! | to learn | read |
//! |---|---|
//! | what a network begins with, and what to hand to whoever joins | [`genesis`], [`network_file`] |
//! | what can be asked of the ledger, and what it answers | [`tx`], [`ledger`], [`ledger::reject`] |
//! | what it remembers, and what always holds | [`state`], [`state::invariants`] |
//! | how blocks are made, checked and taken in | [`block`] |
//! | how anyone checks everything | [`export`], [`audit`], [`finding`], [`checkpoint`] |
//! | what a stranger can be shown of it | [`proof`] |
//! | how an operator with two histories is convicted | [`fraud`] |
//! | what a witness may cosign | [`witness`] |
//! | whose cosignatures count, and whether they are enough | [`witnesses`] |
//! | how tests play with it | [`harness`] |
//!
//! Money is [`gridhour_protocol::units::Credits`] and moves by postings alone: as much leaves one side as reaches the
//! other. At every height all balances, holds and stakes together are what was issued.

pub mod audit;
pub mod block;
pub mod checkpoint;
pub mod export;
pub mod finding;
pub mod fraud;
pub mod genesis;
pub mod harness;
pub mod ledger;
pub mod limits;
pub mod network_file;
pub mod proof;
pub mod state;
pub mod tx;
pub mod witness;
pub mod witnesses;
