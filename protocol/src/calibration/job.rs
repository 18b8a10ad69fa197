//! One challenge, and what follows from its nonces: the prompt, and the noise by which tokens are chosen.
//!
//! Tokens are chosen at temperature 1. Greedy choices of a random model soon repeat themselves, and who can
//! guess the next tokens can compute many in one pass; noise that nobody knew before leaves nothing to guess.

use serde::{Deserialize, Serialize};

use super::shape::{OUTPUT_TOKENS, PROMPT_TOKENS, StandardShape};
use crate::{
    id::{NetworkId, OutputDigest, RequestDigest},
    job::{
        request::OutputChain,
        sampling::{ONE_Q16, Sampling},
    },
    layout::Layout,
    signed::PublicKey,
};

const PROMPT_CONTEXT: &str = "gridhour standard prompt v1";
/// The rules of sampling: temperature 1 and nothing else.
pub const RULES: Sampling = Sampling { temperature_q16: ONE_Q16, ..Sampling::GREEDY };

/// Who challenges whom to compute what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Challenge {
    /// Digest of the arithmetic's page.
    pub numerics: [u8; 32],
    /// The network.
    pub network: NetworkId,
    /// Who asks, whose clock counts, and who signs.
    pub challenger: PublicKey,
    /// Who computes.
    pub provider: PublicKey,
    /// Memory that the job fills, in bytes.
    pub memory_bytes: u64,
    /// What the weights follow from.
    pub seed: [u8; 32],
}

/// A challenge with the nonce of its prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandardJob(RequestDigest);

impl StandardJob {
    /// The job that `challenge` and the nonce of its prompt decide.
    #[must_use]
    pub fn new(challenge: &Challenge, prompt_nonce: &[u8; 32]) -> Self {
        let mut out = Layout::new("gridhour/standard-job/v1");
        challenge.lay_out(&mut out);
        out.fixed(prompt_nonce);
        Self(RequestDigest(out.hash()))
    }

    /// With what output digest and score chain begin.
    #[must_use]
    pub fn digest(&self) -> RequestDigest {
        self.0
    }

    /// The prompt. Vocabularies of standard models are powers of two, so every token is equally likely.
    #[must_use]
    pub fn prompt(&self, shape: &StandardShape) -> Vec<u32> {
        let mut bytes = [0; 4 * PROMPT_TOKENS as usize];
        let mut hasher = blake3::Hasher::new_derive_key(PROMPT_CONTEXT);
        hasher.update(&self.0.0).finalize_xof().fill(&mut bytes);
        let words = bytes.as_chunks().0.iter();
        words.map(|word| u32::from_le_bytes(*word) % shape.config().vocab).collect()
    }

    /// Key of the noise by which the first token is chosen.
    #[must_use]
    pub fn first_noise(&self) -> [u32; 2] {
        noise(Layout::new("gridhour/standard-noise/v1").fixed(&self.0.0))
    }

    /// Key of the noise by which every token behind `first` is chosen.
    #[must_use]
    pub fn rest_noise(&self, first: u32, output_nonce: &[u8; 32]) -> [u32; 2] {
        noise(Layout::new("gridhour/standard-noise/v1").fixed(&self.0.0).u32(first).fixed(output_nonce))
    }

    /// Digest of the whole output.
    #[must_use]
    pub fn output(&self, tokens: &[u32]) -> OutputDigest {
        OutputChain::of(&self.0, tokens, &[])
    }
}

impl Challenge {
    /// Appends every field.
    pub fn lay_out(&self, out: &mut Layout) {
        out.fixed(&self.numerics).fixed(&self.network.0);
        out.fixed(&self.challenger.0).fixed(&self.provider.0).u64(self.memory_bytes).fixed(&self.seed);
        out.u32(PROMPT_TOKENS).u32(OUTPUT_TOKENS);
    }
}

fn noise(layout: &Layout) -> [u32; 2] {
    let hash = layout.hash();
    let words = hash.as_chunks::<4>().0;
    [u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{calibration::shape::MEMORY_MIN, sample};

    #[test]
    fn every_part_of_a_challenge_decides_its_job() {
        let base = sample::challenge();
        let others = [
            Challenge { numerics: [1; 32], ..base },
            Challenge { network: NetworkId([1; 32]), ..base },
            Challenge { challenger: base.provider, ..base },
            Challenge { provider: base.challenger, ..base },
            Challenge { memory_bytes: base.memory_bytes + 1, ..base },
            Challenge { seed: [1; 32], ..base },
        ];
        let mut jobs: Vec<_> =
            others.iter().chain([&base]).map(|c| StandardJob::new(c, &[2; 32]).0).collect();
        jobs.push(StandardJob::new(&base, &[3; 32]).0);
        jobs.sort_unstable();
        jobs.dedup();
        assert_eq!(jobs.len(), others.len() + 2);
    }

    #[test]
    fn prompt_and_noise_follow_from_the_nonces() {
        let shape = StandardShape::of(MEMORY_MIN).expect("the least");
        let job = |nonce| StandardJob::new(&sample::challenge(), &[nonce; 32]);
        let prompt = job(1).prompt(&shape);
        assert_eq!(prompt.len(), PROMPT_TOKENS as usize);
        assert!(prompt.iter().all(|token| *token < shape.config().vocab));
        assert_ne!(prompt, job(2).prompt(&shape));
        let keys = [
            job(1).first_noise(),
            job(2).first_noise(),
            job(1).rest_noise(5, &[7; 32]),
            job(1).rest_noise(6, &[7; 32]),
            job(1).rest_noise(5, &[8; 32]),
        ];
        assert!(keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key)), "{keys:?}");
    }
}
