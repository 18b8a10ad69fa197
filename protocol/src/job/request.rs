//! What a client asks for in one job, and the digests that bind it.

use serde::{Deserialize, Serialize};

use crate::{
    id::{JobId, OutputDigest, RequestDigest, SessionId},
    layout::Layout,
    limits::{JOB_FRAME_BYTES_MAX, LANES_MAX, OUTPUT_TOKENS_MAX, PROMPT_TOKENS_MAX, STOP_TOKENS_MAX},
    wire::{Wire, at_most},
};

/// Lowest temperature above greedy, in 1/65536: 0.01.
pub const TEMPERATURE_Q16_MIN: u32 = 656;
/// Highest temperature, in 1/65536: 100.
pub const TEMPERATURE_Q16_MAX: u32 = 100 << 16;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sampling {
    /// Temperature in 1/65536; 0 is greedy.
    pub temperature_q16: u32,
    /// Seed of the noise; without effect when greedy.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self { temperature_q16: 0, seed: 0 };
}

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
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// Token ids that end the output; the one that did is part of it.
    pub stop: Vec<u32>,
    /// Hides the prompt in the digest from those who were not shown it.
    pub salt: [u8; 32],
}

impl Request {
    /// Binds salted prompt, parameters and the job's place in its session.
    #[must_use]
    pub fn digest(&self) -> RequestDigest {
        let mut out = Layout::new("gridhour/request/v1");
        out.fixed(&self.session.0).u16(self.lane).u32(self.index).fixed(&self.salt);
        out.tokens(&self.prompt).u32(self.sampling.temperature_q16).u64(self.sampling.seed);
        out.u32(self.max_tokens).tokens(&self.stop);
        RequestDigest(out.hash())
    }

    /// What the sampling key is drawn from, beside the seed: the unsalted prompt and the temperature. Neither salt nor
    /// session enters, so (model, prompt, seed) gives one text.
    #[must_use]
    pub fn core(&self) -> Vec<u8> {
        request_core(&self.prompt, self.sampling)
    }

    /// The job's id.
    #[must_use]
    pub fn job(&self) -> JobId {
        let mut out = Layout::new("gridhour/job/v1");
        out.fixed(&self.session.0).u16(self.lane).u32(self.index);
        JobId(out.hash())
    }
}

/// [`Request::core`] of parts.
#[must_use]
pub fn request_core(prompt: &[u32], sampling: Sampling) -> Vec<u8> {
    let mut out = Layout::new("gridhour/request-core/v1");
    out.tokens(prompt).u32(sampling.temperature_q16);
    out.as_bytes().to_vec()
}

impl Wire for Request {
    const BYTES_MAX: usize = JOB_FRAME_BYTES_MAX - 4096;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("prompt tokens", self.prompt.len(), PROMPT_TOKENS_MAX)?;
        at_most("output tokens", self.max_tokens as usize, OUTPUT_TOKENS_MAX)?;
        at_most("stop tokens", self.stop.len(), STOP_TOKENS_MAX)?;
        at_most("lane", usize::from(self.lane), LANES_MAX - 1)?;
        if self.prompt.is_empty() || self.max_tokens == 0 {
            return Err("a job needs at least one prompt token and one output token".into());
        }
        let temperature = self.sampling.temperature_q16;
        if temperature != 0 && !(TEMPERATURE_Q16_MIN..=TEMPERATURE_Q16_MAX).contains(&temperature) {
            return Err("temperature is neither 0 nor between 0.01 and 100".into());
        }
        Ok(())
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

    /// After one token more.
    pub fn push(&mut self, token: u32) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.0).update(&token.to_le_bytes());
        self.0 = OutputDigest(*hasher.finalize().as_bytes());
    }

    /// The digest so far.
    #[must_use]
    pub fn digest(&self) -> OutputDigest {
        self.0
    }

    /// Digest of a whole output.
    #[must_use]
    pub fn of(request: &RequestDigest, tokens: &[u32]) -> OutputDigest {
        let mut chain = Self::start(request);
        tokens.iter().for_each(|token| chain.push(*token));
        chain.digest()
    }
}
