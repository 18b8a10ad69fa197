//! `gridhour audit export`: the whole ledger as a file, a few blocks in memory at a time.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use gridhour_contracts_sim::{
    export::{FrameKind, closing, frame, opening},
    network_file::NetworkFile,
};
use gridhour_node::drivers::ledger_client::LedgerClient;
use gridhour_protocol::{signed::Signed, units::Height};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    joined::{network, with_client},
};

pub(super) fn run(out: Option<PathBuf>, context: &Context) -> Result {
    let out = out.unwrap_or_else(|| context.data_dir.ledger_export());
    let (height, bytes) = export(context, &out)?;
    context.out.document(&json!({ "path": out, "height": height.0, "bytes": bytes }))?;
    context.out.line(format!("{} blocks, {bytes} bytes: {}", height.0, out.display()))
}

/// The ledger as its node has it now; if nobody answers, as it was last exported.
pub(super) fn fetched(context: &Context) -> Result<PathBuf> {
    let path = context.data_dir.ledger_export();
    match export(context, &path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind == Kind::Network && path.exists() => Ok(path),
        Err(error) => Err(error),
    }
}

/// Fetches the ledger into `out`. Returns height and size.
fn export(context: &Context, out: &Path) -> Result<(Height, u64)> {
    let network = network(context, None)?;
    let bar = context.out.item_bar("ledger", 0);
    let seen = |done: Height, tip: Height| {
        bar.set_length(tip.0);
        bar.set_position(done.0);
    };
    let written = with_client(context, async |client, _| {
        write_export(client.ledger(), network.signed(), out, seen).await
    });
    bar.finish_and_clear();
    written
}

/// Writes the ledger that `ledger` serves to `path`, which is replaced when all of it is there; `seen` is told the last
/// block so far and the last there will be. Returns height and size.
pub async fn write_export(
    ledger: &LedgerClient,
    network: &Signed<NetworkFile>,
    path: &Path,
    mut seen: impl FnMut(Height, Height),
) -> Result<(Height, u64)> {
    let fail = |error: io::Error| CommandError::file(path, &error);
    let unfinished = path.with_extension("part");
    let mut out = BufWriter::new(File::create(&unfinished).map_err(fail)?);
    out.write_all(&opening(network)).map_err(fail)?;
    let height = ledger
        .each_block(|height, tip, block| {
            seen(height, tip);
            out.write_all(&frame(FrameKind::Block, block)).map_err(fail)
        })
        .await?;
    out.write_all(&closing(height)).and_then(|()| out.flush()).map_err(fail)?;
    let bytes = out.get_ref().metadata().map_err(fail)?.len();
    fs::rename(&unfinished, path).map_err(fail)?;
    Ok((height, bytes))
}
