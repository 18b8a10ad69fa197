//! `gridhour market calibrate`: time a provider on a standard job, and sign what was measured.

use std::{fs, num::NonZeroUsize, path::PathBuf, sync::Arc};

use gridhour_node::{
    command::parse_size,
    drivers::client::{CalibrationEvent, CalibrationPlan, Client, OnCalibration},
    engine::EngineConfig,
};
use gridhour_protocol::{
    calibration::receipt::{Calibration, DeviceName},
    market::advert::Advert,
    signed::{Signed, Verified},
    units::Millis,
    wire,
};
use indicatif::ProgressBar;

use super::{calibration::show, live_offers};
use crate::{
    context::Context,
    error::{CommandError, Result},
    joined::with_client,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour market calibrate 3fb2a901
  gridhour market calibrate 3fb2a901 --out 3fb2a901.calibration --json
  gridhour market calibration 3fb2a901.calibration

The provider serves nobody meanwhile, so it may refuse, or let only few calibrate it.";

/// Whom to calibrate.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The provider: its account, or how that begins, as `market offers` lists it
    provider: String,

    /// Fill only this much memory: bytes, or a number with KiB, MiB or GiB [default: what the advert claims]
    ///
    /// A provider can show a calibration only if it fills all the memory that it claims.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Check the answer with this many threads [default: all processors]
    #[arg(long)]
    threads: Option<NonZeroUsize>,

    /// Give the provider up if one step takes it longer [default: by the memory, an hour at most]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,

    /// Write the signed calibration to FILE
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    with_client(context, async |client, stop| {
        let offers = live_offers(&client, 1).await?;
        let advert = chosen(&offers, &args.provider)?;
        let receipt = tokio::select! {
            receipt = calibrate(args, context, &client, advert) => receipt?,
            () = stop.wished() => return Err(CommandError::interrupted()),
        };
        if let Some(path) = &args.out {
            fs::write(path, wire::encode(&receipt)).map_err(|error| CommandError::file(path, &error))?;
        }
        show(context, &receipt)
    })
}

async fn calibrate(
    args: &Args,
    context: &Context,
    client: &Client,
    advert: &Advert,
) -> Result<Signed<Calibration>> {
    let claimed = advert.device.memory_bytes;
    let mut plan = CalibrationPlan::new(args.memory.unwrap_or(claimed));
    plan.config.threads = args.threads.unwrap_or(EngineConfig::default().threads);
    plan.patience = args.timeout.map(|seconds| Millis(seconds.saturating_mul(1_000)));
    let asked = plan.memory_bytes;
    let (provider, device) = (advert.provider.short(), DeviceName::of(&advert.device));
    context.out.line(format!("calibrating {provider}, {device}: {asked} of {claimed} bytes claimed"))?;
    let bar = context.out.item_bar("waiting", 0);
    let calibrated = client.calibrate(advert, plan, shown_on(bar.clone())).await;
    bar.finish_and_clear();
    Ok(calibrated?)
}

/// The provider whose account begins so.
fn chosen<'a>(offers: &'a [Verified<Advert>], named: &str) -> Result<&'a Verified<Advert>> {
    let named = named.to_lowercase();
    let mut found = offers.iter().filter(|advert| advert.provider.to_string().starts_with(&named));
    match (found.next(), found.next()) {
        (Some(advert), None) => Ok(advert),
        (Some(_), Some(_)) => Err(CommandError::usage(format!("several providers begin with {named:?}"))
            .hint("give more of the account")),
        (None, _) => Err(CommandError::refused(format!("no live offer is of {named:?}"))
            .hint("`gridhour market offers --json` lists the accounts of all providers")),
    }
}

/// Shows each step on a bar, and the layers that are checked.
fn shown_on(bar: ProgressBar) -> OnCalibration {
    Arc::new(move |event| match event {
        CalibrationEvent::Preparing => bar.set_message("the provider loads the standard model"),
        CalibrationEvent::Reading => bar.set_message("the provider reads"),
        CalibrationEvent::Writing => bar.set_message("the provider writes"),
        CalibrationEvent::Checking { done, layers } => {
            bar.set_message("computing it again, layer by layer");
            bar.set_length(layers.into());
            bar.set_position(done.into());
        }
    })
}
