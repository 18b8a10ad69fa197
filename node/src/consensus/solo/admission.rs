//! Checks what needs no state, for many transactions at once and on all cores, before the sequencer sees them.

use std::sync::mpsc::SyncSender;

use gridhour_contracts_sim::{
    ledger::{admit::Admitted, reject::Reject},
    tx::Tx,
};
use gridhour_protocol::{limits::TX_BYTES_MAX, signed::Signed, units::Height, wire};
use rayon::prelude::*;
use tokio::sync::mpsc;

use super::{Reply, SubmitError};
use crate::consensus::{Accepted, LedgerCounts};

/// Transactions checked together.
const GROUP_MAX: usize = 1_024;

/// What is asked of the sequencer.
pub(super) enum Submission {
    Tx(Box<Signed<Tx>>, Reply<Accepted>),
    Tick(Reply<Height>),
}

/// A transaction that may be ordered.
pub(super) struct Ready {
    pub(super) tx: Admitted,
    /// Bytes that it takes in a block.
    pub(super) bytes: usize,
    pub(super) reply: Reply<Accepted>,
}

/// What passed together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) txs: Vec<Ready>,
    pub(super) ticks: Vec<Reply<Height>>,
}

/// Runs until there are no more submissions, or nobody takes the groups.
pub(super) fn run(
    mut waiting: mpsc::Receiver<Submission>,
    groups: &SyncSender<Group>,
    counts: &LedgerCounts,
) {
    let mut submissions = Vec::new();
    while waiting.blocking_recv_many(&mut submissions, GROUP_MAX) > 0 {
        if groups.send(admit(&mut submissions, counts)).is_err() {
            return;
        }
    }
}

fn admit(submissions: &mut Vec<Submission>, counts: &LedgerCounts) -> Group {
    let mut group = Group::default();
    let mut unchecked = Vec::with_capacity(submissions.len());
    for submission in submissions.drain(..) {
        match submission {
            Submission::Tx(tx, reply) => unchecked.push((tx, reply)),
            Submission::Tick(reply) => group.ticks.push(reply),
        }
    }
    group.txs = unchecked.into_par_iter().filter_map(|(tx, reply)| check(*tx, reply, counts)).collect();
    group
}

/// Answers a transaction that fails at once, so that it holds up nobody.
fn check(tx: Signed<Tx>, reply: Reply<Accepted>, counts: &LedgerCounts) -> Option<Ready> {
    let bytes = wire::encode(&tx).len();
    let checked = if bytes > TX_BYTES_MAX { Err(Reject::Malformed) } else { Admitted::check(tx) };
    match checked {
        Ok(tx) => Some(Ready { tx, bytes, reply }),
        Err(reject) => {
            counts.refused(&reject);
            // Whoever asked may have gone away; then nobody needs the answer.
            let _ = reply.send(Err(SubmitError::Rejected(reject)));
            None
        }
    }
}
