use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    arbitrary::key,
    sample,
    session::voucher::Voucher,
    units::{GpuNs, PricePerHour},
};

const IDLE: Millis = Millis(1_000);
const HOUR: u64 = 3_600_000;
const NOW: Timestamp = sample::NOW;

/// Dear enough that every token costs something, and usable for an hour.
fn terms() -> Terms {
    let use_until = Timestamp(NOW.0 + HOUR);
    let collect_until = Timestamp(use_until.0 + 60_000);
    Terms { price: PricePerHour(1_000_000_000_000), use_until, collect_until, ..sample::terms() }
}

fn cost(prompt: u32, output: u32) -> Credits {
    terms().job_amount(prompt, output).expect("small")
}

fn opened(hold: Credits) -> WarmSession {
    WarmSession::new(terms(), hold, IDLE, NOW)
}

fn later(ms: u64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

/// The lane after a job that read `prompt` and wrote `output`, paid exactly.
fn paid(mut lane: LaneLedger, prompt: u32, output: u32) -> LaneLedger {
    let time = terms().job_time(prompt, output).expect("small");
    lane.reference = GpuNs(lane.reference.0 + time.0);
    let amount = terms().amount(lane.reference).expect("small");
    let sequence = lane.next_sequence().expect("few");
    let voucher = Voucher { lane: lane.lane, sequence, amount, ..sample::voucher() };
    lane.settle(key(sample::CLIENT).sign(voucher));
    lane
}

#[test]
fn an_idle_session_is_closed_once_and_a_busy_one_is_not() {
    let mut warm = opened(cost(5, 40));
    let taken = warm.take(5, 10, later(10)).expect("it fits");
    assert_eq!((warm.look_at(), warm.close_due(later(HOUR))), (None, false), "a job runs");
    warm.give_back(paid(taken.lane, 5, 3), later(500));
    assert_eq!(warm.look_at(), Some(later(1_500)));
    assert!(!warm.close_due(later(1_499)) && warm.close_due(later(1_500)));
    assert!(!warm.close_due(later(9_000)), "said once");
    assert_eq!(warm.take(5, 10, later(1_501)), Err(NotTaken::Leaving));
    assert_eq!(warm.owed(), cost(5, 3), "all else comes back");
}

#[test]
fn a_session_takes_no_job_near_its_end_and_none_that_would_outlast_it() {
    let over = HOUR - HOUR / RENEW_PART;
    let mut warm = WarmSession::new(terms(), Credits(u64::MAX), Millis(HOUR), NOW);
    let taken = warm.take(5, 10, later(over - 1)).expect("in time");
    assert_eq!(warm.take(5, 10, later(over)), Err(NotTaken::Over));
    warm.give_back(taken.lane, later(over));
    assert!(warm.close_due(later(over)), "who needs one matches anew");
    let mut other = WarmSession::new(terms(), Credits(u64::MAX), Millis(HOUR), NOW);
    assert_eq!(other.take(500_000, 500_000, NOW), Err(NotTaken::Over), "it takes longer than an hour");
}

#[test]
fn a_lane_that_was_left_unsettled_ends_the_session_behind_its_last_job() {
    let mut warm = opened(cost(5, 100));
    let [broken, other] = [0, 1].map(|_| warm.take(5, 10, NOW).expect("two lanes"));
    let mut lane = paid(broken.lane, 5, 10);
    lane.unsettled = true;
    warm.give_back(lane, NOW);
    assert!(warm.is_leaving() && warm.is_busy());
    assert_eq!((warm.top_up_due(Credits(9), NOW), warm.close_due(NOW)), (None, false));
    warm.give_back(paid(other.lane, 5, 10), NOW);
    assert!(warm.close_due(NOW));
}

#[test]
fn a_top_up_that_failed_is_tried_again_later_and_never_twice_at_once() {
    let mut warm = opened(cost(5, 10));
    let taken = warm.take(5, 10, NOW).expect("it fits");
    let wanted = Credits((cost(5, 10).0 + 1) * AHEAD);
    assert_eq!(warm.top_up_due(Credits(u64::MAX), NOW), Some(wanted));
    assert_eq!(warm.top_up_due(Credits(u64::MAX), NOW), None, "it is on its way");
    warm.did_not_rise(NOW);
    assert_eq!(warm.top_up_due(Credits(u64::MAX), later(TOP_UP_AGAIN.0 - 1)), None);
    assert_eq!(warm.top_up_due(Credits(7), later(TOP_UP_AGAIN.0)), Some(Credits(7)), "no more than is left");
    warm.rose(Credits(7));
    assert_eq!(warm.hold(), Credits(cost(5, 10).0 + 7));
    assert_eq!(warm.top_up_due(Credits::ZERO, later(TOP_UP_AGAIN.0)), None, "the order is used up");
    warm.give_back(taken.lane, NOW);
}

/// Jobs one after the other: prompt, the most to write, what is written of it in percent.
fn jobs() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    vec((1_u32..400, 1_u32..200, 0_u32..=100), 1..60)
}

proptest! {
    // Each job is a signature.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_held_stays_within_the_order_and_covers_what_is_promised(jobs in jobs(), cap in 1_u64..5_000_000) {
        let mut left = Credits(cap);
        let (prompt, output, _) = jobs[0];
        let Some(hold) = first_hold(cost(prompt, output), left) else {
            prop_assert!(cost(prompt, output) > left);
            return Ok(());
        };
        left = left.saturating_sub(hold);
        let mut warm = opened(hold);
        for (prompt, output, percent) in jobs {
            if let Some(amount) = warm.top_up_due(left, NOW) {
                prop_assert!(amount <= left);
                left = left.saturating_sub(amount);
                warm.rose(amount);
            }
            let Ok(taken) = warm.take(prompt, output, NOW) else { continue };
            prop_assert!(warm.owed() <= warm.hold() && warm.hold().0 + left.0 == cap);
            warm.give_back(paid(taken.lane, prompt, output * percent / 100), NOW);
            prop_assert!(warm.owed() <= warm.hold());
        }
    }

    #[test]
    fn like_jobs_start_at_once_with_few_top_ups_and_no_more_is_held_than_twice_the_use(
        (prompt, output) in (1_u32..400, 1_u32..200), percent in 0_u32..=100, count in 1_usize..300,
    ) {
        let longest = cost(prompt, output);
        let mut warm = opened(first_hold(longest, Credits(u64::MAX)).expect("no limit"));
        let mut top_ups = 0_u32;
        for _ in 0..count {
            // It is asked for while the job before runs, so that this one finds what it needs.
            let taken = warm.take(prompt, output, NOW).expect("there is enough");
            if let Some(amount) = warm.top_up_due(Credits(u64::MAX), NOW) {
                top_ups += 1;
                warm.rose(amount);
            }
            warm.give_back(paid(taken.lane, prompt, output * percent / 100), NOW);
            let few = Credits(longest.0 * (AHEAD + 2));
            prop_assert!(warm.hold().0 <= 2 * (warm.owed().0 + few.0), "{} for {}", warm.hold(), warm.owed());
        }
        prop_assert!(top_ups <= 2 + count.ilog2(), "{top_ups} for {count} jobs");
    }

    #[test]
    fn a_top_up_on_the_path_makes_room_for_the_very_job(
        first in (1_u32..400, 1_u32..200), second in (1_u32..400, 1_u32..200),
    ) {
        let mut warm = opened(cost(first.0, first.1).max(Credits(1)));
        let taken = warm.take(first.0, first.1, NOW).expect("it covers the first");
        let needed = cost(second.0, second.1);
        if let Err(NotTaken::Lane(NoLane::HoldExhausted { .. })) = warm.take(second.0, second.1, NOW) {
            let amount = warm.rise_for(needed, Credits(u64::MAX)).expect("less is free");
            prop_assert_eq!(warm.rise_for(needed, Credits(u64::MAX)), None, "one at a time");
            warm.rose(amount);
            prop_assert!(warm.take(second.0, second.1, NOW).is_ok());
        }
        warm.give_back(taken.lane, NOW);
    }
}
