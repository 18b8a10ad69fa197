//! Reserved capacity: what a provider promises of one device for a window of equal slots, at what price, and what it
//! loses where it does not keep the promise.
//!
//! A slot's price is money for work: vouchers pay it out, as in any session. What is not worked for by the slot's end is
//! split by a share that both sides agreed on: so much for standing by, and the rest back, because unbooked time can be
//! sold on demand. Nobody has to say, and nobody could show, what the time would have earned elsewhere.

use serde::{Deserialize, Serialize};

use crate::{
    calibration::receipt::DeviceName,
    id::{DeviceId, ModelId, NetworkId, ReservationId},
    layout::Layout,
    limits::{ANSWER_MS_MIN, PRICE_MAX, RUNG_MAX, RUNGS_MAX, SLOT_MS_MAX, SLOT_MS_MIN, SLOTS_MAX},
    market::advert::Advert,
    signed::{PublicKey, Signable},
    units::{Credits, GpuNs, Millis, PricePerHour, Timestamp},
    wire::{Wire, at_most},
    work::{Rates, WorkModel},
};

pub mod stock;
mod wish;

pub use wish::ReservationWish;

/// Shares are counted in thousandths.
pub const WHOLE: u16 = 1_000;
/// Nanoseconds in a millisecond.
const NS_PER_MS: u64 = 1_000_000;

const SLOT_PRICE_MAX: u64 = PRICE_MAX * SLOT_MS_MAX.div_ceil(60 * 60 * 1000);
const LADDER_MAX: u64 = RUNGS_MAX as u64 * RUNG_MAX as u64 / WHOLE as u64;
const _: () = assert!(
    SLOT_PRICE_MAX.checked_mul(SLOTS_MAX as u64 + LADDER_MAX).is_some(),
    "price and bond of a whole reservation fit 64 bits"
);

/// A provider's promise to one client. Firm until `accept_until`; the client accepts it whole, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationOffer {
    /// The network.
    pub network: NetworkId,
    /// Who promises.
    pub provider: PublicKey,
    /// To whom.
    pub client: PublicKey,
    /// The device that is reserved.
    pub device: DeviceId,
    /// The model that it serves.
    pub model: ModelId,
    /// Work formula of the model.
    pub work: WorkModel,
    /// The rates at which work becomes reference time.
    pub rates: Rates,
    /// Version of the exact arithmetic that results are computed with.
    pub numerics: u16,
    /// Price of a reference GPU-hour.
    pub price: PricePerHour,
    /// When the first slot begins.
    pub starts_at: Timestamp,
    /// Length of a slot.
    pub slot: Millis,
    /// How many slots follow one another.
    pub slots: u16,
    /// Reference time that is promised in each slot.
    pub capacity: GpuNs,
    /// What the provider is paid of what a slot's price was not used for, in thousandths.
    pub standby: u16,
    /// How long the provider may take to answer when a slot is called for.
    pub answer_within: Millis,
    /// Slots that begin later than so long from now can be given up.
    pub notice: Millis,
    /// What the first missed slot costs the provider, what the second, and so on, in thousandths of a slot's price. With
    /// the last the reservation ends.
    pub ladder: Vec<u16>,
    /// The last moment at which it can be accepted.
    pub accept_until: Timestamp,
    /// Makes two offers with the same content different.
    pub nonce: u64,
}

impl ReservationOffer {
    /// The reservation's id: the hash of all its terms.
    #[must_use]
    pub fn id(&self) -> ReservationId {
        ReservationId(self.layout().hash())
    }

    /// When slot `number` begins, from 0; of the number of slots, when the last one ends.
    #[must_use]
    pub fn start_of(&self, number: u16) -> Timestamp {
        // Within the bounds, so nothing saturates.
        Timestamp(self.starts_at.0.saturating_add(u64::from(number).saturating_mul(self.slot.0)))
    }

    /// What a slot costs.
    #[must_use]
    pub fn slot_price(&self) -> Credits {
        self.price.amount(self.capacity).unwrap_or(Credits::ZERO)
    }

    /// What so many slots cost.
    #[must_use]
    pub fn price_of(&self, slots: u16) -> Credits {
        // Within the bounds, so nothing saturates.
        Credits(self.slot_price().0.saturating_mul(slots.into()))
    }

    /// What a missed slot costs its provider after `missed` others: nothing once the reservation has ended.
    #[must_use]
    pub fn penalty(&self, missed: usize) -> Credits {
        self.ladder.get(missed).map_or(Credits::ZERO, |rung| share(self.slot_price(), *rung))
    }

    /// What the provider puts up: all that it can still lose after `missed` missed slots.
    #[must_use]
    pub fn bond(&self, missed: usize) -> Credits {
        let (price, rungs) = (self.slot_price(), self.ladder.get(missed..).unwrap_or_default());
        let penalties = rungs.iter().map(|rung| share(price, *rung).0);
        Credits(penalties.fold(0, u64::saturating_add))
    }

    /// What the provider is paid of `unused`, rounded down, against the claimant.
    #[must_use]
    pub fn standby_of(&self, unused: Credits) -> Credits {
        share(unused, self.standby)
    }

    /// Whether an advert offers the client what is reserved: also as much work for the money, and the same results.
    #[must_use]
    pub fn is_offered_by(&self, advert: &Advert) -> bool {
        let device = DeviceName::of(&advert.device).id_of(&advert.provider);
        let whose = (advert.network, advert.provider, device) == (self.network, self.provider, self.device);
        let terms = (advert.device.rates, advert.device.numerics, advert.ask)
            == (self.rates, self.numerics, self.price);
        whose
            && terms
            && advert.is_for(&self.client)
            && advert.offer_of(&self.model).is_some_and(|offer| offer.work == self.work)
    }

    /// Whether it promises what `wish` asks for.
    #[must_use]
    pub fn is_for(&self, wish: &ReservationWish) -> bool {
        let Self { model, starts_at, slot, slots, capacity, .. } = *self;
        ReservationWish { model, starts_at, slot, slots, capacity } == *wish
    }

    fn check_time(&self) -> Result<(), String> {
        let Self { slot, answer_within, .. } = self;
        check_window(self.starts_at, *slot, self.slots)?;
        if !(ANSWER_MS_MIN..slot.0).contains(&answer_within.0) {
            let within = answer_within.0;
            return Err(format!(
                "an answer within {within} ms is not between {ANSWER_MS_MIN} and the slot's end"
            ));
        }
        if self.accept_until > self.starts_at {
            return Err("the offer stands for longer than until the first slot begins".into());
        }
        Ok(())
    }

    fn check_money(&self) -> Result<(), String> {
        check_capacity(self.capacity, self.slot)?;
        if self.slot_price() == Credits::ZERO || self.price.0 > PRICE_MAX {
            return Err("a slot's price is nothing, or absurd".into());
        }
        if !self.work.is_sane() {
            return Err("work per token is absurd".into());
        }
        check_shares(&self.ladder, self.standby)
    }
}

/// The ladder rises, and no more than all is paid for standing by.
fn check_shares(ladder: &[u16], standby: u16) -> Result<(), String> {
    at_most("rungs of the ladder", ladder.len(), RUNGS_MAX)?;
    let rungs = ladder.iter().all(|rung| (1..=RUNG_MAX).contains(rung));
    if ladder.is_empty() || !rungs || !ladder.is_sorted() {
        return Err(format!("a ladder rises by rungs of 1 to {RUNG_MAX} thousandths"));
    }
    at_most("thousandths for standing by", standby.into(), WHOLE.into())
}

/// Number and length of the slots are within bounds, and the last one ends before time does.
fn check_window(starts_at: Timestamp, slot: Millis, slots: u16) -> Result<(), String> {
    if !(SLOT_MS_MIN..=SLOT_MS_MAX).contains(&slot.0) || !(1..=SLOTS_MAX).contains(&slots) {
        let length = slot.0;
        return Err(format!(
            "{slots} slots of {length} ms are not 1 to {SLOTS_MAX} of {SLOT_MS_MIN} to {SLOT_MS_MAX}"
        ));
    }
    let end = starts_at.after(Millis(slot.0 * u64::from(slots)));
    end.map(drop).ok_or_else(|| "the last slot has no end".into())
}

/// The reference time of a slot is no longer than the slot.
fn check_capacity(capacity: GpuNs, slot: Millis) -> Result<(), String> {
    match (1..=slot.0 * NS_PER_MS).contains(&capacity.0) {
        true => Ok(()),
        false => Err(format!("{} ns do not fit a slot of {} ms", capacity.0, slot.0)),
    }
}

/// So many thousandths of `amount`, rounded down.
fn share(amount: Credits, thousandths: u16) -> Credits {
    let part = u128::from(amount.0) * u128::from(thousandths) / u128::from(WHOLE);
    Credits(u64::try_from(part).unwrap_or(u64::MAX))
}

impl Signable for ReservationOffer {
    fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/reservation/v2");
        out.fixed(&self.network.0).fixed(&self.provider.0).fixed(&self.client.0);
        out.fixed(&self.device.0).fixed(&self.model.0);
        self.work.lay_out(&mut out);
        self.rates.lay_out(&mut out);
        out.u16(self.numerics)
            .u64(self.price.0)
            .u64(self.starts_at.0)
            .u64(self.slot.0)
            .u16(self.slots)
            .u64(self.capacity.0);
        out.u16(self.standby).u64(self.answer_within.0).u64(self.notice.0).count(self.ladder.len());
        for rung in &self.ladder {
            out.u16(*rung);
        }
        out.u64(self.accept_until.0).u64(self.nonce);
        out
    }

    fn signer(&self) -> PublicKey {
        self.provider
    }
}

impl Wire for ReservationOffer {
    const BYTES_MAX: usize = 512;

    fn check_bounds(&self) -> Result<(), String> {
        self.check_time()?;
        self.check_money()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn slots_follow_one_another() {
        let offer = sample::reservation_offer();
        assert_eq!(offer.start_of(0), offer.starts_at);
        assert_eq!(offer.start_of(3).since(offer.start_of(2)), offer.slot);
    }

    #[test]
    fn the_bond_is_the_whole_ladder() {
        let offer = ReservationOffer { ladder: vec![100, 500, 2_000], ..sample::reservation_offer() };
        let price = offer.slot_price().0;
        assert!(price.is_multiple_of(1_000));
        let penalties = [0, 1, 2, 3].map(|missed| offer.penalty(missed).0);
        assert_eq!(penalties, [price / 10, price / 2, 2 * price, 0]);
        assert_eq!(offer.bond(0).0, penalties.iter().sum());
        assert_eq!([1, 3].map(|missed| offer.bond(missed).0), [price / 2 + 2 * price, 0]);
    }

    #[test]
    fn standing_by_is_rounded_against_the_provider() {
        let offer = ReservationOffer { standby: 333, ..sample::reservation_offer() };
        assert_eq!([0, 3, 4, 1_000].map(|unused| offer.standby_of(Credits(unused)).0), [0, 0, 1, 333]);
    }

    #[test]
    fn terms_out_of_bounds_are_refused() {
        let faults: [fn(&mut ReservationOffer); 16] = [
            |offer| offer.slots = 0,
            |offer| offer.slots = SLOTS_MAX + 1,
            |offer| offer.slot.0 = SLOT_MS_MIN - 1,
            |offer| offer.slot.0 = SLOT_MS_MAX + 1,
            |offer| offer.answer_within.0 = ANSWER_MS_MIN - 1,
            |offer| offer.answer_within = offer.slot,
            |offer| offer.accept_until.0 = offer.starts_at.0 + 1,
            |offer| offer.starts_at.0 = u64::MAX,
            |offer| offer.capacity.0 = offer.slot.0 * NS_PER_MS + 1,
            |offer| offer.price.0 = 0,
            |offer| offer.price.0 = PRICE_MAX + 1,
            |offer| offer.work.attention = u64::MAX,
            |offer| offer.standby = WHOLE + 1,
            |offer| offer.ladder.clear(),
            |offer| offer.ladder = vec![2, 1],
            |offer| offer.ladder = vec![1; RUNGS_MAX + 1],
        ];
        assert_eq!(sample::reservation_offer().check_bounds(), Ok(()));
        for (number, fault) in faults.iter().enumerate() {
            let mut offer = sample::reservation_offer();
            fault(&mut offer);
            assert!(offer.check_bounds().is_err(), "fault {number}");
        }
    }

    #[test]
    fn an_advert_offers_what_is_reserved_or_something_else() {
        let advert = sample::advert();
        let offer = ReservationOffer {
            network: advert.network,
            provider: advert.provider,
            device: DeviceName::of(&advert.device).id_of(&advert.provider),
            model: advert.models[0].model,
            work: advert.models[0].work,
            rates: advert.device.rates,
            numerics: advert.device.numerics,
            price: advert.ask,
            ..sample::reservation_offer()
        };
        assert!(offer.is_offered_by(&advert));
        let others: [fn(&mut Advert); 8] = [
            |advert| advert.network.0[0] ^= 1,
            |advert| advert.provider.0[0] ^= 1,
            |advert| advert.device.name.push('x'),
            |advert| advert.device.rates.decode.0 -= 1,
            |advert| advert.device.numerics += 1,
            |advert| advert.ask.0 += 1,
            |advert| advert.models[0].work.layers *= 1_000,
            |advert| advert.models.clear(),
        ];
        for (number, change) in others.iter().enumerate() {
            let mut other = advert.clone();
            change(&mut other);
            assert!(!offer.is_offered_by(&other), "change {number}");
        }
    }
}
