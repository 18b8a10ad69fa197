//! Which slot runs, whether it can be called for, and what came of a call: decisions on what the ledger shows.

use std::fmt;

use gridhour_contracts_sim::state::Reservation;
use gridhour_protocol::{
    id::{ModelId, ReservationId},
    signed::PublicKey,
    units::{Credits, Timestamp},
};

/// Why no slot can be drawn on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// This account has nothing of the kind.
    #[error("you have no reservation for model {0} of which a slot is to come: book one first")]
    Nothing(ModelId),
    /// The reservation that was named is not one of this account's that are not over.
    #[error("you have no reservation {0}, or it is over")]
    Unknown(ReservationId),
    /// It is for another model.
    #[error("reservation {} is for model {}", .0.short(), .1.short())]
    OtherModel(ReservationId, ModelId),
    /// Its next slot is to come.
    #[error("no slot of reservation {} runs now: the next begins in {} s", .0.short(), .1)]
    NotNow(ReservationId, u64),
    /// Its last slot has ended, or was missed.
    #[error("no slot of reservation {} is left", .0.short())]
    Over(ReservationId),
}

/// The reservation for `model` whose slot runs at `now`, and that slot: the one that is `named`, or else the first by its id
/// that has something left.
pub(super) fn running(
    known: Vec<Reservation>,
    client: &PublicKey,
    (model, named): (ModelId, Option<ReservationId>),
    now: Timestamp,
) -> Result<(Reservation, u16), NoSlot> {
    let mut own: Vec<Reservation> = known.into_iter().filter(|known| known.terms.client == *client).collect();
    if let Some(id) = named {
        own.retain(|known| known.terms.id() == id);
        let found = own.first().ok_or(NoSlot::Unknown(id))?;
        if found.terms.model != model {
            return Err(NoSlot::OtherModel(id, found.terms.model));
        }
    }
    own.retain(|known| known.terms.model == model && known.is_live());
    let runs = own.iter().position(|known| {
        known.slot_at(now).is_some_and(|slot| known.left_of(slot) > Credits::ZERO || named.is_some())
    });
    let why = || own.iter().min_by_key(|known| next_start(known, now)).map(|known| waits(known, now));
    let at = runs.ok_or_else(|| why().unwrap_or(NoSlot::Nothing(model)))?;
    let chosen = own.swap_remove(at);
    let slot = chosen.slot_at(now).ok_or(NoSlot::Over(chosen.terms.id()))?;
    Ok((chosen, slot))
}

/// When the next slot begins that was not missed or given up.
fn next_start(known: &Reservation, now: Timestamp) -> Option<Timestamp> {
    (known.settled..known.slots).map(|slot| known.terms.start_of(slot)).find(|start| *start > now)
}

fn waits(known: &Reservation, now: Timestamp) -> NoSlot {
    let id = known.terms.id();
    next_start(known, now)
        .map_or(NoSlot::Over(id), |start| NoSlot::NotNow(id, start.since(now).0.div_ceil(1_000)))
}

/// What a client can do whose provider does not give it the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recourse {
    /// Call for it on the ledger.
    Call,
    /// Wait: it was called for.
    Wait,
    /// Nothing, and why.
    None(&'static str),
}

/// What can be done at `now` about the slot that runs.
pub(super) fn recourse(known: &Reservation, slot: u16, now: Timestamp) -> Recourse {
    let demand = known.demand.filter(|_| slot == known.settled);
    let end = known.terms.start_of(slot.saturating_add(1));
    let in_time = now.after(known.terms.answer_within).is_some_and(|answer_by| answer_by < end);
    match demand {
        Some(demand) if demand.answered => {
            Recourse::None("it answered for this slot on the ledger before: give up the rest if this goes on")
        }
        Some(_) => Recourse::Wait,
        None if in_time => Recourse::Call,
        None => Recourse::None("too little of the slot is left to call for it on the ledger"),
    }
}

/// What the ledger shows of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing yet.
    Waiting {
        /// The last moment for an answer.
        answer_by: Timestamp,
    },
    /// The provider answered.
    Answered,
    /// The slot is settled without an answer.
    Missed,
}

/// What the reservation, as it is now, shows of the call for `slot`.
pub(super) fn shown(known: Option<&Reservation>, slot: u16) -> Shown {
    let demand =
        known.filter(|known| known.settled == slot && known.is_live()).and_then(|known| known.demand);
    match demand {
        // All that ends a call without an answer is that the slot is settled: as missed, before it is over.
        None => Shown::Missed,
        Some(demand) if demand.answered => Shown::Answered,
        Some(demand) => Shown::Waiting { answer_by: demand.answer_by },
    }
}

/// A slot that was missed, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The reservation.
    pub reservation: ReservationId,
    /// The slot.
    pub slot: u16,
    /// What came back to the client.
    pub back: Credits,
    /// What the provider lost.
    pub burned: Credits,
    /// The ladder is at its end, and so is the reservation.
    pub is_last: bool,
    /// What the provider said when it was asked, or did not.
    pub why: String,
}

impl Missed {
    /// What follows of `before`, as it was when the slot was called for.
    pub(super) fn of(before: &Reservation, slot: u16, why: String) -> Self {
        let missed = before.missed.len();
        let is_last = missed.saturating_add(1) >= before.terms.ladder.len();
        let left = before.left_of(slot);
        let later = before.terms.price_of(before.slots.saturating_sub(slot).saturating_sub(1));
        Self {
            reservation: before.terms.id(),
            slot,
            back: if is_last { Credits(left.0.saturating_add(later.0)) } else { left },
            burned: before.terms.penalty(missed),
            is_last,
            why,
        }
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reservation, slot, back, burned, is_last, why } = self;
        let id = reservation.short();
        write!(
            f,
            "slot {slot} of reservation {id} was missed: its provider did not answer the call ({why}); "
        )?;
        write!(f, "{back} credits came back, and it lost {burned}")?;
        if *is_last { write!(f, "; it missed too many, and the reservation is over") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::{
        harness::{Chain, Deal, key},
        state::reservation::Demand,
    };
    use gridhour_protocol::{market::reservation::ReservationOffer, units::Millis};

    use super::*;

    const MINUTE_MS: u64 = 60_000;

    /// Four slots of ten minutes, the first in ten, with a minute to answer.
    fn offer() -> ReservationOffer {
        Deal::new(&Chain::new(), &key(1), &key(2)).reservation()
    }

    /// So many minutes after the beginning of the first slot.
    fn at(minutes: u64) -> Timestamp {
        Timestamp(offer().starts_at.0 + minutes * MINUTE_MS)
    }

    fn pick(
        known: &[Reservation],
        named: Option<ReservationId>,
        now: Timestamp,
    ) -> Result<(ReservationId, u16), NoSlot> {
        let picked = running(known.to_vec(), &key(1).public(), (offer().model, named), now);
        picked.map(|(known, slot)| (known.terms.id(), slot))
    }

    #[test]
    fn the_slot_that_runs_is_found_and_what_is_missing_is_told() {
        let (known, id) = (Reservation::new(offer()), offer().id());
        let one = std::slice::from_ref(&known);
        assert_eq!(pick(one, None, Timestamp(at(0).0 - 1_500)), Err(NoSlot::NotNow(id, 2)));
        assert_eq!(
            [0, 10, 39].map(|minute| pick(one, None, at(minute))),
            [Ok((id, 0)), Ok((id, 1)), Ok((id, 3))]
        );
        assert_eq!(pick(one, None, at(40)), Err(NoSlot::Over(id)));
        assert_eq!(pick(&[], None, at(0)), Err(NoSlot::Nothing(offer().model)));
        let other = ReservationId([9; 32]);
        assert_eq!(pick(one, Some(other), at(0)), Err(NoSlot::Unknown(other)));
        let strange = ReservationOffer { model: ModelId([9; 32]), ..offer() };
        let of_another = [Reservation::new(strange.clone())];
        assert_eq!(pick(&of_another, None, at(0)), Err(NoSlot::Nothing(offer().model)));
        let mismatch = NoSlot::OtherModel(strange.id(), strange.model);
        assert_eq!(pick(&of_another, Some(strange.id()), at(0)), Err(mismatch));
        let sold = ReservationOffer { client: key(5).public(), ..offer() };
        assert_eq!(pick(&[Reservation::new(sold)], None, at(0)), Err(NoSlot::Nothing(offer().model)));
    }

    #[test]
    fn a_slot_with_nothing_left_is_drawn_on_only_where_it_is_named() {
        let mut spent = Reservation::new(offer());
        spent.drawn = offer().slot_price();
        let fresh = Reservation::new(ReservationOffer { nonce: 2, ..offer() });
        let (spent_id, fresh_id) = (spent.terms.id(), fresh.terms.id());
        let both = [spent, fresh];
        assert_eq!(pick(&both, None, at(1)), Ok((fresh_id, 0)));
        assert_eq!(pick(&both, Some(spent_id), at(1)), Ok((spent_id, 0)));
        assert_eq!(pick(&both[..1], None, at(1)), Err(NoSlot::NotNow(spent_id, 9 * 60)));
    }

    #[test]
    fn a_slot_is_called_for_once_and_while_an_answer_can_come() {
        let mut known = Reservation::new(offer());
        assert_eq!(recourse(&known, 0, at(8)), Recourse::Call);
        assert!(matches!(recourse(&known, 0, at(9)), Recourse::None(_)), "the answer could come too late");
        known.demand = Some(Demand { answer_by: at(5), answered: false });
        assert_eq!(recourse(&known, 0, at(4)), Recourse::Wait);
        assert_eq!(recourse(&known, 1, at(11)), Recourse::Call, "that was the slot before");
        known.demand = Some(Demand { answer_by: at(5), answered: true });
        assert!(matches!(recourse(&known, 0, at(4)), Recourse::None(_)));
    }

    #[test]
    fn the_ledger_shows_what_came_of_a_call() {
        let mut known = Reservation::new(offer());
        known.demand = Some(Demand { answer_by: at(5), answered: false });
        assert_eq!(shown(Some(&known), 0), Shown::Waiting { answer_by: at(5) });
        known.demand = Some(Demand { answer_by: at(5), answered: true });
        assert_eq!(shown(Some(&known), 0), Shown::Answered);
        known.settled = 1;
        assert_eq!([shown(Some(&known), 0), shown(None, 0)], [Shown::Missed; 2]);
    }

    /// What is told is what the ledger does, from rung to rung.
    #[test]
    fn what_is_told_of_a_missed_slot_is_what_the_ledger_pays() {
        let mut chain = Chain::new();
        let deal = Deal::new(&chain, &key(1), &key(2));
        chain.ready_device(&deal);
        let id = chain.book(&deal, &deal.reservation());
        for slot in 0..3 {
            let start = deal.reservation().start_of(slot);
            chain.advance(Millis(start.since(chain.now()).0));
            let before = chain.state().reservation(&id).expect("it is kept").clone();
            let balance = chain.state().balance(&key(1).public());
            chain.acting(&key(1)).ok(gridhour_contracts_sim::tx::Call::Demand { reservation: id });
            chain.advance(Millis(MINUTE_MS + 1));
            chain.acting(&key(7)).ok(gridhour_contracts_sim::tx::Call::Settle { reservation: id });
            let missed = Missed::of(&before, slot, String::new());
            let paid = chain.state().balance(&key(1).public()).saturating_sub(balance);
            assert_eq!((missed.back, missed.is_last), (paid, slot == 2), "slot {slot}");
            let bond = chain.state().reservation(&id).map_or(Credits::ZERO, Reservation::bond);
            assert_eq!(before.bond().saturating_sub(bond), missed.burned, "slot {slot}");
        }
    }
}
