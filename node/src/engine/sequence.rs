//! One text on an engine, computed from outside, piece by piece: for verification, evaluation and measurement.

use std::sync::Arc;

use thiserror::Error;

use super::{
    Engine,
    choice::Choice,
    device::{DeviceFault, Lane, Pass, Row},
    pages::table::PageTable,
    sampler::Sampling,
    score_chain::Scores,
};

/// Rows of a pass that a processor computes best: larger ones hold it longer and gain little.
pub const CHUNK: usize = 64;

/// Why tokens were not computed; nothing of the sequence has changed, but for passes before a fault.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SequenceError {
    /// More positions were asked for than a sequence can have.
    #[error(
        "{asked} positions asked for; the engine computes at most {max}: shorten the prompt or the answer"
    )]
    Context {
        /// Positions asked for.
        asked: usize,
        /// Positions that there can be.
        max: usize,
    },
    /// The memory for keys and values is taken.
    #[error("keys and values of {asked} positions do not fit what is left of {limit} bytes: try again later")]
    KvMemory {
        /// Positions asked for.
        asked: usize,
        /// Bytes of all sequences at most.
        limit: usize,
    },
    /// A token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {vocab}: the request is for another model")]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: u32,
    },
    /// No token was given.
    #[error("a prompt needs at least one token")]
    Empty,
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// The state of one text on an engine.
#[derive(Debug)]
pub struct Sequence {
    engine: Arc<Engine>,
    table: PageTable,
    capacity: usize,
    position: usize,
}

impl Sequence {
    /// An empty text that may grow to `capacity` positions.
    ///
    /// # Errors
    /// [`SequenceError::Context`] and [`SequenceError::KvMemory`].
    pub fn new(engine: &Arc<Engine>, capacity: usize) -> Result<Self, SequenceError> {
        let max = engine.context();
        if capacity > max {
            return Err(SequenceError::Context { asked: capacity, max });
        }
        let full = || SequenceError::KvMemory { asked: capacity, limit: engine.pages().limit() };
        let table = engine.pages().admit(&[], capacity).ok_or_else(full)?;
        Ok(Self { engine: engine.clone(), table, capacity, position: 0 })
    }

    /// Positions computed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes reserved for keys and values, in whole pages.
    pub fn kv_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Appends `tokens` and shows `see` the scores behind the last of them.
    ///
    /// # Errors
    /// [`SequenceError`], before anything is computed.
    pub fn prefill<R: Send>(
        &mut self,
        tokens: &[u32],
        see: impl FnOnce(Scores<'_>) -> R + Send,
    ) -> Result<R, SequenceError> {
        let last = tokens.len().saturating_sub(1);
        let mut see = Some(see);
        let mut seen = None;
        self.prefill_from(tokens, last, |_, scores| seen = see.take().map(|see| see(scores)))?;
        seen.ok_or(SequenceError::Empty)
    }

    /// Appends `tokens` and shows `see` the scores behind each of them from index `wanted` on, with the
    /// index.
    ///
    /// # Errors
    /// [`SequenceError`], before anything is computed.
    pub fn prefill_from(
        &mut self,
        tokens: &[u32],
        wanted: usize,
        mut see: impl FnMut(usize, Scores<'_>) + Send,
    ) -> Result<(), SequenceError> {
        check(&self.engine, self.position, tokens, self.capacity)?;
        let chunk = self.engine.device().rows_max();
        for (index, tokens) in tokens.chunks(chunk).enumerate() {
            let first = index * chunk;
            let wanted = wanted.saturating_sub(first).min(tokens.len());
            self.compute(tokens, wanted, &mut |at, scores| see(first + at, scores))?;
        }
        Ok(())
    }

    /// Appends `tokens` without looking at any scores.
    ///
    /// # Errors
    /// [`SequenceError`], before anything is computed.
    pub fn extend(&mut self, tokens: &[u32]) -> Result<(), SequenceError> {
        self.prefill_from(tokens, tokens.len(), |_, _| ())
    }

    /// Chooses up to `steps` tokens behind `text`, the whole text so far, of which all but the last token
    /// were appended before. Gives at least one.
    ///
    /// # Errors
    /// [`SequenceError`]; but for a fault, before anything is computed.
    ///
    /// # Panics
    /// If `text` is not one token longer than what was appended, or `steps` is zero.
    pub fn decode(
        &mut self,
        text: &[u32],
        sampling: &Sampling,
        steps: usize,
    ) -> Result<Vec<Choice>, SequenceError> {
        assert!(text.len() == self.position + 1 && steps > 0, "a text whose last token is to be computed");
        check(&self.engine, self.position, &text[self.position..], self.capacity)?;
        let steps = steps.min(self.engine.device().steps_max()).min(self.capacity - self.position);
        self.table.grow(self.position + steps);
        let lane = Lane { table: self.table.ids(), text, sampling, stop: &[], steps };
        let choices = self.engine.device().decode(&[lane])?.chosen.pop().unwrap_or_default();
        self.position += choices.len();
        Ok(choices)
    }

    fn compute(
        &mut self,
        tokens: &[u32],
        wanted: usize,
        see: &mut (dyn FnMut(usize, Scores<'_>) + Send),
    ) -> Result<(), DeviceFault> {
        self.table.grow(self.position + tokens.len());
        // The context is bounded by 2^17.
        let rows = (self.position as u32..).zip(tokens);
        let rows: Vec<Row> =
            rows.map(|(position, token)| Row { token: *token, position, table: 0 }).collect();
        let wanted: Vec<usize> = (wanted..tokens.len()).collect();
        let pass = Pass { rows: &rows, tables: &[self.table.ids()], wanted: &wanted };
        self.engine.device().run(&pass, see)?;
        self.position += tokens.len();
        Ok(())
    }
}

/// Whether `tokens` can be computed behind `position` positions of a text of at most `capacity`.
pub(crate) fn check(
    engine: &Engine,
    position: usize,
    tokens: &[u32],
    capacity: usize,
) -> Result<(), SequenceError> {
    let asked = position.saturating_add(tokens.len());
    let vocab = engine.config().vocab;
    match tokens.iter().find(|token| **token >= vocab) {
        _ if tokens.is_empty() => Err(SequenceError::Empty),
        _ if asked > capacity => Err(SequenceError::Context { asked, max: capacity }),
        Some(token) => Err(SequenceError::Token { token: *token, vocab }),
        None => Ok(()),
    }
}
