//! One order from prompt to settled result.

use std::{collections::BTreeSet, path::Path};

use gridhour_contracts_sim::{
    ledger::reject::Reject,
    tx::{Accusation, Call, Open},
};
use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    id::{BudgetId, ModelId, ReservationId, SessionId},
    job::{agreement::Tally, request::Request, sampling::Sampling},
    limits::{CHUNK_TOKENS_MAX, ORDER_TTL_MS_MAX, PROTOCOL_VERSION},
    market::{
        advert::Advert,
        costs::BuyerCosts,
        data_class::DataClass,
        matching::MatchRecord,
        order::{LatencyLimit, Order, Verification},
        tier::Tier,
    },
    session::terms::Terms,
    signed::{PublicKey, Verified},
    units::{Credits, Millis, PricePerHour},
    wire::Wire,
    work::WorkModel,
};
use tokio::sync::watch;

use super::{
    Client, Hedge, Keep, Post, RunError,
    relay::{Choice, Relay, RelayParts},
    slot::Slot,
};
use crate::{
    clock,
    drivers::{ledger_client::LedgerError, results::JobResult},
    keys::{random_u64, random32},
    model::{assets::ModelAssets, template::Message},
    rpc::{ProviderAnswer, ProviderRequest},
};

/// How long an order may open sessions, at least.
const ORDER_LIFE: Millis = Millis(10 * 60_000);
/// What a user wants.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// The model.
    pub model: ModelId,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the output; what is shown ends before them.
    pub stop_texts: Vec<String>,
    /// Alternatives whose log probabilities go with each token; 0 for no log probabilities at all.
    pub logprobs: u8,
    /// The most to pay for a reference GPU-hour.
    pub price_max: PricePerHour,
    /// The most to pay in all.
    pub total_max: Credits,
    /// Time to the first token.
    pub ttft: Option<LatencyLimit>,
    /// Time to the last token.
    pub total_time: Option<LatencyLimit>,
    /// Regions that are allowed; empty means any.
    pub regions: Vec<String>,
    /// Jurisdictions that are allowed; empty means any.
    pub jurisdictions: Vec<String>,
    /// Who must have calibrated the provider, one of these; empty means that its own word will do.
    pub calibrated_by: Vec<PublicKey>,
    /// The least that must be at stake for the provider's device; nothing means that none need be.
    pub stake_min: Credits,
    /// How it is found out whether the answer is right. Several providers at the same time are neither hedged nor
    /// replaced.
    pub verification: Verification,
    /// How firmly it is served, by whom and at what price.
    pub tier: Tier,
    /// Where the prompt may go.
    pub data: DataClass,
    /// Accounts of the client's own machines, which are asked first and are the only ones for data that is local. The
    /// client's word: nothing that a provider says makes it one of them.
    pub own: BTreeSet<PublicKey>,
    /// What counts beside the price when offers are compared.
    pub costs: BuyerCosts,
    /// Hash of the budget tag.
    pub tag: Option<[u8; 32]>,
    /// How long the session may be used.
    pub use_for: Millis,
    /// In the reserved tier, the reservation whose slot pays; without it, one of the client's whose slot runs.
    pub reservation: Option<ReservationId>,
    /// Who pays: a budget, under one of its caps; or the client itself.
    pub pays: Option<BudgetCap>,
    /// How the order is posted before it is matched, so that quotes stand beside adverts; nothing if it is not. A request
    /// that goes on in a kept session is not.
    pub post: Option<Post>,
    /// Whether another provider goes on where one stops; else the order fails with its provider.
    pub failover: bool,
    /// When two providers are asked at once.
    pub hedge: Hedge,
    /// What to keep open for requests that insist on the same: then they share one order, with its limit in all; else
    /// the session is settled at once.
    pub keep: Option<Keep>,
}

/// A cap of a budget, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetCap {
    /// The budget.
    pub budget: BudgetId,
    /// The cap that names the client as its spender.
    pub cap: u16,
}

impl BudgetCap {
    /// The call that opens a session out of the budget; a top-up of that session is out of it too.
    fn draw(self, open: Open) -> Call {
        Call::Draw { budget: self.budget, cap: self.cap, open: Box::new(open) }
    }
}

/// What happens while an order runs.
#[derive(Clone, Debug)]
pub enum RunEvent<'a> {
    /// The order was posted, and so many good quotes came.
    Posted {
        /// How many.
        quotes: usize,
    },
    /// The order met an offer.
    Matched(&'a MatchRecord),
    /// A session that was kept open takes the request.
    GoesOn {
        /// The session.
        session: SessionId,
        /// Whose it is.
        provider: PublicKey,
    },
    /// The provider of a reserved slot did not give it, and is called for it on the ledger.
    SlotCalled {
        /// The reservation.
        reservation: ReservationId,
        /// Whose it is.
        provider: PublicKey,
        /// What happened, in a sentence.
        why: &'a str,
    },
    /// Money is held for the session.
    Opened {
        /// The session.
        session: SessionId,
        /// How much is held.
        hold: Credits,
    },
    /// Output, in order.
    Tokens(&'a [u32]),
    /// Two providers were asked, and this one was slower: it was cancelled, and is paid for what it did.
    Overtaken {
        /// Who.
        provider: PublicKey,
        /// What it can collect at most.
        cost: Credits,
    },
    /// A provider takes the slot of a spot job back: another will go on, if there is one.
    Reclaiming {
        /// Who.
        provider: PublicKey,
        /// How long it goes on at most.
        within: Millis,
    },
    /// A provider did not finish, and another goes on.
    Moved {
        /// Who did not.
        from: PublicKey,
        /// Who goes on.
        to: PublicKey,
        /// Output tokens that are there already.
        written: usize,
        /// What happened, in a sentence.
        why: &'a str,
    },
    /// One of several providers that were asked at the same time gave no answer to its end: it is for nobody and
    /// against nobody.
    NoVote {
        /// Who.
        provider: PublicKey,
        /// What happened, in a sentence.
        why: &'a str,
    },
    /// Not all of several providers that were asked at the same time gave the answer of the majority.
    Disagreed {
        /// Who gave it, and who did not.
        tally: &'a Tally,
        /// What they signed.
        evidence: &'a Path,
    },
    /// The provider signed two receipts for the session that cannot both be true; the evidence is kept.
    Contradiction(&'a Accusation),
    /// The session is closed on the ledger: the provider is paid, the rest is back.
    Settled,
    /// The provider did not settle; the ledger releases the rest after the session's deadline.
    SettleLater {
        /// Why.
        why: String,
    },
}

/// Told about events; it must not wait.
pub(super) type OnEvent<'a> = &'a mut (dyn FnMut(RunEvent<'_>) + Send);

impl Client {
    /// An order for `spec` with a prompt of `prompt_tokens`.
    ///
    /// # Errors
    /// If a limit makes no sense.
    pub fn order(&self, spec: &RunSpec, prompt_tokens: usize) -> Result<Verified<Order>, RunError> {
        self.sign_order(self.wish(spec, prompt_tokens)?)
    }

    pub(super) fn sign_order(&self, order: Order) -> Result<Verified<Order>, RunError> {
        order.check_bounds().map_err(RunError::Order)?;
        self.key.sign(order).verify().map_err(|error| RunError::Order(error.to_string()))
    }

    /// An order that is not signed yet.
    pub(super) fn wish(&self, spec: &RunSpec, prompt_tokens: usize) -> Result<Order, RunError> {
        let now = clock::now();
        Ok(Order {
            version: PROTOCOL_VERSION,
            network: self.network,
            client: self.key.public(),
            nonce: random_u64()?,
            issued_at: now,
            // Sessions that take over are opened under it as well.
            expires_at: now
                .after(Millis(spec.use_for.0.clamp(ORDER_LIFE.0, ORDER_TTL_MS_MAX)))
                .unwrap_or(now),
            model: spec.model,
            prompt_tokens: u32::try_from(prompt_tokens)
                .map_err(|error| RunError::Order(error.to_string()))?,
            output_tokens: spec.max_tokens,
            price_max: spec.price_max,
            total_max: spec.total_max,
            ttft: spec.ttft,
            total_time: spec.total_time,
            regions: spec.regions.clone(),
            jurisdictions: spec.jurisdictions.clone(),
            calibrated_by: spec.calibrated_by.clone(),
            stake_min: spec.stake_min,
            verification: spec.verification,
            tier: spec.tier,
            data: spec.data,
            tag: spec.tag,
        })
    }

    /// Runs one order: matches it, opens a session or goes on in one that is kept ([`RunSpec::keep`]), streams the job,
    /// checks and pays the receipt, settles, and keeps the result. Where a provider stops, the next one goes on, unless `spec` says otherwise. `cancel` turning true stops
    /// the job; what was delivered is paid.
    ///
    /// # Errors
    /// [`RunError`], saying what it can have cost.
    pub async fn run(
        &self,
        spec: &RunSpec,
        adverts: &[Verified<Advert>],
        cancel: watch::Receiver<bool>,
        on_event: OnEvent<'_>,
    ) -> Result<JobResult, RunError> {
        // Whatever could not be remembered is not begun.
        self.memory()?;
        let slot = match spec.tier {
            Tier::Reserved => {
                check_reserved(spec)?;
                Some(self.slot_for(spec, cancel.clone(), on_event).await?)
            }
            Tier::OnDemand | Tier::Spot => None,
        };
        let reserved = slot.as_ref().map(|slot| [slot.advert.clone()]);
        let adverts = reserved.as_ref().map_or(adverts, |advert| &advert[..]);
        let assets = self.assets(spec.model, adverts).await?;
        let request = request(spec, &assets, assets.prompt(&spec.messages)?)?;
        let order = self.order_for(spec, request.prompt.len())?;
        let parts = RelayParts { client: self, spec, order, assets: &assets, adverts, slot, cancel };
        let relay = Relay::new(parts, on_event);
        match spec.verification {
            Verification::Receipt => relay.run(request).await,
            Verification::Redundant { providers } => relay.run_together(request, providers).await,
        }
    }

    /// Opens the session of `choice`.
    pub(super) async fn open_session(
        &self,
        spec: &RunSpec,
        order: &Verified<Order>,
        slot: Option<&Slot>,
        choice: &Choice,
    ) -> Result<(), RunError> {
        let (terms, hold) = (choice.terms.clone(), choice.hold);
        self.memory()?.keep_session(&terms)?;
        let (order, advert) = (order.signed().clone(), choice.advert.signed().clone());
        let open = Open { order, advert, terms, hold };
        let call = match (slot, spec.pays) {
            (Some(slot), _) => Call::DrawSlot { reservation: slot.reservation, open: Box::new(open) },
            (None, Some(cap)) => cap.draw(open),
            (None, None) => Call::Open(Box::new(open)),
        };
        if let Err(error) = self.ledger.submit(&self.key, call).await {
            // Nothing of it was applied; without an answer that is not known.
            if !may_be_applied(&error) {
                self.forget(choice.terms.id());
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// `None` if the times overflow or the provider does not serve the model.
    pub(super) fn terms(
        &self,
        spec: &RunSpec,
        order: &Verified<Order>,
        slot: Option<&Slot>,
        advert: &Verified<Advert>,
    ) -> Option<Terms> {
        let now = clock::now();
        let use_until = now.after(spec.use_for)?;
        let use_until = slot.map_or(use_until, |slot| use_until.min(slot.ends_at));
        let offer = advert.offer_of(&spec.model)?;
        Some(Terms {
            network: self.network,
            client: self.key.public(),
            provider: advert.provider,
            order: order.signed().id(),
            advert: advert.signed().id(),
            model: spec.model,
            work: offer.work,
            rates: advert.device.rates,
            numerics: NUMERICS_VERSION,
            price: advert.ask_in(order.tier)?,
            tier: order.tier,
            notice: advert.notice_in(order.tier),
            chunk_tokens: CHUNK_TOKENS_MAX as u16,
            use_until,
            collect_until: use_until.after(Millis(self.grace_min_ms))?,
            nonce: random_u64().ok()?,
        })
    }

    /// Settles a session, or says why not; it is not kept any more either way. A provider that `answers` is asked to; if it does not, the session is closed
    /// from this side: then the provider may collect until the deadline, and the ledger releases the rest after it.
    pub(super) async fn settle(&self, terms: &Terms, answers: bool) -> Result<(), String> {
        let settled = self.try_settle(terms, answers).await;
        self.shelf.closed(terms.id(), settled.is_ok());
        settled
    }

    async fn try_settle(&self, terms: &Terms, answers: bool) -> Result<(), String> {
        let session = terms.id();
        let why = if answers {
            match self.ask_provider(terms.provider, ProviderRequest::Settle(session)).await {
                Ok(ProviderAnswer::Settled(_)) => {
                    self.forget(session);
                    return Ok(());
                }
                Ok(ProviderAnswer::Refused(why)) | Err(why) => why,
                Ok(_) => "the answer is to another question".into(),
            }
        } else {
            "the provider is gone".into()
        };
        let close = Call::Close { session, vouchers: Vec::new(), release: None };
        match self.ledger.submit(&self.key, close).await {
            // Its provider closed it, and left before it could say so.
            Err(LedgerError::Rejected { name, .. }) if name == Reject::UnknownSession.name() => {
                self.forget(session);
                return Ok(());
            }
            Err(error) => tracing::warn!(%error, "the session could not be closed from this side"),
            Ok(_) => {}
        }
        Err(why)
    }

    fn forget(&self, session: SessionId) {
        if let Err(error) = self.memory().and_then(|memory| memory.forget_session(session)) {
            tracing::warn!(%error, "a settled session stays in the records");
        }
    }
}

/// Whether `spec` asks nothing of a slot that a slot cannot give.
fn check_reserved(spec: &RunSpec) -> Result<(), RunError> {
    let why = if spec.pays.is_some() {
        "a reserved slot is paid for already, and no budget pays again"
    } else if spec.keep.is_some() {
        "sessions in a reserved slot are not kept open between requests"
    } else if spec.verification != Verification::Receipt {
        "a reserved slot is one provider's: several cannot answer at the same time"
    } else {
        return Ok(());
    };
    Err(RunError::Order(why.into()))
}

/// Whether a transaction that failed so can be, or become, part of the ledger.
pub(super) fn may_be_applied(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Unknown { .. })
}

/// Offers whose work formula is the one that the model's manifest implies. Work is what is billed, so an offer that
/// misstates it is not considered at all.
pub(super) fn with_true_work(
    adverts: &[Verified<Advert>],
    model: ModelId,
    truth: Option<WorkModel>,
) -> Vec<Verified<Advert>> {
    let states_it = |advert: &&Verified<Advert>| match advert.offer_of(&model) {
        Some(offer) if Some(offer.work) != truth => {
            tracing::warn!(provider = %advert.provider.short(), "an offer that misstates the model's work is left out");
            false
        }
        _ => true,
    };
    adverts.iter().filter(states_it).cloned().collect()
}

/// The request for `spec`, whose place in a session its machine fills in.
fn request(spec: &RunSpec, assets: &ModelAssets, prompt: Vec<u32>) -> Result<Request, RunError> {
    let request = Request {
        session: SessionId([0; 32]),
        lane: 0,
        index: 0,
        prompt,
        written: Vec::new(),
        prepaid: 0,
        sampling: spec.sampling,
        max_tokens: spec.max_tokens,
        stop: assets.stop_tokens(),
        stop_texts: spec.stop_texts.clone(),
        logprobs: spec.logprobs,
        salt: random32()?,
    };
    request.check_bounds().map_err(RunError::Order)?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::harness::{Chain, Deal, key};

    use super::*;

    #[test]
    fn an_offer_that_misstates_the_work_is_left_out() {
        let signed = Deal::new(&Chain::new(), &key(1), &key(2)).sign().advert;
        let offer = signed.body.models[0];
        let adverts = [signed.verify().unwrap()];
        let kept = |truth| with_true_work(&adverts, offer.model, truth).len();
        let more = WorkModel { layers: offer.work.layers + 1, ..offer.work };
        assert_eq!(kept(Some(offer.work)), 1);
        assert_eq!(kept(Some(more)), 0);
        assert_eq!(kept(None), 0, "absurd sizes are nobody's truth");
        assert_eq!(
            with_true_work(&adverts, ModelId([9; 32]), None).len(),
            1,
            "it says nothing of this model"
        );
    }
}
