//! The public log of an observer: checkpoints that peers brought, each shown once the observer has followed
//! the ledger so far and found the same. Its tiles are computed from blocks that it checked itself. After a restart the
//! one that was shown last is looked at first, in the same way.

use std::{collections::BTreeMap, path::PathBuf};

use gridhour_contracts_sim::{
    block::Block,
    checkpoint::{Checkpoint, SignedCheckpoint},
};
use gridhour_protocol::units::Height;
use tokio::{sync::watch, task::spawn_blocking};

use super::{ObserverEvent, OnObserverEvent, evidence::keep_checkpoint, shown::ShownFile};
use crate::{
    consensus::LedgerView,
    net::SeenCheckpoints,
    store::{restore::RestoreError, tiles::TileShelf},
};

/// Checkpoints that wait until the ledger is followed so far.
const WAITING_MAX: usize = 64;

/// Checkpoints that may be shown later, by height.
#[derive(Debug, Default)]
struct Waiting(BTreeMap<Height, SignedCheckpoint>);

impl Extend<SignedCheckpoint> for Waiting {
    /// Of too many, the latest makes way: those before it are reached first.
    fn extend<I: IntoIterator<Item = SignedCheckpoint>>(&mut self, more: I) {
        for signed in more {
            let height = signed.checkpoint().height;
            if self.0.len() >= WAITING_MAX && !self.0.contains_key(&height) {
                self.0.pop_last();
            }
            self.0.insert(height, signed);
        }
    }
}

impl Waiting {
    /// Takes out the highest of those up to `height`, and drops those before it.
    fn reached(&mut self, height: Height) -> Option<SignedCheckpoint> {
        let later = self.0.split_off(&Height(height.0.saturating_add(1)));
        std::mem::replace(&mut self.0, later).pop_last().map(|(_, signed)| signed)
    }
}

/// What an observer shows, and what it knows.
pub(super) struct Relay {
    pub(super) view: LedgerView,
    pub(super) shelf: TileShelf,
    pub(super) seen: watch::Receiver<SeenCheckpoints>,
    pub(super) shown: watch::Sender<Option<SignedCheckpoint>>,
    /// What was shown before a restart.
    pub(super) file: ShownFile,
    /// What is in that file.
    pub(super) kept: Option<SignedCheckpoint>,
    /// The folder for evidence against the operator.
    pub(super) evidence: PathBuf,
    pub(super) on_event: OnObserverEvent,
}

impl Relay {
    /// Shows checkpoints until the network or the log ends.
    pub(super) async fn run(mut self) {
        let (mut waiting, mut last, mut accused) = (Waiting::default(), None, false);
        self.kept = self.shown_before().await;
        waiting.extend(self.kept.clone());
        let mut tiles = self.shelf.watch();
        loop {
            let newest = self.seen.borrow_and_update().newest.clone();
            // The same checkpoint comes again with more cosignatures, and is looked at again then.
            if newest != last {
                waiting.extend(newest.clone());
                last = newest;
            }
            let height = tiles.borrow_and_update().height;
            if let Some(signed) = waiting.reached(height) {
                accused |= self.show(signed, accused).await;
            }
            let changed = tokio::select! {
                changed = self.seen.changed() => changed,
                changed = tiles.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    async fn shown_before(&self) -> Option<SignedCheckpoint> {
        let file = self.file.clone();
        spawn_blocking(move || file.read()).await.expect("reading a file does not panic, and is not given up")
    }

    /// Shows it if the block here is the same. Whether the operator is accused now: once, as one proof is enough.
    async fn show(&mut self, signed: SignedCheckpoint, accused: bool) -> bool {
        let (view, theirs) = (self.view.clone(), *signed.checkpoint());
        let other = spawn_blocking(move || other_block(&view, &theirs)).await;
        match other.expect("reading a block does not panic, and is not given up") {
            Ok(None) => self.replace(signed).await,
            Ok(Some(block)) if !accused => return self.accuse(signed, block).await,
            Ok(Some(_)) => {
                tracing::error!(checkpoint = %signed, "one more checkpoint that is not of its block")
            }
            Err(error) => tracing::error!(%error, "a checkpoint cannot be compared with the journal"),
        }
        false
    }

    /// Shows it instead of what was shown, unless it says less.
    async fn replace(&mut self, signed: SignedCheckpoint) {
        let next = self.file.next(self.shown.borrow().as_ref(), signed);
        let Some(next) = next else { return };
        self.shown.send_replace(Some(next.clone()));
        if self.kept.as_ref() == Some(&next) {
            return;
        }
        let (file, keeps) = (self.file.clone(), next.clone());
        let kept = spawn_blocking(move || file.keep(&keeps)).await;
        match kept.expect("writing a file does not panic, and is not given up") {
            Ok(()) => self.kept = Some(next),
            Err(error) => {
                tracing::warn!(%error, "the checkpoint that is shown is not kept for the next start");
            }
        }
    }

    /// Keeps block and checkpoint, which cannot both be. Whether that could be done.
    async fn accuse(&self, signed: SignedCheckpoint, block: Block) -> bool {
        let evidence = self.evidence.clone();
        let kept = spawn_blocking(move || keep_checkpoint(&evidence, &signed, &block)).await;
        match kept.expect("writing a file does not panic, and is not given up") {
            Ok(kept) => {
                (self.on_event)(ObserverEvent::Contradiction { kept });
                true
            }
            Err(error) => {
                tracing::error!(%error, "the operator signed a checkpoint of another block; the proof is not kept");
                false
            }
        }
    }
}

/// The block at the checkpoint's height, if the checkpoint is not of it.
fn other_block(view: &LedgerView, signed: &Checkpoint) -> Result<Option<Block>, RestoreError> {
    // There is one checkpoint of a beginning.
    if signed.height == Height(0) {
        return Ok(None);
    }
    let block = view.block(signed.height)?;
    Ok((Checkpoint::of_header(&block.header.body) != *signed).then_some(block))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sample::{OPERATOR, checkpoint, secret};

    fn signed(height: u64) -> SignedCheckpoint {
        checkpoint(height, 0).sign(&secret(OPERATOR))
    }

    #[test]
    fn the_highest_that_was_reached_is_shown_and_nothing_before_it() {
        let mut waiting = Waiting::default();
        waiting.extend([3, 9, 5].map(signed));
        assert_eq!(waiting.reached(Height(2)), None);
        assert_eq!(waiting.reached(Height(6)), Some(signed(5)));
        assert_eq!(waiting.reached(Height(6)), None, "what was before is gone");
        assert_eq!(waiting.reached(Height(u64::MAX)), Some(signed(9)));
    }

    /// An observer that is far behind still has something to show before it has caught up.
    #[test]
    fn what_waits_is_bounded_and_begins_with_what_is_reached_first() {
        let mut waiting = Waiting::default();
        let last = 10 * WAITING_MAX as u64;
        waiting.extend((1..=last).map(signed));
        assert_eq!(waiting.0.len(), WAITING_MAX);
        assert_eq!(waiting.reached(Height(2)), Some(signed(2)));
        assert_eq!(waiting.reached(Height(last)), Some(signed(last)), "and the newest is among them");
    }
}
