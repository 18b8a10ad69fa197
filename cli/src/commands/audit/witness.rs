//! `gridhour audit witness`: signs that a ledger only grew, and remembers what it signed.

use std::{fs, path::PathBuf, sync::Arc};

use gridhour_contracts_sim::{fraud::CompareError, witness::WitnessRefusal};
use gridhour_node::{
    clock,
    http::client::{LogClient, LogClientError},
    keys,
    store::{
        disk::DirDisk,
        lock::DirLock,
        witness::{Cosigner, Witness, WitnessError},
    },
};
use gridhour_protocol::{
    merkle::tiled::TiledError,
    note::{KeyKind, VerifierKey},
};
use serde_json::json;

use super::consistency::{operator, save_fraud};
use crate::{
    context::Context,
    error::{CommandError, Result},
};

#[derive(Debug, clap::Args)]
pub(super) struct WitnessArgs {
    /// The URL of the public log
    log: String,

    /// Sign under this name: a URL without its scheme, which need not be reachable, such as witness.example.com/w1
    #[arg(long)]
    name: String,

    /// The network whose ledger it is [default: the data directory's]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,

    /// Write the checkpoint with the cosignature here [default: print it]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &WitnessArgs, context: &Context) -> Result {
    let operator = operator(context, args.network.as_deref())?;
    let key = keys::load_or_create(&context.data_dir.key())?;
    let vkey = VerifierKey::new(&args.name, KeyKind::Witness, key.public()).map_err(CommandError::usage)?;
    let folder = context.data_dir.witness(operator.key());
    let _lock = DirLock::acquire(&folder).map_err(CommandError::refused)?;
    let disk = DirDisk::create(&folder).map_err(|error| CommandError::file(&folder, &error))?;
    let log = LogClient::new(&args.log);
    let checkpoint = log.checkpoint(&operator)?;
    let witness = Witness::new(Arc::new(disk), operator, Cosigner { name: args.name.clone(), key });
    let line =
        witness.cosign(&checkpoint, &log, clock::now().0 / 1_000).map_err(|error| refusal(error, context))?;
    let mut note = checkpoint.note().clone();
    note.add(line).map_err(CommandError::refused)?;
    if let Some(path) = &args.out {
        fs::write(path, note.to_string()).map_err(|error| CommandError::file(path, &error))?;
    }
    let seen = checkpoint.checkpoint();
    context.out.document(&json!({
        "height": seen.height.0, "block": seen.hash.to_string(), "size": seen.log.size, "vkey": vkey.to_string(),
        "note": note.to_string(), "path": args.out,
    }))?;
    match &args.out {
        Some(path) => {
            context.out.line(format!("height {} cosigned by {vkey}: {}", seen.height.0, path.display()))
        }
        None => context.out.line(note.to_string().trim_end()),
    }
}

fn refusal(error: WitnessError<LogClientError>, context: &Context) -> CommandError {
    match error {
        WitnessError::Refused(WitnessRefusal::Unknown(CompareError::Tiles(TiledError::Read(error)))) => {
            error.into()
        }
        WitnessError::Refused(WitnessRefusal::Fraud(fraud)) => match save_fraud(&fraud, None, context) {
            Ok(path) => CommandError::refused(format!(
                "the operator has signed two histories ({}); the proof: {}",
                fraud.conflict().name(),
                path.display()
            )),
            Err(error) => error,
        },
        error @ WitnessError::Disk(_) => CommandError::internal(error),
        error => CommandError::refused(error),
    }
}
