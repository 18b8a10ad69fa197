//! Why a node does not run.

use std::{io, net::SocketAddr};

use gridhour_protocol::signed::PublicKey;

use crate::{
    consensus::solo::StartError,
    drivers::{memory::MemoryError, observer::ObserverEnd, provider::MeasureError},
    engine::EngineError,
    keys::KeyError,
    model::{assets::AssetError, catalogue::CatalogueError, gguf::GgufError, pull::PullError},
    net::NetError,
    network_json::NetworkJsonError,
    settings::SettingsError,
    store::{ledger_dir::OpenError, lock::LockError, repair::RepairError},
};

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is one library error, passed on")]
pub enum NodeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Network(#[from] NetworkJsonError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Assets(#[from] AssetError),
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Ledger(#[from] OpenError),
    #[error(transparent)]
    Sequencer(#[from] StartError),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error("cannot serve HTTP at {address}: {source}")]
    Http {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// An argument or a setting makes no sense.
    #[error("{what}: {why}")]
    Argument {
        /// Which.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The key in the data directory is not the operator's.
    #[error("this network's ledger is kept by {expected}, the key here is {found}")]
    NotOperator {
        /// Who may.
        expected: PublicKey,
        /// Who tried.
        found: PublicKey,
    },
    /// A model whose sizes are absurd.
    #[error("the model's sizes are absurd, so its work cannot be counted")]
    Work,
    /// The operator of the ledger that is followed signed what cannot be.
    #[error("{0}; nothing more is followed: show that file to whoever relies on this operator")]
    Breach(ObserverEnd),
    /// A running node cannot go on.
    #[error("the node stopped: {0}")]
    Stopped(String),
}
