use std::time::{Duration, Instant};

use gridhour_protocol::{
    limits::{RUNGS_MAX, SLOTS_MAX},
    market::reservation::{ReservationOffer, WHOLE},
    units::{GpuNs, Millis, PricePerHour},
};
use proptest::prelude::*;

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
    assert_eq!(settled(&mut reservation, at(13)), payout(0, 3 * PRICE - 300, 500), "and all slots after it");
    assert_eq!((reservation.is_live(), reservation.missed.as_slice()), (false, [0, 1].as_slice()));
    assert!(!reservation.overlaps(at(0), at(99)), "no capacity stays reserved");
    assert_eq!(reservation.unused(1, Credits(300)), payout(0, 300, 0), "what sessions hold of it goes back");
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

/// What settling means, slot by slot.
fn one_by_one(reservation: &mut Reservation, now: Timestamp) -> Payout {
    let mut paid = Payout::default();
    while reservation.is_due(now) {
        let (bond, left) = (reservation.bond(), reservation.left_of_slot());
        let (slot, missed) = (reservation.settled, reservation.missed.len());
        let mut step = if reservation.is_missed(now) {
            reservation.missed.push(slot);
            Payout { client: left, burned: reservation.terms.penalty(missed), ..Payout::default() }
        } else {
            let provider = reservation.terms.standby_of(left);
            Payout { provider, client: left.saturating_sub(provider), burned: Credits::ZERO }
        };
        if reservation.missed.len() >= reservation.terms.ladder.len() {
            step.client = reservation.prepaid();
            reservation.slots = slot + 1;
        }
        (reservation.settled, reservation.drawn, reservation.demand) = (slot + 1, Credits::ZERO, None);
        step.provider.0 += bond.0 - reservation.bond().0 - step.burned.0;
        paid = paid.and(step);
    }
    paid
}

/// What giving up means, slot by slot.
fn given_one_by_one(reservation: &mut Reservation, now: Timestamp) -> Option<Payout> {
    let held = reservation.total().expect("it fits");
    let last = now.after(reservation.terms.notice)?;
    let begins_later = |slot: &u16| reservation.terms.start_of(*slot) > last;
    let given = (reservation.settled..reservation.slots).filter(begins_later).count();
    let client = Credits(reservation.terms.slot_price().0 * given as u64);
    reservation.slots -= u16::try_from(given).expect("no more than there are");
    let rest = reservation.total().expect("it fits");
    let provider = Credits(held.0 - rest.0 - client.0);
    (given > 0).then_some(Payout { provider, client, burned: Credits::ZERO })
}

prop_compose! {
    fn terms()(
        slots in 1..=SLOTS_MAX,
        capacity in 1_000_000_000..600_000_000_000_u64,
        price in 10_000..10_000_000_u64,
        standby in 0..=WHOLE,
        notice in 0..40_u64,
        mut ladder in prop::collection::vec(1..2_000_u16, 1..=RUNGS_MAX),
    ) -> ReservationOffer {
        ladder.sort_unstable();
        ReservationOffer {
            slots,
            capacity: GpuNs(capacity),
            price: PricePerHour(price),
            standby,
            notice: Millis(notice * MINUTE_MS),
            ladder,
            ..reservation().terms
        }
    }
}

prop_compose! {
    /// At any place of its life, and a moment within two hours of that place.
    fn lived()(terms in terms())(
        settled in 0..terms.slots,
        drawn in 0..=terms.slot_price().0,
        called in prop::option::of((0..20_u64, any::<bool>())),
        missed in prop::collection::btree_set(0..terms.slots, 0..terms.ladder.len()),
        ms in 0..7_200_000_u64,
        terms in Just(terms),
    ) -> (Reservation, Timestamp) {
        let start = terms.start_of(settled);
        let demand = called.map(|(minutes, answered)| {
            Demand { answer_by: Timestamp(start.0 + minutes * MINUTE_MS), answered }
        });
        let missed = missed.into_iter().filter(|slot| *slot < settled).collect();
        let now = Timestamp((start.0 + ms).saturating_sub(3_600_000));
        let known = Reservation { settled, missed, ..Reservation::new(terms) };
        let begun = Reservation { drawn: Credits(drawn), demand, ..known.clone() };
        // Nothing is drawn of a slot, and none called for, before it begins.
        (if now < start { known } else { begun }, now)
    }
}

proptest! {
    #[test]
    fn settling_at_once_is_settling_slot_by_slot((reservation, now) in lived(), much_later in any::<bool>()) {
        let now = if much_later { reservation.end() } else { now };
        let (mut at_once, mut by_slot) = (reservation.clone(), reservation);
        prop_assert_eq!(settled(&mut at_once, now), one_by_one(&mut by_slot, now));
        prop_assert_eq!(at_once, by_slot);
    }

    #[test]
    fn giving_up_at_once_is_giving_up_slot_by_slot((reservation, now) in lived()) {
        let (mut at_once, mut by_slot) = (reservation.clone(), reservation);
        at_once.settle(now);
        by_slot.settle(now);
        prop_assert_eq!(at_once.give_up(now), given_one_by_one(&mut by_slot, now));
        prop_assert_eq!(at_once, by_slot);
    }
}

/// How long a thousand reservations of so many slots take to be settled at their end; the shortest of three times.
#[allow(clippy::disallowed_methods, reason = "a test may look at the clock to tell how long something took")]
fn settling(slots: u16) -> Duration {
    let terms = ReservationOffer { slots, ladder: vec![100; RUNGS_MAX], ..reservation().terms };
    let one = Reservation::new(terms);
    let runs = (0..3).map(|_| {
        let mut all = vec![one.clone(); 1_000];
        let start = Instant::now();
        all.iter_mut().for_each(|one| assert_ne!(one.settle(one.end()), Payout::default()));
        start.elapsed()
    });
    runs.min().expect("three runs")
}

/// Whoever asks is charged for three records, however many slots have ended.
#[test]
fn many_slots_are_settled_as_soon_as_a_few() {
    let [few, many] = [2, SLOTS_MAX].map(settling);
    assert!(many < 10 * few, "{many:?} for a thousand times {SLOTS_MAX} slots, {few:?} for two");
}
