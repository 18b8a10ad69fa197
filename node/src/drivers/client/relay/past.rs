//! What the turns of an answer so far have left: parts, sessions, and who was asked.

use std::collections::BTreeSet;

use gridhour_protocol::{
    job::buyer::{BuyerEnd, BuyerOutcome},
    session::terms::Terms,
    signed::PublicKey,
    units::Credits,
};
use tokio::time::Instant;

use super::{
    super::{RunError, turn::Turn},
    Choice,
};
use crate::drivers::results::Part;

/// What the turns so far have left.
#[derive(Default)]
pub(super) struct Past {
    pub(super) parts: Vec<Part>,
    /// Of the provider that was asked at the same time as the first, and was slower.
    pub(super) beside: Option<Part>,
    pub(super) asked: BTreeSet<PublicKey>,
    /// Held under the order, by whichever session.
    pub(super) held: Credits,
    /// Output tokens that the user has.
    pub(super) shown: usize,
    pub(super) started: Option<Instant>,
    pub(super) first_token: Option<Instant>,
    pub(super) open: Vec<Unsettled>,
    /// Whether one of the last turns was to go on in a kept session, and its provider refused, or was gone.
    pub(super) was_stale: bool,
    /// Why sessions were not settled yet.
    pub(super) late: Vec<String>,
}

/// What came of a turn.
pub(super) struct Attempt {
    pub(super) choice: Choice,
    /// Whether a session was opened for it.
    pub(super) is_new: bool,
    /// Its session, if it is open and not kept.
    pub(super) open: Option<Unsettled>,
    /// Output tokens that the user has now.
    pub(super) shown: usize,
    pub(super) turn: Result<Turn, RunError>,
}

/// A session that is to be settled.
pub(super) struct Unsettled {
    pub(super) terms: Terms,
    /// Whether its provider may be asked to.
    pub(super) answers: bool,
}

impl Past {
    /// Takes in how a turn went: who had it, and how it ended. Its times become those of the answer.
    pub(super) fn take_in(&mut self, attempt: Attempt) -> (PublicKey, Result<Turn, RunError>) {
        let Attempt { choice, is_new, open, shown, mut turn } = attempt;
        let provider = choice.terms.provider;
        let is_stale = choice.is_open
            && match &turn {
                Ok(turn) => matches!(turn.outcome.end, BuyerEnd::Refused { .. }),
                Err(error) => !matches!(error, RunError::Overtaken),
            };
        self.was_stale |= is_stale;
        if !(is_stale && turn.as_ref().is_ok_and(Turn::wants_new_session)) {
            self.asked.insert(provider);
        }
        self.shown = self.shown.max(shown);
        if let Ok(turn) = &mut turn {
            turn.started = *self.started.get_or_insert(turn.started);
            self.first_token = self.first_token.or(turn.first_token);
            turn.first_token = self.first_token;
        }
        if is_new {
            self.held = self.held.checked_add(choice.hold).unwrap_or(Credits(u64::MAX));
        }
        self.open.extend(open);
        (provider, turn)
    }

    /// A last turn's outcome with what was written and paid before.
    pub(super) fn and(&self, last: BuyerOutcome) -> BuyerOutcome {
        let shown = u32::try_from(self.shown).unwrap_or(u32::MAX);
        let add = |sum: Credits, part: &Part| sum.checked_add(part.cost).unwrap_or(Credits(u64::MAX));
        let cost = self.parts.iter().chain(&self.beside).fold(last.cost, add);
        BuyerOutcome { output_tokens: shown, cost, ..last }
    }
}

/// Why a turn was not the last.
pub(super) fn why(turn: &Result<Turn, RunError>) -> String {
    match turn {
        Err(error) => error.to_string(),
        Ok(turn) => match &turn.outcome.end {
            BuyerEnd::Settled(receipt) => format!("it ended with {}", receipt.body.cause.name()),
            BuyerEnd::Refused { code, detail } => format!("it refused ({}): {detail}", code.name()),
            BuyerEnd::Stalled => "it went silent".into(),
            BuyerEnd::Disconnected => "the connection to it broke".into(),
            BuyerEnd::Cheated(misdeed) => format!("it broke the rules: {misdeed}"),
        },
    }
}
