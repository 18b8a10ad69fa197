//! How fast this engine is here and now, as its provider will claim.

use std::{sync::Arc, time::Instant};

use super::{
    Engine,
    sequence::{Sequence, SequenceError},
};

/// Prompt tokens of a measurement.
pub const PREFILL_TOKENS: usize = 64;
/// Tokens decoded one after another in a measurement.
pub const DECODE_TOKENS: usize = 16;

/// What a measurement took. Rates follow from it by the work formula.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// Prompt tokens read.
    pub prefill_tokens: u32,
    /// Nanoseconds that reading them took.
    pub prefill_ns: u64,
    /// Passes of one token each behind that prompt.
    pub decode_tokens: u32,
    /// Nanoseconds that they took.
    pub decode_ns: u64,
}

/// Runs the engine for a moment over random tokens. The speed does not depend on which.
///
/// # Errors
/// [`SequenceError`] if the engine's context or memory is too short for it.
pub fn measure_rates(engine: &Arc<Engine>) -> Result<Measured, SequenceError> {
    let tokens = random_tokens(engine.config().vocab);
    let (prompt, output) = tokens.split_at(PREFILL_TOKENS);
    let mut sequence = Sequence::new(engine, tokens.len())?;
    let start = Instant::now();
    sequence.prefill(prompt, |_| ())?;
    let prefill = nanoseconds(start);
    let start = Instant::now();
    for token in output {
        sequence.prefill(&[*token], |_| ())?;
    }
    Ok(Measured {
        prefill_tokens: PREFILL_TOKENS as u32,
        prefill_ns: prefill,
        decode_tokens: DECODE_TOKENS as u32,
        decode_ns: nanoseconds(start),
    })
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A fixed linear congruential sequence (Knuth's MMIX constants), reduced to token ids.
fn random_tokens(vocab: u32) -> Vec<u32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 32) % u64::from(vocab)) as u32
    };
    (0..PREFILL_TOKENS + DECODE_TOKENS).map(|_| next()).collect()
}
