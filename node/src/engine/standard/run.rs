//! The standard job on an engine that holds the standard model: a prompt is read, and tokens are written.

use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};

use gridhour_protocol::{
    calibration::{
        job::{RULES, StandardJob},
        shape::{OUTPUT_TOKENS, PROMPT_TOKENS, StandardShape},
    },
    id::ScoreDigest,
};

use super::super::{
    Engine,
    choice::Choice,
    sampler::{Sampling, SamplingKey},
    score_chain::ScoreChain,
    sequence::{Sequence, SequenceError},
};

/// How tokens are chosen under one key of noise.
pub(super) fn sampling(noise: [u32; 2]) -> Sampling {
    Sampling::new(RULES, SamplingKey(noise))
}

/// A standard job whose prompt was read.
#[derive(Debug)]
pub struct StandardRun {
    job: StandardJob,
    sequence: Sequence,
    /// Prompt and output so far.
    text: Vec<u32>,
    chain: ScoreChain,
}

impl StandardRun {
    /// Reads the prompt of `job`; also gives the first token.
    ///
    /// # Errors
    /// [`SequenceError`] if the engine is not that of the standard model, or its device fails.
    pub fn read(
        engine: &Arc<Engine>,
        shape: &StandardShape,
        job: StandardJob,
    ) -> Result<(Self, u32), SequenceError> {
        let prompt = job.prompt(shape);
        let mut sequence = Sequence::new(engine, (PROMPT_TOKENS + OUTPUT_TOKENS - 1) as usize)?;
        let sampling = sampling(job.first_noise());
        let choice = sequence.prefill(&prompt, |scores| Choice::of(scores, &sampling, &prompt))?;
        let chain = ScoreChain::new(&job.digest().0, PROMPT_TOKENS);
        let mut run = Self { job, sequence, text: prompt, chain };
        run.take(&choice);
        Ok((run, choice.token))
    }

    /// Writes the tokens behind the first, with noise from `output_nonce`; also gives the score chain over
    /// the whole output. Ends early once `given_up` is true, when nobody reads it any more.
    ///
    /// # Errors
    /// [`SequenceError`] if the device fails.
    pub fn write(
        mut self,
        output_nonce: &[u8; 32],
        given_up: &AtomicBool,
    ) -> Result<(Vec<u32>, ScoreDigest), SequenceError> {
        let first = PROMPT_TOKENS as usize;
        let end = first + OUTPUT_TOKENS as usize;
        let sampling = sampling(self.job.rest_noise(self.text[first], output_nonce));
        while self.text.len() < end && !given_up.load(Ordering::Relaxed) {
            let choices = self.sequence.decode(&self.text, &sampling, end - self.text.len())?;
            choices.iter().for_each(|choice| self.take(choice));
        }
        Ok((self.text.split_off(first + 1), ScoreDigest(self.chain.digest())))
    }

    fn take(&mut self, choice: &Choice) {
        self.chain.take(choice);
        self.text.push(choice.token);
    }
}
