//! Whatever order things happen in, whatever is lost, doubled or swapped: the provider never computes or sends what is
//! not paid for, and the buyer never promises more than one chunk beyond what it holds.

use proptest::{collection::vec, prelude::*};

use super::pair::Pair;
use crate::{
    job::{
        buyer::{BuyerEnd, BuyerInput},
        provider::{ProviderEnd, ProviderInput},
        request::Request,
    },
    sample,
    units::Millis,
};

#[derive(Clone, Copy, Debug)]
enum Event {
    ToProvider,
    ToBuyer,
    Compute(u32),
    LoseToProvider,
    LoseToBuyer,
    DoubleToProvider,
    DoubleToBuyer,
    SwapToProvider,
    SwapToBuyer,
    Cancel,
    Pass(u64),
    BreakBuyer,
    BreakProvider,
    EngineFails,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => Just(Event::ToProvider),
        20 => Just(Event::ToBuyer),
        12 => (1..=4u32).prop_map(Event::Compute),
        1 => Just(Event::LoseToProvider),
        1 => Just(Event::LoseToBuyer),
        1 => Just(Event::DoubleToProvider),
        1 => Just(Event::DoubleToBuyer),
        1 => Just(Event::SwapToProvider),
        1 => Just(Event::SwapToBuyer),
        1 => Just(Event::Cancel),
        2 => (0..4_000u64).prop_map(Event::Pass),
        1 => Just(Event::BreakBuyer),
        1 => Just(Event::BreakProvider),
        1 => Just(Event::EngineFails),
    ];
    vec(event, 0..60)
}

fn play(pair: &mut Pair, event: Event) {
    match event {
        Event::ToProvider => drop(pair.pass_to_provider()),
        Event::ToBuyer => drop(pair.pass_to_buyer()),
        Event::Compute(batch) => {
            pair.batch = batch;
            pair.compute();
        }
        Event::LoseToProvider => drop(pair.to_provider.pop_front()),
        Event::LoseToBuyer => drop(pair.to_buyer.pop_front()),
        Event::DoubleToProvider => pair.to_provider.extend(pair.to_provider.front().cloned()),
        Event::DoubleToBuyer => pair.to_buyer.extend(pair.to_buyer.front().cloned()),
        Event::SwapToProvider => pair.to_provider.rotate_left(1.min(pair.to_provider.len())),
        Event::SwapToBuyer => pair.to_buyer.rotate_left(1.min(pair.to_buyer.len())),
        Event::Cancel => pair.tell_buyer(BuyerInput::Cancel),
        Event::Pass(ms) => {
            pair.now = pair.now.after(Millis(ms)).unwrap();
            pair.tell_buyer(BuyerInput::Wake);
            pair.tell_provider(ProviderInput::Wake);
        }
        Event::BreakBuyer => pair.tell_buyer(BuyerInput::Disconnected),
        Event::BreakProvider => pair.tell_provider(ProviderInput::Disconnected),
        Event::EngineFails => pair.tell_provider(ProviderInput::InferenceFailed { detail: String::new() }),
    }
}

fn check(pair: &Pair, max_tokens: u32) -> Result<(), TestCaseError> {
    let chunk = u32::from(sample::terms().chunk_tokens);
    let held = u32::try_from(pair.delivered.len()).unwrap();
    let promised = pair.buyer_disk.committed;
    prop_assert!(promised <= pair.due((held + chunk).min(max_tokens)), "the buyer risks one chunk at most");
    prop_assert!(
        pair.provider_disk.committed <= promised,
        "the provider holds nothing that was not promised"
    );
    prop_assert!(pair.written <= pair.granted);
    prop_assert!(pair.buyer.is_over() || pair.buyer_wake.is_some(), "a buyer that waits is woken");
    let Some(outcome) = &pair.provider_outcome else { return Ok(()) };
    let released = outcome.output_tokens;
    match &outcome.end {
        ProviderEnd::Settled(receipt) => {
            let reference = pair.provider_disk.reference;
            prop_assert_eq!(reference, receipt.body.reference);
            prop_assert_eq!(
                Some(pair.paid_on_disk()),
                sample::terms().amount(reference),
                "exactly the receipt"
            );
        }
        ProviderEnd::Refused(_) => prop_assert_eq!(pair.provider_disk.newest.as_ref(), None),
        ProviderEnd::Unsettled(_) | ProviderEnd::Cheated { .. } => {
            prop_assert!(pair.paid_on_disk() >= pair.due(released), "what was released is paid");
            let most = (released + chunk).min(max_tokens);
            prop_assert!(pair.paid_on_disk() <= pair.due(most), "and at most one chunk more");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn nobody_is_robbed_in_disorder(events in events(), max_tokens in 1..14u32) {
        let mut pair = Pair::new(sample::terms(), Request { max_tokens, ..sample::request() });
        for event in events {
            play(&mut pair, event);
            check(&pair, max_tokens)?;
        }
        // Whatever was left is passed on, then everyone's patience ends: nobody waits for ever.
        pair.run();
        for _ in 0..3 {
            play(&mut pair, Event::Pass(20_000));
            pair.run();
        }
        check(&pair, max_tokens)?;
        prop_assert!(pair.buyer.is_over());
        prop_assert!(pair.provider.as_ref().is_none_or(|provider| provider.is_over()));
        if let Some(BuyerEnd::Settled(receipt)) = pair.buyer_outcome.as_ref().map(|outcome| &outcome.end) {
            prop_assert_eq!(receipt.body.output_tokens as usize, pair.delivered.len());
        }
    }
}
