//! Changes to what providers keep on the ledger: devices and stakes.

use gridhour_protocol::{id::DeviceId, signed::PublicKey, units::Credits};

use super::{Overlay, replace};
use crate::state::{
    device::{Device, DeviceKey, keys_of},
    stake::Stake,
};

impl Overlay<'_> {
    /// Drops devices whose entry has expired, and forgets slashes that can no longer be repeated.
    pub(super) fn drop_expired(&mut self) {
        for (expires_at, key) in &self.base.expiring_devices {
            if *expires_at > self.time {
                break;
            }
            self.changes.devices.insert(*key, None);
        }
        for (until, device) in &self.base.barred {
            if *until >= self.time {
                break;
            }
            self.changes.stakes.insert(*device, None);
        }
    }

    pub(crate) fn device(&self, key: &DeviceKey) -> Option<&Device> {
        match self.changes.devices.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.device(key),
        }
    }

    /// How many devices `owner` has registered.
    pub(crate) fn devices_of(&self, owner: &PublicKey) -> usize {
        let unchanged =
            self.base.devices_of(owner).filter(|(key, _)| !self.changes.devices.contains_key(key));
        let changed = self.changes.devices.range(keys_of(owner)).filter(|(_, device)| device.is_some());
        unchanged.count() + changed.count()
    }

    pub(crate) fn set_device(&mut self, key: DeviceKey, device: Option<Device>) {
        self.changes.devices.insert(key, device);
    }

    pub(crate) fn stake(&self, device: &DeviceId) -> Option<&Stake> {
        match self.changes.stakes.get(device) {
            Some(changed) => changed.as_ref(),
            None => self.base.stake(device),
        }
    }

    /// Sets what is at stake for a device; forgets it where that is nothing and the device is not barred.
    pub(crate) fn set_stake(&mut self, device: DeviceId, stake: Stake) {
        let staked = |stake: &Stake| stake.total().unwrap_or(Credits::ZERO);
        let before = self.stake(&device).map_or(Credits::ZERO, staked);
        replace(&mut self.totals.stakes, before, staked(&stake));
        let is_over = !stake.holds_any() && !stake.is_barred(self.time);
        self.changes.stakes.insert(device, (!is_over).then_some(stake));
    }
}
