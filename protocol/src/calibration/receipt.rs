//! What a challenger signs about a provider, in a few hundred bytes, and the rates that follow from it.
//!
//! All that was computed follows from the numbers in it, so whoever has the receipt can compute it again;
//! only the times are the challenger's word.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{job::Challenge, shape::StandardShape};
use crate::{
    id::{DeviceId, OutputDigest, ScoreDigest},
    layout::Layout,
    limits::{CALIBRATION_BYTES_MAX, NAME_BYTES_MAX, WORK_RATE_MAX},
    market::advert::{Device, DeviceClass},
    signed::{PublicKey, Signable},
    units::{Timestamp, Work, WorkRate},
    wire::{Wire, at_most},
    work::Rates,
};

/// What a provider says that it computes with: the part of [`Device`] that a calibration is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceName {
    /// CPU or GPU.
    pub class: DeviceClass,
    /// Name of the processor or adapter.
    pub name: String,
    /// The implementation that computes.
    pub backend: String,
}

/// A challenger's statement about a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// Who challenged whom, and for how much memory.
    pub challenge: Challenge,
    /// The device, as the provider's advert named it.
    pub device: DeviceName,
    /// What the prompt followed from.
    pub prompt_nonce: [u8; 32],
    /// What the noise of all tokens but the first followed from.
    pub output_nonce: [u8; 32],
    /// Digest of the output.
    pub output: OutputDigest,
    /// How it was computed (docs/NUMERICS.md, section 7).
    pub scores: ScoreDigest,
    /// From sending the prompt to the first token, by the challenger's monotonic clock.
    pub prefill_ns: u64,
    /// From there to the last token.
    pub decode_ns: u64,
    /// When it began, by the challenger's clock.
    pub started_at: Timestamp,
    /// When it was signed, by the challenger's clock.
    pub ended_at: Timestamp,
}

/// Why a calibration does not speak for a device. The provider that shows it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum CalibrationFault {
    /// The signature is not the challenger's.
    #[error("the calibration is not signed by its challenger")]
    BadSignature,
    /// It is about another provider, or made in another network.
    #[error("the calibration is about another provider, or of another network")]
    OtherProvider,
    /// The provider challenged itself.
    #[error("the provider calibrated itself")]
    OwnChallenge,
    /// It was made with other rules of arithmetic.
    #[error("the calibration is of another version of the arithmetic")]
    OtherNumerics,
    /// It is about another device.
    #[error("the calibration is of another device")]
    OtherDevice,
    /// It fills less memory than is claimed.
    #[error("the calibration fills less memory than is claimed")]
    LessMemory,
    /// Its times give no rates, or others than those stated.
    #[error("the rates are not those of the calibration")]
    OtherRates,
}

impl DeviceName {
    /// Of an advert's device.
    #[must_use]
    pub fn of(device: &Device) -> Self {
        Self { class: device.class, name: device.name.clone(), backend: device.backend.clone() }
    }

    /// The device of this name that `owner` computes with. What an advert says of it names it too, so a receipt
    /// leads to it: receipt, terms, advert, device.
    #[must_use]
    pub fn id_of(&self, owner: &PublicKey) -> DeviceId {
        let mut out = Layout::new("gridhour/device/v1");
        out.fixed(&owner.0);
        self.lay_out(&mut out);
        DeviceId(out.hash())
    }

    /// Appends every field.
    pub fn lay_out(&self, out: &mut Layout) {
        out.u8(self.class.code()).bytes(self.name.as_bytes()).bytes(self.backend.as_bytes());
    }

    /// Checks the lengths of its texts.
    ///
    /// # Errors
    /// With a sentence that names the field.
    pub fn check_bounds(&self) -> Result<(), String> {
        at_most("device name", self.name.len(), NAME_BYTES_MAX)?;
        at_most("device backend", self.backend.len(), NAME_BYTES_MAX)
    }
}

impl Calibration {
    /// The rates that were measured, round trip included, rounded down. `None` if the memory is that of no
    /// standard job, or a rate is zero or beyond what may be claimed.
    #[must_use]
    pub fn rates(&self) -> Option<Rates> {
        let shape = StandardShape::of(self.challenge.memory_bytes).ok()?;
        let prefill = rate(shape.prefill_work(), self.prefill_ns)?;
        Some(Rates { prefill, decode: rate(shape.decode_work(), self.decode_ns)? })
    }
}

/// Work per second, rounded down; `None` for no time at all, or outside what may be claimed.
fn rate(work: Work, ns: u64) -> Option<WorkRate> {
    let per_s = (u128::from(work.0) * 1_000_000_000).checked_div(u128::from(ns))?;
    u64::try_from(per_s).ok().filter(|rate| (1..=WORK_RATE_MAX).contains(rate)).map(WorkRate)
}

impl Signable for Calibration {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/calibration/v1");
        self.challenge.lay_out(&mut out);
        self.device.lay_out(&mut out);
        out.fixed(&self.prompt_nonce).fixed(&self.output_nonce).fixed(&self.output.0).fixed(&self.scores.0);
        out.u64(self.prefill_ns).u64(self.decode_ns).u64(self.started_at.0).u64(self.ended_at.0);
        out
    }

    fn signer(&self) -> PublicKey {
        self.challenge.challenger
    }
}

impl Wire for Calibration {
    const BYTES_MAX: usize = CALIBRATION_BYTES_MAX - 64;

    fn check_bounds(&self) -> Result<(), String> {
        self.device.check_bounds()
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calibration::shape::MEMORY_MIN, sample, signed::Signed};

    fn timed(prefill_ns: u64, decode_ns: u64) -> Option<Rates> {
        Calibration { prefill_ns, decode_ns, ..sample::calibration() }.rates()
    }

    #[test]
    fn rates_are_work_over_time_rounded_down() {
        let shape = StandardShape::of(MEMORY_MIN).expect("the least");
        let second = 1_000_000_000;
        let rates = timed(second, 2 * second).expect("sound times");
        assert_eq!(rates.prefill, WorkRate(shape.prefill_work().0));
        assert_eq!(rates.decode, WorkRate(shape.decode_work().0 / 2));
        let slower = timed(second + 1, 2 * second).expect("sound times");
        assert_eq!(slower.prefill, WorkRate(shape.prefill_work().0 - 1));
    }

    #[test]
    fn times_that_give_no_rate_are_refused() {
        assert_eq!((timed(0, 5), timed(5, 0)), (None, None));
        assert_eq!((timed(u64::MAX, 5), timed(5, u64::MAX)), (None, None));
        let huge = Challenge { memory_bytes: 1 << 40, ..sample::challenge() };
        let calibration = Calibration { challenge: huge, prefill_ns: 1, ..sample::calibration() };
        assert_eq!(calibration.rates(), None, "a rate over the limit");
        let none = Challenge { memory_bytes: 5, ..sample::challenge() };
        assert_eq!(Calibration { challenge: none, ..sample::calibration() }.rates(), None);
    }

    #[test]
    fn a_device_is_its_owner_and_its_name() {
        let name = DeviceName::of(&sample::advert().device);
        let owner = crate::arbitrary::key(1).public();
        let others = [
            DeviceName { class: DeviceClass::Gpu, ..name.clone() }.id_of(&owner),
            DeviceName { name: "other".into(), ..name.clone() }.id_of(&owner),
            DeviceName { backend: "other".into(), ..name.clone() }.id_of(&owner),
            // Lengths are part of what is hashed: the same letters, cut elsewhere.
            DeviceName {
                name: format!("{}c", name.name),
                backend: name.backend[1..].to_owned(),
                class: name.class,
            }
            .id_of(&owner),
            name.id_of(&crate::arbitrary::key(2).public()),
        ];
        assert!(others.iter().all(|other| *other != name.id_of(&owner)));
    }

    #[test]
    fn the_longest_receipt_is_within_its_limit() {
        let name = "n".repeat(NAME_BYTES_MAX);
        let device = DeviceName { class: DeviceClass::Gpu, name: name.clone(), backend: name };
        let signed = crate::arbitrary::key(1).sign(Calibration { device, ..sample::calibration() });
        assert!(signed.signed_len() <= CALIBRATION_BYTES_MAX, "{}", signed.signed_len());
        assert!(crate::wire::encode(&signed).len() <= <Signed<Calibration> as Wire>::BYTES_MAX);
    }
}
