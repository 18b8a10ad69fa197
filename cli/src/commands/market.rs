//! `gridhour market`: what is offered, what an order would meet, and how fast a provider truly is.

mod calibrate;
mod calibration;
mod explain;

use std::{sync::Arc, time::Duration};

use clap::Subcommand;
use gridhour_node::{
    clock,
    drivers::client::{Client, RunSpec},
};
use gridhour_protocol::{
    market::{
        advert::{Advert, Device, RateSource},
        estimate::Measured,
    },
    signed::Verified,
};
use serde_json::{Value, json};

pub use self::explain::{explain_text, match_json};
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
    Explain(Box<explain::Args>),
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
        Command::Explain(args) => explain::run(&args, context),
        Command::Calibrate(args) => calibrate::run(&args, context),
        Command::Calibration(args) => calibration::run(&args, context),
    }
}

/// Live offers, or an error that says what to do when there are none. Waits a while for `least` of them.
pub async fn live_offers(client: &Arc<Client>, least: usize) -> Result<Vec<Verified<Advert>>> {
    or_none_seen(client.offers(least, OFFERS_TIME).await)
}

/// Live offers for an order, as [`live_offers`].
pub async fn offers_for(client: &Arc<Client>, spec: &RunSpec) -> Result<Vec<Verified<Advert>>> {
    or_none_seen(client.offers_for(spec, OFFERS_TIME).await)
}

fn or_none_seen(offers: Vec<Verified<Advert>>) -> Result<Vec<Verified<Advert>>> {
    if offers.is_empty() {
        return Err(CommandError::refused(format!("no offer was seen within {} s", OFFERS_TIME.as_secs()))
            .hint(
                "start a provider with `gridhour node provider`, or check the network with `gridhour status`",
            ));
    }
    Ok(offers)
}

async fn offers(context: &Context, client: &Arc<Client>) -> Result {
    let adverts = live_offers(client, 1).await?;
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
        "jurisdiction": advert.jurisdiction, "slots_free": advert.slots_free, "queued": advert.queued,
        "expires_at": advert.expires_at.0, "spot": advert.spot.map(|spot| json!({
            "ask": spot.ask.0, "notice_ms": spot.notice.0, "held": spot.held,
        })),
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
