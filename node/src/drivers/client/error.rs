//! Why an order was not delivered.

use gridhour_protocol::{
    job::buyer::{BuyerEnd, BuyerOutcome, NotStarted},
    market::matching::MatchRecord,
};

use super::FetchError;
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
    /// The ledger did not open the session.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The provider could not be reached.
    #[error("provider unreachable: {0}")]
    Provider(#[from] RequestError),
    /// The job could not be started.
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    /// Another provider had begun to answer before this one was asked.
    #[error("another provider was faster")]
    Overtaken,
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
