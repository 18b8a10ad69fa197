//! Makes blocks: one thread, one block at a time, each durable before anyone hears of it.

use std::{collections::VecDeque, mem, sync::mpsc::Receiver};

use gridhour_contracts_sim::{
    block::{Answer, Proposal, propose},
    ledger::{admit::Admitted, reject::Reject},
    limits::{BLOCK_TXS_MAX, FRAME_BYTES_MAX, HEADER_BYTES_MAX},
    state::TxKey,
};
use gridhour_protocol::{
    id::TxId,
    signed::SecretKey,
    units::{Height, Timestamp},
    wire,
};

use super::{
    Reply, SubmitError,
    admission::{Group, Ready},
};
use crate::{
    consensus::{
        Accepted,
        keep::Keep,
        ledger_time::{Clock, ClockError, LedgerTime},
    },
    store::log_error::LogError,
};

/// Bytes of a block's transactions.
const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES_MAX;

pub(super) struct Sequencer {
    keep: Keep,
    operator: SecretKey,
    clock: Box<dyn Clock>,
    time: LedgerTime,
    waiting: VecDeque<Ready>,
    ticks: Vec<Reply<Height>>,
}

/// Who waits for one transaction's answer.
struct Asker {
    id: TxId,
    key: TxKey,
    reply: Reply<Accepted>,
}

impl Sequencer {
    pub(super) fn new(keep: Keep, operator: SecretKey, clock: Box<dyn Clock>) -> Self {
        let skew = keep.view().read(|state| state.genesis().clock_skew);
        let time = LedgerTime::new(skew, clock.read());
        let (waiting, ticks) = (VecDeque::new(), Vec::new());
        Self { keep, operator, clock, time, waiting, ticks }
    }

    /// Runs until there are no more groups.
    ///
    /// # Errors
    /// If the journal fails in a way that only the next start understands: what is durable is known only then.
    pub(super) fn run(mut self, groups: &Receiver<Group>) -> Result<(), LogError> {
        while self.gather(groups) {
            match self.next_time() {
                Ok(now) => self.make_block(now)?,
                Err(error) => self.refuse_all(&error.into()),
            }
        }
        Ok(())
    }

    /// Waits for something to do, and takes what else is there, up to a block. `false` when there will be no more.
    fn gather(&mut self, groups: &Receiver<Group>) -> bool {
        if self.waiting.is_empty() {
            match groups.recv() {
                Ok(group) => self.take(group),
                Err(_) => return false,
            }
        }
        while self.waiting.len() < BLOCK_TXS_MAX {
            match groups.try_recv() {
                Ok(group) => self.take(group),
                Err(_) => break,
            }
        }
        true
    }

    fn take(&mut self, group: Group) {
        self.waiting.extend(group.txs);
        self.ticks.extend(group.ticks);
    }

    fn next_time(&mut self) -> Result<Timestamp, ClockError> {
        let tip = self.keep.view().read(|state| state.tip().time);
        self.time.accept(self.clock.read(), tip)
    }

    fn refuse_all(&mut self, error: &SubmitError) {
        for ready in self.waiting.drain(..) {
            answer(ready.reply, Err(error.clone()));
        }
        for reply in self.ticks.drain(..) {
            answer(reply, Err(error.clone()));
        }
    }

    fn make_block(&mut self, now: Timestamp) -> Result<(), LogError> {
        let (txs, askers) = self.fill_block();
        let ticks = mem::take(&mut self.ticks);
        let Proposal { block, batch, answers } =
            self.keep.view().read(|state| propose(state, &self.operator, now, txs));
        if block.txs.is_empty() && ticks.is_empty() {
            self.reply(askers, answers);
            return Ok(());
        }
        let height = block.height();
        match self.keep.block(&wire::encode(&block), height, &batch) {
            Ok(()) => {}
            Err(error @ LogError::DiskFull { .. }) => {
                self.ticks = ticks;
                self.no_room(askers, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.reply(askers, answers);
        ticks.into_iter().for_each(|reply| answer(reply, Ok(height)));
        self.keep.index(batch);
        Ok(())
    }

    /// The block is not in the journal, so nothing has happened: everyone may ask again when there is room.
    fn no_room(&mut self, askers: Vec<Asker>, error: &LogError) {
        tracing::error!(%error, "a block was not made");
        let refusal = SubmitError::NoRoom(error.to_string());
        askers.into_iter().for_each(|asker| answer(asker.reply, Err(refusal.clone())));
        self.refuse_all(&refusal);
    }

    /// The transactions that one block has room for, in the order of arrival, and who waits for them.
    fn fill_block(&mut self) -> (Vec<Admitted>, Vec<Asker>) {
        let mut room = BODY_BYTES_MAX;
        let (mut txs, mut askers) = (Vec::new(), Vec::new());
        while txs.len() < BLOCK_TXS_MAX
            && let Some(ready) = self.waiting.pop_front_if(|ready| ready.bytes <= room)
        {
            room -= ready.bytes;
            let key = TxKey { sender: ready.tx.tx().sender, nonce: ready.tx.tx().nonce };
            askers.push(Asker { id: ready.tx.id(), key, reply: ready.reply });
            txs.push(ready.tx);
        }
        (txs, askers)
    }

    fn reply(&self, askers: Vec<Asker>, answers: Vec<Answer>) {
        let counts = self.keep.view().counts();
        self.keep.view().read(|state| {
            for (asker, said) in askers.into_iter().zip(answers) {
                match &said {
                    Ok(_) => counts.applied(),
                    Err(reject) => counts.refused(reject),
                }
                // One that was applied before is accepted again, at its old place.
                let outcome = match (said, state.applied(&asker.key)) {
                    (Ok(_) | Err(Reject::Duplicate), Some(applied)) => {
                        Ok(Accepted { tx: asker.id, height: applied.height, leaf: applied.leaf })
                    }
                    (Err(reject), _) => Err(SubmitError::Rejected(reject)),
                    (Ok(_), None) => unreachable!("a block's transactions are remembered with it"),
                };
                answer(asker.reply, outcome);
            }
        });
    }
}

/// Whoever asked may have gone away; then nobody needs the answer.
fn answer<T>(reply: Reply<T>, answer: Result<T, SubmitError>) {
    let _ = reply.send(answer);
}
