//! Proofs as files: written for someone else, read and verified with nothing but the network file.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use gridhour_contracts_sim::{
    block::Header,
    proof::{Anchor, BUNDLE_BYTES_MAX, Bundle},
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    joined::network,
};

/// What every proof rests on, for people.
pub const RESTS_ON: &str = "the network file: its operator signed the block";

/// Writes `proof` to `path`.
pub fn save(path: &Path, proof: &Bundle) -> Result {
    fs::write(path, proof.to_file()).map_err(|error| CommandError::file(path, &error))
}

/// The proof in the file at `path`, not verified yet. A file that is none is a check that failed.
pub fn load(path: &Path) -> Result<Bundle> {
    let fail = |error| CommandError::file(path, &error);
    let mut bytes = Vec::new();
    // A byte more than the longest, so that a longer file is seen to be one.
    let most = BUNDLE_BYTES_MAX as u64 + 1;
    File::open(path).map_err(fail)?.take(most).read_to_end(&mut bytes).map_err(fail)?;
    Bundle::from_file(&bytes)
        .map_err(|error| CommandError::refused(format!("{} is no proof: {error}", path.display())))
}

/// Whose word counts: the operator of the network in `file`, or in the data directory.
pub fn anchor(context: &Context, file: Option<&Path>) -> Result<Anchor> {
    Ok(Anchor::from(&network(context, file)?.genesis))
}

/// Says that a proof is none, and ends with that.
pub fn refuse<T>(context: &Context, why: impl std::fmt::Display) -> Result<T> {
    context.out.document(&json!({ "ok": false, "why": why.to_string(), "trust": "genesis" }))?;
    context.out.line(format!("NOT proven: {why}"))?;
    Err(CommandError::silent(Kind::Refused, why))
}

/// The block whose header a proof ends at.
pub fn block_json(header: &Header) -> Value {
    json!({ "height": header.height.0, "hash": header.hash().to_string(), "time": header.time.0 })
}
