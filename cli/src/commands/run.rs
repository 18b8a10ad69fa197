//! `gridhour run`: one order, streamed.

mod agreed;
mod batch;
mod data;
mod logprobs;
mod sampling;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use clap::ValueEnum;
use gridhour_node::{
    drivers::{
        client::{Client, Hedge, Post, RunError, RunEvent, RunSpec},
        results::JobResult,
    },
    model::template::Message,
};
use gridhour_protocol::{
    id::{ModelId, ReservationId},
    job::sampling::Sampling,
    limits::{POSTING_TTL_MS_MAX, REDUNDANT_MAX},
    market::{
        costs::BuyerCosts,
        data_class::DataClass,
        order::{LatencyLimit, LimitKind, Verification},
        tier::Tier,
    },
    receipt::Cause,
    signed::PublicKey,
    units::{Credits, Millis, PricePerHour},
};
use serde_json::{Value, json};

pub use self::{data::DataOptions, sampling::SamplingOptions};
use super::{
    budget::{DrawOptions, Drawing},
    market::{OFFERS_TIME, explain_text, match_json, offers_for},
    receipt::chain,
    reserve::chosen_id,
};
use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    joined::{Stop, with_client},
    models,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour run \"Name three rivers of Europe.\"
  gridhour run \"Write a haiku.\" --prefer fastest --explain
  gridhour run \"Hello\" --region eu-de --max-price 2 --max-total 0.01 --json
  gridhour run \"Tell me a story.\" --temperature 0.8 --top-p 0.95 --seed 7 --max-tokens 200
  gridhour run \"What is 17 * 23?\" --redundant 3 --max-total 3
  gridhour run \"Summarise my notes.\" --local-only
  gridhour run \"List ten colours.\" --repeat-penalty 1.1 --stop \"5.\" --logprobs 3
  gridhour run \"Hello\" --tier reserved --reservation 7d21a0c4
  gridhour run --batch prompts.txt --max-total 2 --json
  sort questions.txt | gridhour run --batch - --max-tokens 32

A batch is one order: --max-total is the most for all its answers, for as long as --use-secs. Sessions with its providers
stay open from one prompt to the next, so that only the first waits for the ledger; at the end they are settled. With
--json each answer is one line. The first prompt that fails ends the batch.

Providers see your prompt. Amounts are credits; --max-price is per reference GPU-hour.";

/// Quotes after which no more are waited for: as many as are pinged at once.
const QUOTES_ENOUGH: usize = 8;
/// What is said when nobody answered a posting.
const NO_QUOTES: &str = "nobody quoted for the posted order; it goes to what is advertised";

/// A penalty that outweighs any difference in cost, in micro-credits per millisecond.
const FASTEST_PER_MS: Credits = Credits(1_000_000);

/// Order one inference and stream it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to ask the model
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    prompt: Option<String>,

    /// Ask each line of this file, one after the other under one order; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "redundant")]
    batch: Option<PathBuf>,

    /// Put this before the conversation as the system's message
    #[arg(long)]
    system: Option<String>,

    /// Say why the provider was chosen, and why the others were not
    #[arg(long)]
    explain: bool,

    #[command(flatten)]
    order: OrderOptions,

    #[command(flatten)]
    draw: DrawOptions,

    /// With --tier reserved, draw on this reservation, by its id or how that begins [default: one whose slot runs]
    #[arg(long, value_name = "RESERVATION", conflicts_with_all = ["batch", "budget"])]
    reservation: Option<String>,
}

/// What an order insists on.
#[derive(Debug, clap::Args)]
pub struct OrderOptions {
    /// Run this model: a catalogue name, an id or a path [default: the catalogue's first]
    #[arg(long, env = "GRIDHOUR_MODEL", hide_env_values = true)]
    pub model: Option<String>,

    /// Write at most this many tokens
    #[arg(long, default_value_t = 128)]
    pub max_tokens: u32,

    /// Pay at most this many credits for a reference GPU-hour
    #[arg(long, default_value = "10", value_name = "CREDITS")]
    pub max_price: PricePerHour,

    /// Pay at most this many credits in all
    #[arg(long, default_value = "1", value_name = "CREDITS")]
    pub max_total: Credits,

    /// Refuse offers whose first token is expected later than this
    #[arg(long, value_name = "MS")]
    pub max_ttft_ms: Option<u64>,

    /// Refuse offers whose last token is expected later than this
    #[arg(long, value_name = "MS")]
    pub max_total_ms: Option<u64>,

    /// Allow only this declared region; may be repeated
    #[arg(long)]
    pub region: Vec<String>,

    /// Allow only this declared jurisdiction; may be repeated
    #[arg(long)]
    pub jurisdiction: Vec<String>,

    /// Allow only providers that this account has calibrated; may be repeated
    #[arg(long, value_name = "ACCOUNT")]
    pub calibrated_by: Vec<PublicKey>,

    /// Allow only providers with this many credits at stake for their device until the session's use is over
    #[arg(long, default_value = "0", value_name = "CREDITS")]
    pub min_stake: Credits,

    /// Have it served firmly, or for less on idle capacity that the provider may take back after its notice (spot; the
    /// stream then goes on elsewhere), or in a slot that was booked (reserved)
    #[arg(long, value_enum, default_value_t = TierKind::OnDemand, env = "GRIDHOUR_TIER", hide_env_values = true)]
    pub tier: TierKind,

    /// Count traffic to providers outside this region, which is yours; without it, to all
    #[arg(long, value_name = "REGION")]
    pub home: Option<String>,

    /// Count this many credits for each GiB sent out of your region
    #[arg(long, default_value = "0", value_name = "CREDITS")]
    pub egress_per_gib: Credits,

    /// Count this many credits for a run that fails, beside running it again
    #[arg(long, default_value = "0", value_name = "CREDITS")]
    pub retry_cost: Credits,

    /// Prefer the cheapest offer, or the one with the soonest first token
    #[arg(long, value_enum, default_value_t = Prefer::Cheapest)]
    pub prefer: Prefer,

    /// Note this tag on the order; only its hash travels
    #[arg(long)]
    pub tag: Option<String>,

    /// Let the session be used for this long
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub use_secs: u64,

    /// Ask two providers at once, and pay the slower one for what it did: if a hard limit on the first token is near
    /// (tight), always, or never
    #[arg(
        long, value_enum, value_name = "WHEN", default_value_t = HedgeKind::Tight,
        default_missing_value = "always", num_args = 0..=1, require_equals = true
    )]
    pub hedge: HedgeKind,

    /// Have this many providers with different stake accounts (2 to 5) write the answer at the same time, and take it only
    /// if more than half of them agree. All are paid; --max-total is for all together
    #[arg(
        long, value_name = "K", env = "GRIDHOUR_REDUNDANT", hide_env_values = true,
        value_parser = clap::value_parser!(u8).range(2..=i64::from(REDUNDANT_MAX))
    )]
    pub redundant: Option<u8>,

    /// Post the order, so that providers quote for it: what is wanted is gossiped, neither the prompt nor what you would
    /// pay, and quotes stand beside adverts
    #[arg(long, env = "GRIDHOUR_POST", hide_env_values = true)]
    pub post: bool,

    /// Wait this long for quotes
    #[arg(
        long, value_name = "MS", default_value_t = 500, requires = "post",
        value_parser = clap::value_parser!(u64).range(1..=POSTING_TTL_MS_MAX)
    )]
    pub quote_wait_ms: u64,

    /// Fail if the provider does, instead of going on with another one
    #[arg(long)]
    pub no_failover: bool,

    #[command(flatten)]
    pub data: DataOptions,

    #[command(flatten)]
    pub sampling: SamplingOptions,
}

/// How firmly an order is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TierKind {
    /// At the provider's ask, to the end
    OnDemand,
    /// At the provider's ask for spot, until it needs its capacity
    Spot,
    /// In a slot that was booked and paid for, while it runs
    Reserved,
}

impl From<TierKind> for Tier {
    fn from(kind: TierKind) -> Self {
        match kind {
            TierKind::OnDemand => Self::OnDemand,
            TierKind::Spot => Self::Spot,
            TierKind::Reserved => Self::Reserved,
        }
    }
}

/// What decides between offers that meet the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Prefer {
    /// The lowest expected cost
    Cheapest,
    /// The lowest expected time to the first token
    Fastest,
}

/// When two providers are asked at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HedgeKind {
    /// If a hard limit on the first token is less than twice what is expected
    Tight,
    /// If two offers meet the order
    Always,
    /// Never
    Never,
}

impl From<HedgeKind> for Hedge {
    fn from(kind: HedgeKind) -> Self {
        match kind {
            HedgeKind::Tight => Self::Tight,
            HedgeKind::Always => Self::Always,
            HedgeKind::Never => Self::Never,
        }
    }
}

impl OrderOptions {
    /// The order that these options describe, for a conversation.
    pub fn spec(&self, context: &Context, messages: Vec<Message>) -> Result<RunSpec> {
        let hard = |ms: u64| LatencyLimit { limit: Millis(ms), kind: LimitKind::Hard };
        let soonest = LatencyLimit { limit: Millis(0), kind: LimitKind::Soft { per_ms: FASTEST_PER_MS } };
        let ttft = match (self.max_ttft_ms, self.prefer) {
            (Some(_), Prefer::Fastest) => {
                return Err(CommandError::usage(
                    "--max-ttft-ms and --prefer fastest both set the time to the first token",
                )
                .hint("use one of them; --max-total-ms can be combined with either"));
            }
            (Some(ms), Prefer::Cheapest) => Some(hard(ms)),
            (None, Prefer::Fastest) => Some(soonest),
            (None, Prefer::Cheapest) => None,
        };
        // What contradicts itself does so whatever machines are listed, so that is told first.
        let post = self.posting()?;
        let (sampling, stop_texts) = (self.sampling.sampling()?, self.sampling.stop_texts()?);
        let logprobs = self.sampling.alternatives()?;
        Ok(RunSpec {
            model: model_id(self.model.as_deref(), context)?,
            messages,
            max_tokens: self.max_tokens,
            sampling,
            stop_texts,
            logprobs,
            price_max: self.max_price,
            total_max: self.max_total,
            ttft,
            total_time: self.max_total_ms.map(hard),
            regions: self.region.clone(),
            jurisdictions: self.jurisdiction.clone(),
            calibrated_by: self.calibrated_by.clone(),
            stake_min: self.min_stake,
            verification: self
                .redundant
                .map_or(Verification::Receipt, |providers| Verification::Redundant { providers }),
            tier: self.tier.into(),
            data: self.data.class(),
            own: self.data.own(context)?,
            costs: BuyerCosts {
                home: self.home.clone(),
                egress_per_gib: self.egress_per_gib,
                retry: self.retry_cost,
            },
            tag: self.tag.as_ref().map(|tag| *blake3_of(tag)),
            use_for: Millis(self.use_secs.saturating_mul(1_000)),
            reservation: None,
            pays: None,
            post,
            failover: !self.no_failover,
            hedge: self.hedge.into(),
            keep: None,
        })
    }
}

impl OrderOptions {
    /// How the order is posted. What is reserved has its price, and spot work is taken back: neither is quoted for. Nor
    /// is what may not leave the user's own machines.
    fn posting(&self) -> Result<Option<Post>> {
        if self.post && Tier::from(self.tier) != Tier::OnDemand {
            let why = "--post asks for quotes, which are for on-demand work";
            return Err(CommandError::usage(why).hint("leave out --post, or --tier"));
        }
        if self.post && self.data.class() == DataClass::LocalOnly {
            let why = "--post tells everybody what is wanted, and local data is nobody else's";
            return Err(CommandError::usage(why).hint("leave out --post, or --local-only"));
        }
        let post = Post { wait: Millis(self.quote_wait_ms), enough: QUOTES_ENOUGH };
        Ok(self.post.then_some(post))
    }
}

fn blake3_of(tag: &str) -> Box<[u8; 32]> {
    let mut layout = gridhour_protocol::layout::Layout::new("gridhour/tag/v1");
    layout.bytes(tag.as_bytes());
    Box::new(layout.hash())
}

/// The id of the model that the user means. Only a file that was never loaded before has to be read for it.
pub fn model_id(asked: Option<&str>, context: &Context) -> Result<ModelId> {
    let configured = if asked.is_none() { context.settings()?.model } else { None };
    let asked = asked.map(str::to_owned).or(configured);
    if let Some(id) = asked.as_deref().and_then(|text| text.parse().ok()) {
        return Ok(id);
    }
    models::id_of(asked.as_deref(), context)
}

pub fn run(args: &Args, context: &Context) -> Result {
    if let Some(file) = &args.batch {
        return batch::run(args, file, context);
    }
    let messages = args.conversation(args.prompt.clone().unwrap_or_default());
    let spec = args.order.spec(context, messages)?;
    with_client(context, async |client, stop| {
        client.claim()?;
        let drawing = args.draw.resolve(context, &client).await?;
        let reservation = args.reservation(&client).await?;
        let spec = RunSpec { pays: drawing.as_ref().map(|drawing| drawing.cap), reservation, ..spec };
        let offers = match spec.tier {
            // Its provider may be silent, and is called for then.
            Tier::Reserved => client.offers(1, OFFERS_TIME).await,
            Tier::OnDemand | Tier::Spot => offers_for(&client, &spec).await?,
        };
        let (explain, drawing) = (args.explain, drawing.as_ref());
        let result = stream(context, &client, &spec, &offers, &stop, explain, drawing).await?;
        context.out.document(&result_json(&client, &result).await?)?;
        if result.request.logprobs > 0 {
            let assets = client.assets(spec.model, &offers).await?;
            logprobs::lines(&result, assets.tokenizer())
                .iter()
                .try_for_each(|line| context.out.line(line))?;
        }
        context.out.line(summary(&result))?;
        let id = result.receipt.id();
        context.out.line(format!("Look further: gridhour receipt show {id}; gridhour receipt rerun {id}"))?;
        // The document says it by its cause.
        whole(&result, &stop).map_err(|error| CommandError { told: context.out.json, ..error })
    })
}

impl Args {
    /// The reservation that is named, if one is.
    async fn reservation(&self, client: &Client) -> Result<Option<ReservationId>> {
        let Some(named) = &self.reservation else { return Ok(None) };
        if self.order.tier != TierKind::Reserved {
            return Err(CommandError::usage("--reservation is for orders of the reserved tier")
                .hint("add --tier reserved"));
        }
        chosen_id(client.ledger(), client.id(), named).await.map(Some)
    }
}

/// Runs an order and prints its text as it comes, until `stop` is wished. `drawing` is the budget that pays, if one does.
///
/// # Errors
/// If there is no answer, or it could not be written: then whatever came is kept.
pub async fn stream(
    context: &Context,
    client: &Arc<Client>,
    spec: &RunSpec,
    offers: &[gridhour_protocol::signed::Verified<gridhour_protocol::market::advert::Advert>],
    stop: &Stop,
    explain: bool,
    drawing: Option<&Drawing>,
) -> Result<JobResult> {
    let assets = client.assets(spec.model, offers).await?;
    let mut text = assets.tokenizer().stream_until(&spec.stop_texts);
    // The first write that failed. The job goes on, because its answer is kept; but nobody pays for more than they read.
    let failed = Mutex::new(Ok(()));
    let note = |written: Result| {
        let Err(error) = written else { return };
        if error.kind == Kind::ReaderLeft {
            stop.now();
        }
        if let Ok(mut first) = failed.lock()
            && first.is_ok()
        {
            *first = Err(error);
        }
    };
    let mut on_event = |event: RunEvent<'_>| match event {
        RunEvent::Matched(record) if explain => note(explain_text(context, record)),
        RunEvent::Posted { quotes: 0 } => note(context.out.note(NO_QUOTES)),
        RunEvent::Posted { quotes } => note(context.out.note(&format!("{quotes} providers quoted"))),
        RunEvent::Tokens(tokens) => {
            tokens.iter().for_each(|token| note(context.out.part(&text.push(*token))));
        }
        RunEvent::Reclaiming { provider, within } => {
            let (name, ms) = (provider.short(), within.0);
            note(context.out.note(&format!("\n{name} takes its spot slot back within {ms} ms")));
        }
        RunEvent::Moved { from, to, written, why } => {
            let (from, to) = (from.short(), to.short());
            let text = format!("\n{from} did not finish after {written} tokens: {why}; {to} goes on");
            note(context.out.note(&text))
        }
        RunEvent::SlotCalled { provider, why, .. } => {
            let text =
                format!("{} does not give the slot: {why}; it is called for on the ledger", provider.short());
            note(context.out.note(&text))
        }
        RunEvent::Overtaken { provider, cost } => {
            let text = format!("\n{} was asked too, was slower, and costs {cost} credits", provider.short());
            note(context.out.note(&text))
        }
        RunEvent::NoVote { provider, why } => {
            let text = format!("\n{} gave no answer that counts: {why}", provider.short());
            note(context.out.note(&text))
        }
        RunEvent::Disagreed { tally, evidence } => note(context.out.note(&agreed::dissent(tally, evidence))),
        RunEvent::SettleLater { why } => {
            note(context.out.line(format!("\nnot settled by the provider yet: {why}")))
        }
        RunEvent::Contradiction(_) => note(context.out.line(
            "\nthe provider signed two receipts that cannot both be true; see `gridhour audit accuse`",
        )),
        RunEvent::Matched(_) | RunEvent::GoesOn { .. } | RunEvent::Opened { .. } | RunEvent::Settled => {}
    };
    let result = client.run(spec, offers, stop.heard(), &mut on_event).await;
    // Why there is no answer comes before what could not be written of it.
    let result = result.map_err(|error| refused(context, spec, drawing, error));
    let ended = context.out.line("");
    let result = result?;
    failed.into_inner().unwrap_or(Ok(())).and(ended)?;
    Ok(result)
}

/// Whether the answer is what was asked for: it came to its end, or the user stopped it.
fn whole(result: &JobResult, stop: &Stop) -> Result {
    let cause = result.receipt.body.cause;
    if cause == Cause::Delivered || stop.is_wished() {
        return Ok(());
    }
    let (tokens, cause_name) = (result.answer().len(), cause.name());
    let error = CommandError::network(format!(
        "the answer breaks off after {tokens} tokens ({cause_name}), and nobody goes on"
    ));
    Err(error.hint(match cause {
        Cause::ClientFault => {
            "the session's time was over, or a payment came too late; what came is kept and paid for"
        }
        Cause::ProviderFault => {
            "its provider failed and is paid nothing for its part; a higher --max-total leaves room for another"
        }
        _ => "what came is kept and paid for; a higher --max-total leaves room for another provider",
    }))
}

/// A refusal by the ledger of what a budget should pay says what is left of it.
fn refused(context: &Context, spec: &RunSpec, drawing: Option<&Drawing>, error: RunError) -> CommandError {
    let hint = drawing.and_then(|drawing| drawing.hint(&error));
    let stays = matches!(error, RunError::NoOffer(_) | RunError::TooFew { .. });
    let stays = data::hint(spec.data).filter(|_| stays).map(str::to_owned);
    let mut error = explained(context, error);
    error.hints.extend(hint.into_iter().chain(stays));
    error
}

/// An order that met no offer says why for each.
fn explained(context: &Context, error: RunError) -> CommandError {
    let record = match &error {
        RunError::NoOffer(record) | RunError::TooFew { record, .. } => Some(record.clone()),
        _ => None,
    };
    let mut error = CommandError::from(error);
    let refused = record.iter().flat_map(|record| &record.refused);
    error.hints.extend(refused.map(|refusal| {
        format!("{} {}: {}", refusal.provider.short(), refusal.reason.name(), refusal.detail)
    }));
    if let Some(record) = record.filter(|_| context.out.json) {
        error.details = Some(Box::new(json!({ "match": match_json(&record) })));
    }
    error
}

/// One line that says what it was.
pub fn summary(result: &JobResult) -> String {
    let receipt = &result.receipt.body;
    let earlier = match result.before.len() {
        0 => String::new(),
        count => format!(" after {count} other{}", if count == 1 { "" } else { "s" }),
    };
    let agreed = result.agreement.as_ref().map_or_else(String::new, agreed::summary);
    format!(
        "{} + {} tokens, {} credits ({} ms of reference GPU time, {} vouchers), first token after {} ms, {} by {}{earlier}{agreed}",
        result.request.prompt.len(),
        result.answer().len(),
        result.cost_in_all(),
        receipt.reference.0 / 1_000_000,
        u64::from(result.voucher.body.sequence) + 1,
        result.ttft_ms,
        receipt.cause.name(),
        result.terms.provider.short(),
    )
}

/// A result as scripts read it.
pub async fn result_json(client: &Client, result: &JobResult) -> Result<Value> {
    let (_, text) = client.results().load(result.receipt.id())?;
    Ok(json_of(result, &text))
}

/// A result and its text as scripts read them.
pub fn json_of(result: &JobResult, text: &str) -> Value {
    let receipt = &result.receipt.body;
    json!({
        "receipt_id": result.receipt.id().to_string(), "provider": result.terms.provider.to_string(),
        "model_id": result.terms.model.to_string(), "prompt_tokens": result.request.prompt.len(),
        "output_tokens": result.answer().len(), "token_ids": result.answer(), "text": text,
        "logprobs": logprobs::document(result), "cost": result.cost_in_all().0,
        "parts": chain::document(result), "hedged": chain::hedged(result),
        "gpu_ms": receipt.reference.0 / 1_000_000, "measured_ms": receipt.measured.0 / 1_000_000,
        "ttft_ms": result.ttft_ms, "total_ms": result.total_ms, "cause": receipt.cause.name(),
        "verification": agreed::document(result), "seed": result.request.sampling.seed,
        "sampling": sampling_json(&result.request.sampling), "stop": result.request.stop_texts,
        "session": result.terms.id().to_string(), "match": match_json(&result.matched),
    })
}

/// The rules of sampling in the units of their options.
fn sampling_json(sampling: &Sampling) -> Value {
    let real = |q16: i64| q16 as f64 / 65_536.0;
    json!({
        "temperature": real(sampling.temperature_q16.into()), "top_k": sampling.top_k,
        "top_p": real(sampling.top_p_q16.into()), "min_p": real(sampling.min_p_q16.into()),
        "repeat_penalty": real(sampling.repetition_q16.into()), "repeat_last_n": sampling.repeat_last,
        "frequency_penalty": real(sampling.frequency_q16.into()),
        "presence_penalty": real(sampling.presence_q16.into()),
    })
}
