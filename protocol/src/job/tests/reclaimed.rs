//! Spot jobs whose slot is wanted back: active, reclaiming, closed.

use super::pair::{NOW, Pair};
use crate::{
    job::{
        buyer::{BuyerEnd, BuyerInput},
        message::ProviderMessage,
        misbehavior::Misbehavior,
        provider::ProviderInput,
    },
    limits::SPOT_NOTICE_MS_MIN,
    market::tier::Tier,
    receipt::Cause,
    sample,
    session::terms::Terms,
    units::{Millis, Timestamp},
};

const NOTICE: Millis = Millis(2_000);

fn later(ms: u64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

fn spot() -> Terms {
    Terms { tier: Tier::Spot, notice: NOTICE, ..sample::terms() }
}

/// A job in a session of these terms of which one chunk was written, delivered and paid for, and the next is due.
fn after_one_chunk(terms: Terms) -> Pair {
    let mut pair = Pair::new(terms, sample::request());
    pair.pass_to_provider();
    pair.compute();
    while pair.pass_to_buyer() {}
    pair.pass_to_provider();
    pair
}

fn reclaimed(pair: &Pair) -> Cause {
    match &pair.buyer_outcome.as_ref().expect("it ended").end {
        BuyerEnd::Settled(receipt) => receipt.body.cause,
        other => panic!("not settled: {other:?}"),
    }
}

#[test]
fn a_job_goes_on_through_its_notice_and_is_paid_for_all_of_it() {
    let mut pair = after_one_chunk(spot());
    pair.tell_provider(ProviderInput::Reclaim { notice: NOTICE });
    assert_eq!(pair.to_buyer.back(), Some(&ProviderMessage::Reclaiming { within: NOTICE }));
    while pair.pass_to_buyer() {}
    pair.now = later(NOTICE.0 - 1);
    pair.tell_provider(ProviderInput::Wake);
    pair.compute();
    while pair.pass_to_buyer() {}
    assert_eq!((pair.delivered.len(), pair.buyer_outcome.is_none()), (8, true), "it went on");
    pair.now = later(NOTICE.0);
    pair.tell_provider(ProviderInput::Wake);
    pair.run_clean();
    assert_eq!(reclaimed(&pair), Cause::Reclaimed);
    assert_eq!(pair.paid_on_disk(), pair.due(8));
    assert!(pair.buyer.had_notice() && pair.halted);
}

#[test]
fn a_job_that_ends_within_its_notice_was_delivered() {
    let mut pair = after_one_chunk(spot());
    pair.tell_provider(ProviderInput::Reclaim { notice: NOTICE });
    pair.run_clean();
    assert_eq!((reclaimed(&pair), pair.delivered.len()), (Cause::Delivered, 10));
    pair.now = later(NOTICE.0);
    pair.tell_provider(ProviderInput::Wake);
    assert_eq!(pair.paid_on_disk(), pair.due(10));
}

/// The provider waits for a voucher while the notice runs: whichever is over first ends the job, by its own cause.
#[test]
fn a_client_that_does_not_pay_is_not_reclaimed() {
    let mut pair = after_one_chunk(spot());
    pair.compute();
    while pair.pass_to_buyer() {}
    pair.to_provider.clear();
    pair.now = later(2_500);
    pair.tell_provider(ProviderInput::Reclaim { notice: NOTICE });
    pair.now = later(3_000);
    pair.tell_provider(ProviderInput::Wake);
    let receipt = pair.provider_disk.pending.as_ref().expect("it answers for what it sent");
    assert_eq!(receipt.body.cause, Cause::ClientFault);
}

#[test]
fn a_second_notice_puts_nothing_off_and_a_device_that_goes_ends_it_at_once() {
    let mut pair = after_one_chunk(spot());
    pair.tell_provider(ProviderInput::Reclaim { notice: NOTICE });
    let told = pair.to_buyer.len();
    pair.now = later(500);
    pair.tell_provider(ProviderInput::Reclaim { notice: NOTICE });
    assert_eq!(pair.to_buyer.len(), told);
    pair.tell_provider(ProviderInput::Reclaim { notice: Millis(0) });
    pair.run_clean();
    assert_eq!(reclaimed(&pair), Cause::Reclaimed);
    assert!(!pair.buyer.had_notice(), "a quarter of what was promised");
}

#[test]
fn whoever_is_reclaimed_without_the_notice_of_its_terms_had_none() {
    let ended = |terms: Terms, notice: Millis, after: u64| {
        let mut pair = after_one_chunk(terms);
        pair.tell_provider(ProviderInput::Reclaim { notice });
        while pair.pass_to_buyer() {}
        pair.now = later(after);
        pair.tell_provider(ProviderInput::Wake);
        pair.run_clean();
        assert_eq!(reclaimed(&pair), Cause::Reclaimed);
        pair.buyer.had_notice()
    };
    let short = Millis(SPOT_NOTICE_MS_MIN);
    assert!(ended(spot(), NOTICE, NOTICE.0));
    assert!(!ended(spot(), short, NOTICE.0), "it was told of less than was promised");
    assert!(!ended(spot(), Millis(0), 0) && !ended(sample::terms(), Millis(0), 0), "it was not told");
}

#[test]
fn only_a_spot_job_is_reclaimed_with_notice_and_only_once() {
    let tell = |terms: Terms, times: usize| {
        let mut pair = after_one_chunk(terms);
        for _ in 0..times {
            pair.tell_buyer(BuyerInput::Message(ProviderMessage::Reclaiming { within: NOTICE }));
        }
        pair.misdeeds
    };
    let misdeed = [Misbehavior::OutOfPlace { message: "reclaiming" }];
    assert_eq!(tell(spot(), 1), []);
    assert_eq!(tell(spot(), 2), misdeed);
    assert_eq!(tell(sample::terms(), 1), misdeed);
}
