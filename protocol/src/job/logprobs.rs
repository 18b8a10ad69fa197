//! Log probabilities that go with an output token, if the request asks for them (docs/NUMERICS.md, section 6).

use serde::{Deserialize, Serialize};

use crate::{limits::LOGPROBS_MAX, wire::at_most};

/// A token and how likely it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// Token id.
    pub token: u32,
    /// Natural logarithm of its probability, in 1/65536; never above 0.
    pub logprob_q16: i32,
}

/// How likely an output token and its likeliest alternatives were, before penalties and temperature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logprobs {
    /// Natural logarithm of the chosen token's probability, in 1/65536; never above 0.
    pub logprob_q16: i32,
    /// The likeliest tokens, the likeliest first; the chosen one may be among them.
    pub top: Vec<Alternative>,
}

impl Logprobs {
    /// Whether these can be what a request for `asked` alternatives gets with `token`.
    #[must_use]
    pub fn fits(&self, token: u32, asked: u8) -> bool {
        let (Some(first), Some(last)) = (self.top.first(), self.top.last()) else { return false };
        let falls = self.top.is_sorted_by(|a, b| a.logprob_q16 >= b.logprob_q16);
        let is_new = |(at, one): (usize, &Alternative)| self.top[..at].iter().all(|b| b.token != one.token);
        let own = self.top.iter().find(|one| one.token == token);
        self.top.len() <= usize::from(asked)
            && first.logprob_q16 <= 0
            && falls
            && self.top.iter().enumerate().all(is_new)
            && own.map_or(self.logprob_q16 <= last.logprob_q16, |own| own.logprob_q16 == self.logprob_q16)
    }

    /// Refuses more alternatives than any request may ask for.
    ///
    /// # Errors
    /// With a sentence that says how many.
    pub fn check_bounds(&self) -> Result<(), String> {
        at_most("alternatives of a token", self.top.len(), LOGPROBS_MAX)
    }

    /// Adds all to a digest.
    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.logprob_q16.to_le_bytes());
        for one in &self.top {
            hasher.update(&one.token.to_le_bytes()).update(&one.logprob_q16.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logprobs(own: i32, top: &[(u32, i32)]) -> Logprobs {
        let one = |&(token, logprob_q16)| Alternative { token, logprob_q16 };
        Logprobs { logprob_q16: own, top: top.iter().map(one).collect() }
    }

    #[test]
    fn only_sound_ones_fit() {
        let top = [(7, -5), (2, -9), (4, -9)];
        assert!(logprobs(-9, &top).fits(2, 3) && logprobs(-10, &top).fits(1, 20));
        let bad = [
            (logprobs(-9, &top), 2, 2, "more than asked"),
            (logprobs(-9, &[]), 2, 3, "none at all"),
            (logprobs(-8, &top), 2, 3, "its own is another than in the list"),
            (logprobs(-8, &top), 1, 3, "it is likelier than the last of the list and not in it"),
            (logprobs(-20, &[(7, -9), (2, -5)]), 1, 3, "they rise"),
            (logprobs(-20, &[(7, -5), (7, -9)]), 1, 3, "one stands twice"),
            (logprobs(1, &[(7, 1)]), 7, 3, "a probability above one"),
        ];
        for (logprobs, token, asked, why) in bad {
            assert!(!logprobs.fits(token, asked), "{why}");
        }
    }
}
