//! What the challenger takes, in which order, and what its clock makes of it.

use proptest::prelude::*;

use super::*;
use crate::{
    arbitrary::{self, key},
    calibration::provider::Done,
    sample::{self, CLIENT, NOW},
    signed::Verified,
    work::Rates,
};

const NAME: fn() -> DeviceName = || sample::calibration().device;

fn challenger() -> Challenger {
    let shape = StandardShape::of(sample::challenge().memory_bytes).expect("within the bounds");
    Challenger::new(sample::challenge(), &shape).0
}

fn rest(count: u32) -> ProviderMessage {
    ProviderMessage::Rest { tokens: (0..count).collect(), scores: ScoreDigest([5; 32]) }
}

/// The answers of a provider that reads and writes for so long, up to the last.
fn answered(read_ns: u64, write_ns: u64) -> (Challenger, Answer) {
    let mut machine = challenger();
    let start = 1_000;
    assert_eq!(machine.hear(ProviderMessage::Preparing, 5, [0; 32]), Ok(Turn::Wait));
    let prompt = machine.hear(ProviderMessage::Ready, start, [1; 32]);
    assert_eq!(prompt, Ok(Turn::Say(ChallengerMessage::Prompt { nonce: [1; 32] })));
    let go_on = machine.hear(ProviderMessage::First { token: 9 }, start + read_ns, [2; 32]);
    assert_eq!(go_on, Ok(Turn::Say(ChallengerMessage::Continue { nonce: [2; 32] })));
    match machine.hear(rest(OUTPUT_TOKENS - 1), start + read_ns + write_ns, [3; 32]) {
        Ok(Turn::Check(answer)) => (machine, answer),
        other => panic!("{other:?}"),
    }
}

fn signed(
    machine: &Challenger,
    answer: &Answer,
    recomputed: Recomputed,
) -> Result<Signed<Calibration>, ChallengeFailure> {
    machine.sign(&key(CLIENT), NAME(), answer, &recomputed, (NOW, NOW))
}

const RIGHT: Recomputed = Recomputed { difference: None, scores: ScoreDigest([5; 32]) };

#[test]
fn rates_follow_the_clock_from_nonce_to_answer() {
    let rates = |read, write| -> Rates {
        let (machine, answer) = answered(read, write);
        assert_eq!((answer.prompt_nonce, answer.output_nonce), ([1; 32], [2; 32]));
        assert_eq!((answer.prefill_ns, answer.decode_ns), (read, write));
        assert_eq!((answer.tokens[0], answer.tokens.len()), (9, OUTPUT_TOKENS as usize));
        signed(&machine, &answer, RIGHT).expect("it is right").body.rates().expect("sound")
    };
    let fast = rates(1_000_000, 4_000_000);
    let slow = rates(4_000_000, 40_000_000);
    assert_eq!(fast.prefill.0 / 4, slow.prefill.0);
    assert_eq!(fast.decode.0 / 10, slow.decode.0);
}

#[test]
fn what_was_not_computed_is_named_and_nothing_is_signed() {
    let (machine, answer) = answered(10_000_000, 20_000_000);
    let wrong = Recomputed { difference: Some(3), ..RIGHT };
    assert_eq!(signed(&machine, &answer, wrong), Err(ChallengeFailure::WrongToken { index: 3 }));
    let skipped = Recomputed { scores: ScoreDigest([6; 32]), ..RIGHT };
    assert_eq!(signed(&machine, &answer, skipped), Err(ChallengeFailure::WrongScores));
    let (machine, answer) = answered(0, 5);
    let failed = signed(&machine, &answer, RIGHT);
    assert_eq!(failed, Err(ChallengeFailure::NoRates { prefill_ns: 0, decode_ns: 5 }));
}

#[test]
fn a_receipt_is_what_its_provider_did() {
    let (machine, answer) = answered(10_000_000, 20_000_000);
    let receipt = signed(&machine, &answer, RIGHT).expect("it is right");
    let job = StandardJob::new(&sample::challenge(), &[1; 32]);
    let done = Done {
        challenge: sample::challenge(),
        device: NAME(),
        prompt_nonce: [1; 32],
        output_nonce: [2; 32],
        output: job.output(&answer.tokens),
        scores: answer.scores,
        prefill_ns: 9_000_000,
        decode_ns: 19_000_000,
    };
    let taken = done.receipt_of(ChallengerMessage::Receipt(Box::new(receipt.clone())));
    assert_eq!(taken.map(Verified::into_signed), Ok(receipt));
}

#[test]
fn too_few_and_too_many_tokens_are_counted() {
    for (count, found) in [(0, 1), (OUTPUT_TOKENS - 2, OUTPUT_TOKENS as usize - 1), (OUTPUT_TOKENS, 65)] {
        let mut machine = challenger();
        let before =
            [ProviderMessage::Preparing, ProviderMessage::Ready, ProviderMessage::First { token: 1 }];
        before.into_iter().for_each(|message| {
            machine.hear(message, 7, [0; 32]).expect("in turn");
        });
        assert_eq!(machine.hear(rest(count), 9, [0; 32]), Err(ChallengeFailure::WrongCount { found }));
    }
}

#[test]
fn each_answer_has_its_turn_and_its_patience() {
    let messages = [
        ProviderMessage::Preparing,
        ProviderMessage::Ready,
        ProviderMessage::First { token: 1 },
        rest(OUTPUT_TOKENS - 1),
    ];
    let mut machine = challenger();
    for (at, right) in messages.iter().enumerate() {
        let (expected, patience) = machine.expects();
        assert_eq!(expected, right.name());
        assert!(patience.0 >= 30_000);
        for wrong in messages.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, wrong)| wrong) {
            let found = wrong.name();
            let failed = machine.clone().hear(wrong.clone(), 5, [0; 32]);
            assert_eq!(failed, Err(ChallengeFailure::OutOfTurn { expected, found }));
        }
        let refused = ProviderMessage::Refused { code: RefusalCode::OutOfMemory, detail: "5".into() };
        let failed = ChallengeFailure::Refused { code: RefusalCode::OutOfMemory, detail: "5".into() };
        assert_eq!(machine.clone().hear(refused, 5, [0; 32]), Err(failed));
        machine.hear(right.clone(), 5, [0; 32]).expect("in turn");
    }
    assert!(machine.hear(ProviderMessage::Preparing, 5, [0; 32]).is_err(), "it is over");
}

proptest! {
    /// Whatever comes in whatever order, there is no panic, and what is signed took four answers in turn.
    #[test]
    fn only_one_order_leads_to_an_answer(
        messages in proptest::collection::vec((arbitrary::calibration_answers(), any::<u64>()), 0..8),
    ) {
        let mut machine = challenger();
        let mut names = Vec::new();
        for (message, at) in messages {
            names.push(message.name());
            match machine.hear(message, at, [4; 32]) {
                Ok(Turn::Check(_)) => prop_assert_eq!(&names, &["preparing", "ready", "first", "rest"]),
                Ok(_) => {}
                Err(_) => prop_assert_eq!(machine.state, State::Over),
            }
        }
    }
}
