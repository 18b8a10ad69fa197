//! `gridhour audit witness`: signs that a ledger only grew, and remembers what it signed.

mod serve;

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

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

use super::{consistency::save_fraud, quorum::log_keys};
use crate::{
    context::Context,
    error::{CommandError, Result},
};

#[derive(Debug, clap::Args)]
pub(super) struct WitnessArgs {
    /// The URL of the public log
    #[arg(required_unless_present = "serve", conflicts_with = "serve")]
    log: Option<String>,

    /// Cosign what is sent to this address over HTTP (c2sp.org/tlog-witness), such as 0.0.0.0:4881, until Ctrl-C
    #[arg(long, value_name = "ADDRESS", conflicts_with = "out")]
    serve: Option<SocketAddr>,

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

/// A witness on its folder, which nobody else uses meanwhile.
struct Opened {
    witness: Witness,
    operator: VerifierKey,
    vkey: VerifierKey,
    _lock: DirLock,
}

impl Opened {
    fn open(args: &WitnessArgs, context: &Context) -> Result<Self> {
        let operator = log_keys(context, args.network.as_deref())?.operator().clone();
        let key = keys::load_or_create(&context.data_dir.key())?;
        let vkey =
            VerifierKey::new(&args.name, KeyKind::Witness, key.public()).map_err(CommandError::usage)?;
        let folder = context.data_dir.witness(operator.key());
        let _lock = DirLock::acquire(&folder).map_err(CommandError::refused)?;
        let disk = DirDisk::create(&folder).map_err(|error| CommandError::file(&folder, &error))?;
        let cosigner = Cosigner { name: args.name.clone(), key };
        Ok(Self { witness: Witness::new(Arc::new(disk), operator.clone(), cosigner), operator, vkey, _lock })
    }
}

pub(super) fn run(args: &WitnessArgs, context: &Context) -> Result {
    let opened = Opened::open(args, context)?;
    match (args.serve, &args.log) {
        (Some(address), _) => serve::run(opened, address, context),
        (None, Some(log)) => cosign(&opened, log, args, context),
        (None, None) => Err(CommandError::usage("name the URL of a public log, or --serve ADDRESS")),
    }
}

fn cosign(opened: &Opened, log: &str, args: &WitnessArgs, context: &Context) -> Result {
    let Opened { witness, operator, vkey, .. } = opened;
    let log = LogClient::new(log);
    let checkpoint = log.checkpoint(operator)?;
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

fn refusal(error: WitnessError<WitnessRefusal<LogClientError>>, context: &Context) -> CommandError {
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
