//! The sequencer's side: transactions in the order of arrival become a block.

use gridhour_protocol::{
    merkle,
    signed::{SecretKey, Signed},
    units::Timestamp,
    wire,
};

use crate::{
    block::{
        Batch, Block, Header,
        batch::{Work, is_overdue, next_height},
    },
    ledger::{admit::Admitted, cost::cost, entry::Entry, reject::Reject},
    limits::{BLOCK_COST_MAX, BLOCK_TXS_MAX, FRAME_BYTES_MAX, HEADER_BYTES_MAX},
    state::{PendingCheckpoint, State, StateRoot},
    tx::Tx,
};

/// What the ledger says to one transaction: its leaf of the log, or why it is not applied.
pub type Answer = Result<Entry, Reject>;

/// A block that is ready to be made durable, and what it does.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The block, signed.
    pub block: Block,
    /// What it does to the state.
    pub batch: Batch,
    /// The answer to each transaction, in the order given. Refused ones are not in the block.
    pub answers: Vec<Answer>,
}

/// Builds the next block from `txs`. Its time is `now`, or that of the last block if the clock went backwards. It names a
/// pending checkpoint if somebody has [finished](PendingCheckpoint::finish) it; at the last block that may, it is
/// finished here.
///
/// # Panics
/// If `operator` is not the genesis's operator: nobody would accept the block.
#[must_use]
pub fn propose(state: &State, operator: &SecretKey, now: Timestamp, txs: Vec<Admitted>) -> Proposal {
    let tip = state.tip();
    assert_eq!(operator.public(), state.genesis().operator, "only the operator proposes blocks");
    let time = now.max(tip.time);
    let mut work = Work::start(state, time);
    work.reserve(txs.len());
    let mut room = Room::default();
    let (mut accepted, mut leaves) = (Vec::new(), Vec::new());
    let mut answers = Vec::with_capacity(txs.len());
    for tx in txs {
        let answer = room.with(&tx).and_then(|taken| Ok((work.apply(&tx)?.clone(), taken)));
        answers.push(answer.map(|(entry, taken)| {
            room = taken;
            leaves.push(tx.leaf());
            accepted.push(tx.into_signed());
            entry
        }));
    }
    let done = work.close();
    let header = Header {
        network: state.network(),
        operator: operator.public(),
        height: next_height(tip),
        previous: tip.hash,
        time,
        tx_root: merkle::root(&leaves),
        log: done.log_head(),
        checkpoint: checkpoint_to_name(state),
        totals: done.totals(),
    };
    let batch = done.finish(&header);
    Proposal { block: Block { header: operator.sign(header), txs: accepted }, batch, answers }
}

/// The checkpoint that is pending, once it is finished or must be; the one before until then.
fn checkpoint_to_name(state: &State) -> StateRoot {
    let tip = state.tip();
    let pending = state.pending_checkpoint();
    let ready =
        pending.filter(|pending| pending.is_finished() || is_overdue(pending.height(), next_height(tip)));
    ready.map_or(tip.checkpoint, PendingCheckpoint::finish)
}

/// What a block has taken.
#[derive(Clone, Copy, Default)]
struct Room {
    txs: usize,
    bytes: usize,
    cost: u64,
}

impl Room {
    /// With `tx` in the block, if it fits.
    fn with(&self, tx: &Admitted) -> Result<Self, Reject> {
        let len = wire::encode::<Signed<Tx>>(tx.signed()).len();
        let taken = Self { txs: self.txs + 1, bytes: self.bytes + len, cost: self.cost + cost(tx.tx()) };
        let fits = taken.txs <= BLOCK_TXS_MAX
            && taken.bytes <= FRAME_BYTES_MAX - HEADER_BYTES_MAX
            && taken.cost <= BLOCK_COST_MAX;
        if fits { Ok(taken) } else { Err(Reject::BlockFull) }
    }
}
