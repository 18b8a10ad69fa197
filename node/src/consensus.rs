//! Who decides the order of transactions.
//!
//! Rooms that use the ledger see [`Ordering`] and [`LedgerView`] alone. Today one operator decides ([`solo`]) and others
//! follow ([`follower`]); replicas that agree on an order will stand behind the same trait, and give the same roots for
//! the same transactions.

mod counts;
pub mod expiry;
pub mod follower;
mod keep;
pub mod ledger_time;
pub mod solo;
mod view;

use std::future::Future;

use gridhour_contracts_sim::{ledger::reject::Reject, tx::Tx};
use gridhour_protocol::{id::TxId, signed::Signed, units::Height};

pub use self::{counts::LedgerCounts, view::LedgerView};
use crate::consensus::ledger_time::ClockError;

/// A ledger that takes transactions.
pub trait Ordering: Send + Sync {
    /// Hands in a transaction and waits until its block is durable. Handing it in twice is harmless: the second time
    /// gives the same answer.
    ///
    /// # Errors
    /// [`SubmitError::Rejected`] if a rule says no; the others if the node cannot say.
    fn submit(&self, tx: Signed<Tx>) -> impl Future<Output = Result<Accepted, SubmitError>> + Send;

    /// Everything that is decided and durable.
    fn view(&self) -> &LedgerView;
}

/// A transaction that is in a durable block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub tx: TxId,
    /// The block.
    pub height: Height,
    /// Its leaf in the log of entries.
    pub leaf: u64,
}

/// Why a transaction is not in a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A rule said no: the sender's fault.
    #[error("the ledger refused: {0}")]
    Rejected(Reject),
    /// The operator's clock cannot be believed, so no block is made.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The ledger node's disk is full. The transaction is in no block; hand it in again when there is room.
    #[error("the ledger takes nothing now: {0}")]
    NoRoom(String),
    /// The ledger node stopped. The transaction may or may not have become durable; hand it in again after a restart.
    #[error("the ledger stopped: {0}")]
    Stopped(String),
}
