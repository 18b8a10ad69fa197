//! What proves that an operator broke a rule: kept as a file that anyone can check.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use gridhour_protocol::id::to_hex;
use serde_json::json;

use crate::consensus::follower::Breach;

/// Writes the finding and the signed blocks to a file in `folder`, durably, and returns its path. The same breach has the
/// same name, so finding it again at every start takes no more room.
///
/// # Errors
/// If the disk refuses.
pub(super) fn keep(folder: &Path, breach: &Breach) -> io::Result<PathBuf> {
    let Breach { finding, blocks } = breach;
    let path = folder.join(format!("height-{}-{}.json", finding.height.0, finding.rule));
    let text = json!({
        "height": finding.height.0, "rule": finding.rule.name(),
        "expected": finding.expected, "found": finding.found,
        "blocks": blocks.iter().map(|block| to_hex(block)).collect::<Vec<_>>(),
    });
    fs::create_dir_all(folder)?;
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{text:#}")?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(path)
}
