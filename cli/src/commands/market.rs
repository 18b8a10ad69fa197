//! `gridhour market`: what is offered, what an order would meet, and how fast a provider truly is.

mod calibrate;
mod calibration;

use std::{sync::Arc, time::Duration};

use clap::Subcommand;
use gridhour_node::{clock, drivers::client::Client};
use gridhour_protocol::{
    market::{
        advert::{Advert, Device, RateSource},
        estimate::Measured,
        matching::MatchRecord,
    },
    signed::Verified,
};
use serde_json::{Value, json};

use super::run::OrderOptions;
use crate::{
    context::Context,
    error::{CommandError, Result},
    joined::with_client,
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour market offers
  gridhour market explain --region eu-de --max-ttft-ms 500
  gridhour market explain --prefer fastest --json
  gridhour market calibrate 3fb2a901";

/// How long to wait for offers.
pub const OFFERS_TIME: Duration = Duration::from_secs(5);
/// Prompt tokens that `explain` assumes.
const PROMPT_TOKENS: usize = 64;

/// See the offers, why an order would meet which, and time providers
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the live offers, with round trips measured from here
    Offers,
    /// Say for an order which offer it would meet, at what cost and time, and why not the others
    ///
    /// Nothing is ordered. A prompt of 64 tokens is assumed.
    Explain(Box<OrderOptions>),
    /// Time a provider on a standard job that fills the memory it claims, and sign what was measured
    ///
    /// The provider frees its memory, loads a model made from a seed that it could not know, and computes
    /// with it. This machine times it, computes the same layer by layer, and signs only if every bit is
    /// right. The provider shows the receipt in its adverts.
    Calibrate(calibrate::Args),
    /// Print a calibration that was written to a file, and check its signature
    Calibration(calibration::Args),
}

pub fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Offers => with_client(context, async |client, _| offers(context, &client).await),
        Command::Explain(options) => {
            with_client(context, async |client, _| explain(context, &client, &options).await)
        }
        Command::Calibrate(args) => calibrate::run(&args, context),
        Command::Calibration(args) => calibration::run(&args, context),
    }
}

/// Live offers, or an error that says what to do when there are none.
pub async fn live_offers(client: &Arc<Client>) -> Result<Vec<Verified<Advert>>> {
    let offers = client.offers(1, OFFERS_TIME).await;
    if offers.is_empty() {
        return Err(CommandError::refused(format!("no offer was seen within {} s", OFFERS_TIME.as_secs()))
            .hint(
                "start a provider with `gridhour node provider`, or check the network with `gridhour status`",
            ));
    }
    Ok(offers)
}

async fn offers(context: &Context, client: &Arc<Client>) -> Result {
    let adverts = live_offers(client).await?;
    let measured = client.measure(&adverts).await;
    let rows: Vec<(&Verified<Advert>, Measured)> = adverts
        .iter()
        .map(|advert| (advert, measured.get(&advert.provider).copied().unwrap_or_default()))
        .collect();
    let documents: Vec<Value> = rows.iter().map(|(advert, measured)| offer_json(advert, measured)).collect();
    context.out.document(&json!({ "offers": documents }))?;
    let mut table = Table::new([
        "provider",
        "ask/h",
        "region",
        "backend",
        "threads",
        "free",
        "round trip",
        "models",
        "rates",
    ]);
    for (advert, measured) in rows {
        table.row([
            advert.provider.short(),
            advert.ask.to_string(),
            advert.region.clone().unwrap_or_else(|| "-".into()),
            advert.device.backend.clone(),
            advert.device.threads.to_string(),
            advert.slots_free.to_string(),
            measured.latency.map_or_else(|| "no answer".into(), |latency| milliseconds(latency.ewma_us)),
            advert.models.iter().map(|offer| offer.model.short()).collect::<Vec<_>>().join(","),
            rates_text(&advert.device),
        ]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

/// Who says how fast a device is, and how long ago that was seen.
fn rates_text(device: &Device) -> String {
    let Some(calibration) = device.calibration() else { return "self-measured".into() };
    let challenger = calibration.challenge.challenger.short();
    let minutes = clock::now().since(calibration.ended_at).0 / 60_000;
    format!("calibrated by {challenger}, {minutes} min ago")
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

fn offer_json(advert: &Verified<Advert>, measured: &Measured) -> Value {
    let latency = measured.latency.map(
        |latency| json!({ "ewma_us": latency.ewma_us, "p95_us": latency.p95_us, "samples": latency.samples }),
    );
    let device = &advert.device;
    let calibration = match &device.rate_source {
        RateSource::SelfMeasured => None,
        RateSource::Calibrated(receipt) => Some(calibration::document(receipt)),
    };
    json!({
        "provider": advert.provider.to_string(), "ask": advert.ask.0, "region": advert.region,
        "jurisdiction": advert.jurisdiction, "slots_free": advert.slots_free, "expires_at": advert.expires_at.0,
        "device": {
            "class": format!("{:?}", device.class).to_lowercase(), "name": device.name, "backend": device.backend,
            "threads": device.threads, "prefill_macs_per_s": device.rates.prefill.0,
            "decode_macs_per_s": device.rates.decode.0, "memory_bytes": device.memory_bytes,
            "rates": if device.calibration().is_some() { "calibrated" } else { "self-measured" },
        },
        "models": advert.models.iter().map(|offer| offer.model.to_string()).collect::<Vec<_>>(),
        "addresses": advert.addresses, "latency": latency, "calibration": calibration,
    })
}

async fn explain(context: &Context, client: &Arc<Client>, options: &OrderOptions) -> Result {
    let spec = options.spec(context, Vec::new())?;
    let adverts = live_offers(client).await?;
    let order = client.order(&spec, PROMPT_TOKENS)?;
    let record = client.match_order(&order, &adverts, spec.use_for).await?;
    context.out.document(&match_json(&record))?;
    explain_text(context, &record)
}

/// The match record in words and numbers.
pub fn explain_text(context: &Context, record: &MatchRecord) -> Result {
    for (rank, candidate) in record.candidates.iter().enumerate() {
        let times = match (candidate.expected_ttft_ms, candidate.expected_total_ms) {
            (Some(ttft), Some(total)) => format!("first token in {ttft} ms, all in {total} ms"),
            _ => "not measured".into(),
        };
        let penalty = if candidate.penalty.0 > 0 {
            format!(" + {} for lateness", candidate.penalty)
        } else {
            String::new()
        };
        let mark = if rank == 0 { "chosen " } else { "       " };
        let cost = candidate.cost;
        context.out.line(format!(
            "{mark} {}  at most {cost} credits{penalty}; {times}",
            candidate.provider.short()
        ))?;
    }
    for refusal in &record.refused {
        let (provider, reason) = (refusal.provider.short(), refusal.reason.name());
        context.out.line(format!("refused {provider}  {reason}: {}", refusal.detail))?;
    }
    match record.chosen {
        Some(_) => Ok(()),
        None => context.out.line("no offer meets this order"),
    }
}

/// The match record as scripts read it.
pub fn match_json(record: &MatchRecord) -> Value {
    let candidates = record.candidates.iter().map(|candidate| {
        json!({
            "provider": candidate.provider.to_string(), "score": candidate.score.0, "cost": candidate.cost.0,
            "penalty": candidate.penalty.0, "expected_ttft_ms": candidate.expected_ttft_ms,
            "expected_total_ms": candidate.expected_total_ms,
        })
    });
    let refused = record.refused.iter().map(|refusal| {
        json!({
            "provider": refusal.provider.to_string(), "reason": refusal.reason.name(), "detail": refusal.detail,
        })
    });
    json!({
        "chosen": record.chosen.map(|provider| provider.to_string()),
        "candidates": candidates.collect::<Vec<_>>(), "refused": refused.collect::<Vec<_>>(),
        "order": record.order.to_string(), "at": record.at.0,
        "considered": gridhour_protocol::id::to_hex(&record.considered),
    })
}
