//! The node's side of the network: a handle that any number of tasks may clone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use gridhour_contracts_sim::checkpoint::SignedCheckpoint;
use gridhour_protocol::{
    market::{advert::Advert, coordinate::Coordinate, estimate::Latency, posting::Posting},
    signed::{PublicKey, Signed, Verified},
};
use libp2p::{Stream, request_response::ResponseChannel};
use tokio::sync::{mpsc, oneshot, watch};

use crate::net::{
    checkpoint_table::SeenCheckpoints,
    codec::Answer,
    error::{Closed, DialError, PublishError, RequestError},
    identity::Address,
    job_stream::{JobStream, Place, StreamKind},
    limits::{LATENCY_AGE_MAX, MEASURE_MAX, QUESTION_TIMEOUT},
    metrics::NetMetrics,
    service::Service,
};

/// What the handle asks the network task to do.
#[derive(Debug)]
pub(crate) enum Command {
    Dial {
        address: Address,
        reply: oneshot::Sender<Result<PublicKey, DialError>>,
    },
    Publish {
        advert: Box<Signed<Advert>>,
        reply: oneshot::Sender<Result<(), PublishError>>,
    },
    PublishPosting {
        posting: Box<Signed<Posting>>,
        reply: oneshot::Sender<Result<(), PublishError>>,
    },
    PublishQuote {
        quote: Box<Signed<Advert>>,
        reply: oneshot::Sender<Result<(), PublishError>>,
    },
    PublishCheckpoint(Box<SignedCheckpoint>),
    Advert {
        provider: PublicKey,
        reply: oneshot::Sender<Option<Verified<Advert>>>,
    },
    Echo {
        peer: PublicKey,
        reply: oneshot::Sender<Result<Duration, RequestError>>,
    },
    Request {
        peer: PublicKey,
        service: Service,
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<Vec<u8>, RequestError>>,
    },
    Respond {
        service: Service,
        channel: ResponseChannel<Answer>,
        answer: Answer,
    },
    OpenStream {
        kind: StreamKind,
        peer: PublicKey,
        reply: oneshot::Sender<Result<Stream, RequestError>>,
    },
    Shutdown,
}

/// What the network task shows to everyone.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) peers: watch::Sender<BTreeSet<PublicKey>>,
    pub(crate) listening: watch::Sender<Vec<Address>>,
    pub(crate) metrics: watch::Sender<NetMetrics>,
    /// With the moment of the newest echo.
    pub(crate) latencies: watch::Sender<BTreeMap<PublicKey, (Latency, Instant)>>,
    pub(crate) coordinate: watch::Sender<Coordinate>,
    pub(crate) checkpoints: watch::Sender<SeenCheckpoints>,
    pub(crate) remembered: watch::Sender<Vec<Address>>,
    pub(crate) public: watch::Sender<Vec<Address>>,
}

/// A handle of a running network. It ends with [`NetHandle::shutdown`], or when every handle is dropped.
#[derive(Clone, Debug)]
pub struct NetHandle {
    pub(crate) key: PublicKey,
    pub(crate) delay: Duration,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) peers: watch::Receiver<BTreeSet<PublicKey>>,
    pub(crate) listening: watch::Receiver<Vec<Address>>,
    pub(crate) metrics: watch::Receiver<NetMetrics>,
    pub(crate) latencies: watch::Receiver<BTreeMap<PublicKey, (Latency, Instant)>>,
    pub(crate) coordinate: watch::Receiver<Coordinate>,
    pub(crate) checkpoints: watch::Receiver<SeenCheckpoints>,
    pub(crate) remembered: watch::Receiver<Vec<Address>>,
    pub(crate) public: watch::Receiver<Vec<Address>>,
    pub(crate) ended: watch::Receiver<bool>,
}

impl NetHandle {
    /// The node's own key.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Peers that are connected and named the same network and version.
    #[must_use]
    pub fn peers(&self) -> BTreeSet<PublicKey> {
        self.peers.borrow().clone()
    }

    /// The same, to wait for a change.
    #[must_use]
    pub fn watch_peers(&self) -> watch::Receiver<BTreeSet<PublicKey>> {
        self.peers.clone()
    }

    /// Where the node listens, each ending in its own `/p2p/<peer id>`: fit as the bootstrap address of a node that
    /// is near enough.
    #[must_use]
    pub fn listen_addrs(&self) -> Vec<Address> {
        self.listening.borrow().clone()
    }

    /// Where strangers reach the node: under its public addresses if any is known, ways through relays among them; else
    /// where it listens. Fit for an advert.
    #[must_use]
    pub fn advertised_addrs(&self) -> Vec<Address> {
        let public = self.public.borrow().clone();
        if public.is_empty() { self.listen_addrs() } else { public }
    }

    /// Counters since the start.
    #[must_use]
    pub fn metrics(&self) -> NetMetrics {
        self.metrics.borrow().clone()
    }

    /// The same, to wait for a change.
    #[must_use]
    pub fn watch_metrics(&self) -> watch::Receiver<NetMetrics> {
        self.metrics.clone()
    }

    /// Round trips to a peer, if any was measured in the last ten minutes.
    #[must_use]
    pub fn latency(&self, peer: &PublicKey) -> Option<Latency> {
        let (latency, newest) = self.latencies.borrow().get(peer).copied()?;
        (newest.elapsed() <= LATENCY_AGE_MAX).then_some(latency)
    }

    /// Where this node is in the network, as far as its round trips tell.
    #[must_use]
    pub fn coordinate(&self) -> Coordinate {
        *self.coordinate.borrow()
    }

    /// Connects to a peer, and waits until it has named its network.
    ///
    /// # Errors
    /// If it is not reached in time, is another peer than the address names, or belongs to another network.
    pub async fn dial(&self, address: Address) -> Result<PublicKey, DialError> {
        let dialled = self.ask(|reply| Command::Dial { address: address.clone(), reply });
        in_time(QUESTION_TIMEOUT, dialled).await.unwrap_or_else(|error| {
            let why = error.to_string();
            Ok(Err(DialError::Unreachable { address, why }))
        })?
    }

    /// Gossips an advert and keeps it for peers that connect later. Without peers it is kept only, and that
    /// is no error.
    ///
    /// # Errors
    /// If it would be refused by others, or no connected peer takes it now.
    pub async fn publish_advert(&self, advert: Signed<Advert>) -> Result<(), PublishError> {
        self.ask(|reply| Command::Publish { advert: Box::new(advert), reply }).await?
    }

    /// Gossips a posting. Quotes for it come as [`crate::net::NetEvent::Quote`].
    ///
    /// # Errors
    /// If it would be refused by others, or no connected peer takes it.
    pub async fn publish_posting(&self, posting: Signed<Posting>) -> Result<(), PublishError> {
        self.ask(|reply| Command::PublishPosting { posting: Box::new(posting), reply }).await?
    }

    /// Gossips a quote for a posting that came as [`crate::net::NetEvent::Posting`].
    ///
    /// # Errors
    /// If it would be refused by others, or no connected peer takes it.
    pub async fn publish_quote(&self, quote: Signed<Advert>) -> Result<(), PublishError> {
        self.ask(|reply| Command::PublishQuote { quote: Box::new(quote), reply }).await?
    }

    /// Gossips a checkpoint of the ledger, and keeps it. The node must have been told whose keys sign it.
    ///
    /// # Errors
    /// If the network is shut down.
    pub async fn publish_checkpoint(&self, checkpoint: SignedCheckpoint) -> Result<(), Closed> {
        self.commands.send(Command::PublishCheckpoint(Box::new(checkpoint))).await.map_err(|_| Closed)
    }

    /// The newest advert of `provider` that is known here, live or not.
    ///
    /// # Errors
    /// If the network is shut down.
    pub async fn advert(&self, provider: PublicKey) -> Result<Option<Verified<Advert>>, Closed> {
        self.ask(|reply| Command::Advert { provider, reply }).await
    }

    /// What was seen of the ledger's checkpoints, to wait for a change.
    #[must_use]
    pub fn watch_checkpoints(&self) -> watch::Receiver<SeenCheckpoints> {
        self.checkpoints.clone()
    }

    /// Found peers that are worth another dial after a restart: [`crate::net::NetConfig::remembered`] of the next run.
    #[must_use]
    pub fn watch_remembered(&self) -> watch::Receiver<Vec<Address>> {
        self.remembered.clone()
    }

    /// Measures `n` round trips, one after the other, at most [`MEASURE_MAX`], and answers what is known
    /// then.
    ///
    /// # Errors
    /// If one of them is not answered.
    pub async fn measure(&self, peer: PublicKey, n: usize) -> Result<Latency, RequestError> {
        for _ in 0..n.clamp(1, MEASURE_MAX) {
            in_time(QUESTION_TIMEOUT, self.ask(|reply| Command::Echo { peer, reply })).await???;
        }
        self.latency(&peer).ok_or(RequestError::Closed(Closed))
    }

    /// Asks a peer, dialling it first if its advert says where it is.
    ///
    /// # Errors
    /// If it is too long, not answered in time, refused, or the peer is not there.
    pub async fn request(
        &self,
        peer: PublicKey,
        service: Service,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, RequestError> {
        let (len, max) = (bytes.len(), service.request_bytes_max());
        if len > max {
            return Err(RequestError::TooLong { len, max });
        }
        in_time(QUESTION_TIMEOUT, self.ask(|reply| Command::Request { peer, service, bytes, reply }))
            .await??
    }

    /// Opens the stream of a job, dialling the peer first if its advert says where it is. A peer that has no
    /// room for it ends it at once.
    ///
    /// # Errors
    /// If the peer is not there or does not take jobs.
    pub async fn open_job(&self, peer: PublicKey) -> Result<JobStream, RequestError> {
        self.open_stream(StreamKind::Job, peer).await
    }

    /// Opens the stream of a calibration, as [`NetHandle::open_job`] does that of a job.
    ///
    /// # Errors
    /// If the peer is not there or takes part in no calibration.
    pub async fn open_calibration(&self, peer: PublicKey) -> Result<JobStream, RequestError> {
        self.open_stream(StreamKind::Calibration, peer).await
    }

    async fn open_stream(&self, kind: StreamKind, peer: PublicKey) -> Result<JobStream, RequestError> {
        let opened = self.ask(|reply| Command::OpenStream { kind, peer, reply });
        let opened = in_time(QUESTION_TIMEOUT, opened).await?;
        let stream = match opened {
            Err(Closed) if !self.commands.is_closed() => {
                return Err(RequestError::Unreachable(
                    "the connection closed while the stream opened".into(),
                ));
            }
            opened => opened??,
        };
        Ok(JobStream::new(peer, stream, self.delay, Place::default()))
    }

    /// Closes every connection and waits until every task of the network has ended. Calls of other handles
    /// that are waiting get [`Closed`].
    pub async fn shutdown(&self) {
        // Both fail only if the task has ended already.
        let _ = self.commands.send(Command::Shutdown).await;
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Closed> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }
}

/// The answer to a question, if it comes within `limit`.
async fn in_time<T>(limit: Duration, answer: impl Future<Output = T>) -> Result<T, RequestError> {
    tokio::time::timeout(limit, answer).await.map_err(|_| RequestError::Timeout)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_question_whose_answer_was_lost_ends_all_the_same() {
        assert_eq!(in_time(Duration::from_millis(1), pending::<()>()).await, Err(RequestError::Timeout));
        assert_eq!(in_time(Duration::from_secs(100), ready(7)).await, Ok(7));
    }
}
