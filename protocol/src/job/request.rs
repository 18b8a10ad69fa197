//! What a client asks for in one job, and the digests that bind it.

use serde::{Deserialize, Serialize};

use super::{logprobs::Logprobs, sampling::Sampling};
use crate::{
    exact::score_chain::ScoreChain,
    id::{JobId, OutputDigest, RequestDigest, ScoreDigest, SessionId},
    layout::Layout,
    limits::{
        CHUNK_TOKENS_MAX, JOB_FRAME_BYTES_MAX, LANES_MAX, LOGPROBS_MAX, OUTPUT_TOKENS_MAX, PROMPT_TOKENS_MAX,
        STOP_TEXT_BYTES_MAX, STOP_TEXTS_MAX, STOP_TOKENS_MAX,
    },
    session::{lane::LaneLedger, terms::Terms},
    units::Credits,
    wire::{Wire, at_most},
    work::billed,
};

/// One inference request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The session under which it is paid.
    pub session: SessionId,
    /// The lane it uses.
    pub lane: u16,
    /// Number of the job in its lane, from 0.
    pub index: u32,
    /// Token ids of the prompt, template applied.
    pub prompt: Vec<u32>,
    /// Output that other providers wrote before, with which this job goes on; empty for a job that begins.
    pub written: Vec<u32>,
    /// How many tokens behind those the client had paid another provider for, which did not send them: this job writes
    /// them and bills them as if they had been there to read.
    pub prepaid: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to write, without those that were written before.
    pub max_tokens: u32,
    /// Token ids that end the output; the one that did is part of it.
    pub stop: Vec<u32>,
    /// Texts that end the output; the token that completed one is part of it ([`super::ending`]).
    pub stop_texts: Vec<String>,
    /// Alternatives whose log probabilities go with each token; 0 for no log probabilities at all.
    pub logprobs: u8,
    /// Hides the prompt in the digest from those who were not shown it.
    pub salt: [u8; 32],
}

impl Request {
    /// Binds salted prompt, parameters and the job's place in its session.
    #[must_use]
    pub fn digest(&self) -> RequestDigest {
        let mut out = Layout::new("gridhour/request/v3");
        out.fixed(&self.session.0).u16(self.lane).u32(self.index).fixed(&self.salt);
        out.tokens(&self.prompt).tokens(&self.written).u32(self.prepaid);
        self.sampling.lay_out(&mut out);
        out.u64(self.sampling.seed).u32(self.max_tokens).tokens(&self.stop).count(self.stop_texts.len());
        for text in &self.stop_texts {
            out.bytes(text.as_bytes());
        }
        out.u8(self.logprobs);
        RequestDigest(out.hash())
    }

    /// What the sampling key is drawn from, beside the seed: the unsalted prompt and the rules of sampling. Neither salt
    /// nor session enters, nor where the output ends or who wrote its beginning, so (model, prompt, rules, seed) gives
    /// one text.
    #[must_use]
    pub fn core(&self) -> Vec<u8> {
        let mut out = Layout::new("gridhour/request-core/v2");
        out.tokens(&self.prompt);
        self.sampling.lay_out(&mut out);
        out.as_bytes().to_vec()
    }

    /// Tokens that are read: the prompt, and what was written before. It is also the position of this job's first token.
    #[must_use]
    pub fn start(&self) -> u32 {
        // A request's bounds keep both far below 2^32.
        u32::try_from(self.prompt.len().saturating_add(self.written.len())).unwrap_or(u32::MAX)
    }

    /// What is read, in order.
    #[must_use]
    pub fn text(&self) -> Vec<u32> {
        [&self.prompt[..], &self.written].concat()
    }

    /// The score chain of this job before its first token.
    #[must_use]
    pub fn scores_before(&self) -> ScoreDigest {
        ScoreDigest(ScoreChain::start(&self.digest().0, self.start()).digest())
    }

    /// What `lane` owes in all once this job, its next, has written `output` tokens. `None` on overflow.
    #[must_use]
    pub fn amount_on(&self, lane: &LaneLedger, terms: &Terms, output: u32) -> Option<Credits> {
        let (read, written) = billed(self.start(), output, self.prepaid);
        lane.amount_with(terms, read, written)
    }

    /// The request for the rest, after `delivered` tokens of this one, for another provider. The client has paid for the
    /// first `paid_for` tokens of this one. `None` if nothing is left to write.
    #[must_use]
    pub fn rest(&self, delivered: &[u32], paid_for: u32) -> Option<Self> {
        let count = u32::try_from(delivered.len()).ok()?;
        let left = self.max_tokens.checked_sub(count).filter(|left| *left > 0)?;
        // What was to be paid elsewhere and did not come is still owed to this client, by nobody else.
        let paid = paid_for.max(self.prepaid.min(self.max_tokens));
        Some(Self {
            written: [&self.written[..], delivered].concat(),
            prepaid: paid.saturating_sub(count).min(left),
            max_tokens: left,
            ..self.clone()
        })
    }

    /// The job's id.
    #[must_use]
    pub fn job(&self) -> JobId {
        let mut out = Layout::new("gridhour/job/v1");
        out.fixed(&self.session.0).u16(self.lane).u32(self.index);
        JobId(out.hash())
    }
}

impl Wire for Request {
    const BYTES_MAX: usize = JOB_FRAME_BYTES_MAX - 4096;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("prompt tokens", self.prompt.len().saturating_add(self.written.len()), PROMPT_TOKENS_MAX)?;
        at_most(
            "output tokens",
            self.written.len().saturating_add(self.max_tokens as usize),
            OUTPUT_TOKENS_MAX,
        )?;
        at_most("prepaid tokens", self.prepaid as usize, CHUNK_TOKENS_MAX.min(self.max_tokens as usize))?;
        at_most("stop tokens", self.stop.len(), STOP_TOKENS_MAX)?;
        at_most("stop texts", self.stop_texts.len(), STOP_TEXTS_MAX)?;
        for text in &self.stop_texts {
            at_most("bytes of a stop text", text.len(), STOP_TEXT_BYTES_MAX)?;
        }
        at_most("logprobs", usize::from(self.logprobs), LOGPROBS_MAX)?;
        at_most("lane", usize::from(self.lane), LANES_MAX - 1)?;
        if self.prompt.is_empty() || self.max_tokens == 0 {
            return Err("a job needs at least one prompt token and one output token".into());
        }
        if self.stop_texts.iter().any(String::is_empty) {
            return Err("a stop text is empty".into());
        }
        self.sampling.check().map_err(|error| error.to_string())
    }
}

/// The running digest of a job's output: each chunk carries its value so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputChain(OutputDigest);

impl OutputChain {
    /// Before the first token.
    #[must_use]
    pub fn start(request: &RequestDigest) -> Self {
        let mut out = Layout::new("gridhour/output/v1");
        out.fixed(&request.0);
        Self(OutputDigest(out.hash()))
    }

    /// After one token more, with its log probabilities if the request asks for them.
    pub fn push(&mut self, token: u32, logprobs: Option<&Logprobs>) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.0).update(&token.to_le_bytes());
        if let Some(logprobs) = logprobs {
            logprobs.hash_into(&mut hasher);
        }
        self.0 = OutputDigest(*hasher.finalize().as_bytes());
    }

    /// The digest so far.
    #[must_use]
    pub fn digest(&self) -> OutputDigest {
        self.0
    }

    /// Digest of a whole output: tokens, and one entry of `logprobs` for each, or none at all.
    #[must_use]
    pub fn of(request: &RequestDigest, tokens: &[u32], logprobs: &[Logprobs]) -> OutputDigest {
        let mut chain = Self::start(request);
        chain.extend(tokens, logprobs);
        chain.digest()
    }

    /// After these tokens more, and one entry of `logprobs` for each, or none at all.
    pub fn extend(&mut self, tokens: &[u32], logprobs: &[Logprobs]) {
        for (at, token) in tokens.iter().enumerate() {
            self.push(*token, logprobs.get(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn everything_asked_for_is_in_the_digest_and_the_text_depends_on_prompt_and_rules_alone() {
        let sampling = |change: fn(&mut Sampling)| {
            let mut sampling = sample::request().sampling;
            change(&mut sampling);
            Request { sampling, ..sample::request() }
        };
        let base = sample::request();
        let same_text = [
            Request { session: SessionId([1; 32]), ..base.clone() },
            Request { salt: [1; 32], ..base.clone() },
            Request { max_tokens: 11, ..base.clone() },
            Request { stop: vec![], ..base.clone() },
            Request { stop_texts: vec!["a".into()], ..base.clone() },
            Request { stop_texts: vec!["a".into(), "b".into()], ..base.clone() },
            Request { stop_texts: vec!["ab".into()], ..base.clone() },
            Request { logprobs: 1, ..base.clone() },
            sampling(|rules| rules.seed = 1),
        ];
        let other_text = [
            Request { prompt: vec![1], ..base.clone() },
            sampling(|rules| rules.temperature_q16 = 700),
            sampling(|rules| rules.top_k = 5),
            sampling(|rules| rules.presence_q16 = 5),
        ];
        assert!(same_text.iter().all(|request| request.core() == base.core()));
        assert!(other_text.iter().all(|request| request.core() != base.core()));
        let all = same_text.iter().chain(&other_text).chain([&base]);
        let mut digests: Vec<_> = all.map(|request| request.digest().0).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), same_text.len() + other_text.len() + 1);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        let base = sample::request();
        let hot = Sampling { temperature_q16: u32::MAX, ..base.sampling };
        let cases = [
            (Request { stop_texts: vec!["a".into(); 9], ..base.clone() }, "stop texts"),
            (Request { stop_texts: vec!["a".repeat(65)], ..base.clone() }, "bytes of a stop text"),
            (Request { stop_texts: vec![String::new()], ..base.clone() }, "a stop text is empty"),
            (Request { logprobs: 21, ..base.clone() }, "logprobs"),
            (Request { sampling: hot, ..base.clone() }, "temperature"),
        ];
        assert_eq!(base.check_bounds(), Ok(()));
        for (request, name) in cases {
            assert!(request.check_bounds().is_err_and(|why| why.starts_with(name)), "{name}");
        }
    }
}
