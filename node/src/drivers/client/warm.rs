//! Sessions that a client keeps open between requests, so that the next one starts without a word to the ledger.
//!
//! ```text
//!  request ─> standing order ─> a kept session with it ── or a new one, under the standing order
//!                                    │  job on a free lane, the lane comes back paid
//!              topped up, closed  <──┴── kept for the next
//! ```
//!
//! What is kept is kept in this process alone. The records know each session as they know any other; a process that starts
//! after a crash takes none of them up, so no place on a lane is ever used twice.

mod shelf;
mod tend;

use std::collections::BTreeSet;

use gridhour_contracts_sim::tx::Call;
use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    id::SessionId,
    job::request::Request,
    market::{
        estimate::Measured,
        matching::{Matcher, Offer},
        order::Order,
    },
    session::{
        book::NoLane,
        warm::{NotTaken, WarmSession},
    },
    signed::{PublicKey, Verified},
    units::{Credits, Millis},
};

pub(super) use self::shelf::Shelf;
use self::shelf::Kept;
use super::{Client, RunError, relay::Choice, run::RunSpec};
use crate::{clock, drivers::ledger_client::LedgerError};

/// What a client keeps open for requests to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Tokens of the longest prompt to come. A longer one begins another order.
    pub prompt_tokens: u32,
    /// How long a session may lie idle before it is closed.
    pub idle: Millis,
}

impl Client {
    /// The order for a request of `spec`: one of its own; or with [`RunSpec::keep`] the one under which the sessions for
    /// all requests that insist on the same are kept.
    pub(super) fn order_for(
        &self,
        spec: &RunSpec,
        prompt_tokens: usize,
    ) -> Result<Verified<Order>, RunError> {
        let Some(keep) = spec.keep else { return self.order(spec, prompt_tokens) };
        let wish = self.wish(spec, prompt_tokens)?;
        if let Some(standing) = self.shelf.order(&wish, spec.pays, clock::now()) {
            return Ok(standing);
        }
        let prompt_tokens = wish.prompt_tokens.max(keep.prompt_tokens);
        let standing = self.sign_order(Order { prompt_tokens, ..wish })?;
        self.shelf.stand(standing.clone(), spec.pays, clock::now());
        Ok(standing)
    }

    /// What the sessions of `order` may still hold, beside those that are open.
    pub(super) fn left_of(&self, order: &Verified<Order>) -> Credits {
        self.shelf.left(order.signed().id())
    }

    /// A kept session for this job, and its lane; the best one, by the score of the offers that they accepted. Nothing if
    /// none takes it: what another provider was paid for is taken over by new sessions alone.
    pub(super) async fn kept_for(
        &self,
        spec: &RunSpec,
        order: &Verified<Order>,
        request: &Request,
        asked: &BTreeSet<PublicKey>,
    ) -> Option<Choice> {
        if spec.keep.is_none() || request.prepaid > 0 {
            return None;
        }
        let mut kept = self.shelf.of(order.signed().id());
        kept.retain(|kept| !asked.contains(&kept.advert.provider));
        for session in self.best_first(spec, order, &kept) {
            if let Some(choice) = self.take_kept(spec, session, request).await {
                return Some(choice);
            }
        }
        None
    }

    /// Those that meet the order now, by what is known of their providers.
    fn best_first(&self, spec: &RunSpec, order: &Verified<Order>, kept: &[Kept]) -> Vec<SessionId> {
        let latency = |kept: &Kept| self.net.latency(&kept.advert.provider);
        let known = |kept: &Kept| {
            (kept.advert.provider, Measured { latency: latency(kept), ..Measured::default() })
        };
        let mut measured = kept.iter().map(known).collect();
        self.remember(order, &mut measured);
        let judged = kept.iter().filter_map(|kept| {
            let known = measured.get(&kept.advert.provider).copied().unwrap_or_default();
            // The ledger saw to the stake when the session opened, for as long as it is used.
            let measured = Measured { stake: Some(order.stake_min), ..known };
            // Price and slot are the session's, whatever the provider advertises now.
            let now = kept.advert.issued_at;
            let matcher = Matcher { order, numerics: NUMERICS_VERSION, now, costs: &spec.costs };
            let score = matcher.judge(&Offer { advert: &kept.advert, measured }).ok()?;
            Some((score.total, kept.terms.id()))
        });
        let mut judged: Vec<_> = judged.collect();
        judged.sort_unstable();
        judged.into_iter().map(|(_, session)| session).collect()
    }

    async fn take_kept(&self, spec: &RunSpec, session: SessionId, request: &Request) -> Option<Choice> {
        let (read, write) = (request.start(), request.max_tokens);
        let needed = match self.shelf.take(session, read, write, clock::now())? {
            Ok(choice) => return Some(choice),
            Err(NotTaken::Lane(NoLane::HoldExhausted { .. })) => {
                self.shelf.job_amount(session, read, write)?
            }
            Err(_) => return None,
        };
        // The only call of the ledger before a first token: the request would not fit otherwise.
        let amount = self.shelf.rise_for(session, needed)?;
        self.top_up(session, amount).await.ok()?;
        tracing::debug!(keep = ?spec.keep, "a session was topped up before its job");
        self.shelf.take(session, read, write, clock::now())?.ok()
    }

    /// Keeps the session of `choice`, which was just opened and whose first lane its job takes. Without [`RunSpec::keep`],
    /// or where not even the first job would fit its time, nothing is kept.
    pub(super) fn keep_open(&self, spec: &RunSpec, choice: &Choice, request: &Request) {
        let Some(keep) = spec.keep else { return };
        let now = clock::now();
        let mut session = WarmSession::new(choice.terms.clone(), choice.hold, keep.idle, now);
        if session.take(request.start(), request.max_tokens, now).is_ok() {
            self.shelf.put(choice, session);
        }
    }

    /// Adds to a session's hold.
    pub(super) async fn top_up(&self, session: SessionId, amount: Credits) -> Result<(), LedgerError> {
        let call = Call::TopUp { session, amount };
        match self.ledger.submit(&self.key, call).await {
            Ok(_) => self.shelf.rose(session, amount),
            Err(error) => {
                tracing::warn!(%error, session = %session.short(), "a kept session was not topped up");
                self.shelf.did_not_rise(session, clock::now());
                return Err(error);
            }
        }
        Ok(())
    }
}
