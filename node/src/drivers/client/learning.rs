//! What a client learns of providers from its jobs, and what it makes of it for the next match.

use std::{collections::BTreeMap, time::Duration};

use gridhour_protocol::{
    id::ModelId,
    job::{buyer::BuyerEnd, message::RefusalCode},
    market::{
        estimate::Measured,
        exploration::Tries,
        history::{Ended, Learned, Run},
        order::Order,
    },
    receipt::Cause,
    signed::PublicKey,
    units::Timestamp,
};
use tokio::time::Instant;

use super::{Client, RunSpec, job::Ran};
use crate::{
    clock,
    drivers::memory::{Memory, MemoryError},
};

impl Client {
    /// Remembers how a job ended at `provider`. A job is no worse for what cannot be remembered of it.
    pub(super) fn learn(&self, provider: PublicKey, model: ModelId, prompt_tokens: u32, ended: Ended) {
        let keep = || {
            let memory = self.memory()?;
            let mut history = memory.history(provider)?;
            if history.record(model, prompt_tokens, ended) { memory.keep_history(&history) } else { Ok(()) }
        };
        if let Err(error) = tokio::task::block_in_place(keep) {
            tracing::warn!(%error, "how a job went is not remembered");
        }
    }

    /// What is known of these providers without asking them: whether they are the client's own, their round trips, and
    /// what earlier jobs like `order`'s showed.
    pub(super) fn known(
        &self,
        spec: &RunSpec,
        order: &Order,
        providers: impl Iterator<Item = PublicKey>,
    ) -> BTreeMap<PublicKey, Measured> {
        let known = |provider: PublicKey| {
            let (latency, own) = (self.net.latency(&provider), spec.own.contains(&provider));
            (provider, Measured { latency, own, ..Measured::default() })
        };
        let mut measured = providers.map(known).collect();
        self.remember(order, &mut measured);
        measured
    }

    /// Adds to `measured` what earlier jobs like `order`'s showed of these providers.
    fn remember(&self, order: &Order, measured: &mut BTreeMap<PublicKey, Measured>) {
        let now = clock::now();
        let learned = |provider: &PublicKey, memory: &Memory| -> Result<(PublicKey, Learned), MemoryError> {
            let history = memory.history(*provider)?;
            Ok((*provider, history.learned(now, &order.model, order.prompt_tokens)))
        };
        let all: Option<Vec<_>> = self.records.look(|memory| {
            measured.keys().map(|provider| learned(provider, memory)).collect::<Result<_, _>>()
        });
        let all = all.unwrap_or_default();
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
            let now = Instant::now();
            let (ttft, total) = (ran.first_token.unwrap_or(now) - ran.started, now - ran.started);
            Ended::Served(Run::new(at, micros(ttft), micros(total), ran.outcome.output_tokens))
        }
        BuyerEnd::Settled(receipt) if receipt.body.cause == Cause::Reclaimed && ran.machine.had_notice() => {
            // As was agreed: whoever buys in spot may lose its slot.
            Ended::Blameless
        }
        BuyerEnd::Refused { code: RefusalCode::Busy, .. } => Ended::Busy(at),
        // Who is told to stop may take its time, and we did not wait for it.
        BuyerEnd::Stalled if ran.machine.is_cancelled() => Ended::Blameless,
        end if says_nothing(end) => Ended::Blameless,
        _ => Ended::Failed(at),
    }
}

/// Whether an end is the caller's doing: then nothing is learned of the provider.
#[must_use]
pub fn says_nothing(end: &BuyerEnd) -> bool {
    match end {
        BuyerEnd::Settled(receipt) => receipt.body.cause == Cause::ClientFault,
        BuyerEnd::Refused { code, .. } => match code {
            RefusalCode::SessionOver
            | RefusalCode::TokenOutOfRange
            | RefusalCode::LaneUnsettled
            | RefusalCode::HoldExhausted
            | RefusalCode::OutputComplete
            | RefusalCode::PrepaidTooMuch => true,
            // The advert said otherwise, or the provider does not keep up with the ledger.
            RefusalCode::Busy
            | RefusalCode::Stopping
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
    fn what_the_caller_did_says_nothing_of_the_provider() {
        let blameless = [settled(Cause::ClientFault), refused(RefusalCode::HoldExhausted)];
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
