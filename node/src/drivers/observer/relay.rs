//! The public log of an observer: checkpoints that peers brought, each shown once the observer has followed the ledger so
//! far and found the same. Its tiles are computed from blocks that it checked itself.

use std::collections::BTreeMap;

use gridhour_contracts_sim::checkpoint::{Checkpoint, SignedCheckpoint};
use gridhour_protocol::units::Height;
use tokio::{sync::watch, task::spawn_blocking};

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
}

impl Relay {
    /// Shows checkpoints until the network or the log ends.
    pub(super) async fn run(mut self) {
        let (mut waiting, mut last) = (Waiting::default(), None);
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
                self.show(signed).await;
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

    async fn show(&self, signed: SignedCheckpoint) {
        let (view, height) = (self.view.clone(), signed.checkpoint().height);
        let own = spawn_blocking(move || checkpoint_at(&view, height)).await;
        match own.expect("reading a block does not panic, and is not given up") {
            Ok(own) if own == *signed.checkpoint() => {
                self.shown.send_replace(Some(signed));
            }
            Ok(own) => tracing::error!(
                ours = %own, theirs = %signed,
                "the operator signed a checkpoint that is not of the block that it signed; keep both"
            ),
            Err(error) => tracing::error!(%error, "a checkpoint cannot be compared with the journal"),
        }
    }
}

/// The checkpoint of the block at `height`, by what was followed.
fn checkpoint_at(view: &LedgerView, height: Height) -> Result<Checkpoint, RestoreError> {
    if height == Height(0) {
        return Ok(Checkpoint::of_genesis(view.read(|state| state.network())));
    }
    let block = view.block(height)?;
    Ok(Checkpoint::of_header(&block.header.body))
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
