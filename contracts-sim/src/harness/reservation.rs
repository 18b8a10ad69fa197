//! Capacity that a provider reserves for a client, for tests: of the device of a [`Deal`]'s advert.

use gridhour_protocol::{
    id::ReservationId,
    market::reservation::ReservationOffer,
    units::{Credits, GpuNs, Millis, Timestamp},
};

use super::{Chain, Deal, key};
use crate::{limits::BOND_MIN, tx::Call};

const MINUTE_MS: u64 = 60_000;
/// Who measured the device.
const CHALLENGER: u8 = 253;

impl Deal {
    /// Four slots of 10 minutes, the first in 10 minutes, if it is made when the deal is: 6 minutes of reference time in
    /// each, which cost 100,000 micro-credits; 60% of what is not used for standing by; a minute to answer, and a slot's
    /// notice; missed slots cost a tenth of the price, half of it, and all of it.
    #[must_use]
    pub fn reservation(&self) -> ReservationOffer {
        let starts_at = Timestamp(self.order.issued_at.0 + 10 * MINUTE_MS);
        ReservationOffer {
            network: self.order.network,
            provider: self.provider.public(),
            client: self.client.public(),
            device: self.device(),
            model: self.order.model,
            work: self.advert.models[0].work,
            rates: self.advert.device.rates,
            numerics: self.advert.device.numerics,
            price: self.advert.ask,
            starts_at,
            slot: Millis(10 * MINUTE_MS),
            slots: 4,
            capacity: GpuNs(6 * MINUTE_MS * 1_000_000),
            standby: 600,
            answer_within: Millis(MINUTE_MS),
            notice: Millis(10 * MINUTE_MS),
            ladder: vec![100, 500, 1_000],
            accept_until: starts_at,
            nonce: 1,
        }
    }

    /// The call that accepts the offer.
    #[must_use]
    pub fn book(&self, offer: &ReservationOffer) -> Call {
        Call::Book(Box::new(self.provider.sign(offer.clone())))
    }

    /// The call that opens the session out of a slot.
    #[must_use]
    pub fn draw_slot(&self, reservation: ReservationId) -> Call {
        Call::DrawSlot { reservation, open: Box::new(self.sign()) }
    }

    /// The provider's answer when a slot is called for: the deal's advert.
    #[must_use]
    pub fn answer(&self, reservation: ReservationId) -> Call {
        Call::Answer { reservation, advert: Box::new(self.provider.sign(self.advert.clone())) }
    }
}

impl Chain {
    /// Has the deal's device registered, measured and bonded, out of new credits.
    ///
    /// # Panics
    /// If the ledger refuses.
    pub fn ready_device(&mut self, deal: &Deal) {
        let challenger = key(CHALLENGER);
        self.fund(&deal.provider.public(), BOND_MIN);
        let measured = Call::Calibrate(Box::new(challenger.sign(deal.calibration(&challenger))));
        for call in [deal.register(), measured, deal.bond(BOND_MIN)] {
            self.acting(&deal.provider).ok(call);
        }
    }

    /// Books what the deal's provider offers, out of new credits of both sides. The device is ready.
    ///
    /// # Panics
    /// If the ledger refuses.
    pub fn book(&mut self, deal: &Deal, offer: &ReservationOffer) -> ReservationId {
        self.fund(&deal.client.public(), offer.price_of(offer.slots));
        let bond = offer.bond(0);
        if bond != Credits::ZERO {
            self.fund(&deal.provider.public(), bond);
        }
        self.acting(&deal.client).ok(deal.book(offer));
        offer.id()
    }
}
