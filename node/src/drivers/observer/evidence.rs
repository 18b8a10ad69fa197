//! What proves that an operator broke a rule: kept as a file that anyone can check.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use gridhour_contracts_sim::{
    block::Block,
    checkpoint::{Checkpoint, SignedCheckpoint},
    finding::Rule,
};
use gridhour_protocol::{id::to_hex, wire};
use serde_json::{Value, json};

use crate::consensus::follower::Breach;

/// Writes the finding and the signed blocks to a file in `folder`, durably, and returns its path. The same breach has the
/// same name, so finding it again at every start takes no more room.
///
/// # Errors
/// If the disk refuses.
pub(super) fn keep(folder: &Path, breach: &Breach) -> io::Result<PathBuf> {
    let Breach { finding, blocks } = breach;
    let path = folder.join(format!("height-{}-{}.json", finding.height.0, finding.rule));
    write(
        folder,
        &path,
        &json!({
            "height": finding.height.0, "rule": finding.rule.name(),
            "expected": finding.expected, "found": finding.found,
            "blocks": blocks.iter().map(|block| to_hex(block)).collect::<Vec<_>>(),
        }),
    )?;
    Ok(path)
}

/// The same for a checkpoint that is not of the signed block at its height: the note and the block.
///
/// # Errors
/// If the disk refuses.
pub(super) fn keep_checkpoint(
    folder: &Path,
    signed: &SignedCheckpoint,
    block: &Block,
) -> io::Result<PathBuf> {
    let height = signed.checkpoint().height.0;
    let path = folder.join(format!("height-{height}-{}.json", Rule::Checkpoint));
    write(
        folder,
        &path,
        &json!({
            "height": height, "rule": Rule::Checkpoint.name(),
            "expected": Checkpoint::of_header(&block.header.body).to_string(), "found": signed.to_string(),
            "blocks": [to_hex(&wire::encode(block))],
        }),
    )?;
    Ok(path)
}

fn write(folder: &Path, path: &Path, text: &Value) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{text:#}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}
