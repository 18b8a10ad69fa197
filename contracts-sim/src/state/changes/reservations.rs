//! Changes to reservations.

use gridhour_protocol::{
    id::{DeviceId, ReservationId},
    units::Credits,
};

use super::{Overlay, replace};
use crate::state::reservation::Reservation;

impl Overlay<'_> {
    pub(crate) fn reservation(&self, reservation: &ReservationId) -> Option<&Reservation> {
        match self.changes.reservations.get(reservation) {
            Some(changed) => changed.as_ref(),
            None => self.base.reservation(reservation),
        }
    }

    /// The reservations of one device.
    pub(crate) fn reservations_of(
        &self,
        device: &DeviceId,
    ) -> impl Iterator<Item = (&ReservationId, &Reservation)> {
        let base = self.base.reservations_of(device);
        let unchanged = base.filter(|(id, _)| !self.changes.reservations.contains_key(id));
        let changed = self.changes.reservations.iter();
        let changed = changed.filter_map(|(id, reservation)| Some((id, reservation.as_ref()?)));
        unchanged.chain(changed.filter(move |(_, reservation)| reservation.terms.device == *device))
    }

    pub(crate) fn set_reservation(&mut self, id: ReservationId, reservation: Option<Reservation>) {
        let total = |reservation: Option<&Reservation>| {
            reservation.and_then(Reservation::total).unwrap_or(Credits::ZERO)
        };
        let (before, after) = (total(self.reservation(&id)), total(reservation.as_ref()));
        replace(&mut self.totals.holds, before, after);
        self.changes.reservations.insert(id, reservation);
    }
}
