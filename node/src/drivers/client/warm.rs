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
        advert::Advert,
        estimate::Measured,
        matching::{Matcher, Offer},
        order::{Order, Verification},
    },
    session::{
        book::NoLane,
        warm::{NotTaken, WarmSession},
    },
    signed::{PublicKey, Verified},
    units::{Credits, Millis},
};

pub(super) use self::shelf::Shelf;
use self::shelf::{Kept, Rising};
use super::{
    Client, RunError,
    pings::ROUND_TIME,
    relay::Choice,
    run::{RunSpec, may_be_applied},
};
use crate::{clock, drivers::ledger_client::LedgerError};

/// Top-ups that a request waits for in one session: one that is on its way, and one of its own.
const TOP_UPS_MAX: usize = 2;

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
        let (Some(keep), Verification::Receipt) = (spec.keep, spec.verification) else {
            return self.order(spec, prompt_tokens);
        };
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
    /// none takes it: what another provider was paid for is taken over by new sessions alone. Nor is it any but the
    /// client's own machines' while one of `adverts` is of such a machine that could take it and answers.
    pub(super) async fn kept_for(
        &self,
        spec: &RunSpec,
        order: &Verified<Order>,
        request: &Request,
        asked: &BTreeSet<PublicKey>,
        adverts: &[Verified<Advert>],
    ) -> Option<Choice> {
        if spec.keep.is_none() || request.prepaid > 0 {
            return None;
        }
        let mut kept = self.shelf.of(order.signed().id());
        kept.retain(|kept| !asked.contains(&kept.advert.provider));
        if kept.iter().any(|kept| !spec.own.contains(&kept.advert.provider))
            && self.own_answers(spec, order, asked, adverts).await
        {
            kept.retain(|kept| spec.own.contains(&kept.advert.provider));
        }
        for session in self.best_first(spec, order, &kept) {
            if let Some(choice) = self.take_kept(session, request).await {
                return Some(choice);
            }
        }
        None
    }

    /// Those that meet the order now, by what is known of their providers.
    fn best_first(&self, spec: &RunSpec, order: &Verified<Order>, kept: &[Kept]) -> Vec<SessionId> {
        let measured = self.known(spec, order, kept.iter().map(|kept| kept.advert.provider));
        let judged = kept.iter().filter_map(|kept| {
            let known = measured.get(&kept.advert.provider).copied().unwrap_or_default();
            // The ledger saw to the stake when the session opened, for as long as it is used.
            let measured = Measured { stake: Some(order.stake_min), ..known };
            // Price and slot are the session's, whatever the provider advertises now.
            let now = kept.advert.issued_at;
            let matcher = Matcher { order, numerics: NUMERICS_VERSION, now, costs: &spec.costs };
            let score = matcher.judge(&Offer { advert: &kept.advert, measured }).ok()?;
            Some((!score.standing.comes_first(), score.total, kept.terms.id()))
        });
        let mut judged: Vec<_> = judged.collect();
        judged.sort_unstable();
        judged.into_iter().map(|(.., session)| session).collect()
    }

    /// Whether one of the client's own machines that was not asked yet would come before all others, by its newest advert
    /// and by what is known of it, and is there: one that is gone is advertised for a while, and meanwhile is no reason to
    /// leave a session that is kept elsewhere.
    async fn own_answers(
        &self,
        spec: &RunSpec,
        order: &Verified<Order>,
        asked: &BTreeSet<PublicKey>,
        adverts: &[Verified<Advert>],
    ) -> bool {
        let mut own = self.newest(adverts);
        own.retain(|advert| spec.own.contains(&advert.provider) && !asked.contains(&advert.provider));
        let measured = self.known(spec, order, own.iter().map(|advert| advert.provider));
        let matcher = Matcher { order, numerics: NUMERICS_VERSION, now: clock::now(), costs: &spec.costs };
        let free = own.iter().filter(|advert| {
            let measured = measured.get(&advert.provider).copied().unwrap_or_default();
            matcher.judge(&Offer { advert, measured }).is_ok_and(|score| score.standing.comes_first())
        });
        let free: Vec<PublicKey> = free.map(|advert| advert.provider).collect();
        self.ping(free, ROUND_TIME).await.values().any(Option::is_some)
    }

    async fn take_kept(&self, session: SessionId, request: &Request) -> Option<Choice> {
        let (read, write) = (request.start(), request.max_tokens);
        for _ in 0..TOP_UPS_MAX {
            match self.shelf.take(session, read, write, clock::now())? {
                Ok(choice) => return Some(choice),
                Err(NotTaken::Lane(NoLane::HoldExhausted { .. })) => {
                    self.make_room(session, read, write).await?;
                }
                Err(_) => return None,
            }
        }
        self.shelf.take(session, read, write, clock::now())?.ok()
    }

    /// The only word to the ledger before a first token: the job would not fit the hold otherwise. Waits for the top-up
    /// that is on its way, or makes one.
    async fn make_room(&self, session: SessionId, read: u32, write: u32) -> Option<()> {
        let needed = self.shelf.job_amount(session, read, write)?;
        match self.shelf.rise_for(session, needed) {
            Some(rising) => self.top_up(rising).await.ok(),
            None => self.shelf.risen(session).await,
        }
    }

    /// Keeps the session of `choice`, which is about to be opened and whose first lane its job takes; whether it is kept.
    /// Without [`RunSpec::keep`], or where not even the first job would fit its time, it is not.
    pub(super) fn keep_open(&self, spec: &RunSpec, choice: &Choice, request: &Request) -> bool {
        let Some(keep) = spec.keep else { return false };
        let now = clock::now();
        let mut session = WarmSession::new(choice.terms.clone(), choice.hold, keep.idle, now);
        let takes = session.take(request.start(), request.max_tokens, now).is_ok();
        if takes {
            self.shelf.put(choice, session);
        }
        takes
    }

    /// Adds to a session's hold.
    async fn top_up(&self, rising: Rising<'_>) -> Result<(), LedgerError> {
        let rising = rising.asked();
        let Rising { session, amount, .. } = rising;
        let topped_up = self.ledger.submit(&self.key, Call::TopUp { session, amount }).await;
        match &topped_up {
            Ok(_) => rising.rose(),
            Err(error) => {
                tracing::warn!(%error, session = %session.short(), "a kept session was not topped up");
                if !may_be_applied(error) {
                    rising.failed();
                }
            }
        }
        topped_up.map(drop)
    }
}
