//! What a provider keeps on the ledger, and what can be shown against it, for tests: the device of a [`Deal`]'s advert.

use gridhour_protocol::{
    calibration::{
        job::Challenge,
        receipt::{Calibration, DeviceName},
        shape::MEMORY_MIN,
    },
    exact::numerics_digest,
    id::{DeviceId, OutputDigest, ReceiptId, RequestDigest, ScoreDigest},
    receipt::{Cause, ClockSource, Receipt},
    signed::{SecretKey, Signed},
    units::{Credits, GpuNs, Timestamp, Work},
};

use super::{Deal, START};
use crate::{
    limits::{BOND_MS_MAX, REGISTRATION_MS_MAX},
    tx::{Accusation, Call, Registration},
};

impl Deal {
    /// The device that the provider advertises.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        DeviceName::of(&self.advert.device).id_of(&self.provider.public())
    }

    /// Its entry for as long as one may live, if it is made when the deal is.
    #[must_use]
    pub fn registration(&self) -> Registration {
        let device = &self.advert.device;
        Registration {
            name: DeviceName::of(device),
            memory_bytes: device.memory_bytes,
            numerics: vec![device.numerics],
            models: vec![self.order.model],
            sequence: 1,
            expires_at: Timestamp(self.order.issued_at.0 + REGISTRATION_MS_MAX),
        }
    }

    /// The call that registers the device.
    #[must_use]
    pub fn register(&self) -> Call {
        Call::Register(Box::new(self.registration()))
    }

    /// The call that puts `amount` at stake for as long as may be, if it is made when the deal is.
    #[must_use]
    pub fn bond(&self, amount: Credits) -> Call {
        let until = Timestamp(self.order.issued_at.0 + BOND_MS_MAX);
        Call::Bond { device: self.device(), amount, until }
    }

    /// A measurement of the device that `challenger` made just now.
    #[must_use]
    pub fn calibration(&self, challenger: &SecretKey) -> Calibration {
        Calibration {
            challenge: Challenge {
                numerics: numerics_digest(),
                network: self.order.network,
                challenger: challenger.public(),
                provider: self.provider.public(),
                memory_bytes: MEMORY_MIN,
                seed: [1; 32],
            },
            device: DeviceName::of(&self.advert.device),
            prompt_nonce: [2; 32],
            output_nonce: [3; 32],
            output: OutputDigest([4; 32]),
            scores: ScoreDigest([5; 32]),
            prefill_ns: 1_000_000,
            decode_ns: 1_000_000,
            started_at: START,
            ended_at: self.order.issued_at,
        }
    }

    /// The provider's receipt for the first job of the first lane.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        Receipt {
            numerics: numerics_digest(),
            session: self.session(),
            provider: self.provider.public(),
            lane: 0,
            index: 0,
            model: self.terms.model,
            request: RequestDigest([6; 32]),
            output: OutputDigest([7; 32]),
            scores: ScoreDigest([8; 32]),
            prompt_tokens: 5,
            output_tokens: 10,
            prepaid: 0,
            prefill_work: Work(100),
            decode_work: Work(200),
            reference: GpuNs(300),
            measured: GpuNs(310),
            measured_by: ClockSource::HostClock,
            started_at: self.order.issued_at,
            ended_at: self.order.issued_at,
            device: self.advert.device.class,
            cause: Cause::Delivered,
            previous: ReceiptId([0; 32]),
        }
    }

    /// Evidence that the provider signed both receipts.
    #[must_use]
    pub fn accusation(&self, one: Signed<Receipt>, other: Signed<Receipt>) -> Accusation {
        let open = self.sign();
        Accusation { terms: open.terms, advert: open.advert, one, other }
    }

    /// The call that shows two outputs for the first job.
    #[must_use]
    pub fn slash(&self) -> Call {
        let one = self.receipt();
        let other = Receipt { output: OutputDigest([9; 32]), ..one.clone() };
        let [one, other] = [one, other].map(|receipt| self.provider.sign(receipt));
        Call::Slash(Box::new(self.accusation(one, other)))
    }
}
