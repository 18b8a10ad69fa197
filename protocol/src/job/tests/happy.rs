//! Jobs between honest sides.

use proptest::prelude::*;

use super::pair::{NOW, Pair, logprobs_of, new_lane, token};
use crate::{
    job::{
        buyer::{BuyerEnd, BuyerOutcome},
        logprobs::Logprobs,
        provider::ProviderEnd,
        request::{OutputChain, Request},
    },
    merkle,
    receipt::{Cause, ClockSource, Receipt},
    sample,
    session::{lane::LaneLedger, terms::Terms},
    signed::Signed,
    wire::{decode, encode},
};

fn settled(outcome: Option<BuyerOutcome>) -> Signed<Receipt> {
    match outcome.map(|outcome| outcome.end) {
        Some(BuyerEnd::Settled(receipt)) => *receipt,
        other => panic!("not settled: {other:?}"),
    }
}

#[test]
fn both_sides_end_with_the_same_lane_and_the_exact_amount() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.run_clean();
    assert_eq!(pair.delivered, (0..10).map(token).collect::<Vec<_>>());
    let receipt = settled(pair.buyer_outcome.take());
    assert_eq!(receipt.body.cause, Cause::Delivered);
    assert_eq!(receipt.body.output, OutputChain::of(&pair.buyer.request().digest(), &pair.delivered, &[]));
    assert_eq!(receipt.body.reference, sample::terms().job_time(5, 10).unwrap());
    assert_eq!(receipt.body.measured_by, ClockSource::DeviceTimestamps, "as the engine said");
    let end = pair.provider_outcome.take().unwrap().end;
    assert_eq!(end, ProviderEnd::Settled(Box::new(receipt.clone())));
    assert_eq!(pair.buyer_disk, pair.provider_disk);
    assert_eq!(pair.paid_on_disk(), sample::terms().job_amount(5, 10).unwrap());
    let root = merkle::root(&[merkle::leaf_hash(&receipt.id().0)]);
    assert_eq!(pair.buyer_disk.newest.as_ref().unwrap().body.receipts_root, root);
}

#[test]
fn jobs_of_one_lane_add_up_with_one_rounding() {
    let (mut buyer, mut provider) = (new_lane(), new_lane());
    let mut time = 0;
    let mut previous = buyer.last_receipt;
    for tokens in [1, 10, 3] {
        let request = Request { max_tokens: tokens, ..sample::request() };
        let mut pair = Pair::on(sample::terms(), request, buyer, provider);
        pair.run_clean();
        let receipt = settled(pair.buyer_outcome.take());
        assert_eq!(receipt.body.previous, previous);
        previous = receipt.id();
        time += sample::terms().job_time(5, tokens).unwrap().0;
        assert_eq!(pair.provider_disk.reference.0, time);
        let due = sample::terms().amount(pair.provider_disk.reference).unwrap();
        assert_eq!(pair.paid_on_disk(), due);
        // What a restart reads back is what was written.
        let restart = |lane: &LaneLedger| decode::<LaneLedger>(&encode(lane)).unwrap();
        (buyer, provider) = (restart(&pair.buyer_disk), restart(&pair.provider_disk));
    }
    assert_eq!(buyer.next_index(), 3);
}

#[test]
fn a_job_of_one_token_costs_its_prefill_and_its_token() {
    let mut pair = Pair::new(sample::terms(), Request { max_tokens: 1, ..sample::request() });
    pair.run_clean();
    let cost = pair.buyer_outcome.unwrap().cost;
    let prefill = sample::RATES.prefill.time(sample::WORK.prefill(5).unwrap()).unwrap();
    let token = sample::RATES.decode.time(sample::WORK.decode(5, 1).unwrap()).unwrap();
    assert_eq!(cost, sample::terms().amount(prefill.checked_add(token).unwrap()).unwrap());
    assert!(cost.0 > 0);
}

#[test]
fn a_stop_token_ends_the_job_and_the_rest_of_its_chunk_is_not_paid() {
    let request = Request { stop: vec![token(5)], ..sample::request() };
    let mut pair = Pair::new(sample::terms(), request);
    pair.run_clean();
    assert_eq!(pair.delivered.last(), Some(&token(5)));
    let receipt = settled(pair.buyer_outcome.take());
    assert_eq!((receipt.body.output_tokens, receipt.body.cause), (6, Cause::Delivered));
    assert_eq!(pair.paid_on_disk(), pair.due(6));
    assert!(pair.provider_disk.committed > pair.paid_on_disk(), "the chunk's voucher was for more");
}

#[test]
fn a_stop_text_ends_the_job_with_the_token_that_completes_it() {
    // The tokens are spelled (0)(1)(2)...
    for (text, tokens) in [("5)(6", 7), ("(3)", 4), ("(9)", 10), (")(10", 10)] {
        let request = Request { stop_texts: vec!["none".into(), text.into()], ..sample::request() };
        let mut pair = Pair::new(sample::terms(), request);
        pair.run_clean();
        let receipt = settled(pair.buyer_outcome.take());
        assert_eq!((receipt.body.output_tokens, receipt.body.cause), (tokens, Cause::Delivered), "{text}");
        assert_eq!(pair.delivered.len(), tokens as usize);
        assert_eq!(pair.paid_on_disk(), pair.due(tokens), "nothing behind the text is paid");
    }
}

#[test]
fn log_probabilities_come_with_the_tokens_and_are_part_of_what_the_receipt_answers_for() {
    let mut plain = Pair::new(sample::terms(), sample::request());
    plain.run_clean();
    assert_eq!(plain.logprobs, []);
    let mut pair = Pair::new(sample::terms(), Request { logprobs: 3, ..sample::request() });
    pair.run_clean();
    assert_eq!(pair.logprobs, (0..10).map(|i| logprobs_of(token(i))).collect::<Vec<_>>());
    let receipt = settled(pair.buyer_outcome.take());
    let digest = |logprobs: &[Logprobs]| OutputChain::of(&receipt.body.request, &pair.delivered, logprobs);
    assert_eq!(digest(&pair.logprobs), receipt.body.output);
    let mut changed = pair.logprobs.clone();
    changed[7].top[0].logprob_q16 -= 1;
    assert_ne!(digest(&changed), receipt.body.output);
    assert_ne!(digest(&[]), receipt.body.output);
}

#[test]
fn the_client_may_stop_and_pays_for_what_was_sent() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.batch = 2;
    pair.pass_to_provider();
    pair.compute();
    pair.tell_buyer(crate::job::buyer::BuyerInput::Cancel);
    pair.run_clean();
    let receipt = settled(pair.buyer_outcome.take());
    assert_eq!((receipt.body.output_tokens, receipt.body.cause), (2, Cause::ClientFault));
    assert_eq!(pair.paid_on_disk(), pair.due(2));
    assert!(pair.halted && !pair.provider_disk.unsettled);
}

#[test]
fn a_stop_before_the_first_token_pays_the_prefill() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.pass_to_provider();
    pair.tell_buyer(crate::job::buyer::BuyerInput::Cancel);
    pair.pass_to_provider();
    pair.run_clean();
    assert_eq!(settled(pair.buyer_outcome.take()).body.output_tokens, 0);
    assert_eq!(pair.paid_on_disk(), pair.due(0));
}

#[test]
fn an_engine_that_fails_bills_nothing_and_the_lane_lives_on() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.pass_to_provider();
    pair.compute();
    pair.tell_provider(crate::job::provider::ProviderInput::InferenceFailed {
        detail: "out of memory".into(),
    });
    pair.run_clean();
    let outcome = pair.buyer_outcome.clone().unwrap();
    assert_eq!((outcome.end.cause(), outcome.cost.0), (Some(Cause::ProviderFault), 0));
    assert_eq!(pair.paid_on_disk().0, 0);
    let mut next = Pair::on(sample::terms(), sample::request(), pair.buyer_disk, pair.provider_disk);
    next.run_clean();
    assert_eq!(settled(next.buyer_outcome).body.index, 1);
}

/// The last voucher is lost with the stream; voucher 0 of the next job commits to the receipt as well.
#[test]
fn a_lost_last_voucher_is_made_good_by_the_next_job() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    while pair.buyer_outcome.is_none() {
        assert!(pair.pass_to_provider() || pair.compute() || pair.pass_to_buyer());
    }
    pair.to_provider.clear();
    pair.tell_provider(crate::job::provider::ProviderInput::Disconnected);
    assert!(pair.provider_disk.unsettled && pair.provider_disk.pending.is_some());
    assert!(pair.paid_on_disk() >= pair.due(10), "without it the provider still holds enough");
    let mut next = Pair::on(sample::terms(), sample::request(), pair.buyer_disk, pair.provider_disk);
    next.run_clean();
    assert_eq!(settled(next.buyer_outcome).body.index, 1);
    assert_eq!(next.buyer_disk, next.provider_disk);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Streamed token by token, in bursts or whole; in chunks of 1 or of 16: the same bill.
    #[test]
    fn the_cut_of_the_stream_bills_the_same(batch in 1..=16u32, chunk in 1..=16u16, tokens in 1..40u32) {
        let terms = Terms { chunk_tokens: chunk, ..sample::terms() };
        let mut pair = Pair::new(terms, Request { max_tokens: tokens, ..sample::request() });
        pair.batch = batch;
        pair.now = NOW;
        pair.run_clean();
        let receipt = settled(pair.buyer_outcome.take());
        prop_assert_eq!(receipt.body.reference, sample::terms().job_time(5, tokens).unwrap());
        prop_assert_eq!(pair.paid_on_disk(), sample::terms().job_amount(5, tokens).unwrap());
        prop_assert_eq!(pair.delivered.len(), tokens as usize);
    }
}
