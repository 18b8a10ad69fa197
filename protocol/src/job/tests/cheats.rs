//! Sides that cheat. Each misdeed is caught by its name.

use super::pair::{NOW, Pair, logprobs_of, new_lane, provider_setup, token};
use crate::{
    arbitrary::key,
    id::{ModelId, OutputDigest, ReceiptId, RequestDigest, ScoreDigest, SessionId},
    job::{
        buyer::{BuyerEnd, BuyerInput},
        effect::Effects,
        message::{Chunk, ClientMessage, Open, ProviderMessage},
        misbehavior::Misbehavior,
        provider::{Provider, ProviderEnd, ProviderInput},
        request::Request,
    },
    receipt::{Cause, Receipt},
    sample,
    session::voucher::Voucher,
    signed::{PublicKey, Signed},
    units::{Credits, GpuNs, Timestamp, Work},
};

/// Runs an honest job up to the message that `pick` finds, and gives the buyer what `change` makes of it.
fn lie(pick: fn(&ProviderMessage) -> bool, change: impl FnOnce(&mut ProviderMessage)) -> &'static str {
    lie_about(sample::request(), pick, change)
}

fn lie_about(
    request: Request,
    pick: fn(&ProviderMessage) -> bool,
    change: impl FnOnce(&mut ProviderMessage),
) -> &'static str {
    let mut pair = Pair::new(sample::terms(), request);
    loop {
        match pair.to_buyer.front_mut() {
            Some(message) if pick(message) => break change(message),
            Some(_) => pair.pass_to_buyer(),
            None => pair.pass_to_provider() || pair.compute(),
        };
    }
    let promised = pair.buyer_disk.clone();
    pair.pass_to_buyer();
    let misdeed = pair.misdeeds.pop().expect("the lie is caught");
    let outcome = pair.buyer_outcome.expect("the job is over");
    assert_eq!(outcome.end, BuyerEnd::Cheated(misdeed.clone()));
    assert_eq!(outcome.end.cause(), Some(Cause::ProviderFault));
    assert_eq!(pair.buyer_disk, promised, "a lie is not paid");
    misdeed.name()
}

fn is_chunk(message: &ProviderMessage) -> bool {
    matches!(message, ProviderMessage::Chunk(_))
}

fn lie_in_chunk(change: fn(&mut Chunk)) -> &'static str {
    lie_in_chunk_of(sample::request(), change)
}

fn lie_in_chunk_of(request: Request, change: fn(&mut Chunk)) -> &'static str {
    lie_about(request, is_chunk, |message| {
        let ProviderMessage::Chunk(chunk) = message else { unreachable!() };
        change(chunk);
    })
}

#[test]
fn lies_about_the_stream_are_caught() {
    assert_eq!(lie_in_chunk(|chunk| chunk.digest.0[0] ^= 1), "wrong-digest");
    assert_eq!(lie_in_chunk(|chunk| chunk.tokens[1] ^= 1), "wrong-digest");
    assert_eq!(lie_in_chunk(|chunk| chunk.tokens.swap(0, 1)), "wrong-digest");
    assert_eq!(lie_in_chunk(|chunk| chunk.start = 1), "out-of-order");
    assert_eq!(lie_in_chunk(|chunk| chunk.tokens.clear()), "out-of-order");
    assert_eq!(lie_in_chunk(|chunk| chunk.tokens.push(5)), "extra-tokens");
    assert_eq!(lie_in_chunk(|chunk| chunk.tokens[1] = 0), "tokens-after-stop");
    let accepted = |message: &ProviderMessage| matches!(message, ProviderMessage::Accepted { .. });
    let wrong = lie(accepted, |message| *message = ProviderMessage::Accepted { prompt_tokens: 6 });
    assert_eq!(wrong, "wrong-prompt-count");
}

#[test]
fn a_chunk_that_breaks_a_rule_ends_no_answer() {
    let wrong: [fn(&mut Chunk); 2] = [
        |chunk| (chunk.tokens[0], chunk.tokens[1]) = (0, 5),
        |chunk| {
            chunk.tokens.truncate(1);
            chunk.tokens[0] = 0;
        },
    ];
    for change in wrong {
        let mut pair = Pair::new(sample::terms(), sample::request());
        pair.pass_to_provider();
        pair.compute();
        assert!(pair.pass_to_buyer(), "it accepts");
        let Some(ProviderMessage::Chunk(chunk)) = pair.to_buyer.front_mut() else { panic!("a chunk") };
        change(chunk);
        pair.pass_to_buyer();
        assert!(matches!(pair.buyer_outcome.map(|it| it.end), Some(BuyerEnd::Cheated(_))));
        assert!(!pair.buyer.is_complete(), "somebody else may go on");
    }
}

#[test]
fn tokens_after_a_stop_text_are_caught() {
    let stopped = Request { stop_texts: vec!["(1)".into()], ..sample::request() };
    assert_eq!(lie_in_chunk_of(stopped, |chunk| chunk.tokens.push(token(2))), "tokens-after-stop");
}

#[test]
fn log_probabilities_that_do_not_fit_the_request_are_caught() {
    let asked = || Request { logprobs: 2, ..sample::request() };
    assert_eq!(lie_in_chunk(|chunk| chunk.logprobs.push(logprobs_of(token(0)))), "wrong-logprobs");
    assert_eq!(lie_in_chunk_of(asked(), |chunk| chunk.logprobs.clear()), "wrong-logprobs");
    assert_eq!(lie_in_chunk_of(asked(), |chunk| drop(chunk.logprobs.pop())), "wrong-logprobs");
    assert_eq!(lie_in_chunk_of(asked(), |chunk| chunk.logprobs[1].top[0].logprob_q16 -= 1), "wrong-logprobs");
    // What could be true is caught by the digest, and by whoever computes it again.
    let lowered = |chunk: &mut Chunk| {
        chunk.logprobs[1].top[0].logprob_q16 -= 1;
        chunk.logprobs[1].logprob_q16 -= 1;
    };
    assert_eq!(lie_in_chunk_of(asked(), lowered), "wrong-digest");
}

#[test]
fn an_engine_that_forgets_log_probabilities_fails_the_job() {
    let mut pair = Pair::new(sample::terms(), Request { logprobs: 2, ..sample::request() });
    pair.pass_to_provider();
    pair.tell_provider(super::pair::generated(0, 1, false));
    pair.run_clean();
    let Some(BuyerEnd::Settled(receipt)) = pair.buyer_outcome.map(|outcome| outcome.end) else {
        panic!("a fault is answered for");
    };
    assert_eq!((receipt.body.cause, receipt.body.output_tokens), (Cause::ProviderFault, 0));
}

#[test]
fn a_chunk_that_is_repeated_or_comes_after_the_end_is_caught() {
    let mut pair = Pair::new(sample::terms(), Request { max_tokens: 4, ..sample::request() });
    pair.pass_to_provider();
    pair.compute();
    pair.pass_to_buyer();
    let chunk = pair.to_buyer.front().cloned().unwrap();
    pair.pass_to_buyer();
    pair.tell_buyer(BuyerInput::Message(chunk));
    assert_eq!(pair.misdeeds, [Misbehavior::TokensAfterStop]);
}

#[test]
fn messages_out_of_place_are_caught() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    let chunk = Chunk { start: 0, tokens: vec![1], logprobs: Vec::new(), digest: OutputDigest([0; 32]) };
    pair.tell_buyer(BuyerInput::Message(ProviderMessage::Chunk(chunk)));
    assert_eq!(pair.misdeeds, [Misbehavior::OutOfPlace { message: "chunk" }]);
}

/// The name of what the buyer says to a receipt that was changed and signed again.
fn lie_in_receipt(signer: u8, change: impl FnOnce(&mut Receipt)) -> Misbehavior {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.pass_to_provider();
    let lie = loop {
        match pair.to_buyer.front_mut() {
            Some(ProviderMessage::Done { receipt }) => {
                change(&mut receipt.body);
                **receipt = key(signer).sign(receipt.body.clone());
                break receipt.body.clone();
            }
            Some(_) => pair.pass_to_buyer(),
            None => pair.pass_to_provider() || pair.compute(),
        };
    };
    pair.pass_to_buyer();
    assert!(pair.to_provider.is_empty(), "no last voucher for a lie");
    let is_its_word = signer == sample::PROVIDER
        && (lie.session, lie.provider) == (sample::terms().id(), key(signer).public());
    let kept: Vec<Receipt> = is_its_word.then_some(lie).into_iter().collect();
    assert_eq!(pair.refused, kept, "what the provider signed for the session is kept, and nothing else");
    pair.misdeeds.pop().expect("the lie is caught")
}

#[test]
fn every_field_of_the_receipt_that_the_buyer_knows_is_checked() {
    type Lie = (&'static str, fn(&mut Receipt));
    let lies: [Lie; 15] = [
        ("numerics", |r| r.numerics[0] ^= 1),
        ("session", |r| r.session = SessionId([0; 32])),
        ("lane", |r| r.lane = 1),
        ("index", |r| r.index = 1),
        ("previous", |r| r.previous = ReceiptId([1; 32])),
        ("model", |r| r.model = ModelId([0; 32])),
        ("request", |r| r.request = RequestDigest([0; 32])),
        ("output", |r| r.output = OutputDigest([0; 32])),
        ("prompt_tokens", |r| r.prompt_tokens += 1),
        ("output_tokens", |r| r.output_tokens += 1),
        ("prefill_work", |r| r.prefill_work = Work(r.prefill_work.0 + 1)),
        ("decode_work", |r| r.decode_work = Work(r.decode_work.0 * 2)),
        ("reference", |r| r.reference = GpuNs(r.reference.0 + 1)),
        ("ended_at", |r| r.ended_at = Timestamp(r.started_at.0 - 1)),
        ("reference", |r| r.reference = GpuNs(0)),
    ];
    for (field, change) in lies {
        assert_eq!(lie_in_receipt(sample::PROVIDER, change), Misbehavior::WrongReceipt { field });
    }
    assert_eq!(
        lie_in_receipt(9, |r| r.provider = key(9).public()),
        Misbehavior::WrongReceipt { field: "provider" }
    );
    assert_eq!(lie_in_receipt(9, |_| ()).name(), "bad-signature");
    assert_eq!(lie_in_receipt(2, |r| r.provider = PublicKey([0; 32])).name(), "bad-signature");
}

#[test]
fn false_causes_are_caught() {
    for cause in [Cause::ClientFault, Cause::ProviderFault, Cause::Network] {
        let found = lie_in_receipt(sample::PROVIDER, |r| r.cause = cause);
        assert_eq!(found, Misbehavior::FalseCause { claimed: cause.name() });
    }
    // "The client left", in the middle of a chunk that is paid for.
    let early = lie(is_chunk, |message| {
        let receipt = Receipt { cause: Cause::ClientFault, ..sample::receipt() };
        let receipt = Box::new(key(sample::PROVIDER).sign(receipt));
        *message = ProviderMessage::Done { receipt };
    });
    assert_eq!(early, "false-cause");
}

#[test]
fn a_receipt_without_output_has_the_score_chain_of_nothing() {
    let mut pair = Pair::new(sample::terms(), sample::request());
    pair.pass_to_provider();
    pair.tell_buyer(BuyerInput::Cancel);
    pair.pass_to_provider();
    pair.pass_to_buyer();
    let Some(ProviderMessage::Done { receipt }) = pair.to_buyer.front_mut() else { panic!("a receipt") };
    receipt.body.scores = ScoreDigest([0; 32]);
    **receipt = key(sample::PROVIDER).sign(receipt.body.clone());
    pair.pass_to_buyer();
    assert_eq!(pair.misdeeds, [Misbehavior::WrongReceipt { field: "scores" }]);
}

#[test]
fn a_replayed_receipt_is_caught() {
    let mut first = Pair::new(sample::terms(), sample::request());
    first.run_clean();
    let BuyerEnd::Settled(old) = first.buyer_outcome.unwrap().end else { panic!("settled") };
    let mut pair = Pair::on(sample::terms(), sample::request(), first.buyer_disk, first.provider_disk);
    while !matches!(pair.to_buyer.front(), Some(ProviderMessage::Done { .. })) {
        assert!(pair.pass_to_buyer() || pair.pass_to_provider() || pair.compute());
    }
    pair.tell_buyer(BuyerInput::Message(ProviderMessage::Done { receipt: old }));
    assert_eq!(pair.misdeeds, [Misbehavior::WrongReceipt { field: "index" }]);
}

// ---- clients ----

/// What the provider says to an opening frame that was changed. It must not have kept or started anything.
fn cheat_at_open(change: impl FnOnce(&mut Open)) -> Misbehavior {
    let mut pair = Pair::new(sample::terms(), sample::request());
    let Some(ClientMessage::Open(mut open)) = pair.to_provider.pop_front() else { panic!("an open") };
    change(&mut open);
    let mut fx = Effects::default();
    let misdeed = Provider::open(NOW, provider_setup(new_lane()), *open, &mut fx).expect_err("caught");
    assert_eq!(fx.iter().count(), 0);
    misdeed
}

fn resign(voucher: &mut Signed<Voucher>, change: impl FnOnce(&mut Voucher)) {
    change(&mut voucher.body);
    *voucher = key(sample::CLIENT).sign(voucher.body.clone());
}

#[test]
fn cheats_at_the_opening_are_caught() {
    let voucher = |change: fn(&mut Voucher)| cheat_at_open(|open| resign(&mut open.voucher, change)).name();
    assert_eq!(voucher(|v| v.amount.0 -= 1), "underpaid");
    assert_eq!(voucher(|v| v.lane = 1), "voucher-of-other-session");
    assert_eq!(voucher(|v| v.session = SessionId([0; 32])), "voucher-of-other-session");
    assert_eq!(voucher(|v| v.receipts = 1), "voucher-of-other-receipts");
    assert_eq!(voucher(|v| v.receipts_root[0] ^= 1), "voucher-of-other-receipts");
    assert_eq!(cheat_at_open(|open| open.voucher.body.amount.0 += 1).name(), "bad-signature");
    let stranger = cheat_at_open(|open| {
        let body = Voucher { client: key(9).public(), ..open.voucher.body.clone() };
        open.voucher = key(9).sign(body);
    });
    assert_eq!(stranger.name(), "voucher-of-other-session", "another's voucher, well signed");
    assert_eq!(cheat_at_open(|open| open.terms.price.0 /= 2).name(), "other-session");
    assert_eq!(cheat_at_open(|open| open.request.lane = 1).name(), "other-session");
    assert_eq!(cheat_at_open(|open| open.request.index = 1).name(), "wrong-index");
    assert_eq!(cheat_at_open(|open| open.request.session = SessionId([0; 32])).name(), "other-session");
}

/// The provider's word on `message` once it has sent the first chunk.
fn cheat_after_one_chunk(
    cheat: impl FnOnce(Signed<Voucher>, Signed<Voucher>) -> ClientMessage,
) -> &'static str {
    let mut pair = Pair::new(sample::terms(), sample::request());
    let Some(ClientMessage::Open(open)) = pair.to_provider.front().cloned() else { panic!("an open") };
    pair.pass_to_provider();
    pair.compute();
    while pair.pass_to_buyer() {}
    let Some(ClientMessage::Voucher(next)) = pair.to_provider.pop_front() else { panic!("a voucher") };
    pair.tell_provider(ProviderInput::Message(cheat(open.voucher, next)));
    let misdeed = pair.misdeeds.pop().expect("caught");
    assert_eq!(pair.granted, 4, "nothing more was computed");
    assert!(pair.halted);
    let ProviderEnd::Cheated { misdeed: told, receipt } = pair.provider_outcome.clone().unwrap().end else {
        panic!("the job ends as cheated")
    };
    assert_eq!(told, misdeed);
    assert_eq!((receipt.body.cause, receipt.body.output_tokens), (Cause::ClientFault, 4));
    assert_eq!(pair.paid_on_disk(), pair.due(4), "what was released stays paid");
    misdeed.name()
}

#[test]
fn a_voucher_used_twice_or_too_small_releases_nothing() {
    assert_eq!(cheat_after_one_chunk(|first, _| ClientMessage::Voucher(first)), "voucher-reused");
    let underpaid = cheat_after_one_chunk(|_, mut next| {
        resign(&mut next, |voucher| voucher.amount = Credits(voucher.amount.0 - 1));
        ClientMessage::Voucher(next)
    });
    assert_eq!(underpaid, "underpaid");
    let forged = cheat_after_one_chunk(|_, mut next| {
        next.body.amount.0 += 1;
        ClientMessage::Voucher(next)
    });
    assert_eq!(forged, "bad-signature");
    assert_eq!(cheat_after_one_chunk(|_, next| ClientMessage::Final(next)), "out-of-place");
}

#[test]
fn a_voucher_beyond_the_last_chunk_is_caught() {
    let mut pair = Pair::new(sample::terms(), Request { max_tokens: 4, ..sample::request() });
    let Some(ClientMessage::Open(open)) = pair.to_provider.front().cloned() else { panic!("an open") };
    pair.pass_to_provider();
    let mut voucher = open.voucher;
    resign(&mut voucher, |voucher| (voucher.sequence, voucher.amount.0) = (1, u64::MAX));
    pair.tell_provider(ProviderInput::Message(ClientMessage::Voucher(voucher)));
    assert_eq!(pair.misdeeds, [Misbehavior::VoucherNotDue { sequence: 1 }]);
}

#[test]
fn a_last_voucher_that_underpays_or_denies_the_receipt_does_not_settle() {
    let cheat = |change: fn(&mut Voucher)| {
        let mut pair = Pair::new(sample::terms(), sample::request());
        while pair.buyer_outcome.is_none() {
            assert!(pair.pass_to_provider() || pair.compute() || pair.pass_to_buyer());
        }
        let Some(ClientMessage::Final(voucher)) = pair.to_provider.front_mut() else { panic!("a final") };
        resign(voucher, change);
        pair.pass_to_provider();
        assert!(pair.provider_disk.unsettled);
        assert!(pair.paid_on_disk() >= pair.due(10), "the provider still holds enough");
        pair.misdeeds.pop().expect("caught").name()
    };
    assert_eq!(cheat(|voucher| voucher.amount.0 -= 1), "underpaid");
    assert_eq!(cheat(|voucher| voucher.receipts = 0), "voucher-of-other-receipts");
}
