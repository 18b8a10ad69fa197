//! Where the data of an order may go: its prompt, and what is written to it.
//!
//! | class | who may get it |
//! |---|---|
//! | `any` | every provider that meets the order |
//! | `resident` | the same, and the order must name a region or a jurisdiction, so that it is never everybody |
//! | `local-only` | the client's own machines, and nobody else, whatever happens to them |
//!
//! Regions and jurisdictions that an order names hold for every class, and for the client's own machines too: a provider
//! that does not state where it is, is nowhere. They are what providers declare and sign; nothing proves them.
//!
//! Which machines are its own, the client alone says, by its own list of accounts ([`super::estimate::Measured::own`]).
//! No advert can say it of itself. So the ledger, which does not know the list, can hold an order to its places and not
//! to its owner: that is done by the client's matching, and once more where a prompt leaves the client.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Where the data of an order may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DataClass {
    /// To every provider that meets the order.
    #[default]
    Any,
    /// To no provider outside the regions and jurisdictions that the order names, of which there must be one.
    Resident,
    /// To the client's own machines alone.
    LocalOnly,
}

impl DataClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Any, Self::Resident, Self::LocalOnly];

    /// Its byte in what is signed.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Resident => 1,
            Self::LocalOnly => 2,
        }
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Resident => "resident",
            Self::LocalOnly => "local-only",
        }
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
