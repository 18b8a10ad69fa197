//! How fast an engine is on this machine.

mod integers;
mod memory;
mod texts;

use std::{sync::Arc, time::Instant};

use gridhour_protocol::work::WorkModel;
use serde::Serialize;
use thiserror::Error;

use self::{integers::product_rate, memory::read_rate, texts::Texts};
use super::median;
use crate::engine::{
    Engine,
    device::DeviceFault,
    isa::Kernels,
    score_chain::ScoreChain,
    sequence::{Sequence, SequenceError},
};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Positions before the decoding that is measured.
    pub depth: usize,
    /// Tokens of the prompts that are measured.
    pub prefill: usize,
    /// Texts that are decoded together.
    pub batch: usize,
    /// Tokens that each decoding makes.
    pub decode: usize,
    /// Times that each figure is taken.
    pub repeat: usize,
    /// The instructions in use, where a processor computes.
    pub instructions: Option<Kernels>,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The engine refused the lengths.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// A text re-run gave other tokens.
    #[error(
        "the engine did not find its own output again: this machine computes wrongly, use it for nothing"
    )]
    Differs,
}

/// Medians. "Giga" is 10^9.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Milliseconds from an empty text to the first token behind a prompt of 16.
    pub first_token_ms: f64,
    /// Prompt tokens.
    pub prefill_tokens_per_s: f64,
    /// Multiply-accumulates in prefill, by the work formula.
    pub prefill_gmacs_per_s: f64,
    /// Tokens of one text.
    pub decode_tokens_per_s: f64,
    /// Tokens of all texts of the batch.
    pub batch_tokens_per_s: f64,
    /// Tokens of the batch over prompt tokens of a prefill.
    pub batch_over_prefill: f64,
    /// Multiply-accumulates of a re-run over those of a prefill, per time.
    pub verify_over_prefill: f64,
    /// Time of decoding with the score chain over that without its digests.
    pub chain_on_over_off: f64,
    /// Bytes of weights that decoding reads.
    pub decode_gbytes_per_s: f64,
    /// Bytes that a plain loop reads from memory on as many threads.
    pub memory_gbytes_per_s: f64,
    /// The one over the other.
    pub decode_over_memory: f64,
    /// Products of small integers that the instructions in use do from registers on as many threads; none but on a
    /// processor.
    pub integer_gproducts_per_s: Option<f64>,
    /// Products of prefill, two for each multiply-accumulate, one a limb, over those.
    pub prefill_over_integer: Option<f64>,
}

/// Measures `engine` as `plan` says; `work` is its model's.
///
/// # Errors
/// [`BenchError`]; lengths that the model or the memory for keys and values does not take are refused.
pub fn measure(engine: &Arc<Engine>, work: &WorkModel, plan: Plan) -> Result<Report, BenchError> {
    let prompt = texts::tokens(engine.config().vocab, plan.prefill, 0);
    warm_up(engine, &prompt)?;
    let mut samples = Samples::default();
    for _ in 0..plan.repeat {
        samples.first.push(prefill(engine, &prompt[..prompt.len().min(16)])?);
        samples.prefill.push(prefill(engine, &prompt)?);
        let one = decode(engine, 1, plan)?;
        samples.decode.push(one.off);
        samples.chain.push(one.on / one.off);
        samples.batch.push(decode(engine, plan.batch, plan)?.off);
        samples.verify.push(texts::verify_against_prefill(engine, work, plan)?);
        samples.memory.push(read_rate(engine.threads()));
        samples.integers.extend(plan.instructions.map(|kernels| product_rate(kernels, engine.threads())));
    }
    Ok(samples.report(work, plan, engine.weight_bytes()))
}

/// Seconds of each repeat, or ratios.
#[derive(Default)]
struct Samples {
    first: Vec<f64>,
    prefill: Vec<f64>,
    decode: Vec<f64>,
    chain: Vec<f64>,
    batch: Vec<f64>,
    verify: Vec<f64>,
    memory: Vec<f64>,
    integers: Vec<f64>,
}

impl Samples {
    fn report(&mut self, work: &WorkModel, plan: Plan, weight_bytes: usize) -> Report {
        let prefill = median(&mut self.prefill);
        let prefill_gmacs_per_s = texts::prefill_macs(work, plan.prefill) as f64 / prefill / 1e9;
        let prefill_tokens_per_s = plan.prefill as f64 / prefill;
        let decode_tokens_per_s = plan.decode as f64 / median(&mut self.decode);
        let batch_tokens_per_s = (plan.batch * plan.decode) as f64 / median(&mut self.batch);
        let decode_gbytes_per_s = weight_bytes as f64 * decode_tokens_per_s / 1e9;
        let memory_gbytes_per_s = median(&mut self.memory) / 1e9;
        let integers = plan.instructions.map(|_| median(&mut self.integers) / 1e9);
        Report {
            first_token_ms: median(&mut self.first) * 1e3,
            prefill_tokens_per_s,
            prefill_gmacs_per_s,
            decode_tokens_per_s,
            batch_tokens_per_s,
            batch_over_prefill: batch_tokens_per_s / prefill_tokens_per_s,
            verify_over_prefill: median(&mut self.verify),
            chain_on_over_off: median(&mut self.chain),
            decode_gbytes_per_s,
            memory_gbytes_per_s,
            decode_over_memory: decode_gbytes_per_s / memory_gbytes_per_s,
            integer_gproducts_per_s: integers,
            prefill_over_integer: integers.map(|peak| 2.0 * prefill_gmacs_per_s / peak),
        }
    }
}

/// The first pass of an engine finds no page of memory backed.
fn warm_up(engine: &Arc<Engine>, prompt: &[u32]) -> Result<(), BenchError> {
    prefill(engine, prompt).map(|_| ())
}

/// Seconds to read `prompt` and score its end.
fn prefill(engine: &Arc<Engine>, prompt: &[u32]) -> Result<f64, BenchError> {
    let mut sequence = Sequence::new(engine, prompt.len())?;
    let start = Instant::now();
    sequence.prefill(prompt, |_| ())?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds that decoding took, with the score chain and without.
struct Decoded {
    on: f64,
    off: f64,
}

/// Decodes `batch` texts behind `plan.depth` positions, in turns with the score chain's digests and without.
fn decode(engine: &Arc<Engine>, batch: usize, plan: Plan) -> Result<Decoded, BenchError> {
    let mut texts = Texts::new(engine, batch, plan.depth, 2 * plan.decode)?;
    let mut chains = vec![ScoreChain::new(&[0; 32], plan.depth as u32); batch];
    let mut took = Decoded { on: 0.0, off: 0.0 };
    for step in 0..2 * plan.decode {
        let start = Instant::now();
        let choices = texts.step(engine)?;
        if step % 2 == 0 {
            chains.iter_mut().zip(&choices).for_each(|(chain, choice)| chain.take(choice));
            took.on += start.elapsed().as_secs_f64();
        } else {
            took.off += start.elapsed().as_secs_f64();
        }
    }
    Ok(took)
}
