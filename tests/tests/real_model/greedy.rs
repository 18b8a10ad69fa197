//! The engine's tokens against floats.

use std::time::Instant;

use testkit::agreement::{NEAR_TIE, Top};

use crate::{prompts::PROMPTS, subject::subject};

/// Tokens of each answer.
const ANSWER: usize = 64;

/// Answers' tokens by how sure the floats are.
#[derive(Debug, Default)]
struct Tally {
    sure: usize,
    near_ties: usize,
    near_ties_other: usize,
    /// Where the floats are sure of another token.
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, top: Top, chosen: u32, place: String) {
        let same = top.token == chosen;
        if top.is_near_tie() {
            self.near_ties += 1;
            self.near_ties_other += usize::from(!same);
        } else {
            self.sure += 1;
            if !same {
                self.wrong.push(format!("{place}: {chosen} for {top:?}"));
            }
        }
    }
}

/// Teacher-forced: at each token the floats read the prompt and the engine's answer up to there.
#[test]
fn greedy_tokens_are_those_of_floats_wherever_floats_are_sure() {
    let Some(subject) = subject() else { return };
    let started = Instant::now();
    let mut tally = Tally::default();
    for (number, says) in PROMPTS.iter().enumerate() {
        let prompt = subject.ask(says);
        let answer = subject.greedy(&prompt, ANSWER);
        let read = [prompt.as_slice(), &answer[..ANSWER - 1]].concat();
        let rows = subject.floats().log_probs(&read, prompt.len() - 1..read.len());
        assert_eq!(rows.len(), ANSWER);
        for (at, chosen) in answer.iter().enumerate() {
            tally.add(Top::of(rows.row(at)), *chosen, format!("prompt {number}, token {at}"));
        }
        println!("{says:?}\n    {:?}", subject.tokenizer.decode(&answer));
    }
    let Tally { sure, near_ties, near_ties_other, wrong } = &tally;
    println!(
        "greedy: {} tokens; {sure} sure, of which {} differ; {near_ties} near-ties (margin up to {NEAR_TIE} \
         nat), of which {near_ties_other} differ; {:.1} s",
        PROMPTS.len() * ANSWER,
        wrong.len(),
        started.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(sure * 10 > PROMPTS.len() * ANSWER * 9, "mostly near-ties would show little: {tally:?}");
}
