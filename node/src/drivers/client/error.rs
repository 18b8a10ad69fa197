//! Why an order was not delivered.

use std::{fmt, path::PathBuf};

use gridhour_protocol::{
    job::{
        agreement::Tally,
        buyer::{BuyerEnd, BuyerOutcome, NotStarted},
    },
    market::{matching::MatchRecord, redundant::TooFew},
    signed::PublicKey,
    units::Credits,
};

use super::{FetchError, SlotError};
use crate::{
    drivers::{ledger_client::LedgerError, memory::MemoryError, results::ResultError},
    keys::KeyError,
    model::assets::AssetError,
    net::RequestError,
};

/// Why an order was not delivered. What was paid, if anything, is said.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Tokenizer and template.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The prompt.
    #[error(transparent)]
    Prompt(#[from] AssetError),
    /// The order itself: the user's.
    #[error("the order is not valid: {0}")]
    Order(String),
    /// No offer meets the order. The record says why for each.
    #[error("no offer meets the order: {} refused", .0.refused.len())]
    NoOffer(Box<MatchRecord>),
    /// The prompt was about to go to somebody who may not have it. It was not sent: our own fault, not the provider's.
    #[error("the prompt may not go to {}: {why}; it was not sent", .provider.short())]
    MayNotLeave {
        /// Who.
        provider: PublicKey,
        /// What forbids it.
        why: String,
    },
    /// The ledger did not open the session.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The provider could not be reached.
    #[error("provider unreachable: {0}")]
    Provider(#[from] RequestError),
    /// The job could not be started.
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    /// The reserved slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// Another provider had begun to answer before this one was asked.
    #[error("another provider was faster")]
    Overtaken,
    /// Not so many offers of different stake accounts meet the order. The record says why the others do not.
    #[error("{why}")]
    TooFew {
        /// How many there are, or what they cost.
        why: TooFew,
        /// The match.
        record: Box<MatchRecord>,
    },
    /// Several providers were asked at the same time, and most of them did not give one and the same answer.
    #[error("{0}")]
    Undecided(Box<Undecided>),
    /// The job started, or was refused, and did not end with a receipt that was paid.
    #[error("{}", describe(.0))]
    Failed(Box<BuyerOutcome>),
    /// Our records: nothing more was sent.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The result could not be written. It was paid for.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// No randomness.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What came of asking several providers, if that is no answer.
#[derive(Clone, Debug)]
pub struct Undecided {
    /// Who answered something, and who nothing.
    pub tally: Tally,
    /// The most that all of them can collect.
    pub cost: Credits,
    /// Whether the user stopped them.
    pub stopped: bool,
    /// Where what they signed is kept; nothing if nobody answered to the end.
    pub evidence: Option<PathBuf>,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answered, silent) = (self.tally.dissent.len(), self.tally.silent.len());
        match self.stopped {
            true => f.write_str("stopped before most of the providers had answered")?,
            false => write!(
                f,
                "no answer is that of most of the {} providers: {answered} answered, {silent} did not",
                answered + silent
            )?,
        }
        write!(f, "; it costs {} credits at most", self.cost)?;
        match &self.evidence {
            Some(path) => write!(f, "; what they signed is in {}", path.display()),
            None => Ok(()),
        }
    }
}

fn describe(outcome: &BuyerOutcome) -> String {
    let at_most =
        format!("{} tokens arrived; it can cost {} credits at most", outcome.output_tokens, outcome.cost);
    match &outcome.end {
        BuyerEnd::Settled(receipt) => format!("the job ended: {}", receipt.body.cause.name()),
        BuyerEnd::Refused { code, detail } => format!("the provider refused ({}): {detail}", code.name()),
        BuyerEnd::Stalled => format!("the provider went silent; {at_most}"),
        BuyerEnd::Disconnected => format!("the connection to the provider broke; {at_most}"),
        BuyerEnd::Cheated(misdeed) => format!("the provider broke the rules: {misdeed}; {at_most}"),
    }
}
