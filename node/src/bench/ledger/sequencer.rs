//! A sequencer on a disk, and transfers that wait for it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use gridhour_contracts_sim::{genesis::Genesis, network_file::NetworkFile, tx::Tx};
use gridhour_protocol::{signed::Signed, units::Height};
use tokio::runtime::{Builder, Runtime};

use super::{BenchError, people::People};
use crate::{
    consensus::{Ordering, ledger_time::SystemClock, solo::Solo},
    store::ledger_dir::Ledger,
};

/// A ledger that takes transfers.
pub(super) struct Bench {
    solo: Solo,
    runtime: Runtime,
    written: Written,
}

/// A ledger that was written.
pub(super) struct Written {
    pub(super) dir: PathBuf,
    pub(super) genesis: Genesis,
    pub(super) network: Signed<NetworkFile>,
}

impl Bench {
    pub(super) fn start(dir: &Path, people: &People) -> Result<Self, BenchError> {
        let genesis = people.genesis().clone();
        let ledger = Ledger::open(dir, &genesis)?;
        let solo = Solo::start(ledger, people.operator(), Box::new(SystemClock::default()))?;
        let written = Written { dir: dir.to_owned(), genesis, network: people.network_file() };
        Ok(Self { solo, runtime: Builder::new_current_thread().build()?, written })
    }

    /// Height of the last block.
    pub(super) fn height(&self) -> Height {
        self.solo.view().read(|state| state.tip().height)
    }

    /// Hands transfers in, so many waiting at a time; gives the time until all are in durable blocks.
    pub(super) fn submit(&mut self, txs: Vec<Signed<Tx>>, together: usize) -> Result<Duration, BenchError> {
        let solo = &self.solo;
        let start = Instant::now();
        self.runtime.block_on(async {
            let mut answers = stream::iter(txs).map(|tx| solo.submit(tx)).buffer_unordered(together);
            while let Some(answer) = answers.next().await {
                answer?;
            }
            Ok(start.elapsed())
        })
    }

    /// Ends the sequencer in order.
    pub(super) fn stop(self) -> Written {
        self.written
    }
}
