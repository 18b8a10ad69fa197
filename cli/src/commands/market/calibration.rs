//! `gridhour market calibration`: what a challenger signed about a provider.

use std::{fs, io::Read, path::PathBuf};

use gridhour_protocol::{
    calibration::receipt::Calibration,
    id::to_hex,
    signed::{Signed, Verified},
    wire::{self, Wire},
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CommandError, Result},
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour market calibration 3fb2a901.calibration
  gridhour market calibration 3fb2a901.calibration --json | jq .prefill_macs_per_s";

/// A calibration that was written to a file.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file, as `market calibrate --out` wrote it
    file: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let path = &args.file;
    let max = <Signed<Calibration> as Wire>::BYTES_MAX;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| CommandError::file(path, &error))?;
    // One byte more than there may be, so that a longer file is seen to be one.
    let read = file.take(max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| CommandError::file(path, &error))?;
    let refused = |why: String| CommandError::refused(format!("{}: {why}", path.display()));
    let receipt: Signed<Calibration> = wire::decode(&bytes).map_err(|error| refused(error.to_string()))?;
    let receipt: Verified<Calibration> = receipt.verify().map_err(|error| refused(error.to_string()))?;
    show(context, receipt.signed())
}

/// Prints a calibration, in words or as a document.
pub fn show(context: &Context, receipt: &Signed<Calibration>) -> Result {
    let (out, body) = (context.out, &receipt.body);
    let Some(rates) = body.rates() else {
        return Err(CommandError::refused("the times of this calibration give no rates"));
    };
    out.document(&document(receipt))?;
    out.line(format!("provider    {}", body.challenge.provider))?;
    out.line(format!("device      {}", body.device))?;
    out.line(format!("memory      {} bytes filled", body.challenge.memory_bytes))?;
    out.line(format!("reading     {} million MACs/s", rates.prefill.0 / 1_000_000))?;
    out.line(format!("writing     {} million MACs/s", rates.decode.0 / 1_000_000))?;
    out.line(format!("challenger  {}", body.challenge.challenger))
}

/// A calibration as scripts read it.
pub fn document(receipt: &Signed<Calibration>) -> Value {
    let Calibration { challenge, device, .. } = &receipt.body;
    let rates = receipt.body.rates();
    json!({
        "provider": challenge.provider.to_string(), "challenger": challenge.challenger.to_string(),
        "network": challenge.network.to_string(), "device": device.name, "backend": device.backend,
        "memory_bytes": challenge.memory_bytes, "prefill_ns": receipt.body.prefill_ns,
        "decode_ns": receipt.body.decode_ns, "prefill_macs_per_s": rates.map(|rates| rates.prefill.0),
        "decode_macs_per_s": rates.map(|rates| rates.decode.0), "started_at": receipt.body.started_at.0,
        "ended_at": receipt.body.ended_at.0, "seed": to_hex(&challenge.seed),
        "output": receipt.body.output.to_string(), "scores": receipt.body.scores.to_string(),
        "digest": to_hex(&receipt.digest()),
    })
}
