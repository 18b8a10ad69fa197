//! Jobs that end otherwise: silence, broken streams, refusals, expiry.

use super::pair::{NOW, Pair, buyer_setup, new_lane, provider_setup};
use crate::{
    job::{
        buyer::{Buyer, BuyerEnd, BuyerInput, NotStarted},
        effect::Effects,
        message::{ClientMessage, Open, ProviderMessage, RefusalCode},
        provider::{Provider, ProviderEnd, ProviderInput, ProviderSetup},
    },
    receipt::Cause,
    sample,
    session::terms::Terms,
    units::{Credits, Millis, Timestamp},
};

fn later(ms: u64) -> Timestamp {
    NOW.after(Millis(ms)).unwrap()
}

/// Runs until the buyer holds one chunk and has paid for the second.
fn after_one_chunk() -> Pair {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.pass_to_provider();
    pair.compute();
    while pair.pass_to_buyer() {}
    assert_eq!(pair.delivered.len(), 4);
    pair
}

#[test]
fn a_silent_provider_is_at_fault_and_costs_at_most_one_chunk() {
    let mut pair = after_one_chunk();
    pair.now = later(1_999);
    pair.tell_buyer(BuyerInput::Wake);
    // By a clock that was set back, say.
    assert_eq!(pair.buyer_outcome, None, "a wake before the deadline is no end");
    assert_eq!(pair.buyer_wake, Some(later(2_000)), "and not the last");
    pair.now = later(2_000);
    pair.tell_buyer(BuyerInput::Wake);
    let outcome = pair.buyer_outcome.clone().unwrap();
    assert_eq!((&outcome.end, outcome.end.cause()), (&BuyerEnd::Stalled, Some(Cause::ProviderFault)));
    assert_eq!(outcome.cost, pair.due(8));
    assert!(outcome.lane.unsettled);
    let again = buyer_setup(sample::terms(), outcome.lane, sample::request());
    let mut fx = Effects::default();
    assert_eq!(Buyer::start(NOW, again, &mut fx).err(), Some(NotStarted::LaneUnsettled));
    assert_eq!(fx.iter().count(), 0);
}

#[test]
fn who_stops_waits_for_the_receipt_and_for_nothing_else() {
    let mut before = Pair::new(sample::terms(), sample::request());
    before.tell_buyer(BuyerInput::Cancel);
    before.now = later(1_000);
    before.tell_buyer(BuyerInput::Wake);
    assert_eq!(before.buyer_outcome.map(|outcome| outcome.end), Some(BuyerEnd::Stalled));

    // Tokens that were on their way do not make the wait longer, and a wait that was shorter stays so.
    let mut within = Pair::new(sample::terms(), sample::request());
    within.pass_to_provider();
    within.compute();
    within.pass_to_buyer();
    within.tell_buyer(BuyerInput::Cancel);
    within.now = later(999);
    while within.pass_to_buyer() {}
    assert_eq!((within.delivered.len(), &within.buyer_outcome), (4, &None));
    within.now = later(1_000);
    within.tell_buyer(BuyerInput::Wake);
    assert_eq!(within.buyer_outcome.map(|outcome| outcome.end), Some(BuyerEnd::Stalled));

    let mut late = after_one_chunk();
    late.now = later(1_500);
    late.tell_buyer(BuyerInput::Cancel);
    late.now = later(2_000);
    late.tell_buyer(BuyerInput::Wake);
    assert_eq!(late.buyer_outcome.map(|outcome| outcome.end), Some(BuyerEnd::Stalled));
}

#[test]
fn a_provider_that_keeps_voucher_0_is_at_fault() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.now = later(10_000);
    pair.tell_buyer(BuyerInput::Wake);
    let outcome = pair.buyer_outcome.clone().unwrap();
    assert_eq!((outcome.end, outcome.cost), (BuyerEnd::Stalled, pair.due(4)));
}

#[test]
fn a_client_that_stops_paying_gets_a_receipt_for_what_was_released() {
    let mut pair = after_one_chunk();
    pair.to_provider.clear();
    pair.now = later(3_000);
    pair.tell_provider(ProviderInput::Wake);
    let receipt = pair.provider_disk.pending.clone().unwrap();
    assert_eq!((receipt.body.cause, receipt.body.output_tokens), (Cause::ClientFault, 4));
    assert!(pair.halted && pair.paid_on_disk() >= pair.due(4));
    pair.now = later(6_000);
    pair.tell_provider(ProviderInput::Wake);
    let outcome = pair.provider_outcome.unwrap();
    assert_eq!(outcome.end, ProviderEnd::Unsettled(Box::new(receipt)));
    assert!(outcome.lane.unsettled);
}

/// The voucher was only late: it crosses the receipt on the way, and both sides still settle exactly.
#[test]
fn a_late_voucher_crosses_the_receipt_without_harm() {
    let mut pair = after_one_chunk();
    pair.now = later(3_000);
    pair.tell_provider(ProviderInput::Wake);
    pair.run_clean();
    assert!(matches!(pair.buyer_outcome.as_ref().unwrap().end, BuyerEnd::Settled(_)));
    assert!(matches!(pair.provider_outcome.as_ref().unwrap().end, ProviderEnd::Settled(_)));
    assert_eq!(pair.paid_on_disk(), pair.due(4));
}

#[test]
fn a_broken_stream_leaves_the_provider_paid_for_what_it_released() {
    let mut pair = after_one_chunk();
    pair.tell_provider(ProviderInput::Disconnected);
    pair.tell_buyer(BuyerInput::Disconnected);
    let receipt = pair.provider_disk.pending.clone().unwrap();
    assert_eq!((receipt.body.cause, receipt.body.output_tokens), (Cause::Network, 4));
    assert_eq!(pair.paid_on_disk(), pair.due(4));
    let outcome = pair.buyer_outcome.clone().unwrap();
    assert_eq!((outcome.end.cause(), outcome.cost), (Some(Cause::Network), pair.due(8)));
    assert!(pair.halted);
}

#[test]
fn an_engine_that_writes_more_than_was_granted_stops_the_job() {
    let mut pair = after_one_chunk();
    pair.tell_provider(super::pair::generated(4, 1, false));
    let Some(ProviderMessage::Fault { receipt, detail }) = pair.to_buyer.pop_back() else {
        panic!("a fault is told")
    };
    assert_eq!((receipt.body.cause, receipt.body.reference.0), (Cause::ProviderFault, 0));
    assert_eq!(detail, "the engine gave 1 tokens, 0 were paid for");
}

#[test]
fn no_voucher_is_signed_after_the_session_ended() {
    let terms = Terms { use_until: later(50), ..sample::terms() };
    let mut pair = Pair::new(terms.clone(), sample::request());
    pair.now = later(49);
    pair.pass_to_provider();
    pair.compute();
    pair.now = later(50);
    while pair.pass_to_buyer() {}
    assert_eq!(pair.to_provider, [ClientMessage::Cancel]);
    let mut fx = Effects::default();
    let over = buyer_setup(terms, new_lane(), sample::request());
    assert_eq!(Buyer::start(later(50), over, &mut fx).err(), Some(NotStarted::SessionOver));
}

#[test]
fn a_voucher_that_arrives_after_the_session_ended_releases_nothing() {
    let terms = Terms { use_until: later(50), ..sample::terms() };
    let mut pair = Pair::new(terms, sample::request());
    pair.pass_to_provider();
    pair.compute();
    while pair.pass_to_buyer() {}
    assert!(matches!(pair.to_provider.front(), Some(ClientMessage::Voucher(_))), "it was sent in time");
    pair.now = later(50);
    pair.pass_to_provider();
    assert_eq!((pair.granted, pair.halted), (4, true));
    pair.run_clean();
    assert_eq!(pair.paid_on_disk(), pair.due(4));
}

fn open_frame() -> Open {
    let pair = Pair::new(sample::terms(), sample::request());
    match pair.to_provider.into_iter().next() {
        Some(ClientMessage::Open(open)) => *open,
        other => panic!("not an open: {other:?}"),
    }
}

#[test]
fn refusals_are_named_and_keep_no_voucher() {
    let unsettled = || {
        let mut lane = new_lane();
        lane.unsettled = true;
        lane
    };
    let cap = |amount| ProviderSetup { lane_cap: amount, ..provider_setup(new_lane()) };
    let cases = [
        (provider_setup(new_lane()), 3_600_000, RefusalCode::SessionOver),
        (provider_setup(unsettled()), 0, RefusalCode::LaneUnsettled),
        (ProviderSetup { context: 14, ..provider_setup(new_lane()) }, 0, RefusalCode::ContextTooShort),
        (ProviderSetup { vocabulary: 5, ..provider_setup(new_lane()) }, 0, RefusalCode::TokenOutOfRange),
        (cap(Credits(sample::terms().job_amount(5, 10).unwrap().0 - 1)), 0, RefusalCode::HoldExhausted),
    ];
    for (setup, ms, expected) in cases {
        let mut fx = Effects::default();
        let before = setup.lane.clone();
        let provider = Provider::open(later(ms), setup, open_frame(), &mut fx).unwrap();
        assert!(provider.is_over());
        assert_eq!(provider.lane(), &before, "{}", expected.name());
        let told = fx.take().any(|effect| {
            matches!(effect, crate::job::provider::ProviderEffect::Send(ProviderMessage::Refused { code, .. })
                if code == expected)
        });
        assert!(told, "{}", expected.name());
    }
}

#[test]
fn a_refused_job_costs_nothing_and_frees_the_lane() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    let refused = ProviderMessage::Refused { code: RefusalCode::Busy, detail: "2 of 2 slots".into() };
    pair.tell_buyer(BuyerInput::Message(refused));
    let outcome = pair.buyer_outcome.clone().unwrap();
    assert_eq!((outcome.cost.0, outcome.end.cause()), (0, None));
    assert!(!pair.buyer_disk.unsettled);
    let mut next = Pair::on(sample::terms(), sample::request(), pair.buyer_disk, new_lane());
    next.run_clean();
    assert_eq!(next.paid_on_disk(), next.due(10), "the next voucher has a higher sequence and is taken");
}
