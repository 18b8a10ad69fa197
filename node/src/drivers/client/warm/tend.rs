//! What is done for kept sessions beside requests: holds grow, idle sessions are closed.

use std::{convert::Infallible, time::Duration};

use futures::{StreamExt, future, stream};
use gridhour_protocol::{session::terms::Terms, units::Timestamp};
use tokio::time::sleep;

use super::super::Client;
use crate::{clock, drivers::memory::MemoryError};

/// Sessions that are closed at the same time at most.
const CLOSED_AT_ONCE: usize = 8;

impl Client {
    /// Tends kept sessions for as long as it is polled: tops them up before a request would have to wait for it, and
    /// closes those that were idle for too long or whose time is nearly over. Without it, holds grow when a request does
    /// not fit otherwise, and sessions stay open until [`Client::close_kept`].
    pub async fn tend(&self) -> Infallible {
        // A provider that is slow to settle holds up no top-up.
        tokio::join!(self.tend_holds(), self.tend_ends()).0
    }

    async fn tend_holds(&self) -> Infallible {
        loop {
            let changed = self.shelf.changed();
            for rising in self.shelf.top_ups(clock::now()) {
                // What failed is logged, and due again with a later request.
                let _ = self.top_up(rising).await;
            }
            changed.await;
        }
    }

    async fn tend_ends(&self) -> Infallible {
        loop {
            let changed = self.shelf.changed();
            self.close(self.shelf.due(clock::now())).await;
            tokio::select! {
                () = changed => {}
                () = until(self.shelf.look_at()) => {}
            }
        }
    }

    /// Closes every kept session, so that each is settled or is the ledger's to release; those in which a job runs are
    /// closed by their request. Returns why some could not be settled yet.
    pub async fn close_kept(&self) -> Vec<String> {
        // One that is tended to its end meanwhile is asked to settle twice, which is harmless.
        self.close(self.shelf.leave_all(clock::now())).await
    }

    /// Sessions that an earlier process left open, as the records have them: none of this one's, if it is asked before the
    /// first request.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub fn left_open(&self) -> Result<Vec<Terms>, MemoryError> {
        self.memory()?.sessions()
    }

    /// Settles sessions that an earlier process left open. Returns why some could not be settled yet.
    pub async fn settle_left(&self, left: Vec<Terms>) -> Vec<String> {
        self.close(left).await
    }

    /// Sessions that are kept open for requests to come, also those that are being closed now.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.shelf.len()
    }

    /// Closes these, several at once: one whose provider is gone holds up no other.
    async fn close(&self, sessions: Vec<Terms>) -> Vec<String> {
        let close = async |terms: Terms| {
            let settled = self.settle(&terms, true).await;
            settled
                .inspect_err(|why| {
                    tracing::warn!(why, session = %terms.id().short(), "a kept session is not settled yet");
                })
                .err()
        };
        let closed = stream::iter(sessions).map(close).buffered(CLOSED_AT_ONCE);
        closed.filter_map(future::ready).collect().await
    }
}

async fn until(at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => sleep(Duration::from_millis(at.since(clock::now()).0)).await,
    }
}
