//! One running text: its keys and values, and where it stands.

use std::sync::Arc;

use thiserror::Error;

use super::{Engine, forward::Workspace, kv_cache::KvCache, score_chain::Scores};

/// Tokens computed at a time. Larger chunks read the weights less often, but hold the engine longer.
pub const CHUNK: usize = 64;

/// Why tokens were not computed; nothing of the sequence has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
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
}

/// The state of one text on an engine.
#[derive(Debug)]
pub struct Sequence {
    engine: Arc<Engine>,
    cache: KvCache,
    work: Workspace,
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
        let budget = engine.kv_budget();
        let full = SequenceError::KvMemory { asked: capacity, limit: budget.limit() };
        let cache = KvCache::new(engine.kv_shape(), capacity, budget).ok_or(full)?;
        Ok(Self { engine: engine.clone(), cache, work: Workspace::new(engine.config()), position: 0 })
    }

    /// Positions computed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes reserved for keys and values.
    pub fn kv_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Keys and values of the positions computed so far.
    pub fn cache(&self) -> &KvCache {
        &self.cache
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
        self.check(tokens)?;
        let engine = self.engine.clone();
        for (index, chunk) in tokens.chunks(CHUNK).enumerate() {
            let first = index * CHUNK;
            let wanted = wanted.saturating_sub(first).min(chunk.len());
            engine.install(|| self.compute(chunk, wanted, |at, scores| see(first + at, scores)));
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

    pub(crate) fn check(&self, tokens: &[u32]) -> Result<(), SequenceError> {
        let (asked, max) = (self.position.saturating_add(tokens.len()), self.cache.capacity());
        let vocab = self.engine.config().vocab;
        match tokens.iter().find(|token| **token >= vocab) {
            _ if tokens.is_empty() => Err(SequenceError::Empty),
            _ if asked > max => Err(SequenceError::Context { asked, max }),
            Some(token) => Err(SequenceError::Token { token: *token, vocab }),
            None => Ok(()),
        }
    }

    fn compute(&mut self, chunk: &[u32], wanted: usize, mut see: impl FnMut(usize, Scores<'_>)) {
        let plan = self.engine.plan();
        self.work.run(plan, &mut self.cache, chunk, self.position, wanted);
        self.position += chunk.len();
        if wanted == chunk.len() {
            return;
        }
        self.work.output(plan, wanted);
        for at in 0..chunk.len() - wanted {
            let checksums = self.work.checksums(at, plan.weights.layers.len());
            let logits = self.work.logits(plan, at);
            see(wanted + at, Scores { logits, checksums: &checksums });
        }
    }
}
