//! The beginning of a network: who orders, who issues, what exists at first. Its hash is the network's id.

use std::collections::BTreeSet;

use gridhour_protocol::{
    id::NetworkId,
    layout::Layout,
    limits::{GRACE_MS_MAX, GRACE_MS_MIN, NAME_BYTES_MAX},
    signed::PublicKey,
    units::{Credits, Millis, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use crate::limits::{ALLOCATIONS_MAX, CLOCK_SKEW_MS_LIMIT, LEDGER_VERSION};

/// Everything that the first block builds on. Whoever agrees on the genesis agrees on every state after it, given the
/// same blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genesis {
    /// Version of the ledger's rules and bytes.
    pub version: u16,
    /// A name for people.
    pub name: String,
    /// Time of height 0.
    pub created_at: Timestamp,
    /// Orders transactions and signs block headers.
    pub operator: PublicKey,
    /// Mints and burns.
    pub issuer: PublicKey,
    /// Balances at height 0, each account once.
    pub allocations: Vec<Allocation>,
    /// Time that a session must give its provider to collect, at least.
    pub grace_min: Millis,
    /// How far the time of a new block may be from the clock of whoever receives it.
    pub clock_skew: Millis,
}

/// A balance at height 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Whose.
    pub account: PublicKey,
    /// How much; more than nothing.
    pub amount: Credits,
}

impl Genesis {
    /// The network's id: BLAKE3 of [`Genesis::layout`].
    #[must_use]
    pub fn id(&self) -> NetworkId {
        NetworkId(self.layout().hash())
    }

    /// The bytes that the network's id covers.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/genesis/v1");
        out.u16(self.version).bytes(self.name.as_bytes()).u64(self.created_at.0);
        out.fixed(&self.operator.0).fixed(&self.issuer.0).count(self.allocations.len());
        for allocation in &self.allocations {
            out.fixed(&allocation.account.0).u64(allocation.amount.0);
        }
        out.u64(self.grace_min.0).u64(self.clock_skew.0);
        out
    }

    /// Credits that exist at height 0. `None` on overflow.
    #[must_use]
    pub fn issued(&self) -> Option<Credits> {
        Credits::sum(self.allocations.iter().map(|allocation| allocation.amount))
    }

    fn check_keys(&self) -> Result<(), String> {
        let named = self.allocations.iter().map(|allocation| allocation.account);
        for key in [self.operator, self.issuer].into_iter().chain(named) {
            if !key.is_usable() {
                return Err(format!("key {key} is not a usable ed25519 key"));
            }
        }
        Ok(())
    }

    fn check_allocations(&self) -> Result<(), String> {
        at_most("allocations", self.allocations.len(), ALLOCATIONS_MAX)?;
        let accounts: BTreeSet<_> = self.allocations.iter().map(|allocation| allocation.account).collect();
        if accounts.len() != self.allocations.len() {
            return Err("an account is allocated twice".into());
        }
        if self.allocations.iter().any(|allocation| allocation.amount == Credits::ZERO) {
            return Err("an allocation is of nothing".into());
        }
        self.issued().map(|_| ()).ok_or_else(|| "the allocations overflow 64 bits".into())
    }
}

impl Wire for Genesis {
    const BYTES_MAX: usize = 48 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        if self.version != LEDGER_VERSION {
            return Err(format!("ledger version {} is not {LEDGER_VERSION}", self.version));
        }
        at_most("network name", self.name.len(), NAME_BYTES_MAX)?;
        if !(GRACE_MS_MIN..=GRACE_MS_MAX).contains(&self.grace_min.0) {
            let grace = self.grace_min.0;
            return Err(format!("a grace of {grace} ms is not between {GRACE_MS_MIN} and {GRACE_MS_MAX}"));
        }
        if self.clock_skew.0 > CLOCK_SKEW_MS_LIMIT {
            return Err(format!("a clock skew of {} ms is over {CLOCK_SKEW_MS_LIMIT}", self.clock_skew.0));
        }
        self.check_allocations()?;
        self.check_keys()
    }
}
