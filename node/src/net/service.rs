//! What may be asked of a peer by request and answer.

use crate::net::limits::{
    ASSET_REQUEST_BYTES_MAX, ASSET_RESPONSE_BYTES_MAX, LEDGER_REQUEST_BYTES_MAX, LEDGER_RESPONSE_BYTES_MAX,
};

/// A service that a peer may offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Transactions to the ledger, and queries of it.
    Ledger,
    /// Parts of a model that a client without the weights needs, by hash.
    Asset,
}

impl Service {
    /// Its word in the protocol's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Asset => "asset",
        }
    }

    /// Bytes of the longest request.
    #[must_use]
    pub fn request_bytes_max(self) -> usize {
        match self {
            Self::Ledger => LEDGER_REQUEST_BYTES_MAX,
            Self::Asset => ASSET_REQUEST_BYTES_MAX,
        }
    }

    /// Bytes of the longest answer.
    #[must_use]
    pub fn response_bytes_max(self) -> usize {
        match self {
            Self::Ledger => LEDGER_RESPONSE_BYTES_MAX,
            Self::Asset => ASSET_RESPONSE_BYTES_MAX,
        }
    }
}
