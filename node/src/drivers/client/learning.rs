//! What a client learns of providers from its jobs, and what it makes of it for the next match.

use std::{collections::BTreeMap, time::Duration};

use gridhour_protocol::{
    id::ModelId,
    job::{buyer::BuyerEnd, message::RefusalCode},
    market::{
        estimate::Measured,
        exploration::Tries,
        history::{Ended, Learned, ProviderHistory, Run},
        order::Order,
    },
    receipt::Cause,
    signed::PublicKey,
    units::Timestamp,
};

use super::{Client, job::Ran};
use crate::clock;

impl Client {
    /// Remembers how a job ended at `provider`. A job is no worse for what cannot be remembered of it.
    pub(super) fn learn(&self, provider: PublicKey, model: ModelId, prompt_tokens: u32, ended: Ended) {
        let mut history = self.history(provider);
        if !history.record(model, prompt_tokens, ended) {
            return;
        }
        if let Err(error) = tokio::task::block_in_place(|| self.memory.keep_history(&history)) {
            tracing::warn!(%error, "how a job went is not remembered");
        }
    }

    /// What is remembered of `provider`; nothing if it cannot be read.
    fn history(&self, provider: PublicKey) -> ProviderHistory {
        self.memory.history(provider).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was learned of a provider is lost");
            ProviderHistory::new(provider)
        })
    }

    /// Adds to `measured` what earlier jobs like `order`'s showed of these providers.
    pub(super) fn remember(&self, order: &Order, measured: &mut BTreeMap<PublicKey, Measured>) {
        let now = clock::now();
        let learned = |provider| self.history(provider).learned(now, &order.model, order.prompt_tokens);
        let all: Vec<(PublicKey, Learned)> =
            measured.keys().map(|provider| (*provider, learned(*provider))).collect();
        add_learned(&all, measured);
    }
}

/// Newcomers are such beside all that is known of these providers.
fn add_learned(all: &[(PublicKey, Learned)], measured: &mut BTreeMap<PublicKey, Measured>) {
    let sum = all.iter().fold(0, |sum: u32, (_, learned)| sum.saturating_add(learned.tries));
    for (provider, learned) in all {
        let measured = measured.entry(*provider).or_default();
        measured.history = learned.first_token;
        measured.pace = learned.pace;
        measured.availability_ppm = (learned.tries > 0).then_some(learned.availability_ppm);
        measured.tries = Some(Tries { here: learned.tries, all: sum });
    }
}

/// What a job that ended at `at` says of its provider.
pub(super) fn ended(ran: &Ran, at: Timestamp) -> Ended {
    match &ran.outcome.end {
        BuyerEnd::Settled(receipt) if receipt.body.cause == Cause::Delivered => {
            Ended::Served(Run::new(at, micros(ran.ttft), micros(ran.total), ran.outcome.output_tokens))
        }
        end if says_nothing(end) => Ended::Blameless,
        _ => Ended::Failed(at),
    }
}

/// Whether an end is the caller's doing, or nobody's.
fn says_nothing(end: &BuyerEnd) -> bool {
    match end {
        BuyerEnd::Settled(receipt) => receipt.body.cause == Cause::ClientFault,
        BuyerEnd::Refused { code, .. } => match code {
            RefusalCode::SessionOver
            | RefusalCode::TokenOutOfRange
            | RefusalCode::LaneUnsettled
            | RefusalCode::HoldExhausted
            // Somebody else took the free slot that the advert showed.
            | RefusalCode::Busy => true,
            // The advert said otherwise, or the provider does not keep up with the ledger.
            RefusalCode::Stopping
            | RefusalCode::UnknownSession
            | RefusalCode::NumericsVersion
            | RefusalCode::ModelNotServed
            | RefusalCode::ContextTooShort => false,
        },
        BuyerEnd::Stalled | BuyerEnd::Disconnected | BuyerEnd::Cheated(_) => false,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, key};
    use gridhour_protocol::receipt::Receipt;

    use super::*;

    fn settled(cause: Cause) -> BuyerEnd {
        let deal = Deal::new(&Chain::new(), &key(1), &key(2));
        BuyerEnd::Settled(Box::new(key(2).sign(Receipt { cause, ..deal.receipt() })))
    }

    fn refused(code: RefusalCode) -> BuyerEnd {
        BuyerEnd::Refused { code, detail: String::new() }
    }

    #[test]
    fn what_the_caller_did_or_nobody_says_nothing_of_the_provider() {
        let blameless =
            [settled(Cause::ClientFault), refused(RefusalCode::HoldExhausted), refused(RefusalCode::Busy)];
        assert!(blameless.iter().all(says_nothing));
        let providers = [
            settled(Cause::ProviderFault),
            settled(Cause::Network),
            refused(RefusalCode::Stopping),
            BuyerEnd::Stalled,
            BuyerEnd::Disconnected,
        ];
        assert!(!providers.iter().any(says_nothing));
    }

    #[test]
    fn a_newcomer_stands_beside_what_all_others_were_tried() {
        let [known, new] = [2, 3].map(|seed| key(seed).public());
        let tried = Learned { tries: 7, availability_ppm: 900_000, ..Learned::default() };
        let untried = Learned { availability_ppm: 1_000_000, ..Learned::default() };
        let mut measured = BTreeMap::new();
        add_learned(&[(known, tried), (new, untried)], &mut measured);
        assert_eq!(measured[&known].tries, Some(Tries { here: 7, all: 7 }));
        assert_eq!(measured[&new].tries, Some(Tries { here: 0, all: 7 }));
        assert_eq!(measured[&known].availability_ppm, Some(900_000));
        assert_eq!(measured[&new].availability_ppm, None, "it was never tried");
    }
}
