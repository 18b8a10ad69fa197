//! Stakes: what providers answer with for what their devices do.

use gridhour_protocol::{
    id::DeviceId,
    signed::PublicKey,
    units::{Credits, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use super::State;
use crate::limits::UNBONDINGS_MAX;

/// What is at stake for one device. Dropped when nothing is, and the device is not barred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stake {
    /// Whose device it is, and whose credits.
    pub owner: PublicKey,
    /// At stake until it is unbonded.
    pub bonded: Credits,
    /// After this anyone may unbond all of it.
    pub until: Timestamp,
    /// On its way back, and still at stake. In the order of their deadlines.
    pub unbonding: Vec<Unbonding>,
    /// The device was slashed; until then nothing can be bonded for it, because what was shown against it could be
    /// shown again.
    pub barred_until: Option<Timestamp>,
}

/// Credits on their way back to their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unbonding {
    /// How much.
    pub amount: Credits,
    /// From then on anyone may have it paid out.
    pub release_at: Timestamp,
}

impl Stake {
    /// Everything that a slash would take: what is bonded and what is on its way back. `None` on overflow.
    #[must_use]
    pub fn total(&self) -> Option<Credits> {
        Credits::sum(self.unbonding.iter().map(|part| part.amount).chain([self.bonded]))
    }

    /// Whether anything is at stake.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.bonded != Credits::ZERO || !self.unbonding.is_empty()
    }

    /// Whether nothing may be bonded at `now`.
    #[must_use]
    pub fn is_barred(&self, now: Timestamp) -> bool {
        self.barred_until.is_some_and(|until| now <= until)
    }
}

impl Wire for Stake {
    const BYTES_MAX: usize = 512;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("unbondings", self.unbonding.len(), UNBONDINGS_MAX)
    }
}

impl State {
    /// What is at stake for a device, or that it is barred.
    #[must_use]
    pub fn stake(&self, device: &DeviceId) -> Option<&Stake> {
        self.stakes.get(device)
    }

    /// All stakes.
    pub fn stakes(&self) -> impl Iterator<Item = (&DeviceId, &Stake)> {
        self.stakes.iter()
    }

    pub(super) fn put_stake(&mut self, device: DeviceId, stake: Option<Stake>) -> Option<Stake> {
        let before = self.stakes.remove(&device);
        if let Some(until) = before.as_ref().and_then(|before| before.barred_until) {
            self.barred.remove(&(until, device));
        }
        if let Some(stake) = stake {
            self.barred.extend(stake.barred_until.map(|until| (until, device)));
            self.stakes.insert(device, stake);
        }
        before
    }
}
