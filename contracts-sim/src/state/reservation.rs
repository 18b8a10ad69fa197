//! Reservations: prepaid slots of one device, and what their provider puts up for them.

use gridhour_protocol::{
    id::{DeviceId, ReservationId},
    limits::RUNGS_MAX,
    market::reservation::ReservationOffer,
    units::{Credits, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use super::State;

/// Slots that a client has paid for. Kept until the last is settled and the last session under it has ended.
///
/// What is held follows from it: the price of every slot that is not settled, less what sessions have drawn of the first
/// of them, and the part of the ladder that the provider has not lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// What both sides agreed on.
    pub terms: ReservationOffer,
    /// Slots that it has: fewer than agreed once some were given up, or too many missed.
    pub slots: u16,
    /// Slots that are settled; also the number of the first that is not.
    pub settled: u16,
    /// What sessions have drawn of that slot's price.
    pub drawn: Credits,
    /// The client called for that slot.
    pub demand: Option<Demand>,
    /// Slots that were missed, rising.
    pub missed: Vec<u16>,
    /// Sessions that are open under it.
    pub open: u32,
}

/// A client's call for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The last moment for an answer.
    pub answer_by: Timestamp,
    /// There was one.
    pub answered: bool,
}

/// What a session has drawn of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotDraw {
    /// The reservation.
    pub reservation: ReservationId,
    /// The slot in which it opened.
    pub slot: u16,
}

impl Reservation {
    /// A reservation at its beginning.
    #[must_use]
    pub fn new(terms: ReservationOffer) -> Self {
        let slots = terms.slots;
        Self { terms, slots, settled: 0, drawn: Credits::ZERO, demand: None, missed: Vec::new(), open: 0 }
    }

    /// Whether slots are left to settle. As long as there are, the device is reserved for them.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.settled < self.slots
    }

    /// Whether the ledger has to remember it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_live() || self.open > 0
    }

    /// Prepaid, and neither settled nor drawn.
    #[must_use]
    pub fn prepaid(&self) -> Credits {
        self.terms.price_of(self.slots.saturating_sub(self.settled)).saturating_sub(self.drawn)
    }

    /// What the provider has put up and can still lose.
    #[must_use]
    pub fn bond(&self) -> Credits {
        if self.is_live() { self.terms.bond(self.missed.len()) } else { Credits::ZERO }
    }

    /// Everything that is held. `None` on overflow.
    #[must_use]
    pub fn total(&self) -> Option<Credits> {
        self.prepaid().checked_add(self.bond())
    }

    /// When the last slot ends: then anyone may have everything settled.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.terms.start_of(self.slots)
    }

    /// Whether the device is reserved for a part of the time from `from` to `until`.
    #[must_use]
    pub fn overlaps(&self, from: Timestamp, until: Timestamp) -> bool {
        self.is_live() && from < self.end() && self.terms.start_of(self.settled) < until
    }

    /// Of a settled reservation, the slot that runs at `now`: not one that was missed.
    #[must_use]
    pub fn running(&self, now: Timestamp) -> Option<u16> {
        (self.is_live() && now >= self.terms.start_of(self.settled)).then_some(self.settled)
    }

    /// The slot that runs at `now`, whatever is settled yet; not one that was missed.
    #[must_use]
    pub fn slot_at(&self, now: Timestamp) -> Option<u16> {
        let passed = now.0.checked_sub(self.terms.starts_at.0)?;
        let number = u16::try_from(passed.checked_div(self.terms.slot.0)?).ok()?;
        let is_lost = number == self.settled && self.is_missed(now);
        ((self.settled..self.slots).contains(&number) && !is_lost).then_some(number)
    }

    /// What sessions can still draw of the slot of this number, which runs: all of its price, unless it is the first that
    /// is not settled, and some was drawn.
    #[must_use]
    pub fn left_of(&self, slot: u16) -> Credits {
        let drawn = if slot == self.settled { self.drawn } else { Credits::ZERO };
        self.terms.slot_price().saturating_sub(drawn)
    }

    /// Whether the slot that is to be settled next was called for, and nobody answered in time.
    #[must_use]
    pub fn is_missed(&self, now: Timestamp) -> bool {
        self.demand.is_some_and(|demand| !demand.answered && now > demand.answer_by)
    }

    /// Whether a slot has ended, or was missed, since it was last settled.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let ended = || now >= self.terms.start_of(self.settled.saturating_add(1));
        self.is_live() && (self.is_missed(now) || ended())
    }
}

impl Wire for Reservation {
    const BYTES_MAX: usize = 1024;

    fn check_bounds(&self) -> Result<(), String> {
        self.terms.check_bounds()?;
        at_most("missed slots", self.missed.len(), RUNGS_MAX)?;
        let counted = self.settled <= self.slots && self.slots <= self.terms.slots;
        if counted && self.drawn <= self.terms.slot_price() {
            Ok(())
        } else {
            Err("more is settled or drawn than was reserved".into())
        }
    }
}

impl State {
    /// A reservation with slots to come, or under which sessions are open.
    #[must_use]
    pub fn reservation(&self, reservation: &ReservationId) -> Option<&Reservation> {
        self.reservations.get(reservation)
    }

    /// All reservations.
    pub fn reservations(&self) -> impl Iterator<Item = (&ReservationId, &Reservation)> {
        self.reservations.iter()
    }

    /// The reservations of one device: what is promised of it, and when.
    pub fn reservations_of(&self, device: &DeviceId) -> impl Iterator<Item = (&ReservationId, &Reservation)> {
        let key = |byte| (*device, ReservationId([byte; 32]));
        self.reserved.range(key(0)..=key(u8::MAX)).filter_map(|(_, id)| self.reservations.get_key_value(id))
    }

    pub(super) fn put_reservation(
        &mut self,
        id: ReservationId,
        reservation: Option<Reservation>,
    ) -> Option<Reservation> {
        let before = self.reservations.remove(&id);
        if let Some(before) = &before {
            self.reserved.remove(&(before.terms.device, id));
        }
        if let Some(reservation) = reservation {
            self.reserved.insert((reservation.terms.device, id));
            self.reservations.insert(id, reservation);
        }
        before
    }
}
