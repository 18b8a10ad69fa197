//! What survives a kill and a power cut.
//!
//! | room | holds | promise |
//! |---|---|---|
//! | [`journal`] | every block | the truth: durable before anyone is told |
//! | [`state_store`], [`sled_store`] | accounts, sessions, a cursor | an index, rebuilt from the journal when in doubt |
//! | [`state_writer`], [`restore`] | | how the index follows the journal, and how a start trusts the two |
//! | [`ledger_dir`], [`export`] | | a whole ledger opened, and written out for auditors |
//! | [`export_part`] | | the same fetched from elsewhere, while it is not whole |
//! | [`repair`], `salvage` | | a damaged journal made whole again from its own remains and from observers |
//! | [`tiles`] | the public log, as it is served | nothing: checked at every start, built again from the journal |
//! | [`witness`] | the last checkpoint that a witness cosigned | durable before the cosignature leaves |
//! | [`records`] | a node's own vouchers, receipts and lanes | durable before anything that rests on them is sent |
//! | [`lock`] | who may write here | one process for a directory |
//!
//! Logs are written over [`disk`], which tests replace by one that forgets what was not synced. The only room that uses
//! sled is [`sled_store`].

pub mod disk;
pub mod export;
pub mod export_part;
mod frame;
pub mod journal;
pub mod ledger_dir;
pub mod lock;
pub mod log_error;
pub mod records;
pub mod repair;
pub mod restore;
mod salvage;
mod segment;
pub mod sled_store;
pub mod state_store;
pub mod state_writer;
pub mod tiles;
pub mod witness;
