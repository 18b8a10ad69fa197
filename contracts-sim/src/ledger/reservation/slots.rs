//! What becomes of a slot's price, and of the bond: arithmetic on one reservation, and nothing else.
//!
//! ```text
//!  slot ── drawn by sessions ──> vouchers ──> provider
//!    │            └── not paid out ──┐
//!    ├── ended ────────────────> unused: the agreed share to the provider for standing by, the rest to the client
//!    └── called for, no answer ──> missed: all of it to the client; a rung of the bond is burned
//! ```
//!
//! A penalty is burned, so that nobody is richer for another's silence, and whoever could keep an answer from the ledger
//! has nothing to win by it. The client has back what it paid for the slot.

use gridhour_protocol::units::{Credits, Timestamp};

use crate::state::Reservation;

/// What settling pays out of a reservation, or out of a session that drew on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payout {
    /// For standing by, and of the bond what it can no longer lose.
    pub(crate) provider: Credits,
    /// What comes back of the slots' prices.
    pub(crate) client: Credits,
    /// Penalties.
    pub(crate) burned: Credits,
}

impl Payout {
    /// Both together. Each is a part of what one reservation holds, so the sums fit.
    pub(crate) fn and(self, other: Self) -> Self {
        let sum = |one: Credits, other: Credits| Credits(one.0.saturating_add(other.0));
        Self {
            provider: sum(self.provider, other.provider),
            client: sum(self.client, other.client),
            burned: sum(self.burned, other.burned),
        }
    }
}

impl Reservation {
    /// Settles every slot that has ended or was missed.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Payout {
        let mut payout = Payout::default();
        while self.is_due(now) {
            let step = if self.is_missed(now) { self.miss() } else { self.deliver() };
            payout = payout.and(step);
        }
        payout
    }

    /// What is paid of so much of a settled slot's price that nobody worked for.
    pub(crate) fn unused(&self, slot: u16, amount: Credits) -> Payout {
        let missed = self.missed.contains(&slot);
        let provider = if missed { Credits::ZERO } else { self.terms.standby_of(amount) };
        Payout { provider, client: amount.saturating_sub(provider), burned: Credits::ZERO }
    }

    /// Gives up every slot that begins later than the agreed notice from now, if there is one: their whole price goes
    /// back. The slots before keep theirs, and stay what they are.
    pub(crate) fn give_up(&mut self, now: Timestamp) -> Option<Payout> {
        let last = now.after(self.terms.notice)?;
        let begun = (self.settled..self.slots).take_while(|slot| self.terms.start_of(*slot) <= last);
        let kept = self.settled.saturating_add(u16::try_from(begun.count()).unwrap_or(u16::MAX));
        let given = self.slots.checked_sub(kept).filter(|given| *given > 0)?;
        let bond = self.bond();
        self.slots = kept;
        let provider = bond.saturating_sub(self.bond());
        Some(Payout { provider, client: self.terms.price_of(given), burned: Credits::ZERO })
    }

    /// The first slot that is not settled has ended.
    fn deliver(&mut self) -> Payout {
        let (bond, unused) = (self.bond(), self.left_of_slot());
        let split = self.unused(self.settled, unused);
        self.next_slot();
        Payout { provider: bond.saturating_sub(self.bond()), ..Payout::default() }.and(split)
    }

    /// The first slot that is not settled was missed. With the last rung of the ladder the slots after it are gone too.
    fn miss(&mut self) -> Payout {
        let (bond, penalty, slot) = (self.bond(), self.terms.penalty(self.missed.len()), self.settled);
        self.missed.push(slot);
        let mut client = self.left_of_slot();
        if self.missed.len() >= self.terms.ladder.len() {
            client = self.prepaid();
            self.slots = slot.saturating_add(1);
        }
        self.next_slot();
        let provider = bond.saturating_sub(self.bond()).saturating_sub(penalty);
        Payout { provider, client, burned: penalty }
    }

    /// What no session has drawn of the slot.
    pub(crate) fn left_of_slot(&self) -> Credits {
        self.terms.slot_price().saturating_sub(self.drawn)
    }

    fn next_slot(&mut self) {
        self.settled = self.settled.saturating_add(1);
        self.drawn = Credits::ZERO;
        self.demand = None;
    }
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::{
        market::reservation::ReservationOffer,
        units::{GpuNs, Millis, PricePerHour},
    };

    use super::*;
    use crate::{
        harness::{Chain, Deal, START, key},
        state::reservation::Demand,
    };

    const MINUTE_MS: u64 = 60_000;
    const PRICE: u64 = 1_000;

    /// Four slots of ten minutes for 1,000 each, the first at [`START`]; standing by is worth 600.
    fn reservation() -> Reservation {
        let deal = Deal::new(&Chain::new(), &key(1), &key(2));
        Reservation::new(ReservationOffer {
            starts_at: START,
            accept_until: START,
            slot: Millis(10 * MINUTE_MS),
            slots: 4,
            capacity: GpuNs(600_000_000_000),
            price: PricePerHour(6 * PRICE),
            standby: 600,
            notice: Millis(10 * MINUTE_MS),
            answer_within: Millis(MINUTE_MS),
            ladder: vec![100, 500],
            ..deal.reservation()
        })
    }

    fn at(minutes: u64) -> Timestamp {
        Timestamp(START.0 + minutes * MINUTE_MS)
    }

    fn payout(provider: u64, client: u64, burned: u64) -> Payout {
        Payout { provider: Credits(provider), client: Credits(client), burned: Credits(burned) }
    }

    /// Settles, and checks that what is paid is what is held less than before.
    fn settled(reservation: &mut Reservation, now: Timestamp) -> Payout {
        let before = reservation.total().unwrap().0;
        let paid = reservation.settle(now);
        let after = reservation.total().unwrap().0;
        assert_eq!(before - after, paid.provider.0 + paid.client.0 + paid.burned.0, "{reservation:?}");
        paid
    }

    fn call(reservation: &mut Reservation, answer_by: Timestamp) {
        reservation.demand = Some(Demand { answer_by, answered: false });
    }

    #[test]
    fn a_slot_that_nobody_used_is_paid_by_the_agreed_share() {
        let mut reservation = reservation();
        assert_eq!(reservation.total(), Some(Credits(4 * PRICE + 600)));
        assert_eq!(settled(&mut reservation, Timestamp(at(10).0 - 1)), Payout::default());
        assert_eq!(settled(&mut reservation, at(10)), payout(600, 400, 0));
        assert_eq!(settled(&mut reservation, at(10)), Payout::default(), "once");
        assert_eq!(settled(&mut reservation, at(30)), payout(1_200, 800, 0), "both that ended");
        assert_eq!(settled(&mut reservation, at(999)), payout(600 + 600, 400, 0), "the last, and the bond");
        assert_eq!((reservation.total(), reservation.is_kept()), (Some(Credits::ZERO), false));
    }

    #[test]
    fn what_was_drawn_is_not_split() {
        let mut reservation = reservation();
        reservation.drawn = Credits(700);
        assert_eq!(settled(&mut reservation, at(10)), payout(180, 120, 0));
        assert_eq!(reservation.drawn, Credits::ZERO, "the next slot is whole");
    }

    #[test]
    fn the_ladder_is_climbed_rung_by_rung_and_then_all_is_over() {
        let mut reservation = reservation();
        call(&mut reservation, at(1));
        assert_eq!(settled(&mut reservation, at(1)), Payout::default(), "in time to the millisecond");
        assert_eq!(settled(&mut reservation, Timestamp(at(1).0 + 1)), payout(0, PRICE, 100));
        assert_eq!((reservation.running(at(2)), reservation.running(at(10))), (None, Some(1)));
        reservation.drawn = Credits(300);
        call(&mut reservation, at(12));
        assert_eq!(
            settled(&mut reservation, at(13)),
            payout(0, 3 * PRICE - 300, 500),
            "and all slots after it"
        );
        assert_eq!((reservation.is_live(), reservation.missed.as_slice()), (false, [0, 1].as_slice()));
        assert!(!reservation.overlaps(at(0), at(99)), "no capacity stays reserved");
        assert_eq!(
            reservation.unused(1, Credits(300)),
            payout(0, 300, 0),
            "what sessions hold of it goes back"
        );
    }

    #[test]
    fn an_answer_in_time_is_no_miss() {
        let mut reservation = reservation();
        reservation.demand = Some(Demand { answer_by: at(1), answered: true });
        assert_eq!(settled(&mut reservation, at(9)), Payout::default());
        assert_eq!(settled(&mut reservation, at(10)), payout(600, 400, 0));
        assert_eq!(reservation.demand, None, "the next slot has to be called for anew");
    }

    #[test]
    fn slots_beyond_the_notice_can_be_given_up_whole() {
        let mut reservation = reservation();
        assert_eq!(reservation.give_up(at(1)), Some(payout(0, 2 * PRICE, 0)), "those at 20 and 30 minutes");
        assert_eq!(reservation.give_up(at(1)), None);
        assert_eq!((reservation.end(), reservation.bond()), (at(20), Credits(600)), "two slots stay");
        assert!(!reservation.overlaps(at(20), at(40)), "the device is free again");

        let mut early = self::reservation();
        assert_eq!(early.give_up(Timestamp(START.0 - 20 * MINUTE_MS)), Some(payout(600, 4 * PRICE, 0)));
        assert_eq!((early.total(), early.is_kept()), (Some(Credits::ZERO), false), "bond and price go home");
    }

    #[test]
    fn a_notice_of_for_ever_gives_nothing_up() {
        let mut reservation = reservation();
        reservation.terms.notice = Millis(u64::MAX);
        assert_eq!(reservation.give_up(START), None);
    }
}
