//! One operator's sequencer: transactions in the order of arrival.
//!
//! ```text
//!  submit ──bounded──> admission ──bounded──> sequencer ──────────────────────> reply
//!                      signatures, all cores  propose, sign, journal, fdatasync, commit
//!                                                  ├──bounded──> state writer: sled, behind
//!                                                  └──bounded──> tile writer: the public log, behind
//! ```
//! Signatures of the next block are checked while the last one is written. A reply leaves only after the journal is
//! durable. What must be trusted: that the operator includes transactions, and in a fair order. It cannot forge one,
//! break a rule, or change history unseen.

mod admission;
mod sequencer;

use std::{
    io,
    sync::mpsc::sync_channel,
    thread::{self, JoinHandle},
};

use gridhour_contracts_sim::tx::Tx;
use gridhour_protocol::{
    signed::{PublicKey, SecretKey, Signed},
    units::Height,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::{admission::Submission, sequencer::Sequencer};
use super::{Accepted, LedgerView, Ordering, SubmitError, keep::Keep, ledger_time::Clock};
use crate::store::{ledger_dir::Ledger, tiles::TileShelf};

/// Transactions that may wait for their signatures to be checked; more wait outside.
pub const SUBMIT_QUEUE_MAX: usize = 8_192;
/// Groups of checked transactions that may wait for the sequencer.
const GROUP_QUEUE_MAX: usize = 2;

type Reply<T> = oneshot::Sender<Result<T, SubmitError>>;

/// Why the sequencer could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key is another's.
    #[error("this network's blocks are signed by {expected}; the key given is {given}")]
    NotOperator {
        /// The operator in the genesis.
        expected: PublicKey,
        /// Who tried.
        given: PublicKey,
    },
    /// The system has no thread to give.
    #[error("cannot start the ledger's threads: {0}")]
    Threads(#[from] io::Error),
}

/// A running sequencer. Dropping it lets blocks that are under way finish, and checkpoints the state.
pub struct Solo {
    submissions: Option<mpsc::Sender<Submission>>,
    view: LedgerView,
    shelf: Option<TileShelf>,
    failure: watch::Receiver<Option<String>>,
    threads: Vec<JoinHandle<()>>,
}

impl Solo {
    /// Starts ordering on an opened ledger, with the operator's key.
    ///
    /// # Errors
    /// If the key is not the operator's, or there are no threads.
    pub fn start(ledger: Ledger, operator: SecretKey, clock: Box<dyn Clock>) -> Result<Self, StartError> {
        let expected = ledger.state.genesis().operator;
        if operator.public() != expected {
            return Err(StartError::NotOperator { expected, given: operator.public() });
        }
        let keep = Keep::start(ledger)?;
        let view = keep.view().clone();
        let (failed, failure) = watch::channel(None);
        let (submissions, waiting) = mpsc::channel(SUBMIT_QUEUE_MAX);
        let (groups, checked) = sync_channel(GROUP_QUEUE_MAX);
        let (shelf, counts) = (keep.shelf(), view.counts().clone());
        let sequencer = Sequencer::new(keep, operator, clock);
        let admission = thread::Builder::new()
            .name("admission".into())
            .spawn(move || admission::run(waiting, &groups, &counts))?;
        let sequencer = thread::Builder::new().name("sequencer".into()).spawn(move || {
            if let Err(error) = sequencer.run(&checked) {
                tracing::error!(%error, "the ledger stopped");
                failed.send_replace(Some(error.to_string()));
            }
        })?;
        let threads = vec![admission, sequencer];
        Ok(Self { submissions: Some(submissions), view, shelf, failure, threads })
    }

    /// The public log; none if the ledger was opened without one.
    #[must_use]
    pub fn public_log(&self) -> Option<&TileShelf> {
        self.shelf.as_ref()
    }

    /// Makes a block of nothing but the time, so that what depends on time alone moves on. Returns its height.
    ///
    /// # Errors
    /// If the clock cannot be believed or the ledger stopped.
    pub async fn tick(&self) -> Result<Height, SubmitError> {
        self.ask(Submission::Tick).await
    }

    /// Waits until the ledger cannot go on, and says why. The process should end then: only a restart finds out what is
    /// durable.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        // The sequencer lets go of its end without a reason only when it, or what feeds it, panicked.
        let reason = failure.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_else(|| "a thread of it panicked".into())
    }

    async fn ask<T>(&self, submission: impl FnOnce(Reply<T>) -> Submission) -> Result<T, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let _waiting = self.view.counts().wait();
        let submissions = self.submissions.as_ref().expect("present until the sequencer is dropped");
        if submissions.send(submission(reply)).await.is_ok()
            && let Ok(answer) = answer.await
        {
            return answer;
        }
        Err(SubmitError::Stopped(self.failed().await))
    }
}

impl Ordering for Solo {
    async fn submit(&self, tx: Signed<Tx>) -> Result<Accepted, SubmitError> {
        self.ask(|reply| Submission::Tx(Box::new(tx), reply)).await
    }

    fn view(&self) -> &LedgerView {
        &self.view
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        self.submissions = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger panicked");
            }
        }
    }
}
