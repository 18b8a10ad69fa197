//! One output token, with all that a receipt and its reader want to know of its choice.

use gridhour_protocol::job::logprobs::Logprobs;

use super::{
    sampler::Sampling,
    score_chain::{Scores, runner_up},
};

/// A token that was chosen, and the scores that the score chain takes in with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its logit, before temperature and noise.
    pub logit: i32,
    /// The token of the largest logit but its own, ties to the lowest id.
    pub runner_up: u32,
    /// That token's logit.
    pub runner_up_logit: i32,
    /// One checksum a layer.
    pub checksums: Vec<u32>,
    /// Log probabilities, if they are wanted.
    pub logprobs: Option<Logprobs>,
}

impl Choice {
    /// What `sampling` chooses behind `text`, by the scores of its last token. Every token that the engine
    /// chooses on the host is chosen here.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn of(scores: Scores<'_>, sampling: &Sampling, text: &[u32]) -> Self {
        let token = sampling.choose(scores.logits, text);
        Self { logprobs: sampling.logprobs(scores.logits, token), ..Self::taking(token, scores) }
    }

    /// The choice of `token`, however it came about, without log probabilities.
    ///
    /// # Panics
    /// If the token is not in the vocabulary.
    pub fn taking(token: u32, scores: Scores<'_>) -> Self {
        let (runner_up, runner_up_logit) = runner_up(scores.logits, token);
        let logit = scores.logits[token as usize];
        Self {
            token,
            logit,
            runner_up,
            runner_up_logit,
            checksums: scores.checksums.to_vec(),
            logprobs: None,
        }
    }
}
