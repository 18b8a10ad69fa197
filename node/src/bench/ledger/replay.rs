//! What was written, replayed: as a node does when it starts, and as an auditor does.

use std::{
    fs::File,
    io::{self, BufWriter, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use gridhour_contracts_sim::{
    audit::{Auditor, Report, Trust},
    block::Block,
};
use gridhour_protocol::wire;

use super::{BenchError, people, sequencer::Written};
use crate::store::{
    disk::DirDisk,
    export::export_ledger,
    journal::{Journal, JournalReader},
    log_error::LogError,
    restore::{FIRST_HEIGHT, RestoreError, replay_all},
};

/// Transactions a second.
pub(super) struct Replayed {
    pub(super) unsigned_per_s: f64,
    pub(super) signed_per_s: f64,
    /// Signatures alone.
    pub(super) verified_per_s: f64,
}

/// Bytes of an exported ledger that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Signatures that are checked alone, at most.
const VERIFIED_MAX: usize = 20_000;

impl Written {
    /// Replays everything once without signatures, as far as the journal's hashes vouch for it, and once with all.
    pub(super) fn replay(&self) -> Result<Replayed, BenchError> {
        let reader = self.reader()?;
        let start = Instant::now();
        let state = replay_all(&self.genesis, &reader)?;
        let (count, unsigned) = (state.tip().log.size() as f64, start.elapsed().as_secs_f64());
        let verified_per_s = verified_per_s(&reader)?;
        let path = self.export(&reader)?;
        let start = Instant::now();
        let report = audit(&path, Trust::Genesis(self.genesis.id())).map_err(BenchError::File)?;
        if let Some(finding) = report.findings.first() {
            return Err(BenchError::Audit(finding.to_string()));
        }
        let signed_per_s = count / start.elapsed().as_secs_f64();
        Ok(Replayed { unsigned_per_s: count / unsigned, signed_per_s, verified_per_s })
    }

    /// The ledger in a file beside it: no more of it is in memory than a node or an auditor has.
    fn export(&self, reader: &JournalReader) -> Result<PathBuf, BenchError> {
        let path = self.dir.join("ledger.export");
        let mut out = BufWriter::new(File::create(&path).map_err(BenchError::File)?);
        export_ledger(reader, &self.network, &mut out)?;
        Ok(path)
    }

    fn reader(&self) -> Result<JournalReader, RestoreError> {
        let disk =
            DirDisk::create(&self.dir.join("journal")).map_err(LogError::disk("open", "the journal"))?;
        Ok(Journal::open(Arc::new(disk), self.genesis.id().0, FIRST_HEIGHT)?.0.reader())
    }
}

fn audit(path: &Path, trust: Trust) -> io::Result<Report> {
    let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE_BYTES]);
    let mut auditor = Auditor::new(trust);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(auditor.finish().0),
            count => auditor.push(&piece[..count]),
        }
    }
}

fn verified_per_s(reader: &JournalReader) -> Result<f64, RestoreError> {
    let mut txs = Vec::new();
    for block in reader.blocks(FIRST_HEIGHT) {
        let (height, bytes) = block?;
        let block: Block = wire::decode(&bytes).map_err(|source| RestoreError::Block { height, source })?;
        txs.extend(block.txs);
        if txs.len() > VERIFIED_MAX {
            break;
        }
    }
    Ok(people::verified_per_s(&txs))
}
