//! `gridhour audit verify-consistency` and `verify-fraud`: whether an operator showed one history to everyone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, SignedCheckpoint},
    fraud::{CompareError, FRAUD_BYTES_MAX, Fraud, compare},
    witnesses::{LogKeys, Quorum},
};
use gridhour_node::http::client::{LogClient, LogClientError};
use gridhour_protocol::{
    id::to_hex,
    merkle::{
        Hash,
        tile::Tile,
        tiled::{TileReader, TiledError},
    },
    note::{NOTE_BYTES_MAX, VerifierKey},
};
use serde_json::{Value, json};

use super::{
    quorum::{self, log_keys},
    read_at_most,
};
use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
};

#[derive(Debug, clap::Args)]
pub(super) struct ConsistencyArgs {
    /// A signed checkpoint: a file, or the URL of a node's public log
    old: String,

    /// Another one
    new: String,

    /// Read the longer log's tiles here, if they are needed [default: the URL that its checkpoint came from]
    #[arg(long, value_name = "URL")]
    log: Option<String>,

    /// The network whose operator signs [default: the data directory's]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,

    /// If there are two histories, write the proof here [default: fraud.proof in the data directory]
    #[arg(long, value_name = "FILE")]
    fraud_proof: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct FraudArgs {
    /// A proof that `verify-consistency` wrote
    file: PathBuf,

    /// The network whose operator is accused [default: the data directory's]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
}

/// A checkpoint, and the log that it came from if that was a URL.
struct Source {
    checkpoint: SignedCheckpoint,
    log: Option<LogClient>,
}

impl Source {
    fn load(place: &str, operator: &VerifierKey) -> Result<Self> {
        if place.starts_with("http://") || place.starts_with("https://") {
            let log = LogClient::new(place);
            return Ok(Self { checkpoint: log.checkpoint(operator)?, log: Some(log) });
        }
        let bytes = read_at_most(Path::new(place), NOTE_BYTES_MAX)?;
        let checkpoint = SignedCheckpoint::open(&bytes, operator);
        let checkpoint = checkpoint.map_err(|error| CommandError::refused(format!("{place}: {error}")))?;
        Ok(Self { checkpoint, log: None })
    }

    fn quorum(&self, keys: &LogKeys) -> Quorum {
        keys.count(self.checkpoint.note())
    }
}

/// The tiles of the longer log, if it is known where they are.
struct Tiles<'l>(Option<&'l LogClient>);

#[derive(Debug, thiserror::Error)]
enum TilesError {
    #[error("two logs of different length cannot be compared without their tiles")]
    NoLog,
    #[error(transparent)]
    Client(#[from] LogClientError),
}

impl TileReader for Tiles<'_> {
    type Error = TilesError;

    fn read(&self, tile: Tile) -> std::result::Result<Vec<Hash>, TilesError> {
        Ok(self.0.ok_or(TilesError::NoLog)?.read(tile)?)
    }
}

pub(super) fn verify(args: &ConsistencyArgs, context: &Context) -> Result {
    let keys = log_keys(context, args.network.as_deref())?;
    let operator = keys.operator();
    let (old, new) = (Source::load(&args.old, operator)?, Source::load(&args.new, operator)?);
    let given = args.log.as_deref().map(LogClient::new);
    let size = |source: &Source| source.checkpoint.checkpoint().log.size;
    let longer = if size(&old) > size(&new) { &old } else { &new };
    let tiles = Tiles(given.as_ref().or(longer.log.as_ref()));
    let fraud = compare(&old.checkpoint, &new.checkpoint, operator, &tiles).map_err(refusal)?;
    let path =
        fraud.as_ref().map(|fraud| save_fraud(fraud, args.fraud_proof.as_deref(), context)).transpose()?;
    let [old, new] = [&old, &new].map(|source| (source.checkpoint.checkpoint(), source.quorum(&keys)));
    context.out.document(&json!({
        "ok": fraud.is_none(), "old": with_witnesses(&old), "new": with_witnesses(&new),
        "conflict": fraud.as_ref().map(|fraud| fraud.conflict().name()), "fraud_proof": path,
    }))?;
    for (name, (checkpoint, quorum)) in [("old", &old), ("new", &new)] {
        context.out.line(line(name, checkpoint))?;
        context.out.line(format!("       witnesses: {}", quorum::text(quorum)))?;
    }
    let Some((fraud, path)) = fraud.zip(path) else {
        return context.out.line("one history: the shorter log is a beginning of the longer");
    };
    let name = fraud.conflict().name();
    context
        .out
        .line(format!("TWO HISTORIES ({name}), signed by one operator. The proof: {}", path.display()))?;
    Err(CommandError::silent(Kind::Refused, format!("two histories: {name}")))
}

pub(super) fn verify_fraud(args: &FraudArgs, context: &Context) -> Result {
    let keys = log_keys(context, args.network.as_deref())?;
    let operator = keys.operator();
    let bytes = read_at_most(&args.file, FRAUD_BYTES_MAX)?;
    let fraud = Fraud::open(&bytes, operator).map_err(CommandError::refused)?;
    let [one, other] = fraud.checkpoints();
    let conflict = fraud.conflict().name();
    context.out.document(&json!({
        "ok": true, "operator": operator.to_string(), "conflict": conflict, "one": of_checkpoint(one),
        "other": of_checkpoint(other),
    }))?;
    context.out.line(line("one", one))?;
    context.out.line(line("other", other))?;
    context.out.line(format!("proven: {operator} signed both, and both cannot be true ({conflict})"))
}

/// Writes the proof to `path`, or into the data directory.
pub(super) fn save_fraud(fraud: &Fraud, path: Option<&Path>, context: &Context) -> Result<PathBuf> {
    let path = path.map_or_else(|| context.data_dir.fraud_proof(), Path::to_owned);
    write_fraud(fraud, &path)?;
    Ok(path)
}

/// Writes the proof to `path`.
pub(super) fn write_fraud(fraud: &Fraud, path: &Path) -> Result {
    fs::write(path, fraud.to_string()).map_err(|error| CommandError::file(path, &error))
}

fn refusal(error: CompareError<TilesError>) -> CommandError {
    match error {
        CompareError::Tiles(TiledError::Read(TilesError::Client(error))) => error.into(),
        CompareError::Tiles(TiledError::Read(error @ TilesError::NoLog)) => {
            CommandError::usage(error).hint("say where the longer log is served with --log URL")
        }
        error => CommandError::refused(error),
    }
}

fn of_checkpoint(checkpoint: &Checkpoint) -> Value {
    json!({
        "height": checkpoint.height.0, "block": checkpoint.hash.to_string(), "size": checkpoint.log.size,
        "root": to_hex(&checkpoint.log.root),
    })
}

fn with_witnesses((checkpoint, quorum): &(&Checkpoint, Quorum)) -> Value {
    let mut document = of_checkpoint(checkpoint);
    document["witnesses"] = quorum::document(quorum);
    document
}

fn line(name: &str, checkpoint: &Checkpoint) -> String {
    let Checkpoint { log, height, hash, .. } = checkpoint;
    format!("{name:5}  height {} (block {hash}), {} entries", height.0, log.size)
}
