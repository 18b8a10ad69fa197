//! The registry: what providers say about their devices, and what challengers measured.

use gridhour_protocol::{
    calibration::receipt::Calibration, id::DeviceId, signed::PublicKey, units::Timestamp, wire::Wire,
    work::Rates,
};
use serde::{Deserialize, Serialize};

use super::State;
use crate::tx::Registration;

/// Names a device and, before it, its owner, so that the devices of one owner lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceKey {
    /// Whose it is.
    pub owner: PublicKey,
    /// Which.
    pub device: DeviceId,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// What its provider last said.
    pub registration: Registration,
    /// What a challenger last measured, if the provider entered it.
    pub measured: Option<Measured>,
}

/// The rates of a calibration, and whose word they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Who measured, and signed.
    pub challenger: PublicKey,
    /// Digest of the arithmetic's page.
    pub numerics: [u8; 32],
    /// Memory that the standard job filled, in bytes.
    pub memory_bytes: u64,
    /// Work per second.
    pub rates: Rates,
    /// When, by the challenger's clock.
    pub ended_at: Timestamp,
}

impl Measured {
    /// What `calibration` says; `None` if its times give no rates.
    #[must_use]
    pub fn of(calibration: &Calibration) -> Option<Self> {
        let challenge = &calibration.challenge;
        Some(Self {
            challenger: challenge.challenger,
            numerics: challenge.numerics,
            memory_bytes: challenge.memory_bytes,
            rates: calibration.rates()?,
            ended_at: calibration.ended_at,
        })
    }
}

impl Wire for Device {
    const BYTES_MAX: usize = 2 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        self.registration.check_bounds()
    }
}

impl State {
    /// A registered device.
    #[must_use]
    pub fn device(&self, key: &DeviceKey) -> Option<&Device> {
        self.devices.get(key)
    }

    /// All registered devices, those of one owner side by side.
    pub fn devices(&self) -> impl Iterator<Item = (&DeviceKey, &Device)> {
        self.devices.iter()
    }

    /// The registered devices of one owner.
    pub fn devices_of(&self, owner: &PublicKey) -> impl Iterator<Item = (&DeviceKey, &Device)> {
        self.devices.range(keys_of(owner))
    }

    pub(super) fn put_device(&mut self, key: DeviceKey, device: Option<Device>) -> Option<Device> {
        let before = self.devices.remove(&key);
        if let Some(before) = &before {
            self.expiring_devices.remove(&(before.registration.expires_at, key));
        }
        if let Some(device) = device {
            self.expiring_devices.insert((device.registration.expires_at, key));
            self.devices.insert(key, device);
        }
        before
    }
}

/// Every key that a device of `owner` can have.
pub(super) fn keys_of(owner: &PublicKey) -> core::ops::RangeInclusive<DeviceKey> {
    let key = |byte| DeviceKey { owner: *owner, device: DeviceId([byte; 32]) };
    key(0)..=key(u8::MAX)
}
