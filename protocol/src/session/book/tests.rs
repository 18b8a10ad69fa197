use super::*;
use crate::{arbitrary::key, sample};

const PROMPT: u32 = 5;

fn cost(tokens: u32) -> Credits {
    sample::terms().job_amount(PROMPT, tokens).unwrap()
}

fn book(hold: Credits) -> SessionBook {
    SessionBook::new(sample::terms(), hold, [])
}

fn with_voucher(mut lane: LaneLedger, amount: Credits) -> LaneLedger {
    let sequence = lane.next_sequence().unwrap();
    let voucher = Voucher { lane: lane.lane, sequence, amount, ..sample::voucher() };
    lane.note_voucher(key(sample::CLIENT).sign(voucher));
    lane
}

#[test]
fn concurrent_jobs_never_reserve_more_than_the_hold() {
    let hold = Credits(cost(10).0 * 2 + cost(1).0);
    let mut book = book(hold);
    let first = book.take_free(PROMPT, 10).unwrap();
    let second = book.take_free(PROMPT, 10).unwrap();
    assert_eq!((first.lane.lane, second.lane.lane, first.cap), (0, 1, cost(10)));
    let refused = book.take_free(PROMPT, 10);
    assert_eq!(refused, Err(NoLane::HoldExhausted { needed: cost(10), left: cost(1) }));
    assert_eq!((book.running(), book.remaining()), (2, cost(1)));
    book.give_back(first.lane);
    assert_eq!(book.take_free(PROMPT, 10).unwrap().lane.lane, 0, "the lane and its reserve are free again");
}

#[test]
fn a_top_up_raises_the_hold_and_nothing_lowers_it() {
    let mut book = book(cost(1));
    book.raise_hold(cost(10));
    book.raise_hold(Credits(0));
    assert_eq!(book.hold(), cost(10));
}

#[test]
fn a_lane_that_was_not_settled_takes_no_job_and_stays_owed() {
    let mut book = book(Credits(cost(10).0 * 3));
    let taken = book.take_free(PROMPT, 10).unwrap();
    book.give_back(with_voucher(taken.lane, cost(8)));
    assert_eq!(book.take_free(PROMPT, 10).unwrap().lane.lane, 1);
    assert_eq!(book.remaining(), Credits(cost(10).0 * 2 - cost(8).0));
    assert_eq!(book.vouchers().map(|voucher| voucher.body.amount).collect::<Vec<_>>(), [cost(8)]);
}

#[test]
fn all_lanes_taken_is_said() {
    let mut book = book(Credits(u64::MAX));
    for _ in 0..LANES_MAX {
        book.take_free(PROMPT, 1).unwrap();
    }
    assert_eq!(book.take_free(PROMPT, 1), Err(NoLane::AllTaken));
}

#[test]
fn a_provider_gives_a_lane_to_one_job_at_a_time_and_caps_it_by_the_hold() {
    let mut book = book(cost(10));
    let taken = book.take(3, PROMPT, 4).unwrap();
    assert_eq!((taken.lane.lane, taken.cap), (3, cost(10)));
    assert_eq!(book.take(3, PROMPT, 4), Err(NoLane::Busy { lane: 3 }));
    assert_eq!(book.take(16, PROMPT, 4), Err(NoLane::OutOfRange { lane: 16 }));
    let other = book.take(4, PROMPT, 10).unwrap();
    assert_eq!(other.cap, Credits(cost(10).0 - cost(4).0), "what the first job reserved is not there twice");
}

#[test]
fn a_restart_takes_up_its_own_lanes_only() {
    let own = with_voucher(LaneLedger::new(sample::terms().id(), 2), cost(4));
    let foreign = LaneLedger::new(SessionId([0; 32]), 1);
    let book = SessionBook::new(sample::terms(), cost(10), [own, foreign]);
    assert_eq!(book.remaining(), Credits(cost(10).0 - cost(4).0));
    assert_eq!(book.vouchers().count(), 1);
}
