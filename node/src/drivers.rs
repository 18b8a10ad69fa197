//! Drivers: they do what the state machines ask for, and decide nothing.
//!
//! | driver | runs |
//! |---|---|
//! | [`validator`] | a ledger: orders transactions, answers questions, releases expired holds |
//! | [`observer`] | a copy of a ledger: follows it, checks every block, answers questions |
//! | [`provider`] | an engine: advertises, serves jobs, collects |
//! | [`pulse`] | a question, again and again: does the ledger answer? |
//! | [`split_view`] | a look-out: gossips checkpoints, keeps the proof that an operator showed two histories |
//! | [`checkup`] | an answer: how a node looks from here |
//! | [`visitor`] | a question, or a transaction, to the ledger |
//! | [`ledger_export`] | an auditor's copy: a whole ledger as a file |
//! | [`witnessing`] | a go-between: brings checkpoints to witnesses, publishes them with what was cosigned |
//! | [`client`] | a buyer: sees offers, matches, opens sessions, runs jobs, settles |

mod auctions;
mod calibration_line;
pub mod checkup;
pub mod client;
pub mod ledger_client;
pub mod ledger_export;
pub mod memory;
pub mod mismatch;
pub mod observer;
mod offers;
pub mod provider;
pub mod pulse;
pub mod results;
pub mod split_view;
pub mod testimony;
pub mod validator;
pub mod visitor;
pub mod witnessing;
