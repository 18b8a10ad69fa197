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
    /// What a session is to hold that is chosen, and not opened yet.
    pub(super) unopened: Credits,
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
    /// Whether its session is, or may be, open and is not kept.
    pub(super) is_loose: bool,
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
        let Attempt { choice, is_new, is_loose, shown, mut turn } = attempt;
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
        if is_loose {
            // Who was never asked knows of no session.
            let answers = turn.as_ref().is_ok_and(Turn::answers);
            self.open.push(Unsettled { terms: choice.terms, answers });
        }
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

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, START, key};
    use gridhour_protocol::{
        id::TxId,
        market::{costs::BuyerCosts, matching::Matcher},
        session::lane::LaneLedger,
        units::Height,
    };

    use super::{
        super::{super::run::may_be_applied, RunError},
        *,
    };
    use crate::drivers::ledger_client::LedgerError;

    fn choice(hold: Credits) -> Choice {
        let deal = Deal::new(&Chain::new(), &key(1), &key(2));
        let order = key(1).sign(deal.order.clone()).verify().expect("sound");
        let advert = key(2).sign(deal.advert.clone()).verify().expect("sound");
        let matcher = Matcher { order: &order, numerics: 1, now: START, costs: &BuyerCosts::NONE };
        let (matched, terms) = (matcher.record(&[]), deal.terms.clone());
        let lane = LaneLedger::new(terms.id(), 0);
        Choice { advert, terms, hold, matched, lane, is_open: false }
    }

    fn refused() -> LedgerError {
        LedgerError::Rejected { name: "insufficient-funds".into(), detail: String::new(), transient: false }
    }

    #[test]
    fn a_session_whose_opening_was_not_answered_counts_as_held_and_is_closed_from_this_side() {
        let (tx, valid_until, source) = (TxId([1; 32]), Height(9), Box::new(refused()));
        let (unknown, mut past) = (LedgerError::Unknown { tx, valid_until, source }, Past::default());
        assert!(may_be_applied(&unknown) && !may_be_applied(&refused()));
        for (is_open, error) in [(true, unknown), (false, refused())] {
            let turn = Err(RunError::Ledger(error));
            let (is_new, is_loose, choice) = (is_open, is_open, choice(Credits(70)));
            let (_, turn) = past.take_in(Attempt { choice, is_new, is_loose, shown: 0, turn });
            assert!(turn.is_err());
        }
        assert_eq!((past.held, past.asked.len()), (Credits(70), 1));
        assert!(matches!(past.open[..], [Unsettled { answers: false, .. }]));
    }
}
