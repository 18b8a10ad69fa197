//! The chain of digests that ties an output to the computation of every layer.

use super::{choice::Choice, fixed::sat32};

const CONTEXT: &str = "gridhour score chain v1";

/// What the model said at the position that chose a token.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// One logit a token of the vocabulary, nats in Q16, before temperature and noise.
    pub logits: &'a [i32],
    /// One checksum a layer, of the residual stream behind it.
    pub checksums: &'a [u32],
}

/// The running digest; see `docs/NUMERICS.md`, section 7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScoreChain([u8; 32]);

impl ScoreChain {
    /// The chain of a request whose first output token stands at position `start`, counted from the prompt's
    /// first.
    pub fn new(request_digest: &[u8; 32], start: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(request_digest).update(&start.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// Takes in one output token and the scores that chose it.
    ///
    /// # Panics
    /// If the token is not in the vocabulary.
    pub fn push(&mut self, token: u32, scores: Scores<'_>) {
        self.take(&Choice::taking(token, scores));
    }

    /// Takes in one output token as it was chosen.
    pub fn take(&mut self, choice: &Choice) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&choice.token.to_le_bytes());
        hasher.update(&choice.logit.to_le_bytes());
        hasher.update(&choice.runner_up.to_le_bytes());
        hasher.update(&choice.runner_up_logit.to_le_bytes());
        for checksum in &choice.checksums {
            hasher.update(&checksum.to_le_bytes());
        }
        self.0 = *hasher.finalize().as_bytes();
    }

    /// The digest so far.
    pub fn digest(&self) -> [u8; 32] {
        self.0
    }
}

/// The largest logit but that of `chosen`, ties to the lowest id.
pub(crate) fn runner_up(logits: &[i32], chosen: u32) -> (u32, i32) {
    let (before, rest) = logits.split_at(chosen as usize);
    let first = argmax(before);
    let second = argmax(&rest[1..]).map(|(id, logit)| (id + chosen + 1, logit));
    match (first, second) {
        (Some(a), Some(b)) => {
            if b.1 > a.1 {
                b
            } else {
                a
            }
        }
        (one, other) => one.or(other).unwrap_or((0, sat32(i64::MIN))),
    }
}

/// The largest logit with its place, ties to the lowest; nothing for an empty slice.
pub(crate) fn argmax(logits: &[i32]) -> Option<(u32, i32)> {
    let max = logits.iter().copied().max()?;
    let place = logits.iter().position(|logit| *logit == max)?;
    Some((place as u32, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_up_is_the_best_of_the_others() {
        assert_eq!(runner_up(&[3, 9, 9, 1], 1), (2, 9));
        assert_eq!(runner_up(&[3, 9, 9, 1], 2), (1, 9));
        assert_eq!(runner_up(&[3, 9, 9, 3], 0), (1, 9));
        assert_eq!(runner_up(&[-7, -8], 0), (1, -8));
        assert_eq!(runner_up(&[-7, -8], 1), (0, -7));
    }

    #[test]
    fn every_part_of_the_scores_counts() {
        let end = |token, logits: &[i32], checksums: &[u32], start| {
            let mut chain = ScoreChain::new(&[7; 32], start);
            chain.push(token, Scores { logits, checksums });
            chain.digest()
        };
        let base = end(1, &[4, 9, 2], &[11, 12], 5);
        assert_eq!(base, end(1, &[4, 9, 3], &[11, 12], 5), "a third logit does not enter");
        let others = [
            end(0, &[4, 9, 2], &[11, 12], 5),
            end(1, &[5, 9, 2], &[11, 12], 5),
            end(1, &[4, 8, 2], &[11, 12], 5),
            end(1, &[4, 9, 2], &[11, 13], 5),
            end(1, &[4, 9, 2], &[11, 12], 6),
        ];
        assert!(others.iter().all(|other| *other != base));
    }
}
