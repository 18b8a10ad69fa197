//! Fetching a whole ledger into a file that anyone can audit. An interrupted one goes on where it stopped.

use std::{io, path::Path};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_protocol::{signed::Signed, units::Height};

use super::ledger_client::{LedgerClient, LedgerError};
use crate::store::export_part::ExportPart;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum FetchLedgerError {
    /// The ledger cannot be had.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file cannot be written.
    #[error("cannot write the export: {0}")]
    File(#[from] io::Error),
}

/// Writes the ledger that `ledger` serves to `path`, which is replaced when all of it is there; `seen` is told the last
/// block so far and the last there will be. Returns height and size in bytes.
///
/// # Errors
/// If the ledger cannot be had or the file not be written. What was fetched until then is kept beside `path`, and the
/// next call goes on behind it if the ledger still is the same up to there.
pub async fn fetch_ledger(
    ledger: &LedgerClient,
    network: &Signed<NetworkFile>,
    path: &Path,
    mut seen: impl FnMut(Height, Height),
) -> Result<(Height, u64), FetchLedgerError> {
    let mut part = ExportPart::open(path, network)?;
    if let Some((height, block)) = part.last() {
        // Each block names the one before, so two ledgers with the same block are the same up to it.
        if ledger.blocks(height).await?.first().map(Vec::as_slice) != Some(block) {
            part.restart()?;
        }
    }
    let known = part.last().map_or(Height(0), |(height, _)| height);
    let height = ledger
        .each_block(known, |height, tip, block| {
            seen(height, tip);
            part.add(block).map_err(FetchLedgerError::from)
        })
        .await?;
    Ok((height, part.finish(height)?))
}
