//! What a provider owes for its reservations at a moment, and when it has to look again. Nothing but decisions.

use gridhour_contracts_sim::state::Reservation;
use gridhour_protocol::{
    limits::ANSWER_MS_MIN,
    signed::PublicKey,
    units::{Millis, Timestamp},
};

/// Time between two looks while something may have to be answered: well within the least time to answer, 10 s.
const LOOK_OFTEN: Millis = Millis(2_000);
/// While reservations are known and no slot of theirs is near.
const LOOK_SOMETIMES: Millis = Millis(60_000);
/// While nothing is known, and nothing offered.
const LOOK_SELDOM: Millis = Millis(600_000);
/// Before a slot begins, a place is kept for its client as long, so that jobs that run then have time to end.
const KEPT_AHEAD: Millis = Millis(60_000);
/// So long before a slot begins, the device is not lent to a challenger any more.
const SPOKEN_FOR_AHEAD: Millis = Millis(15 * 60_000);

/// Reservations whose slot was called for, and not answered yet while there is time. Whether the slot runs, the ledger has
/// found when it was called for.
pub(super) fn to_answer(known: &[Reservation], now: Timestamp) -> impl Iterator<Item = &Reservation> {
    let waits = |known: &Reservation| known.demand.is_some_and(|demand| !demand.answered);
    known.iter().filter(move |known| known.is_live() && waits(known) && !known.is_missed(now))
}

/// For whom a place is kept at `now`: the client whose slot runs, or begins within [`KEPT_AHEAD`]. Reservations of one
/// device do not overlap; where one follows another, whose slot runs comes first.
pub(super) fn holder(known: &[Reservation], now: Timestamp) -> Option<PublicKey> {
    let runs = known.iter().find(|known| known.slot_at(now).is_some());
    let next = || known.iter().find(|known| begins_within(known, KEPT_AHEAD, now));
    runs.or_else(next).map(|known| known.terms.client)
}

/// Whether a slot runs or begins too soon for anything that takes the device as a whole.
pub(in crate::drivers::provider) fn is_promised_soon(known: &[Reservation], now: Timestamp) -> bool {
    known.iter().any(|known| known.slot_at(now).is_some() || begins_within(known, SPOKEN_FOR_AHEAD, now))
}

/// How long until the ledger is to be looked at again. Until `bookable`, an offer that stands may be booked.
pub(super) fn next_look(known: &[Reservation], bookable: Timestamp, now: Timestamp) -> Millis {
    let is_near =
        |known: &Reservation| known.slot_at(now).is_some() || begins_within(known, LOOK_SOMETIMES, now);
    if now <= bookable || known.iter().any(is_near) {
        return LOOK_OFTEN;
    }
    if known.is_empty() { LOOK_SELDOM } else { LOOK_SOMETIMES }
}

/// Whether the first slot begins within `span` from now.
fn begins_within(known: &Reservation, span: Millis, now: Timestamp) -> bool {
    let starts_at = known.terms.starts_at;
    known.is_live() && starts_at > now && starts_at.since(now) <= span
}

const _: () =
    assert!(LOOK_OFTEN.0 * 2 < ANSWER_MS_MIN, "a call is seen twice before the time to answer is over");

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::{
        harness::{Chain, Deal, key},
        tx::Call,
    };
    use gridhour_protocol::{id::ReservationId, units::Credits};

    use super::*;

    const MINUTE_MS: u64 = 60_000;

    /// Four slots of ten minutes, the first in ten, with a minute to answer.
    struct Story {
        chain: Chain,
        deal: Deal,
        id: ReservationId,
    }

    impl Story {
        fn new() -> Self {
            let mut chain = Chain::new();
            let deal = Deal::new(&chain, &key(1), &key(2));
            chain.ready_device(&deal);
            let offer = deal.reservation();
            let id = chain.book(&deal, &offer);
            Self { chain, deal, id }
        }

        fn known(&self) -> Vec<Reservation> {
            self.chain.state().reservations().map(|(_, known)| known.clone()).collect()
        }

        /// So long after it was made.
        fn at(&self, ms: u64) -> Timestamp {
            Timestamp(self.deal.order.issued_at.0 + ms)
        }

        fn pass_to(&mut self, ms: u64) {
            let now = self.chain.now();
            self.chain.advance(self.at(ms).since(now));
        }
    }

    #[test]
    fn a_call_is_answered_while_there_is_time_and_once() {
        let mut story = Story::new();
        let waits = |story: &Story, ms| to_answer(&story.known(), story.at(ms)).count();
        assert_eq!(waits(&story, 11 * MINUTE_MS), 0, "nobody called");
        story.pass_to(11 * MINUTE_MS);
        story.chain.acting(&key(1)).ok(Call::Demand { reservation: story.id });
        assert_eq!((waits(&story, 11 * MINUTE_MS), waits(&story, 12 * MINUTE_MS)), (1, 1));
        assert_eq!(waits(&story, 12 * MINUTE_MS + 1), 0, "it is too late");
        story.deal.advert.issued_at = story.chain.now();
        story.deal.advert.expires_at = story.chain.now().after(Millis(MINUTE_MS)).unwrap();
        let answer = story.deal.answer(story.id);
        story.chain.acting(&key(2)).ok(answer);
        assert_eq!(waits(&story, 11 * MINUTE_MS + 1), 0, "it is answered");
    }

    #[test]
    fn a_place_is_kept_from_a_minute_before_the_first_slot_to_the_end_of_the_last() {
        let story = Story::new();
        let kept = |ms| holder(&story.known(), story.at(ms));
        let client = Some(key(1).public());
        assert_eq!(kept(9 * MINUTE_MS - 1), None);
        assert_eq!([9 * MINUTE_MS, 10 * MINUTE_MS, 50 * MINUTE_MS - 1].map(kept), [client; 3]);
        assert_eq!(kept(50 * MINUTE_MS), None);
    }

    #[test]
    fn nothing_is_kept_for_a_slot_that_was_missed() {
        let mut story = Story::new();
        story.pass_to(11 * MINUTE_MS);
        story.chain.acting(&key(1)).ok(Call::Demand { reservation: story.id });
        let known = story.known();
        assert_eq!(holder(&known, story.at(12 * MINUTE_MS)), Some(key(1).public()));
        assert_eq!(holder(&known, story.at(12 * MINUTE_MS + 1)), None, "until the next slot");
        assert_eq!(known[0].slot_at(story.at(20 * MINUTE_MS)), Some(1));
        story.pass_to(13 * MINUTE_MS);
        story.chain.acting(&key(1)).ok(Call::Settle { reservation: story.id });
        let known = story.known();
        assert_eq!(known[0].slot_at(story.at(13 * MINUTE_MS)), None, "settled or not");
        assert_eq!(known[0].left_of(1), known[0].terms.slot_price());
        assert!(known[0].prepaid() > Credits::ZERO);
    }

    #[test]
    fn the_ledger_is_looked_at_often_where_a_call_may_come() {
        let story = Story::new();
        let look = |ms| next_look(&story.known(), Timestamp(0), story.at(ms));
        assert_eq!(look(0), LOOK_SOMETIMES);
        assert_eq!([9, 10, 30, 49].map(|minute| look(minute * MINUTE_MS)), [LOOK_OFTEN; 4]);
        assert_eq!(look(50 * MINUTE_MS), LOOK_SOMETIMES);
        assert_eq!(next_look(&[], story.at(5), story.at(5)), LOOK_OFTEN, "an offer may be booked");
        assert_eq!(next_look(&[], story.at(5), story.at(6)), LOOK_SELDOM);
    }

    #[test]
    fn no_challenger_gets_the_device_when_a_slot_is_near() {
        let mut chain = Chain::new();
        let deal = Deal::new(&chain, &key(1), &key(2));
        chain.ready_device(&deal);
        let mut offer = deal.reservation();
        offer.starts_at.0 += 60 * MINUTE_MS;
        let known = [Reservation::new(offer.clone())];
        let spoken = |before_ms: u64| is_promised_soon(&known, Timestamp(offer.starts_at.0 - before_ms));
        assert_eq!([SPOKEN_FOR_AHEAD.0 + 1, SPOKEN_FOR_AHEAD.0, 0].map(spoken), [false, true, true]);
        assert!(!is_promised_soon(&known, known[0].end()));
    }
}
