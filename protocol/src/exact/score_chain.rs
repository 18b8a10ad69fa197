//! The score chain: one digest that ties a receipt to every layer of the model (page, section 7).

/// Domain of a chain's first link.
const CHAIN_DOMAIN: &str = "gridhour score chain v1";

/// The multiplier of a layer's checksum.
const CHECKSUM_FACTOR: u32 = 2_654_435_761;

/// What one output token adds to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score<'a> {
    /// The chosen token.
    pub token: u32,
    /// Its logit in Q16, before temperature and noise.
    pub logit: i32,
    /// The token with the largest logit other than the chosen one.
    pub runner_up: u32,
    /// Its logit.
    pub runner_up_logit: i32,
    /// Per layer, the checksum of the residual stream at the position whose logits chose the token.
    pub checksums: &'a [u32],
}

impl<'a> Score<'a> {
    /// The score of choosing `token` from these logits.
    ///
    /// # Panics
    /// If `token` is not in the vocabulary, or the vocabulary has fewer than two tokens.
    pub fn new(logits: &[i32], token: u32, checksums: &'a [u32]) -> Self {
        let (runner_up, runner_up_logit) = runner_up(logits, token);
        Self { token, logit: logits[token as usize], runner_up, runner_up_logit, checksums }
    }
}

/// The token with the largest logit other than `chosen`, ties to the lowest id, and its logit.
///
/// # Panics
/// If there is no other token.
pub fn runner_up(logits: &[i32], chosen: u32) -> (u32, i32) {
    let others = (0u32..).zip(logits.iter().copied()).filter(|&(id, _)| id != chosen);
    others
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .expect("a vocabulary of at least two")
}

/// The chain after some number of output tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreChain([u8; 32]);

impl ScoreChain {
    /// The chain of a request before its first output token, which stands at `start_position`.
    pub fn start(request_digest: &[u8; 32], start_position: u32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CHAIN_DOMAIN);
        hasher.update(request_digest).update(&start_position.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The chain after one more output token.
    pub fn extend(self, score: &Score<'_>) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&score.token.to_le_bytes()).update(&score.logit.to_le_bytes());
        hasher.update(&score.runner_up.to_le_bytes()).update(&score.runner_up_logit.to_le_bytes());
        for checksum in score.checksums {
            hasher.update(&checksum.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The digest as it stands.
    pub fn digest(self) -> [u8; 32] {
        self.0
    }
}

/// The checksum of a residual stream: the sum of `x_i * (2i+1) * 2654435761`, modulo 2^32.
pub fn layer_checksum(x: &[i32]) -> u32 {
    let weight = |i: u32| (2 * i + 1).wrapping_mul(CHECKSUM_FACTOR);
    (0u32..).zip(x).fold(0, |sum, (i, &v)| sum.wrapping_add((v as u32).wrapping_mul(weight(i))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_up_is_the_lowest_of_the_best_others() {
        assert_eq!(runner_up(&[5, 9, 9, 9], 1), (2, 9));
        assert_eq!(runner_up(&[5, 9, 9, 9], 2), (1, 9));
        assert_eq!(runner_up(&[-7, -9], 1), (0, -7));
    }

    #[test]
    fn checksums_weigh_every_place_differently_and_wrap() {
        assert_eq!(layer_checksum(&[1, 0]), 2_654_435_761);
        assert_eq!(layer_checksum(&[0, 1]), 2_654_435_761u32.wrapping_mul(3));
        assert_eq!(layer_checksum(&[-1, 0]), 2_654_435_761u32.wrapping_neg());
    }

    #[test]
    fn every_field_moves_the_chain() {
        let base = Score { token: 1, logit: 2, runner_up: 3, runner_up_logit: 4, checksums: &[5, 6] };
        let variants = [
            base,
            Score { token: 9, ..base },
            Score { logit: 9, ..base },
            Score { runner_up: 9, ..base },
            Score { runner_up_logit: 9, ..base },
            Score { checksums: &[5, 9], ..base },
            Score { checksums: &[9, 6], ..base },
        ];
        let start = ScoreChain::start(&[7; 32], 11);
        let mut digests: Vec<_> = variants.iter().map(|s| start.extend(s).digest()).collect();
        digests.extend(
            [start, ScoreChain::start(&[7; 32], 12), ScoreChain::start(&[8; 32], 11)].map(ScoreChain::digest),
        );
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 10);
    }
}
