//! Re-running a result: prompt and claimed output in one prefill, every token chosen anew.

use std::sync::Arc;

use gridhour_protocol::job::logprobs::Logprobs;

use super::{
    Engine,
    choice::Choice,
    sampler::Sampling,
    score_chain::{ScoreChain, Scores},
    sequence::{Sequence, SequenceError},
};

/// A result as it was claimed.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Prompt tokens.
    pub prompt: &'a [u32],
    /// Output that was there before and is not claimed here.
    pub written: &'a [u32],
    /// Output tokens.
    pub output: &'a [u32],
    /// How they were chosen.
    pub sampling: Sampling,
    /// Log probabilities that came with the output: one entry a token, or none at all.
    pub logprobs: &'a [Logprobs],
    /// Digest of the request, with which the score chain begins.
    pub request_digest: [u8; 32],
}

impl Claim<'_> {
    /// The position of its first token.
    fn start(&self) -> usize {
        self.prompt.len() + self.written.len()
    }
}

/// What the same model gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rerun {
    /// The first output token that the model would not have chosen.
    pub difference: Option<Difference>,
    /// The first output token before that whose log probabilities are others than the model's.
    pub false_logprobs: Option<usize>,
    /// The score chain over the tokens that the model chooses, up to the first difference and with it.
    pub score_chain: [u8; 32],
}

/// Where a claimed output leaves the model's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Index in the output.
    pub index: usize,
    /// The token claimed.
    pub claimed: u32,
    /// The token that the model chooses there.
    pub chosen: u32,
}

/// Computes what the model makes of the claim's prompt, following its output until that differs.
///
/// # Errors
/// [`SequenceError`] if the claim does not fit the model or the engine. A claim without output is no error.
pub fn verify(engine: &Arc<Engine>, claim: &Claim<'_>) -> Result<Rerun, SequenceError> {
    let start = claim.start();
    // The last output token chose nothing, so it is not computed.
    let text = [claim.prompt, claim.written, claim.output].concat();
    let text = &text[..text.len() - usize::from(!claim.output.is_empty())];
    let chain = ScoreChain::new(&claim.request_digest, start as u32);
    let sampling = claim.sampling.behind(claim.prompt);
    let mut check = Check { claim, text, sampling, chain, difference: None, false_logprobs: None };
    let mut sequence = Sequence::new(engine, text.len())?;
    let size = engine.device().rows_max();
    for (index, chunk) in text.chunks(size).enumerate() {
        let first = index * size;
        let wanted = start.saturating_sub(first + 1).min(chunk.len());
        let wanted = if claim.output.is_empty() { chunk.len() } else { wanted };
        sequence.prefill_from(chunk, wanted, |at, scores| check.see(first + at, scores))?;
        if check.difference.is_some() {
            break;
        }
    }
    let Check { difference, false_logprobs, chain, .. } = check;
    Ok(Rerun { difference, false_logprobs, score_chain: chain.digest() })
}

struct Check<'a> {
    claim: &'a Claim<'a>,
    /// Prompt and output.
    text: &'a [u32],
    sampling: Sampling,
    chain: ScoreChain,
    difference: Option<Difference>,
    false_logprobs: Option<usize>,
}

impl Check<'_> {
    /// Takes the scores behind one position, unless the claim has already failed.
    fn see(&mut self, position: usize, scores: Scores<'_>) {
        if self.difference.is_some() {
            return;
        }
        let choice = Choice::of(scores, &self.sampling, &self.text[..=position]);
        let index = position + 1 - self.claim.start();
        let (claimed, chosen) = (self.claim.output[index], choice.token);
        self.chain.take(&choice);
        let stated = self.claim.logprobs.get(index);
        if self.false_logprobs.is_none() && chosen == claimed && stated != choice.logprobs.as_ref() {
            self.false_logprobs = Some(index);
        }
        self.difference = (chosen != claimed).then_some(Difference { index, claimed, chosen });
    }
}
