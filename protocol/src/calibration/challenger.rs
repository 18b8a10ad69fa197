//! The challenger's side: which answers count, what they took, and when nothing is signed. Pure: messages,
//! fresh nonces and the readings of a monotonic clock are inputs.

use super::{
    job::{Challenge, StandardJob},
    message::{Ask, ChallengerMessage, ProviderMessage, RefusalCode},
    receipt::{Calibration, DeviceName},
    shape::{OUTPUT_TOKENS, StandardShape},
    timetable::Timetable,
};
use crate::{
    id::ScoreDigest,
    signed::{SecretKey, Signed},
    units::{Millis, Timestamp},
};

/// Why nothing is signed. But for the last two, the provider is at fault, or cannot do what it claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFailure {
    /// The provider would not, or could not.
    #[error("the provider refused, {}: {detail}", .code.name())]
    Refused {
        /// Its reason.
        code: RefusalCode,
        /// Its numbers.
        detail: String,
    },
    /// It said something else than it had to.
    #[error("the provider said {found} where {expected} was its turn")]
    OutOfTurn {
        /// What was its turn.
        expected: &'static str,
        /// What it said.
        found: &'static str,
    },
    /// It wrote fewer or more tokens than the job has.
    #[error("the provider wrote {found} tokens instead of {OUTPUT_TOKENS}")]
    WrongCount {
        /// How many.
        found: usize,
    },
    /// A token is not the one that the standard model chooses.
    #[error("token {index} of the output is not what the standard model gives: it computed something else")]
    WrongToken {
        /// Which, from 0.
        index: usize,
    },
    /// The tokens are right and the scores are not.
    #[error("the score chain is not that of the standard model: it did not compute every layer")]
    WrongScores,
    /// It said nothing in time.
    #[error("the provider said nothing within {} s where {expected} was its turn", .patience.0 / 1000)]
    Silent {
        /// What was its turn.
        expected: &'static str,
        /// How long it was waited for.
        patience: Millis,
    },
    /// The stream ended.
    #[error("the stream ended where {expected} was the provider's turn: {why}")]
    Gone {
        /// What was its turn.
        expected: &'static str,
        /// What was seen of it.
        why: String,
    },
    /// The times give no rates: a clock that stands still, or one that ran for ages.
    #[error(
        "{prefill_ns} ns of reading and {decode_ns} ns of writing give no rates: look at this machine's clock"
    )]
    NoRates {
        /// Time of the prefill.
        prefill_ns: u64,
        /// Time of the decoding.
        decode_ns: u64,
    },
}

/// What a provider answered, and what it took, before anybody looked whether it is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The whole output.
    pub tokens: Vec<u32>,
    /// The score chain that it states.
    pub scores: ScoreDigest,
    /// Nonce of the prompt.
    pub prompt_nonce: [u8; 32],
    /// Nonce of the output.
    pub output_nonce: [u8; 32],
    /// Time of the prefill.
    pub prefill_ns: u64,
    /// Time of the decoding.
    pub decode_ns: u64,
}

/// What the challenger does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing but wait.
    Wait,
    /// Says this, at once: the clock runs.
    Say(ChallengerMessage),
    /// Computes the job again.
    Check(Answer),
}

/// What the same job gives when it is computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recomputed {
    /// The first token that the model does not choose.
    pub difference: Option<usize>,
    /// The score chain over the model's tokens.
    pub scores: ScoreDigest,
}

/// A nonce that was sent, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    nonce: [u8; 32],
    at_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Loading,
    Reading { prompt: Sent },
    Writing { prompt: [u8; 32], first: u32, prefill_ns: u64, go_on: Sent },
    Over,
}

/// One calibration as its challenger sees it.
#[derive(Clone, Debug)]
pub struct Challenger {
    challenge: Challenge,
    timetable: Timetable,
    state: State,
}

impl Challenger {
    /// A challenge for the memory of `shape`, and what is said first. The seed is fresh and nobody else's.
    #[must_use]
    pub fn new(challenge: Challenge, shape: &StandardShape) -> (Self, ChallengerMessage) {
        let Challenge { numerics, memory_bytes, seed, .. } = challenge;
        let ask = ChallengerMessage::Ask(Ask { numerics, memory_bytes, seed });
        (Self { challenge, timetable: Timetable::of(shape), state: State::Asked }, ask)
    }

    /// The same, but no step may take longer than `patience`.
    #[must_use]
    pub fn within(self, patience: Millis) -> Self {
        Self { timetable: self.timetable.within(patience), ..self }
    }

    /// What the provider must say next, and how long it may take.
    #[must_use]
    pub fn expects(&self) -> (&'static str, Millis) {
        let Timetable { reply, load, first, rest, .. } = self.timetable;
        match self.state {
            State::Asked => ("preparing", reply),
            State::Loading => ("ready", load),
            State::Reading { .. } => ("first", first),
            State::Writing { .. } | State::Over => ("rest", rest),
        }
    }

    /// Takes what the provider said when the monotonic clock showed `at_ns`. `fresh` is a nonce that nobody
    /// has seen; a message that is to be said begins its clock at `at_ns`.
    ///
    /// # Errors
    /// [`ChallengeFailure`]; it is over then.
    pub fn hear(
        &mut self,
        message: ProviderMessage,
        at_ns: u64,
        fresh: [u8; 32],
    ) -> Result<Turn, ChallengeFailure> {
        let (expected, _) = self.expects();
        let sent = Sent { nonce: fresh, at_ns };
        let state = std::mem::replace(&mut self.state, State::Over);
        let (next, turn) = match (state, message) {
            (_, ProviderMessage::Refused { code, detail }) => {
                return Err(ChallengeFailure::Refused { code, detail });
            }
            (State::Asked, ProviderMessage::Preparing) => (State::Loading, Turn::Wait),
            (State::Loading, ProviderMessage::Ready) => {
                (State::Reading { prompt: sent }, Turn::Say(ChallengerMessage::Prompt { nonce: fresh }))
            }
            (State::Reading { prompt }, ProviderMessage::First { token }) => {
                let prefill_ns = at_ns.saturating_sub(prompt.at_ns);
                let next = State::Writing { prompt: prompt.nonce, first: token, prefill_ns, go_on: sent };
                (next, Turn::Say(ChallengerMessage::Continue { nonce: fresh }))
            }
            (
                State::Writing { prompt, first, prefill_ns, go_on },
                ProviderMessage::Rest { tokens, scores },
            ) => {
                let tokens = [vec![first], tokens].concat();
                let decode_ns = at_ns.saturating_sub(go_on.at_ns);
                let (prompt_nonce, output_nonce) = (prompt, go_on.nonce);
                let answer = Answer { tokens, scores, prompt_nonce, output_nonce, prefill_ns, decode_ns };
                (State::Over, Turn::Check(counted(answer)?))
            }
            (_, other) => return Err(ChallengeFailure::OutOfTurn { expected, found: other.name() }),
        };
        self.state = next;
        Ok(turn)
    }

    /// Compares an answer with the job computed again, and signs what was measured of `device`.
    ///
    /// # Errors
    /// [`ChallengeFailure`] if it is not the standard model's, or the times give no rates.
    pub fn sign(
        &self,
        key: &SecretKey,
        device: DeviceName,
        answer: &Answer,
        recomputed: &Recomputed,
        (started_at, ended_at): (Timestamp, Timestamp),
    ) -> Result<Signed<Calibration>, ChallengeFailure> {
        if let Some(index) = recomputed.difference {
            return Err(ChallengeFailure::WrongToken { index });
        }
        if recomputed.scores != answer.scores {
            return Err(ChallengeFailure::WrongScores);
        }
        let Answer { prefill_ns, decode_ns, prompt_nonce, output_nonce, scores, .. } = *answer;
        let calibration = Calibration {
            challenge: self.challenge,
            device,
            prompt_nonce,
            output_nonce,
            output: StandardJob::new(&self.challenge, &prompt_nonce).output(&answer.tokens),
            scores,
            prefill_ns,
            decode_ns,
            started_at,
            ended_at,
        };
        calibration.rates().ok_or(ChallengeFailure::NoRates { prefill_ns, decode_ns })?;
        Ok(key.sign(calibration))
    }
}

fn counted(answer: Answer) -> Result<Answer, ChallengeFailure> {
    match answer.tokens.len() {
        found if found == OUTPUT_TOKENS as usize => Ok(answer),
        found => Err(ChallengeFailure::WrongCount { found }),
    }
}

#[cfg(test)]
mod tests;
