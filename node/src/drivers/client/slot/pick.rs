//! Which slot runs, whether it can be called for, and what came of a call: decisions on what the ledger shows.

use std::fmt;

use gridhour_contracts_sim::state::Reservation;
use gridhour_protocol::{
    id::{ModelId, ReservationId},
    signed::PublicKey,
    units::{Credits, Timestamp},
};

use crate::drivers::client::RunSpec;

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

/// The reservation whose slot runs at `now`, and that slot: the one that `spec` names, or else the first by its id that has
/// something left for the model.
pub(super) fn running(
    known: Vec<Reservation>,
    client: &PublicKey,
    spec: &RunSpec,
    now: Timestamp,
) -> Result<(Reservation, u16), NoSlot> {
    let mut own: Vec<Reservation> = known.into_iter().filter(|known| known.terms.client == *client).collect();
    if let Some(id) = spec.reservation {
        own.retain(|known| known.terms.id() == id);
        let named = own.first().ok_or(NoSlot::Unknown(id))?;
        if named.terms.model != spec.model {
            return Err(NoSlot::OtherModel(id, named.terms.model));
        }
    }
    own.retain(|known| known.terms.model == spec.model && known.is_live());
    let runs = own.iter().position(|known| {
        known.slot_at(now).is_some_and(|slot| known.left_of(slot) > Credits::ZERO || spec.reservation.is_some())
    });
    let why = || own.iter().min_by_key(|known| next_start(known, now)).map(|known| waits(known, now));
    let at = runs.ok_or_else(|| why().unwrap_or(NoSlot::Nothing(spec.model)))?;
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
    next_start(known, now).map_or(NoSlot::Over(id), |start| NoSlot::NotNow(id, start.since(now).0.div_ceil(1_000)))
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
    let demand = known.filter(|known| known.settled == slot && known.is_live()).and_then(|known| known.demand);
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
        Self {
            reservation: before.terms.id(),
            slot,
            back: if is_last { before.prepaid() } else { before.left_of(slot) },
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
        write!(f, "slot {slot} of reservation {id} was missed: its provider did not answer the call ({why}); ")?;
        write!(f, "{back} credits came back, and it lost {burned}")?;
        if *is_last { write!(f, "; it missed too many, and the reservation is over") } else { Ok(()) }
    }
}
