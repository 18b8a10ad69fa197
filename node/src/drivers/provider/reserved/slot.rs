//! The advert of what is reserved: under it alone a session opens out of a slot, whatever the provider asks of others by
//! then, and at what rates.

use gridhour_contracts_sim::state::Reservation;
use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    id::ReservationId,
    market::{
        advert::{Advert, Device, RateSource},
        reservation::ReservationOffer,
    },
    signed::{PublicKey, Signed},
    units::Timestamp,
};

use super::{ledger_now, refresh};
use crate::drivers::provider::{Shared, advert_of};

/// Answers the client of a reservation that asks for its slot: an advert with which it opens a session, or why not.
///
/// # Errors
/// With a sentence for the client.
pub(in crate::drivers::provider) async fn slot(
    shared: &Shared,
    peer: PublicKey,
    id: ReservationId,
) -> Result<Signed<Advert>, String> {
    let known = match of_peer(shared, peer, id) {
        Some(known) => known,
        None => {
            // It may have been booked a moment ago.
            let _turn = shared.reserved.turn.lock().await;
            refresh(shared).await.map_err(|error| error.to_string())?;
            of_peer(shared, peer, id).ok_or("you have no reservation of this id here")?
        }
    };
    let now = ledger_now(shared).await.map_err(|error| error.to_string())?;
    // Clocks differ; the ledger's decides when the session opens.
    let soon = now.after(shared.clock_skew).unwrap_or(now);
    known.slot_at(now).or(known.slot_at(soon)).ok_or("no slot of this reservation runs now")?;
    slot_advert(shared, &known.terms, now)
}

fn of_peer(shared: &Shared, peer: PublicKey, id: ReservationId) -> Option<Reservation> {
    shared.reserved.find(id).filter(|known| known.terms.client == peer)
}

/// The advert of what `terms` reserve, if that is served now.
pub(super) fn slot_advert(
    shared: &Shared,
    terms: &ReservationOffer,
    now: Timestamp,
) -> Result<Signed<Advert>, String> {
    let advert = as_reserved(advert_of(shared, shared.calibration.receipt().as_ref(), 0, now), terms);
    if advert.models.is_empty() {
        return Err("this provider serves nothing just now".into());
    }
    match terms.numerics == NUMERICS_VERSION && terms.is_offered_by(&advert) {
        true => Ok(shared.key.sign(advert)),
        false => Err("what was reserved is not what is served here any more".into()),
    }
}

/// `advert` with what was agreed on in the place of what is asked today. Its sequence number is lower than that of any
/// advert that is gossiped, so nobody takes it for one. A place is kept, so its client waits for nobody and in no line.
fn as_reserved(advert: Advert, terms: &ReservationOffer) -> Advert {
    let Device { rates, rate_source, .. } = advert.device.clone();
    // A newer measurement does not speak for the rates of the reservation.
    let rate_source = if rates == terms.rates { rate_source } else { RateSource::SelfMeasured };
    let device = Device { rates: terms.rates, rate_source, ..advert.device };
    Advert { sequence: 0, device, ask: terms.price, spot: None, slots_free: 1, queued: 0, ..advert }
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, key};
    use gridhour_protocol::{
        market::tier::Spot,
        units::{Millis, PricePerHour},
        wire::Wire,
    };

    use super::*;

    #[test]
    fn what_was_reserved_is_offered_at_its_price_whatever_else_is_sold_today() {
        let chain = Chain::new();
        let deal = Deal::new(&chain, &key(1), &key(2));
        let terms = deal.reservation();
        // Dearer today, in spot too, and busy.
        let ask = PricePerHour(3 * terms.price.0);
        let spot = Some(Spot { ask: PricePerHour(2 * terms.price.0), notice: Millis(5_000), held: 1 });
        let today = Advert { ask, spot, slots_free: 0, queued: 7, sequence: 9, ..deal.advert.clone() };
        assert_eq!(today.check_bounds(), Ok(()));
        let advert = as_reserved(today, &terms);
        assert_eq!(advert.check_bounds(), Ok(()));
        assert!(terms.is_offered_by(&advert));
        assert_eq!((advert.sequence, advert.slots_free, advert.queued), (0, 1, 0));
    }
}
