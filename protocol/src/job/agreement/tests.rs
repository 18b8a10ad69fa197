use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{id::SessionId, sample};

fn keys(count: u8) -> Vec<PublicKey> {
    (0..count).map(|n| PublicKey([n; 32])).collect()
}

fn agreement(count: u8) -> (Agreement, Vec<PublicKey>) {
    let keys = keys(count);
    (Agreement::new(&sample::request(), keys.clone()), keys)
}

/// The tally after these answers: nothing for who gave none.
fn tally(answers: &[Option<&[u32]>]) -> Tally {
    let (mut agreement, keys) = agreement(u8::try_from(answers.len()).unwrap());
    for (key, answer) in keys.iter().zip(answers) {
        if let Some(tokens) = answer {
            agreement.push(*key, tokens, &[]);
            agreement.vote(*key);
        }
    }
    agreement.tally()
}

#[test]
fn all_agree_or_most_do_or_nothing_is_decided() {
    let (right, wrong): (Option<&[u32]>, Option<&[u32]>) = (Some(&[1, 2, 3]), Some(&[1, 2, 4]));
    let k = keys(3);
    let told = |answers: &[_]| {
        let tally = tally(answers);
        (tally.verdict, tally.agreed, tally.dissent, tally.silent)
    };
    assert_eq!(told(&[right; 3]), (Verdict::Unanimous, k.clone(), vec![], vec![]));
    assert_eq!(told(&[right, wrong, right]), (Verdict::Majority, vec![k[0], k[2]], vec![k[1]], vec![]));
    assert_eq!(told(&[None, right, right]), (Verdict::Majority, vec![k[1], k[2]], vec![], vec![k[0]]));
    assert_eq!(told(&[right, wrong]), (Verdict::Undecided, vec![], k[..2].to_vec(), vec![]));
    assert_eq!(told(&[right, None]), (Verdict::Undecided, vec![], vec![k[0]], vec![k[1]]));
    assert_eq!(told(&[right, wrong, None]), (Verdict::Undecided, vec![], k[..2].to_vec(), vec![k[2]]));
    assert_eq!(told(&[None; 3]), (Verdict::Undecided, vec![], vec![], k));
}

#[test]
fn the_beginning_of_an_answer_is_another_answer() {
    let tally = tally(&[Some(&[1, 2]), Some(&[1]), Some(&[1, 2])]);
    assert_eq!((tally.verdict, tally.dissent), (Verdict::Majority, vec![keys(3)[1]]));
}

#[test]
fn one_signer_counts_once_however_often_it_is_named_or_votes() {
    let [one, other, third] = [1, 2, 3].map(|n| PublicKey([n; 32]));
    let mut agreement = Agreement::new(&sample::request(), [one, one, one, other, third]);
    assert_eq!(agreement.push(one, &[7], &[]), 0, "one of three");
    agreement.vote(one);
    agreement.vote(one);
    agreement.vote(PublicKey([9; 32]));
    let tally = agreement.tally();
    assert_eq!((tally.verdict, tally.dissent), (Verdict::Undecided, vec![one]));
    assert_eq!(tally.silent, [other, third]);
}

#[test]
fn who_was_not_asked_or_has_voted_adds_nothing() {
    let (mut agreement, keys) = agreement(2);
    agreement.push(PublicKey([9; 32]), &[1], &[]);
    agreement.push(keys[0], &[1], &[]);
    agreement.vote(keys[0]);
    agreement.push(keys[0], &[2], &[]);
    assert_eq!(agreement.push(keys[1], &[1, 2], &[]), 1);
    agreement.vote(keys[1]);
    assert_eq!(agreement.tally().verdict, Verdict::Undecided, "one ended after a token, the other after two");
}

#[test]
fn log_probabilities_are_part_of_the_answer() {
    let (mut agreement, keys) = agreement(2);
    let [one, other] = [-1, -2].map(|logprob_q16| Logprobs { logprob_q16, top: vec![] });
    assert_eq!(agreement.push(keys[0], &[5, 6], &[one.clone(), one.clone()]), 0);
    assert_eq!(agreement.push(keys[1], &[5, 6], &[one, other]), 1);
}

#[test]
fn the_session_of_a_request_does_not_matter_and_all_else_does() {
    let base = sample::request();
    let start = |request: &Request| Agreement::new(request, []).start;
    assert_eq!(
        start(&base),
        start(&Request { session: SessionId([8; 32]), lane: 3, index: 9, ..base.clone() })
    );
    assert_ne!(start(&base), start(&Request { salt: [8; 32], ..base.clone() }));
}

/// How a story goes on: a voter writes a token, or votes.
#[derive(Clone, Copy, Debug)]
enum Next {
    Token(usize, u32),
    Vote(usize),
}

fn stories() -> impl Strategy<Value = (usize, Vec<Next>)> {
    (2..=usize::from(REDUNDANT_MAX)).prop_flat_map(|voters| {
        // Nearly always the same token, so that texts agree for a while.
        let token = prop_oneof![9 => Just(0u32), 1 => Just(1u32)];
        let next = prop_oneof![
            8 => (0..voters, token).prop_map(|(who, token)| Next::Token(who, token)),
            1 => (0..voters).prop_map(Next::Vote),
        ];
        (Just(voters), vec(next, 0..60))
    })
}

proptest! {
    #[test]
    fn what_was_shown_is_the_beginning_of_whatever_the_majority_says((count, story) in stories()) {
        let (mut agreement, keys) = agreement(count as u8);
        let mut texts = vec![(Vec::new(), false); count];
        let mut shown: Vec<u32> = Vec::new();
        for next in story {
            match next {
                Next::Token(who, _) if texts[who].1 => {}
                Next::Token(who, token) => {
                    texts[who].0.push(token);
                    let agreed = agreement.push(keys[who], &[token], &[]);
                    prop_assert!(agreed >= shown.len(), "nothing is taken back");
                    if agreed > shown.len() {
                        shown.extend_from_slice(&texts[who].0[shown.len()..agreed]);
                    }
                    let backing = texts.iter().filter(|(text, _)| text.starts_with(&shown)).count();
                    prop_assert!(shown.is_empty() || backing * 2 > count);
                }
                Next::Vote(who) => {
                    texts[who].1 = true;
                    agreement.vote(keys[who]);
                }
            }
            let tally = agreement.tally();
            let mut all = [&tally.agreed[..], &tally.dissent, &tally.silent].concat();
            all.sort_unstable();
            prop_assert_eq!(&all, &keys, "everybody is told of once");
            let silent = (0..count).filter(|who| !texts[*who].1).map(|who| keys[who]);
            prop_assert_eq!(&tally.silent, &silent.collect::<Vec<_>>());
            prop_assert_eq!(tally.verdict != Verdict::Undecided, tally.agreed.len() * 2 > count);
            for key in &tally.agreed {
                let who = keys.iter().position(|one| one == key).expect("it was asked");
                prop_assert!(texts[who].0.starts_with(&shown), "what was shown is part of the answer");
            }
        }
    }
}
