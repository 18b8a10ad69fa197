//! How the next token is chosen: the rules of a request, all fixed-point integers (docs/NUMERICS.md, section 6).
//!
//! Definition and engines read the same structure; what they do with it they write each for themselves.

use serde::{Deserialize, Serialize};

use crate::layout::Layout;

/// One, in 1/65536.
pub const ONE_Q16: u32 = 1 << 16;
/// Lowest temperature above greedy, and lowest repetition penalty, in 1/65536: 0.01.
pub const FACTOR_Q16_MIN: u32 = 656;
/// Highest temperature and highest repetition penalty, in 1/65536: 100.
pub const FACTOR_Q16_MAX: u32 = 100 << 16;
/// Largest magnitude of a frequency or presence penalty, in 1/65536 of a nat: 2.
pub const PENALTY_Q16_MAX: i32 = 2 << 16;
/// Tokens that the repetition penalty looks back on where nothing else is said.
pub const REPEAT_LAST_DEFAULT: u32 = 64;

/// The rules by which tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sampling {
    /// Temperature in 1/65536; 0 is greedy, else from [`FACTOR_Q16_MIN`] to [`FACTOR_Q16_MAX`].
    pub temperature_q16: u32,
    /// Only so many of the likeliest tokens may be chosen; 0 is off.
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this share of what top-k left, in 1/65536; 65536 is off.
    pub top_p_q16: u32,
    /// Only tokens at least this share as likely as the likeliest, in 1/65536; 0 is off.
    pub min_p_q16: u32,
    /// Divides positive logits of repeated tokens and multiplies the others, in 1/65536; 65536 is off.
    pub repetition_q16: u32,
    /// The last tokens of prompt and output that count as repeated.
    pub repeat_last: u32,
    /// Taken off a token's logit for each time that it stands in the output, in 1/65536 of a nat; 0 is off.
    pub frequency_q16: i32,
    /// Taken off the logit of every token that stands in the output, in 1/65536 of a nat; 0 is off.
    pub presence_q16: i32,
    /// Seed of the noise; without effect when greedy.
    pub seed: u64,
}

/// A rule outside its range. The request is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {value}/65536: it must be {allowed}")]
pub struct SamplingError {
    /// Which rule.
    pub name: &'static str,
    /// Its value, in 1/65536.
    pub value: i64,
    /// What is allowed.
    pub allowed: &'static str,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Self = Self {
        temperature_q16: 0,
        top_k: 0,
        top_p_q16: ONE_Q16,
        min_p_q16: 0,
        repetition_q16: ONE_Q16,
        repeat_last: REPEAT_LAST_DEFAULT,
        frequency_q16: 0,
        presence_q16: 0,
        seed: 0,
    };

    /// Checks that every rule is in its range.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn check(&self) -> Result<(), SamplingError> {
        let factor = FACTOR_Q16_MIN..=FACTOR_Q16_MAX;
        let penalty = -PENALTY_Q16_MAX..=PENALTY_Q16_MAX;
        let warm = self.temperature_q16 == 0 || factor.contains(&self.temperature_q16);
        let rules = [
            ("temperature", self.temperature_q16.into(), warm, "0, or from 0.01 to 100"),
            ("top-p", self.top_p_q16.into(), self.top_p_q16 <= ONE_Q16, "from 0 to 1"),
            ("min-p", self.min_p_q16.into(), self.min_p_q16 <= ONE_Q16, "from 0 to 1"),
            (
                "repetition penalty",
                self.repetition_q16.into(),
                factor.contains(&self.repetition_q16),
                "from 0.01 to 100",
            ),
            (
                "frequency penalty",
                self.frequency_q16.into(),
                penalty.contains(&self.frequency_q16),
                "from -2 to 2",
            ),
            (
                "presence penalty",
                self.presence_q16.into(),
                penalty.contains(&self.presence_q16),
                "from -2 to 2",
            ),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((name, value, _, allowed)) => Err(SamplingError { name, value, allowed }),
            None => Ok(()),
        }
    }

    /// Whether some token's logit depends on the tokens before it.
    #[must_use]
    pub fn has_penalties(&self) -> bool {
        self.repetition_q16 != ONE_Q16 || self.frequency_q16 != 0 || self.presence_q16 != 0
    }

    /// Whether some tokens may be ruled out before noise is added.
    #[must_use]
    pub fn has_filters(&self) -> bool {
        self.top_k != 0 || self.top_p_q16 < ONE_Q16 || self.min_p_q16 != 0
    }

    /// Appends every rule but the seed, for objects that bind them.
    pub fn lay_out(&self, layout: &mut Layout) {
        layout.u32(self.temperature_q16).u32(self.top_k).u32(self.top_p_q16).u32(self.min_p_q16);
        layout.u32(self.repetition_q16).u32(self.repeat_last);
        layout.i32(self.frequency_q16).i32(self.presence_q16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_range_and_is_refused_by_name_outside() {
        assert_eq!(Sampling::GREEDY.check(), Ok(()));
        let greedy = Sampling::GREEDY;
        let factors = [(656, true), (FACTOR_Q16_MAX, true), (655, false), (FACTOR_Q16_MAX + 1, false)];
        let shares = [(0, true), (ONE_Q16, true), (ONE_Q16 + 1, false), (u32::MAX, false)];
        let penalties = [(-131_072, true), (131_072, true), (-131_073, false), (i32::MIN, false)];
        let mut cases = vec![("temperature", Sampling { temperature_q16: 0, ..greedy }, true)];
        for (value, ok) in factors {
            cases.push(("temperature", Sampling { temperature_q16: value, ..greedy }, ok));
            cases.push(("repetition penalty", Sampling { repetition_q16: value, ..greedy }, ok));
        }
        for (value, ok) in shares {
            cases.push(("top-p", Sampling { top_p_q16: value, ..greedy }, ok));
            cases.push(("min-p", Sampling { min_p_q16: value, ..greedy }, ok));
        }
        for (value, ok) in penalties {
            cases.push(("frequency penalty", Sampling { frequency_q16: value, ..greedy }, ok));
            cases.push(("presence penalty", Sampling { presence_q16: value, ..greedy }, ok));
        }
        cases.push(("repetition penalty", Sampling { repetition_q16: 0, ..greedy }, false));
        for (name, sampling, ok) in cases {
            let named = sampling.check().map_err(|error| error.name);
            assert_eq!(named, if ok { Ok(()) } else { Err(name) }, "{sampling:?}");
        }
    }

    #[test]
    fn every_rule_but_the_seed_is_laid_out() {
        let bytes = |sampling: Sampling| {
            let mut layout = Layout::new("test");
            sampling.lay_out(&mut layout);
            layout.as_bytes().to_vec()
        };
        let greedy = Sampling::GREEDY;
        let others = [
            Sampling { temperature_q16: 1000, ..greedy },
            Sampling { top_k: 1, ..greedy },
            Sampling { top_p_q16: 1, ..greedy },
            Sampling { min_p_q16: 1, ..greedy },
            Sampling { repetition_q16: 1000, ..greedy },
            Sampling { repeat_last: 1, ..greedy },
            Sampling { frequency_q16: -1, ..greedy },
            Sampling { presence_q16: 1, ..greedy },
        ];
        let mut all: Vec<_> = others.into_iter().chain([greedy]).map(bytes).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), others.len() + 1);
        assert_eq!(bytes(Sampling { seed: 7, ..greedy }), bytes(greedy));
    }
}
