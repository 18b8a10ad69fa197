//! The loop that follows: one question at a time, every answer checked before it is kept.

use std::{path::PathBuf, time::Instant};

use gridhour_protocol::{id::NetworkId, signed::PublicKey, units::Height};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{ObserverEnd, ObserverEvent, OnObserverEvent, evidence, sources::Sources};
use crate::{
    consensus::follower::{FollowError, Follower},
    drivers::ledger_client::{LedgerClient, LedgerError},
    keys,
    net::{Address, NetHandle},
    rpc::LedgerStatus,
    store::log_error::LogError,
};

/// Follows until something ends it.
pub(super) struct Following {
    pub(super) net: NetHandle,
    pub(super) network: NetworkId,
    pub(super) sources: Sources,
    pub(super) evidence: PathBuf,
    pub(super) on_event: OnObserverEvent,
    /// Whether the last answer left nothing to fetch.
    pub(super) level: bool,
}

/// The copy, and a sign of life that goes after it: whoever waits for that knows that the directory is free again.
pub(super) struct Held {
    pub(super) follower: Follower,
    pub(super) _alive: mpsc::Sender<()>,
}

/// Why one source gave nothing more.
enum RoundError {
    /// Its fault, or the network's: another time, or another source.
    Source(String),
    /// No source can help.
    End(ObserverEnd),
}

impl From<LedgerError> for RoundError {
    fn from(error: LedgerError) -> Self {
        Self::Source(error.to_string())
    }
}

impl Following {
    /// Runs until there is nothing to go on with, and says why.
    pub(super) async fn run(mut self, mut held: Held) -> ObserverEnd {
        loop {
            let Some((source, at)) = self.sources.next() else {
                return ObserverEnd::Failed("there is nobody to follow".into());
            };
            tokio::time::sleep_until(at.into()).await;
            let outcome;
            (held, outcome) = self.round(held, &source).await;
            match outcome {
                Ok(()) => self.sources.answered(&source, Instant::now(), chance()),
                Err(RoundError::Source(why)) => self.source_failed(source, why),
                Err(RoundError::End(end)) => return end,
            }
        }
    }

    fn source_failed(&mut self, source: Address, why: String) {
        let failures = self.sources.failed(&source, Instant::now(), chance());
        tracing::info!(%source, failures, why, "a source gave nothing");
        // Once for each time that it goes wrong, however long that lasts.
        if failures == 1 {
            (self.on_event)(ObserverEvent::Trouble { source, why });
        }
    }

    /// Brings the copy up to one source.
    async fn round(&mut self, held: Held, source: &Address) -> (Held, Result<(), RoundError>) {
        let peer = match self.net.dial(source.clone()).await {
            Ok(peer) => peer,
            Err(error) => return (held, Err(RoundError::Source(error.to_string()))),
        };
        let client = LedgerClient::new(self.net.clone(), self.network, peer);
        let status = match client.status().await {
            Ok(status) => status,
            Err(error) => return (held, Err(error.into())),
        };
        match self.is_other(&held.follower, &status) {
            Ok(false) => {}
            Ok(true) => {
                let theirs = client.blocks(status.height).await;
                let outcome = self.confront(&held.follower, status.height, theirs);
                return (held, outcome);
            }
            Err(error) => return (held, Err(error)),
        }
        self.catch_up(held, &client, peer, status.height).await
    }

    /// Whether we have another block at the height of the source's last one.
    fn is_other(&self, follower: &Follower, status: &LedgerStatus) -> Result<bool, RoundError> {
        let agrees = follower.agrees(status.height, status.hash);
        agrees.map(|agrees| agrees == Some(false)).map_err(|error| self.ended(error.into()))
    }

    /// Holds the source's block at `height` against ours.
    fn confront(
        &self,
        follower: &Follower,
        height: Height,
        theirs: Result<Vec<Vec<u8>>, LedgerError>,
    ) -> Result<(), RoundError> {
        match theirs?.first() {
            Some(theirs) => follower.compare(height, theirs).map_err(|error| self.ended(error)),
            None => Err(RoundError::Source("it shows another last block, but not the block itself".into())),
        }
    }

    /// Fetches and keeps blocks up to `target`, an answer at a time.
    async fn catch_up(
        &mut self,
        mut held: Held,
        client: &LedgerClient,
        source: PublicKey,
        target: Height,
    ) -> (Held, Result<(), RoundError>) {
        loop {
            let height = held.follower.height();
            if height >= target {
                self.tell_level(height, source);
                return (held, Ok(()));
            }
            self.level = false;
            let blocks = match client.blocks(Height(height.0.saturating_add(1))).await {
                Ok(blocks) if blocks.is_empty() => {
                    let why = format!("it says it has height {}, but not the block behind ours", target.0);
                    return (held, Err(RoundError::Source(why)));
                }
                Ok(blocks) => blocks,
                Err(error) => return (held, Err(error.into())),
            };
            let taken;
            (held, taken) = take(held, blocks).await;
            if let Err(error) = taken {
                return (held, Err(self.ended(error)));
            }
            let height = held.follower.height();
            let behind = target.0.saturating_sub(height.0);
            (self.on_event)(ObserverEvent::Following { source, height, behind });
        }
    }

    fn tell_level(&mut self, height: Height, source: PublicKey) {
        if !self.level {
            self.level = true;
            (self.on_event)(ObserverEvent::Level { source, height });
        }
    }

    /// What an answer that was not kept means for the observer.
    fn ended(&self, error: FollowError) -> RoundError {
        match error {
            FollowError::Forged(finding) => {
                RoundError::Source(format!("it sent what the operator never signed: {finding}"))
            }
            // Nothing was kept and nothing is lost: it is tried again when there may be room, or the time has come.
            FollowError::Log(error @ LogError::DiskFull { .. }) => RoundError::Source(error.to_string()),
            error @ FollowError::Early(_) => RoundError::Source(error.to_string()),
            FollowError::Log(error) => RoundError::End(ObserverEnd::Failed(error.to_string())),
            FollowError::Breach(breach) => RoundError::End(match evidence::keep(&self.evidence, &breach) {
                Ok(kept) => ObserverEnd::Breach { finding: Box::new(breach.finding), kept },
                Err(error) => ObserverEnd::Failed(format!(
                    "the operator broke a rule ({}), and the evidence cannot be kept in {}: {error}",
                    breach.finding,
                    self.evidence.display()
                )),
            }),
        }
    }
}

/// Checks signatures and writes to the disk, on a thread that may block.
async fn take(mut held: Held, blocks: Vec<Vec<u8>>) -> (Held, Result<(), FollowError>) {
    let work = move || {
        let taken = held.follower.take(&blocks);
        (held, taken)
    };
    spawn_blocking(work).await.expect("keeping blocks does not panic, and is not given up")
}

/// Without randomness all wait equally long, which is no harm.
fn chance() -> u64 {
    keys::random_u64().unwrap_or(0)
}
