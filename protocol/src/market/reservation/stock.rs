//! What a provider offers to whoever wants capacity reserved: what is free, on the terms that its operator set.
//!
//! ```text
//!  wish ── served, measured, bonded? ── free of what is booked or firmly offered? ── both sides can pay? ── offer
//! ```
//!
//! An offer is firm for a minute, so what it promises to one client is not offered to another until then. Offers to the same
//! client may overlap: the ledger books one of them.

use thiserror::Error;

use super::{ReservationOffer, check_shares, wish::ReservationWish};
use crate::{
    exact::NUMERICS_VERSION,
    id::{DeviceId, NetworkId},
    limits::{ANSWER_MS_MIN, PRICE_MAX, SLOT_MS_MIN},
    market::advert::ModelOffer,
    signed::PublicKey,
    units::{Credits, Millis, PricePerHour, Timestamp},
    wire::Wire,
    work::Rates,
};

/// How long an offer stands.
pub const OFFER_FIRM: Millis = Millis(60_000);
/// Offers of one device that stand at a time.
pub const FIRM_OFFERS_MAX: usize = 32;
/// Of these, to one client.
pub const FIRM_OFFERS_TO_ONE_MAX: usize = 4;
/// How far ahead the first slot may begin.
pub const RESERVE_AHEAD_MAX: Millis = Millis(30 * 24 * 60 * 60 * 1000);

/// On which terms capacity is reserved, as the provider's operator sets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationTerms {
    /// Price of a reference GPU-hour.
    pub price: PricePerHour,
    /// What is paid of a slot's price that was not used, in thousandths.
    pub standby: u16,
    /// How long the provider may take to answer a call for a slot; never more than half of it.
    pub answer_within: Millis,
    /// Slots that begin later than so long from now can be given up.
    pub notice: Millis,
    /// What missed slots cost the provider, in thousandths of a slot's price.
    pub ladder: Vec<u16>,
    /// The longest window, all slots together.
    pub longest: Millis,
}

impl ReservationTerms {
    /// Whether anything could be promised on these terms.
    ///
    /// # Errors
    /// With what is out of bounds, for the operator.
    pub fn check(&self) -> Result<(), String> {
        check_shares(&self.ladder, self.standby)?;
        if self.price.0 == 0 || self.price.0 > PRICE_MAX {
            return Err("the price is nothing, or absurd".into());
        }
        if self.answer_within.0 < ANSWER_MS_MIN {
            return Err(format!("an answer may take {} s at least", ANSWER_MS_MIN / 1_000));
        }
        match self.longest.0 < SLOT_MS_MIN {
            true => Err(format!("the longest window is shorter than a slot of {} s", SLOT_MS_MIN / 1_000)),
            false => Ok(()),
        }
    }
}

/// A part of a device's time that is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end, which it does not include.
    pub until: Timestamp,
}

impl Window {
    /// Whether a moment is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.from < other.until && other.from < self.until
    }
}

/// What a provider knows when it is asked.
#[derive(Clone, Debug)]
pub struct Stock<'a> {
    /// On which terms.
    pub terms: &'a ReservationTerms,
    /// The network.
    pub network: NetworkId,
    /// The provider.
    pub provider: PublicKey,
    /// Its device.
    pub device: DeviceId,
    /// The model that it serves.
    pub serves: ModelOffer,
    /// The rates that it advertises.
    pub rates: Rates,
    /// The rates that a challenger measured, as the ledger knows them.
    pub measured: Option<Rates>,
    /// What is at stake for the device.
    pub bonded: Credits,
    /// What the provider's account has.
    pub balance: Credits,
    /// What the client's account has.
    pub clients: Credits,
    /// What the ledger has promised of the device.
    pub booked: &'a [Window],
    /// How many reservations of one device the ledger keeps.
    pub booked_max: usize,
}

/// Why nothing is offered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotOffered {
    /// Another model.
    #[error("the model is not served here: ask a provider whose offer names it")]
    ModelNotServed,
    /// The first slot has begun.
    #[error("the first slot has begun: ask for a later one")]
    Begun,
    /// The first slot is far away.
    #[error("the first slot begins in more than {} days: ask later", RESERVE_AHEAD_MAX.0 / 86_400_000)]
    FarAway,
    /// All slots together are longer than this provider likes.
    #[error("{} s in all are more than the {} s that are reserved here at once", wanted.0 / 1_000, longest.0 / 1_000)]
    TooLong {
        /// What was asked for.
        wanted: Millis,
        /// The most.
        longest: Millis,
    },
    /// Nobody measured the device, or less than it advertises.
    #[error("no challenger has measured this device at the rates that it advertises: try another provider")]
    NotMeasured,
    /// Nothing is at stake.
    #[error(
        "nothing is at stake for this device, so that the ledger books nothing of it: try another provider"
    )]
    NotStaked,
    /// That time is promised to somebody.
    #[error("the device is promised from {} to {} (ms since 1970): ask for another time", .0.from.0, .0.until.0)]
    Taken(Window),
    /// As much is promised as may be.
    #[error("as many windows of this device are promised as may be: ask again in a minute")]
    Full,
    /// The client has as many offers as may stand at a time.
    #[error("{FIRM_OFFERS_TO_ONE_MAX} offers to you stand already: book one, or wait until they are over")]
    EnoughOffers,
    /// The provider's account does not cover the bond.
    #[error(
        "this provider cannot put up what it would lose by missing slots: ask for fewer or shorter slots"
    )]
    NoBond,
    /// The client's account does not cover the price.
    #[error("all slots cost {price} credits, and your account has {balance}")]
    ClientShort {
        /// The price of all slots, and of what was offered before.
        price: Credits,
        /// What is there.
        balance: Credits,
    },
    /// The terms come to nothing that can be promised.
    #[error("nothing like that can be promised: {0}")]
    Terms(String),
}

/// Offers that may still be accepted.
#[derive(Clone, Debug, Default)]
pub struct FirmOffers(Vec<ReservationOffer>);

impl FirmOffers {
    /// Forgets what is over at `now`, and what the ledger would not book, or has.
    pub fn forget(&mut self, now: Timestamp, booked: &[Window]) {
        let is_free = |window: &Window| booked.iter().all(|other| !other.overlaps(window));
        self.0.retain(|offer| now <= offer.accept_until && is_free(&window_of(offer)));
    }

    /// Whether an offer stands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Offers what `client` wishes for, and remembers it; the same as before if that still stands. What is over or booked
    /// was forgotten.
    ///
    /// # Errors
    /// [`NotOffered`], for the client.
    pub fn offer(
        &mut self,
        stock: &Stock<'_>,
        (client, wish): (PublicKey, &ReservationWish),
        now: Timestamp,
        nonce: u64,
    ) -> Result<ReservationOffer, NotOffered> {
        if let Some(known) = self.to(&client).find(|offer| offer.is_for(wish)) {
            return Ok(known.clone());
        }
        let offer = stock.promise(client, wish, now, nonce)?;
        self.check_room(stock, &offer)?;
        self.check_money(stock, &offer)?;
        self.0.push(offer.clone());
        Ok(offer)
    }

    fn to<'o>(&'o self, client: &'o PublicKey) -> impl Iterator<Item = &'o ReservationOffer> {
        self.0.iter().filter(move |offer| offer.client == *client)
    }

    fn check_room(&self, stock: &Stock<'_>, offer: &ReservationOffer) -> Result<(), NotOffered> {
        let window = window_of(offer);
        let to_others = self.0.iter().filter(|other| other.client != offer.client).map(window_of);
        let mut taken = stock.booked.iter().copied().chain(to_others);
        if let Some(other) = taken.find(|other| other.overlaps(&window)) {
            return Err(NotOffered::Taken(other));
        }
        let promised = stock.booked.len().saturating_add(self.0.len());
        if promised >= stock.booked_max || self.0.len() >= FIRM_OFFERS_MAX {
            return Err(NotOffered::Full);
        }
        match self.to(&offer.client).count() >= FIRM_OFFERS_TO_ONE_MAX {
            true => Err(NotOffered::EnoughOffers),
            false => Ok(()),
        }
    }

    /// Both sides can pay for it although all that stands be booked as well.
    fn check_money(&self, stock: &Stock<'_>, offer: &ReservationOffer) -> Result<(), NotOffered> {
        let sum = |amounts: &mut dyn Iterator<Item = Credits>| {
            amounts.fold(Credits::ZERO, |sum, amount| Credits(sum.0.saturating_add(amount.0)))
        };
        let bonds = sum(&mut self.0.iter().chain([offer]).map(|offer| offer.bond(0)));
        if bonds > stock.balance {
            return Err(NotOffered::NoBond);
        }
        let prices = self.to(&offer.client).chain([offer]).map(|offer| offer.price_of(offer.slots));
        let price = sum(&mut { prices });
        let balance = stock.clients;
        if price > balance { Err(NotOffered::ClientShort { price, balance }) } else { Ok(()) }
    }
}

impl Stock<'_> {
    /// The offer, if this device could keep it and the operator's terms allow it.
    fn promise(
        &self,
        client: PublicKey,
        wish: &ReservationWish,
        now: Timestamp,
        nonce: u64,
    ) -> Result<ReservationOffer, NotOffered> {
        self.check_wish(wish, now)?;
        self.check_device()?;
        let stands = now.after(OFFER_FIRM).unwrap_or(now);
        let offer = ReservationOffer {
            network: self.network,
            provider: self.provider,
            client,
            device: self.device,
            model: self.serves.model,
            work: self.serves.work,
            rates: self.rates,
            numerics: NUMERICS_VERSION,
            price: self.terms.price,
            starts_at: wish.starts_at,
            slot: wish.slot,
            slots: wish.slots,
            capacity: wish.capacity,
            standby: self.terms.standby,
            answer_within: self.terms.answer_within.min(Millis(wish.slot.0 / 2)),
            notice: self.terms.notice,
            ladder: self.terms.ladder.clone(),
            accept_until: stands.min(wish.starts_at),
            nonce,
        };
        offer.check_bounds().map_err(NotOffered::Terms)?;
        Ok(offer)
    }

    fn check_wish(&self, wish: &ReservationWish, now: Timestamp) -> Result<(), NotOffered> {
        if wish.model != self.serves.model {
            return Err(NotOffered::ModelNotServed);
        }
        if wish.starts_at <= now {
            return Err(NotOffered::Begun);
        }
        if wish.starts_at.since(now) > RESERVE_AHEAD_MAX {
            return Err(NotOffered::FarAway);
        }
        let (wanted, longest) = (wish.length(), self.terms.longest);
        if wanted > longest { Err(NotOffered::TooLong { wanted, longest }) } else { Ok(()) }
    }

    fn check_device(&self) -> Result<(), NotOffered> {
        let gives =
            |measured: Rates| measured.prefill >= self.rates.prefill && measured.decode >= self.rates.decode;
        if !self.measured.is_some_and(gives) {
            return Err(NotOffered::NotMeasured);
        }
        if self.bonded == Credits::ZERO { Err(NotOffered::NotStaked) } else { Ok(()) }
    }
}

fn window_of(offer: &ReservationOffer) -> Window {
    Window { from: offer.starts_at, until: offer.start_of(offer.slots) }
}

#[cfg(test)]
mod tests;
