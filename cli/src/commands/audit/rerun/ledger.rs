//! What the ledger says of the results kept here.

use std::{collections::BTreeMap, path::Path};

use gridhour_contracts_sim::audit::{Auditor, Collected, Report};
use gridhour_node::{clock, drivers::results::JobResult};
use gridhour_protocol::{
    id::{ReceiptId, SessionId},
    merkle::{leaf_hash, root},
};

use crate::{
    commands::audit::{reading::Reading, tell, trust},
    context::Context,
    error::{CommandError, Kind, Result},
};

/// Where a result stands on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnLedger {
    /// Its provider was paid for exactly the receipts that are kept of its lane.
    Paid,
    /// Nobody was paid for it yet.
    Open,
    /// Its lane was paid for with receipts that are not kept here: the ledger does not tell which.
    Unknown,
    /// Its lane was paid for with other receipts than those kept here.
    Contradicts,
}

/// The lanes of all results kept here.
pub(super) struct Lanes {
    paid: Collected,
    kept: BTreeMap<(SessionId, u16), BTreeMap<u32, ReceiptId>>,
}

/// Audits the ledger in `file`, and finds in it what providers were paid for among `results`.
pub(super) fn read_ledger(
    file: &Path,
    network: Option<&Path>,
    results: &[JobResult],
    context: &Context,
) -> Result<(Report, Lanes)> {
    let sessions = results.iter().map(|result| result.receipt.body.session);
    let trust = trust(network, context)?;
    let mut auditor = Auditor::new(trust).with_clock(clock::now()).gathering(Collected::of(sessions));
    let mut reading = Reading::open(file)?.with_bar(context)?;
    reading.pieces(u64::MAX, |piece| auditor.push(piece))?;
    drop(reading);
    match auditor.finish_gathering() {
        (report, Some(paid)) => Ok((report, Lanes { paid, kept: lanes(results) })),
        (report, None) => {
            tell(context, &report)?;
            let message = format!("the ledger in {} is not in order", file.display());
            Err(CommandError::new(Kind::Refused, message)
                .hint("see `gridhour audit verify` for what is wrong"))
        }
    }
}

fn lanes(results: &[JobResult]) -> BTreeMap<(SessionId, u16), BTreeMap<u32, ReceiptId>> {
    let mut lanes: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for result in results {
        let receipt = &result.receipt.body;
        lanes.entry((receipt.session, receipt.lane)).or_default().insert(receipt.index, result.receipt.id());
    }
    lanes
}

impl Lanes {
    /// Where one of the results stands.
    pub(super) fn of(&self, result: &JobResult) -> OnLedger {
        let receipt = &result.receipt.body;
        let Some(lane) = self.paid.lane(&receipt.session, receipt.lane) else {
            return OnLedger::Open;
        };
        if receipt.index >= lane.receipts {
            return OnLedger::Open;
        }
        let kept = self.kept.get(&(receipt.session, receipt.lane)).into_iter().flatten();
        let kept: Vec<_> = kept.take_while(|(index, _)| **index < lane.receipts).collect();
        let whole = kept.iter().map(|(index, _)| **index).eq(0..lane.receipts);
        let leaves: Vec<_> = kept.iter().map(|(_, id)| leaf_hash(&id.0)).collect();
        match whole {
            false => OnLedger::Unknown,
            true if root(&leaves) == lane.receipts_root => OnLedger::Paid,
            true => OnLedger::Contradicts,
        }
    }
}
