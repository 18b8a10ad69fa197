//! The ledger as a file that anyone can audit: [`gridhour_contracts_sim::export`], streamed from the journal.

use std::io::{self, Write};

use gridhour_contracts_sim::{
    export::{FrameKind, closing, frame, opening},
    network_file::NetworkFile,
};
use gridhour_protocol::{signed::Signed, units::Height};

use super::{journal::JournalReader, log_error::LogError, restore::FIRST_HEIGHT};

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] LogError),
    /// The file cannot be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
}

/// Writes every block that is durable now to `out`, one in memory at a time. Returns the height of the last.
///
/// # Errors
/// If the journal cannot be read or `out` not written; what was written until then is not a whole export.
pub fn export_ledger(
    reader: &JournalReader,
    network: &Signed<NetworkFile>,
    out: &mut dyn Write,
) -> Result<Height, ExportError> {
    let end = reader.heights().end;
    out.write_all(&opening(network))?;
    for block in
        reader.blocks(FIRST_HEIGHT).take_while(|block| !matches!(block, Ok((height, _)) if *height >= end))
    {
        let (_, payload) = block?;
        out.write_all(&frame(FrameKind::Block, &payload))?;
    }
    let last = Height(end - 1);
    out.write_all(&closing(last))?;
    out.flush()?;
    Ok(last)
}
