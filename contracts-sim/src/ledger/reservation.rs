//! Reservations: a client prepays slots of a device, and its provider puts up what it loses by missing them.
//!
//! ```text
//!  offer ── book ──> slots to come ── each ends, or is missed ── settle ──> over
//!                      │  ^                                        ^
//!                      │  └─ draw-slot: sessions, vouchers         │ the last rung of the ladder
//!                      ├──── demand ──> answer, or missed ─────────┘
//!                      └──── give-up: slots beyond the notice
//! ```
//!
//! Nobody judges whether a provider was there: a client that finds it missing calls for the slot on the ledger, and the
//! ledger sees whether an answer came by its own time. The answer is an advert under which the client opens a session at
//! once, so it is as good as service that has been found. Every call first settles what is due, and anyone may ask for
//! nothing but that: no credit waits for a party that is gone.

use gridhour_protocol::{
    id::ReservationId,
    limits::ANSWER_MS_MIN,
    market::{advert::Advert, reservation::ReservationOffer, tier::Tier},
    signed::{PublicKey, Signed},
    units::{Credits, Millis},
    work::Rates,
};

use self::slots::Payout;
use crate::{
    ledger::{
        Effects, Env, Write,
        admit::ensure,
        entry::{Book, Event, Posting},
        open,
        registry::check_lifetime,
        reject::Reject,
        stake,
    },
    limits::{DEVICE_RESERVATIONS_MAX, RESERVATION_MS_MAX},
    state::{
        Device, DeviceKey, Draw, Reservation,
        changes::Overlay,
        reservation::{Demand, SlotDraw},
    },
    tx::{Open, Tx},
};

mod slots;

/// A reservation of which everything is settled that was due, and what that pays.
pub(crate) struct Touched {
    id: ReservationId,
    reservation: Reservation,
    payout: Payout,
}

impl Touched {
    pub(crate) fn find(overlay: &Overlay<'_>, env: &Env, id: &ReservationId) -> Result<Self, Reject> {
        Ok(Self::settled(env, id, known(overlay, id)?))
    }

    /// The same, for one side of it: nothing is settled before it is clear that the sender is that side.
    fn of_side(
        overlay: &Overlay<'_>,
        env: &Env,
        tx: &Tx,
        id: &ReservationId,
        side: fn(&ReservationOffer) -> PublicKey,
    ) -> Result<Self, Reject> {
        let known = known(overlay, id)?;
        ensure(tx.sender == side(&known.terms), Reject::NotReserver)?;
        Ok(Self::settled(env, id, known))
    }

    fn settled(env: &Env, id: &ReservationId, known: &Reservation) -> Self {
        let mut reservation = known.clone();
        let payout = reservation.settle(env.time);
        Self { id: *id, reservation, payout }
    }

    /// Whether this slot runs.
    pub(crate) fn is_running(&self, env: &Env, slot: u16) -> bool {
        self.reservation.running(env.time) == Some(slot)
    }

    /// Adds what is due, and a hold of `amount` out of the slot that runs, to what a session's opening or top-up does.
    pub(crate) fn pay(mut self, effects: Effects, amount: Credits) -> Result<Effects, Reject> {
        ensure(amount <= self.reservation.left_of_slot(), Reject::OverSlot)?;
        self.reservation.drawn = self.reservation.drawn.checked_add(amount).ok_or(Reject::OverSlot)?;
        let (due, write) = self.written();
        let postings = due.into_iter().chain(effects.postings).collect();
        Ok(Effects { postings, ..effects }.with(write))
    }

    fn into_effects(self, event: Event) -> Effects {
        let (postings, write) = self.written();
        Effects { postings, writes: vec![write], ..Effects::of(event) }
    }

    fn written(self) -> (Vec<Posting>, Write) {
        let Self { id, reservation, payout } = self;
        let postings = payments(&id, &reservation, payout);
        (postings, Write::Reservation(id, reservation.is_kept().then_some(reservation)))
    }
}

fn known<'o>(overlay: &'o Overlay<'_>, id: &ReservationId) -> Result<&'o Reservation, Reject> {
    overlay.reservation(id).ok_or(Reject::UnknownReservation)
}

fn payments(id: &ReservationId, reservation: &Reservation, payout: Payout) -> Vec<Posting> {
    let posting = |credit, amount| Posting { debit: Book::Reservation(*id), credit, amount };
    let ReservationOffer { provider, client, .. } = reservation.terms;
    let all = [
        posting(Book::Account(provider), payout.provider),
        posting(Book::Account(client), payout.client),
        posting(Book::Issuance, payout.burned),
    ];
    all.into_iter().filter(|posting| posting.amount != Credits::ZERO).collect()
}

/// The client accepts an offer: it pays for all slots, and the provider's bond is set aside.
pub(crate) fn book(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    offer: &Signed<ReservationOffer>,
) -> Result<Effects, Reject> {
    let Signed { body: terms, .. } = offer;
    ensure(tx.sender == terms.client, Reject::NotReserver)?;
    ensure(terms.client != terms.provider, Reject::SameAccount)?;
    ensure(env.time <= terms.accept_until, Reject::Lifetime)?;
    check_lifetime(env.time, terms.start_of(terms.slots), RESERVATION_MS_MAX)?;
    ensure(terms.network == overlay.base().network(), Reject::TermsNetwork)?;
    check_device(overlay, terms)?;
    let (id, reservation) = (terms.id(), Reservation::new(terms.clone()));
    ensure(is_free(overlay, &id, terms), Reject::TimeReserved)?;
    let posting =
        |payer, amount| Posting { debit: Book::Account(payer), credit: Book::Reservation(id), amount };
    let all = [posting(terms.client, reservation.prepaid()), posting(terms.provider, reservation.bond())];
    Ok(Effects {
        postings: all.into_iter().filter(|posting| posting.amount != Credits::ZERO).collect(),
        writes: vec![Write::Reservation(id, Some(reservation))],
        ..Effects::of(Event::Booked {
            reservation: id,
            device: terms.device,
            until: terms.start_of(terms.slots),
        })
    })
}

/// The device is registered and bonded, and a challenger has measured that it gives what is promised. A slot's capacity
/// is no longer than the slot (a bound of every offer), so rates that are measured are enough.
fn check_device(overlay: &Overlay<'_>, terms: &ReservationOffer) -> Result<(), Reject> {
    let key = DeviceKey { owner: terms.provider, device: terms.device };
    let device = overlay.device(&key).ok_or(Reject::UnknownDevice)?;
    ensure(stake::find(overlay, &terms.device)?.bonded != Credits::ZERO, Reject::UnknownStake)?;
    ensure(gives(device, &terms.rates), Reject::OverCapacity)
}

fn gives(device: &Device, rates: &Rates) -> bool {
    device.measured.is_some_and(|measured| {
        measured.rates.prefill >= rates.prefill && measured.rates.decode >= rates.decode
    })
}

/// Whether no time of the device is promised twice, and the offer is not booked already.
fn is_free(overlay: &Overlay<'_>, id: &ReservationId, terms: &ReservationOffer) -> bool {
    let (from, until) = (terms.starts_at, terms.start_of(terms.slots));
    let known = || overlay.reservations_of(&terms.device);
    let clashes = known().any(|(other, reservation)| other == id || reservation.overlaps(from, until));
    !clashes && known().count() < DEVICE_RESERVATIONS_MAX
}

/// The client calls for the slot that runs; the provider has the agreed time to answer, all of it within the slot.
pub(crate) fn demand(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &ReservationId,
) -> Result<Effects, Reject> {
    let mut touched = Touched::of_side(overlay, env, tx, id, |terms| terms.client)?;
    let Reservation { terms, demand, .. } = &touched.reservation;
    let slot = touched.reservation.running(env.time).ok_or(Reject::SlotClosed)?;
    let answer_by = env.time.after(terms.answer_within).filter(|by| *by < terms.start_of(slot + 1));
    let answer_by = answer_by.ok_or(Reject::SlotClosed)?;
    ensure(demand.is_none(), Reject::SlotCalled)?;
    touched.reservation.demand = Some(Demand { answer_by, answered: false });
    Ok(touched.into_effects(Event::Demanded { reservation: *id, slot, answer_by }))
}

/// The provider answers with an advert under which the client can open a session at once.
pub(crate) fn answer(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &ReservationId,
    advert: &Signed<Advert>,
) -> Result<Effects, Reject> {
    let mut touched = Touched::of_side(overlay, env, tx, id, |terms| terms.provider)?;
    let slot = touched.reservation.settled;
    let Reservation { terms, demand, .. } = &mut touched.reservation;
    let demand = demand.as_mut().filter(|demand| !demand.answered).ok_or(Reject::SlotClosed)?;
    ensure(terms.is_offered_by(&advert.body), Reject::NotAsReserved)?;
    let soon = env.time.after(Millis(ANSWER_MS_MIN)).ok_or(Reject::AdvertNotLive)?;
    ensure(open::is_live(&advert.body, env.time) && advert.body.is_live(soon), Reject::AdvertNotLive)?;
    demand.answered = true;
    Ok(touched.into_effects(Event::Answered { reservation: *id, slot, advert: advert.id() }))
}

/// Opens a session that the slot which runs pays for. It is one as any other, of what is reserved, within the slot.
pub(crate) fn draw(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &ReservationId,
    open: &Open,
) -> Result<Effects, Reject> {
    let mut touched = Touched::of_side(overlay, env, tx, id, |terms| terms.client)?;
    let Reservation { terms, .. } = &touched.reservation;
    let slot = touched.reservation.running(env.time).ok_or(Reject::SlotClosed)?;
    let is_within = open.terms.use_until <= terms.start_of(slot + 1);
    let is_ours = open.terms.model == terms.model && terms.is_offered_by(&open.advert.body);
    let is_for_it = open.order.body.tier == Tier::Reserved;
    ensure(is_for_it && is_ours && is_within, Reject::NotAsReserved)?;
    open::check_sides(open)?;
    let draw = Draw::Slot(SlotDraw { reservation: *id, slot });
    let effects = open::opened(overlay, env, tx, open, Some(draw))?;
    touched.reservation.open = touched.reservation.open.checked_add(1).ok_or(Reject::OverSlot)?;
    touched.pay(effects, open.hold)
}

/// Where what is left of an ended session's hold goes: back to its slot while that is not settled, so that it can be
/// drawn again; afterwards as all that nobody worked for in the slot.
pub(crate) fn end_draw(
    overlay: &Overlay<'_>,
    draw: &SlotDraw,
    rest: Credits,
) -> (Vec<(Book, Credits)>, Write) {
    let id = draw.reservation;
    let known = overlay.reservation(&id).cloned();
    let mut reservation = known.expect("a reservation is kept while a session is open under it");
    reservation.open = reservation.open.saturating_sub(1);
    let homes = if draw.slot == reservation.settled {
        reservation.drawn = reservation.drawn.saturating_sub(rest);
        vec![(Book::Reservation(id), rest)]
    } else {
        let payout = reservation.unused(draw.slot, rest);
        let ReservationOffer { provider, client, .. } = reservation.terms;
        vec![(Book::Account(provider), payout.provider), (Book::Account(client), payout.client)]
    };
    let kept = reservation.is_kept().then_some(reservation);
    (homes, Write::Reservation(id, kept))
}

/// The client gives up every slot beyond the notice.
pub(crate) fn give_up(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &ReservationId,
) -> Result<Effects, Reject> {
    let mut touched = Touched::of_side(overlay, env, tx, id, |terms| terms.client)?;
    let payout = touched.reservation.give_up(env.time).ok_or(Reject::SlotClosed)?;
    touched.payout = touched.payout.and(payout);
    let slots = touched.reservation.slots;
    Ok(touched.into_effects(Event::GivenUp { reservation: *id, slots }))
}

/// Settles every slot that has ended or was missed, whoever asks.
pub(crate) fn settle(overlay: &Overlay<'_>, env: &Env, id: &ReservationId) -> Result<Effects, Reject> {
    let known = known(overlay, id)?;
    ensure(known.is_due(env.time), Reject::NothingDue)?;
    let touched = Touched::settled(env, id, known);
    let Reservation { settled, missed, .. } = &touched.reservation;
    let missed = u16::try_from(missed.len()).unwrap_or(u16::MAX);
    let event = Event::Settled { reservation: *id, slots: *settled, missed };
    Ok(touched.into_effects(event))
}
