//! The options that say how tokens are chosen, and where the output ends.

use gridhour_node::keys::random_u64;
use gridhour_protocol::{
    job::sampling::{
        FACTOR_Q16_MAX, FACTOR_Q16_MIN, ONE_Q16, PENALTY_Q16_MAX, REPEAT_LAST_DEFAULT, Sampling,
    },
    limits::{LOGPROBS_MAX, STOP_TEXT_BYTES_MAX, STOP_TEXTS_MAX},
};

use crate::error::{CommandError, Result};

/// Rules of sampling as a user writes them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "How tokens are chosen")]
pub struct SamplingOptions {
    /// Choose at random with this temperature, 0.01 to 100; 0 takes the likeliest, always the same
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,

    /// Choose only among the K likeliest tokens; 0 is off
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: u32,

    /// Choose only among the likeliest tokens that together reach this probability; 1 is off
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,

    /// Choose only among tokens at least P times as likely as the likeliest; 0 is off
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f64,

    /// Make tokens that were there before less likely by this factor, 0.01 to 100; 1 is off
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    pub repeat_penalty: f64,

    /// Apply --repeat-penalty to the last N tokens of prompt and output
    #[arg(long, value_name = "N", default_value_t = REPEAT_LAST_DEFAULT)]
    pub repeat_last_n: u32,

    /// Take this off a token's logit for each time that it was written, -2 to 2; 0 is off
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f64,

    /// Take this off the logit of every token that was written, -2 to 2; 0 is off
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f64,

    /// Draw with this seed [default: a random one, which is reported]
    #[arg(long)]
    pub seed: Option<u64>,

    /// End the output before this text; may be repeated, up to 8 times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,

    /// Tell how likely each token and its N likeliest alternatives were, N from 1 to 20; 0 is off
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub logprobs: u8,
}

impl SamplingOptions {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: REPEAT_LAST_DEFAULT,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: Some(0),
            stop: Vec::new(),
            logprobs: 0,
        }
    }

    /// The rules in the protocol's integers. Without a seed one is drawn.
    pub fn sampling(&self) -> Result<Sampling> {
        let factor = (f64::from(FACTOR_Q16_MIN), f64::from(FACTOR_Q16_MAX), "from 0.01 to 100");
        let share = (0.0, f64::from(ONE_Q16), "from 0 to 1");
        let penalty = (-f64::from(PENALTY_Q16_MAX), f64::from(PENALTY_Q16_MAX), "from -2 to 2");
        let temperature_q16 = match self.temperature {
            0.0 => 0,
            warm => q16("--temperature", warm, (factor.0, factor.1, "0, or from 0.01 to 100"))?,
        };
        Ok(Sampling {
            temperature_q16: temperature_q16 as u32,
            top_k: self.top_k,
            top_p_q16: q16("--top-p", self.top_p, share)? as u32,
            min_p_q16: q16("--min-p", self.min_p, share)? as u32,
            repetition_q16: q16("--repeat-penalty", self.repeat_penalty, factor)? as u32,
            repeat_last: self.repeat_last_n,
            frequency_q16: q16("--frequency-penalty", self.frequency_penalty, penalty)?,
            presence_q16: q16("--presence-penalty", self.presence_penalty, penalty)?,
            seed: self.seed.map_or_else(random_u64, Ok)?,
        })
    }

    /// The texts that end the output.
    pub fn stop_texts(&self) -> Result<Vec<String>> {
        if self.stop.len() > STOP_TEXTS_MAX {
            let count = self.stop.len();
            return Err(CommandError::usage(format!(
                "--stop is given {count} times, at most {STOP_TEXTS_MAX}"
            )));
        }
        let bad = |text: &&String| text.is_empty() || text.len() > STOP_TEXT_BYTES_MAX;
        match self.stop.iter().find(bad) {
            None => Ok(self.stop.clone()),
            Some(text) => Err(CommandError::usage(format!(
                "--stop {text:?} has {} bytes: it must have 1 to {STOP_TEXT_BYTES_MAX}",
                text.len()
            ))),
        }
    }

    /// Alternatives to each token.
    pub fn alternatives(&self) -> Result<u8> {
        if usize::from(self.logprobs) <= LOGPROBS_MAX {
            return Ok(self.logprobs);
        }
        Err(CommandError::usage(format!("--logprobs {}: it must be from 0 to {LOGPROBS_MAX}", self.logprobs)))
    }
}

/// A number in 1/65536, rounded, if it lies between these two.
fn q16(name: &str, value: f64, (least, most, allowed): (f64, f64, &str)) -> Result<i32> {
    let rounded = (value * f64::from(ONE_Q16)).round();
    if (least..=most).contains(&rounded) {
        // Every range lies within 32 bits.
        Ok(rounded as i32)
    } else {
        Err(CommandError::usage(format!("{name} {value}: it must be {allowed}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_rounded_to_the_protocols_integers() {
        let options = SamplingOptions {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.1,
            repeat_last_n: 32,
            frequency_penalty: -0.5,
            presence_penalty: 2.0,
            seed: Some(9),
            ..SamplingOptions::greedy()
        };
        let expected = Sampling {
            temperature_q16: 45_875,
            top_k: 40,
            top_p_q16: 62_259,
            min_p_q16: 3_277,
            repetition_q16: 72_090,
            repeat_last: 32,
            frequency_q16: -32_768,
            presence_q16: 131_072,
            seed: 9,
        };
        assert_eq!(options.sampling().expect("all in range"), expected);
        let greedy = SamplingOptions::greedy().sampling().expect("in range");
        assert_eq!(greedy, Sampling::GREEDY);
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_the_name_of_its_option() {
        let greedy = SamplingOptions::greedy();
        let cases = [
            ("--temperature 0.005", SamplingOptions { temperature: 0.005, ..greedy.clone() }),
            ("--temperature 101", SamplingOptions { temperature: 101.0, ..greedy.clone() }),
            ("--temperature NaN", SamplingOptions { temperature: f64::NAN, ..greedy.clone() }),
            ("--top-p 1.1", SamplingOptions { top_p: 1.1, ..greedy.clone() }),
            ("--min-p -0.1", SamplingOptions { min_p: -0.1, ..greedy.clone() }),
            ("--repeat-penalty 0", SamplingOptions { repeat_penalty: 0.0, ..greedy.clone() }),
            ("--frequency-penalty 2.5", SamplingOptions { frequency_penalty: 2.5, ..greedy.clone() }),
            ("--presence-penalty -inf", SamplingOptions { presence_penalty: f64::NEG_INFINITY, ..greedy }),
        ];
        for (beginning, options) in cases {
            let said = options.sampling().expect_err("out of range").to_string();
            assert!(said.contains(beginning), "{said}");
        }
    }

    #[test]
    fn stop_texts_and_alternatives_are_bounded() {
        let greedy = SamplingOptions::greedy();
        let stop = |stop: Vec<String>| SamplingOptions { stop, ..greedy.clone() }.stop_texts().is_ok();
        assert!(stop(vec!["x".repeat(64); 8]));
        assert!(!stop(vec!["x".into(); 9]) && !stop(vec![String::new()]) && !stop(vec!["x".repeat(65)]));
        let logprobs = |logprobs| SamplingOptions { logprobs, ..greedy.clone() }.alternatives().is_ok();
        assert!(logprobs(20) && !logprobs(21));
    }
}
