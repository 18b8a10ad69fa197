//! What holds of reservations at every height.

use gridhour_protocol::id::ReservationId;

use super::{Violation, hold};
use crate::{
    limits::{DEVICE_RESERVATIONS_MAX, RESERVATION_MS_MAX},
    state::{Reservation, State},
};

pub(super) fn check_reservation(
    state: &State,
    id: &ReservationId,
    reservation: &Reservation,
) -> Result<(), Violation> {
    let Reservation { terms, settled, drawn, missed, .. } = reservation;
    hold("reservation-id", *id == terms.id(), || format!("{id} is not the hash of its terms"))?;
    let has_end = reservation.end().since(state.tip().time).0 <= RESERVATION_MS_MAX;
    hold("reservation-deadline", has_end, || format!("{id}: {:?}", reservation.end()))?;
    let counted = reservation.slots <= terms.slots && *settled <= reservation.slots;
    let within = counted && *drawn <= terms.slot_price() && (reservation.is_live() || drawn.0 == 0);
    hold("reservation-drawn", within, || format!("{id}: {reservation:?}"))?;
    let rising = missed.is_sorted_by(|a, b| a < b) && missed.last().is_none_or(|last| last < settled);
    let lives = !reservation.is_live() || missed.len() < terms.ladder.len();
    hold("reservation-ladder", rising && lives, || format!("{id}: {missed:?}"))?;
    hold("reservation-kept", reservation.is_kept(), || format!("{id}: {reservation:?}"))?;
    check_device(state, id, reservation)
}

/// No time of a device is promised twice.
fn check_device(state: &State, id: &ReservationId, reservation: &Reservation) -> Result<(), Violation> {
    let device = &reservation.terms.device;
    let count = state.reservations_of(device).count();
    hold("device-reservations", count <= DEVICE_RESERVATIONS_MAX, || format!("{device}: {count}"))?;
    let (from, until) = (reservation.terms.start_of(reservation.settled), reservation.end());
    let mut others = state.reservations_of(device).filter(|(other, _)| *other != id);
    let twice = others.find(|(_, other)| reservation.is_live() && other.overlaps(from, until));
    hold("promised-once", twice.is_none(), || format!("{id} and {twice:?}"))
}
