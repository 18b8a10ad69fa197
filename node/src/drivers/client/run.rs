//! One order from prompt to settled result.

use std::time::Duration;

use gridhour_contracts_sim::tx::{Accusation, Call, Open};
use gridhour_protocol::{
    exact::{NUMERICS_VERSION, numerics_digest},
    id::{BudgetId, ModelId, SessionId},
    job::{
        buyer::{BuyerEnd, BuyerPatience, BuyerSetup},
        logprobs::Logprobs,
        request::Request,
        sampling::Sampling,
    },
    limits::{CHUNK_TOKENS_MAX, PROTOCOL_VERSION},
    market::{
        advert::Advert,
        matching::MatchRecord,
        order::{LatencyLimit, Order},
    },
    session::{lane::LaneLedger, terms::Terms},
    signed::{PublicKey, Signed, Verified},
    units::{Credits, Millis, PricePerHour},
    wire::Wire,
    work::WorkModel,
};
use tokio::sync::watch;

use super::{Client, RunError, job::Job};
use crate::{
    clock,
    drivers::{ledger_client::LedgerError, results::JobResult},
    keys::{random_u64, random32},
    model::{assets::ModelAssets, template::Message},
    net::RequestError,
    rpc::{ProviderAnswer, ProviderRequest},
};

/// How long an order may open sessions.
const ORDER_LIFE: Millis = Millis(10 * 60_000);
/// How long the client waits for a provider.
const PATIENCE: BuyerPatience = BuyerPatience { first_token: Millis(60_000), stall: Millis(20_000) };

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
    /// Hash of the budget tag.
    pub tag: Option<[u8; 32]>,
    /// How long the session may be used.
    pub use_for: Millis,
    /// Who pays: a budget, under one of its caps; or the client itself.
    pub pays: Option<BudgetCap>,
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
    /// The order met an offer.
    Matched(&'a MatchRecord),
    /// Money is held for the session.
    Opened {
        /// The session.
        session: SessionId,
        /// How much is held.
        hold: Credits,
    },
    /// Output, in order.
    Tokens(&'a [u32]),
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
        let now = clock::now();
        let order = Order {
            version: PROTOCOL_VERSION,
            network: self.network,
            client: self.key.public(),
            nonce: random_u64()?,
            issued_at: now,
            expires_at: now.after(ORDER_LIFE).unwrap_or(now),
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
            tag: spec.tag,
        };
        order.check_bounds().map_err(RunError::Order)?;
        self.key.sign(order).verify().map_err(|error| RunError::Order(error.to_string()))
    }

    /// Runs one order: matches it, opens a session, streams the job, checks and pays the receipt, settles, and keeps the
    /// result. `cancel` turning true stops the job; what was delivered is paid.
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
        let assets = self.assets(spec.model, adverts).await?;
        let request = request(spec, &assets, assets.prompt(&spec.messages)?)?;
        let prompt_tokens = request.prompt.len();
        let order = self.order(spec, prompt_tokens)?;
        let adverts = &with_true_work(adverts, spec.model, assets.work());
        let matched = self.match_order(&order, adverts, spec.use_for).await?;
        let chosen = adverts.iter().find(|advert| matched.chosen == Some(advert.provider));
        let Some(advert) = chosen else {
            return Err(RunError::NoOffer(Box::new(matched)));
        };
        on_event(RunEvent::Matched(&matched));
        let terms = self.open_session(spec, &order, advert, prompt_tokens, on_event).await?;
        let ran = self.job(&terms, advert, request, &assets, cancel, on_event).await;
        self.settle(&terms, on_event).await;
        let (result, text) = finish(terms, matched, &assets, ran?)?;
        self.results.keep(&result, &text)?;
        Ok(result)
    }

    async fn open_session(
        &self,
        spec: &RunSpec,
        order: &Verified<Order>,
        advert: &Verified<Advert>,
        prompt: usize,
        on_event: OnEvent<'_>,
    ) -> Result<Terms, RunError> {
        let terms =
            self.terms(spec, order, advert).ok_or_else(|| RunError::Order("the times overflow".into()))?;
        let prompt = u32::try_from(prompt).map_err(|error| RunError::Order(error.to_string()))?;
        let hold = terms.job_amount(prompt, spec.max_tokens);
        let hold = hold.ok_or_else(|| RunError::Order("its cost overflows".into()))?.max(Credits(1));
        self.memory()?.keep_session(&terms)?;
        let (order, advert) = (order.signed().clone(), advert.signed().clone());
        let open = Open { order, advert, terms: terms.clone(), hold };
        let call = match spec.pays {
            Some(cap) => cap.draw(open),
            None => Call::Open(Box::new(open)),
        };
        if let Err(error) = self.ledger.submit(&self.key, call).await {
            // It never was; without an answer it may be.
            if matches!(error, LedgerError::Rejected { .. }) {
                self.forget(terms.id());
            }
            return Err(error.into());
        }
        on_event(RunEvent::Opened { session: terms.id(), hold });
        Ok(terms)
    }

    /// `None` if the times overflow or the provider does not serve the model.
    fn terms(&self, spec: &RunSpec, order: &Verified<Order>, advert: &Verified<Advert>) -> Option<Terms> {
        let now = clock::now();
        let use_until = now.after(spec.use_for)?;
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
            price: advert.ask,
            chunk_tokens: CHUNK_TOKENS_MAX as u16,
            use_until,
            collect_until: use_until.after(Millis(self.grace_min_ms))?,
            nonce: random_u64().ok()?,
        })
    }

    async fn job(
        &self,
        terms: &Terms,
        advert: &Verified<Advert>,
        request: Request,
        assets: &ModelAssets,
        cancel: watch::Receiver<bool>,
        on_event: OnEvent<'_>,
    ) -> Result<Delivered, RunError> {
        let stream =
            self.net.open_job(terms.provider).await.map_err(|error: RequestError| RunError::from(error))?;
        let setup = BuyerSetup {
            key: self.key.clone(),
            numerics: numerics_digest(),
            terms: terms.clone(),
            lane: LaneLedger::new(terms.id(), 0),
            request,
            tokenizer: assets.tokenizer().shared_asset(),
            patience: PATIENCE,
        };
        let (mut output, mut logprobs) = (Vec::new(), Vec::new());
        let mut deliver = |tokens: &[u32], new: &[Logprobs]| {
            output.extend_from_slice(tokens);
            logprobs.extend_from_slice(new);
            on_event(RunEvent::Tokens(tokens));
        };
        let advert = advert.signed().clone();
        let memory = self.memory()?;
        let ran = Job::run(&memory, stream, setup, advert, cancel, &mut deliver).await?;
        if let Some(accusation) = &ran.contradiction {
            on_event(RunEvent::Contradiction(accusation));
        }
        match &ran.outcome.end {
            BuyerEnd::Settled(_) => {
                let request = ran.machine.request().clone();
                Ok(Delivered { request, output, logprobs, ran: Box::new(ran) })
            }
            _ => Err(RunError::Failed(Box::new(ran.outcome))),
        }
    }

    /// Asks the provider to settle. If it does not, closes from this side: then the provider may collect until the
    /// deadline, and the ledger releases the rest after it.
    async fn settle(&self, terms: &Terms, on_event: OnEvent<'_>) {
        let session = terms.id();
        let why = match self.ask_provider(terms.provider, ProviderRequest::Settle(session)).await {
            Ok(ProviderAnswer::Settled(_)) => {
                on_event(RunEvent::Settled);
                self.forget(session);
                return;
            }
            Ok(ProviderAnswer::Refused(why)) | Err(why) => why,
            Ok(ProviderAnswer::Asset(_)) => "the answer is to another question".into(),
        };
        let close = Call::Close { session, vouchers: Vec::new(), release: None };
        if let Err(error) = self.ledger.submit(&self.key, close).await {
            tracing::warn!(%error, "the session could not be closed from this side");
        }
        on_event(RunEvent::SettleLater { why });
    }

    fn forget(&self, session: SessionId) {
        if let Err(error) = self.memory().and_then(|memory| memory.forget_session(session)) {
            tracing::warn!(%error, "a settled session stays in the records");
        }
    }
}

/// Offers whose work formula is the one that the model's manifest implies. Work is what is billed, so an offer that
/// misstates it is not considered at all.
fn with_true_work(
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

/// A job that was delivered and paid.
struct Delivered {
    request: Request,
    output: Vec<u32>,
    logprobs: Vec<Logprobs>,
    ran: Box<super::job::Ran>,
}

/// The request for `spec`, whose place in a session its machine fills in.
fn request(spec: &RunSpec, assets: &ModelAssets, prompt: Vec<u32>) -> Result<Request, RunError> {
    let request = Request {
        session: SessionId([0; 32]),
        lane: 0,
        index: 0,
        prompt,
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

fn finish(
    terms: Terms,
    matched: MatchRecord,
    assets: &ModelAssets,
    delivered: Delivered,
) -> Result<(JobResult, String), RunError> {
    let Delivered { request, output, logprobs, ran } = delivered;
    let super::job::Ran { outcome, ttft, total, .. } = *ran;
    let (BuyerEnd::Settled(receipt), Some(voucher)) = (outcome.end.clone(), outcome.lane.newest.clone())
    else {
        return Err(RunError::Failed(Box::new(outcome)));
    };
    let text = assets.tokenizer().decode_until(&output, &request.stop_texts);
    let (receipt, cost): (Signed<_>, _) = (*receipt, outcome.cost);
    let (ttft_ms, total_ms) = (millis(ttft), millis(total));
    let result =
        JobResult { terms, request, output, logprobs, receipt, voucher, cost, matched, ttft_ms, total_ms };
    Ok((result, text))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
