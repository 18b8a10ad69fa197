//! Outputs that one provider begins and another goes on with.

use proptest::prelude::*;

use super::pair::{Pair, provider_setup, token};
use crate::{
    job::{
        buyer::{BuyerEnd, BuyerInput, BuyerOutcome},
        message::{ClientMessage, ProviderMessage, RefusalCode},
        provider::{Provider, ProviderEnd, ProviderInput},
        request::{OutputChain, Request},
    },
    receipt::{Cause, Receipt},
    sample,
    session::{lane::LaneLedger, terms::Terms},
    signed::Signed,
    units::{Credits, Millis},
};

/// Tokens of the whole answer in these tests; a chunk has 4.
const WHOLE: u32 = 23;

fn whole() -> Request {
    Request { max_tokens: WHOLE, ..sample::request() }
}

/// Another session of the same client, as it has one with each provider.
fn other_terms() -> Terms {
    Terms { nonce: 12, ..sample::terms() }
}

/// The job of `request`, one token at a time, until `tokens` have arrived at the client and `more` messages that follow
/// have arrived at the provider; then the stream breaks.
fn broken_after(request: Request, tokens: usize, more: bool) -> Pair {
    let mut pair = Pair::new(sample::terms(), request);
    pair.batch = 1;
    pair.pass_to_provider();
    while pair.delivered.len() < tokens {
        assert!(pair.pass_to_buyer() || pair.pass_to_provider() || pair.compute());
    }
    if more {
        while pair.pass_to_provider() {}
    }
    pair.tell_buyer(BuyerInput::Disconnected);
    pair.tell_provider(ProviderInput::Disconnected);
    pair
}

/// The rest of what `broken` was to write, by another provider.
fn rest_of(broken: &Pair) -> Request {
    let paid_for = broken.buyer_outcome.as_ref().unwrap().paid_for;
    broken.buyer.request().rest(&broken.delivered, paid_for).unwrap()
}

fn continued(request: Request) -> Pair {
    let mut pair = Pair::new(other_terms(), request);
    pair.run_clean();
    pair
}

fn receipt_of(outcome: Option<&BuyerOutcome>) -> Signed<Receipt> {
    match outcome.map(|outcome| &outcome.end) {
        Some(BuyerEnd::Settled(receipt)) => (**receipt).clone(),
        other => panic!("not settled: {other:?}"),
    }
}

/// Output tokens that a sum of a session's beginning pays for, after a prompt of five.
fn tokens_paid(amount: Credits) -> u32 {
    (0..=WHOLE).find(|tokens| sample::terms().job_amount(5, *tokens) == Some(amount)).unwrap()
}

#[test]
fn wherever_it_breaks_the_text_is_whole_and_nothing_is_paid_twice() {
    for (k, more) in (0..WHOLE).flat_map(|k| [(k, false), (k, true)]) {
        let broken = broken_after(whole(), k as usize, more);
        let paid = broken.provider_disk.newest.as_ref().map_or(0, |voucher| tokens_paid(voucher.body.amount));
        let promised = broken.buyer_outcome.as_ref().unwrap().paid_for;
        let next = continued(rest_of(&broken));
        let text: Vec<u32> = broken.delivered.iter().chain(&next.delivered).copied().collect();
        assert_eq!(text, (0..WHOLE).map(token).collect::<Vec<_>>(), "broken after {k}");
        let receipt = receipt_of(next.buyer_outcome.as_ref()).body;
        // The second provider reads what is there already, and writes from where the first was promised pay.
        let terms = other_terms();
        let second = terms.job_amount(5 + promised, WHOLE - promised).unwrap();
        assert_eq!(
            (next.paid_on_disk(), receipt.is_billed_right(&terms)),
            (second, true),
            "broken after {k}"
        );
        assert_eq!((receipt.prompt_tokens, receipt.output_tokens), (5 + k, WHOLE - k));
        // Written tokens that are paid for, by both: never more than all, and short by a chunk at most.
        let both = paid + (WHOLE - promised);
        assert!(both <= WHOLE && both + 4 >= WHOLE, "{both} of {WHOLE} are paid, broken after {k}, {more}");
        assert!(!more || both == WHOLE, "nothing is short if the last voucher arrived");
    }
}

#[test]
fn two_breaks_in_a_row_leave_the_text_whole_and_carry_on_what_is_prepaid() {
    for (first, second) in (0..WHOLE).flat_map(|k| (0..WHOLE - k).map(move |l| (k, l))) {
        let one = broken_after(whole(), first as usize, true);
        let two = broken_after(rest_of(&one), second as usize, true);
        let rest = rest_of(&two);
        let promised = one.buyer_outcome.as_ref().unwrap().paid_for;
        let further = first + two.buyer_outcome.as_ref().unwrap().paid_for;
        assert_eq!(rest.prepaid, promised.max(further) - first - second, "{first}, {second}");
        let three = continued(rest);
        let text = [&one.delivered[..], &two.delivered, &three.delivered].concat();
        assert_eq!(text, (0..WHOLE).map(token).collect::<Vec<_>>(), "{first}, {second}");
    }
}

#[test]
fn stop_texts_across_the_seam_end_the_output_where_they_always_do() {
    // Token 7 completes it, begun by token 5.
    let request = Request { stop_texts: vec![")(6)(7".into()], ..whole() };
    for k in 0..8 {
        let broken = broken_after(request.clone(), k, true);
        let next = continued(rest_of(&broken));
        let text = [&broken.delivered[..], &next.delivered].concat();
        assert_eq!(text, (0..8).map(token).collect::<Vec<_>>(), "broken after {k}");
        assert_eq!(receipt_of(next.buyer_outcome.as_ref()).body.cause, Cause::Delivered);
    }
}

#[test]
fn log_probabilities_go_on_behind_the_seam() {
    let request = Request { logprobs: 2, ..whole() };
    let broken = broken_after(request, 5, false);
    let next = continued(rest_of(&broken));
    assert_eq!((broken.logprobs.len(), next.logprobs.len()), (5, WHOLE as usize - 5));
    let receipt = receipt_of(next.buyer_outcome.as_ref()).body;
    assert_eq!(receipt.output, OutputChain::of(&receipt.request, &next.delivered, &next.logprobs));
}

#[test]
fn nothing_is_left_behind_the_last_token() {
    let all: Vec<u32> = (0..WHOLE).map(token).collect();
    assert_eq!(whole().rest(&all, WHOLE), None);
    assert_eq!(whole().rest(&all[1..], WHOLE).unwrap().max_tokens, 1);
}

/// What a provider says to a continuation on this lane.
fn answer(request: Request, lane: LaneLedger) -> ProviderMessage {
    let mut pair = Pair::on(other_terms(), request, lane.clone(), lane);
    pair.pass_to_provider();
    pair.to_buyer.pop_front().unwrap()
}

fn refusal(message: &ProviderMessage) -> Option<RefusalCode> {
    match message {
        ProviderMessage::Refused { code, .. } => Some(*code),
        _ => None,
    }
}

#[test]
fn a_provider_goes_on_behind_one_prepaid_chunk_a_session_and_behind_no_end() {
    let fresh = || LaneLedger::new(other_terms().id(), 0);
    let begun = |prepaid| Request { written: vec![token(0)], prepaid, ..whole() };
    assert_eq!(refusal(&answer(begun(4), fresh())), None);
    assert_eq!(refusal(&answer(begun(5), fresh())), Some(RefusalCode::PrepaidTooMuch));
    let done = continued(begun(0)).provider_disk;
    assert_eq!(refusal(&answer(begun(0), done.clone())), None, "only what is prepaid is bounded");
    assert_eq!(refusal(&answer(begun(1), done)), Some(RefusalCode::PrepaidTooMuch));
    let second_lane = LaneLedger::new(other_terms().id(), 1);
    assert_eq!(refusal(&answer(begun(1), second_lane)), Some(RefusalCode::PrepaidTooMuch));
    for ended in [vec![token(0), 0], vec![token(1), token(2)]] {
        let request = Request { written: ended, stop_texts: vec![")(2".into()], ..whole() };
        assert_eq!(refusal(&answer(request, fresh())), Some(RefusalCode::OutputComplete));
    }
    let foreign = Request { written: vec![49_152], ..whole() };
    assert_eq!(refusal(&answer(foreign, fresh())), Some(RefusalCode::TokenOutOfRange));
    let long = Request { written: vec![token(0); 2040], max_tokens: 4, ..whole() };
    assert_eq!(refusal(&answer(long, fresh())), Some(RefusalCode::ContextTooShort));
}

/// A job of which `tokens` were sent when the provider took its device back.
fn reclaimed_after(tokens: usize) -> Pair {
    let mut pair = Pair::new(sample::terms(), whole());
    pair.batch = 1;
    pair.pass_to_provider();
    while pair.delivered.len() < tokens {
        assert!(pair.pass_to_buyer() || pair.pass_to_provider() || pair.compute());
    }
    pair.tell_provider(ProviderInput::Reclaim { notice: Millis(0) });
    assert!(pair.halted, "it computes nothing more");
    pair.run_clean();
    pair
}

#[test]
fn a_provider_that_takes_its_device_back_is_paid_for_what_it_sent_and_another_goes_on() {
    for k in 1..WHOLE {
        let first = reclaimed_after(k as usize);
        let outcome = first.buyer_outcome.clone().unwrap();
        let receipt = receipt_of(Some(&outcome));
        assert_eq!((receipt.body.cause, receipt.body.output_tokens), (Cause::Reclaimed, k));
        assert_eq!(first.provider_outcome.as_ref().unwrap().end, ProviderEnd::Settled(Box::new(receipt)));
        assert_eq!(first.paid_on_disk(), sample::terms().job_amount(5, k).unwrap());
        assert_eq!((outcome.paid_for, outcome.lane.unsettled), (k, false));
        let rest = first.buyer.request().rest(&first.delivered, outcome.paid_for).unwrap();
        assert_eq!(rest.prepaid, 0);
        let text = [&first.delivered[..], &continued(rest).delivered].concat();
        assert_eq!(text, (0..WHOLE).map(token).collect::<Vec<_>>());
    }
}

#[test]
fn a_device_that_is_taken_back_before_the_first_token_bills_nothing() {
    let first = reclaimed_after(0);
    let outcome = first.buyer_outcome.clone().unwrap();
    assert_eq!((outcome.cost, outcome.paid_for, first.paid_on_disk()), (Credits(0), 0, Credits(0)));
}

#[test]
fn a_finished_output_is_never_called_reclaimed() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    while pair.delivered.len() < 10 {
        assert!(pair.pass_to_buyer() || pair.pass_to_provider() || pair.compute());
    }
    let Some(ProviderMessage::Done { receipt }) = pair.to_buyer.pop_front() else { panic!("a receipt") };
    let key = crate::arbitrary::key(sample::PROVIDER);
    let lie = key.sign(Receipt { cause: Cause::Reclaimed, ..receipt.body });
    pair.tell_buyer(BuyerInput::Message(ProviderMessage::Done { receipt: Box::new(lie) }));
    assert_eq!(
        pair.misdeeds.iter().map(crate::job::misbehavior::Misbehavior::name).collect::<Vec<_>>(),
        ["false-cause"]
    );
}

/// A client that claims more prepaid than it vouches for is found underpaying, as any other.
#[test]
fn what_is_prepaid_is_in_the_digest_and_in_the_due() {
    let request = Request { written: vec![token(0)], prepaid: 3, ..whole() };
    assert_ne!(Request { prepaid: 2, ..request.clone() }.digest(), request.digest());
    assert_ne!(Request { written: vec![token(1)], ..request.clone() }.digest(), request.digest());
    let lane = LaneLedger::new(other_terms().id(), 0);
    let mut pair = Pair::on(other_terms(), request, lane.clone(), lane.clone());
    let Some(ClientMessage::Open(mut open)) = pair.to_provider.pop_front() else { panic!("a request") };
    open.request.prepaid = 0;
    let mut fx = crate::job::effect::Effects::default();
    let refused = Provider::open(pair.now, provider_setup(lane), *open, &mut fx).err();
    assert_eq!(refused.map(|misdeed| misdeed.name()), Some("underpaid"));
}

/// What was promised for tokens that did not come stays with them, however often an answer breaks.
#[test]
fn what_is_prepaid_goes_on_with_the_tokens_that_it_is_for() {
    let first = Request { max_tokens: 10, ..whole() };
    let broken = first.rest(&[7, 8], 6).unwrap();
    assert_eq!((&broken.written[..], broken.prepaid, broken.max_tokens), (&[7, 8][..], 4, 8));
    // Of the next provider's turn nothing was paid.
    let prepaid = |came: &[u32], paid_for| broken.rest(came, paid_for).map(|rest| rest.prepaid);
    assert_eq!([prepaid(&[], 0), prepaid(&[9, 9], 0), prepaid(&[9; 5], 0)], [Some(4), Some(2), Some(0)]);
    assert_eq!(prepaid(&[9], 1_000), Some(7), "no more than is left to write");
    assert_eq!(prepaid(&[9; 8], 8), None, "nothing is left to write");
}

proptest! {
    /// Whatever the chunk, the rates and the place of the break, writing is never paid twice.
    #[test]
    fn what_is_written_is_billed_once(chunk in 1..=16u16, tokens in 1..60u32, cut in 0..60u32, lost in any::<bool>()) {
        let cut = cut.min(tokens - 1);
        let promised = (cut / u32::from(chunk) + 1).saturating_mul(chunk.into()).min(tokens);
        let rest = Request { max_tokens: tokens, ..whole() }.rest(&vec![9; cut as usize], promised).unwrap();
        prop_assert!(rest.prepaid <= u32::from(chunk));
        let collected = if lost { promised.saturating_sub(chunk.into()) } else { promised };
        let (read, written) = crate::work::billed(rest.start(), rest.max_tokens, rest.prepaid);
        prop_assert_eq!(read, 5 + promised);
        prop_assert!(collected + written <= tokens && collected + written + u32::from(chunk) >= tokens);
    }
}
