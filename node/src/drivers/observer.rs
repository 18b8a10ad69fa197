//! A node that follows a ledger and serves its copy: to clients, to auditors, and to other observers.
//!
//! It believes nobody: every block is checked with all signatures, and kept in a journal of its own. So a ledger outlives
//! its node's disk, and an operator that signs two histories is found out by whoever follows it. Transactions are passed
//! on to the ledger node.

mod evidence;
mod follow;
mod relay;
mod shown;
mod sources;

use std::{path::PathBuf, sync::Arc, time::Instant};

use gridhour_contracts_sim::{
    finding::Finding, network_file::NetworkFile, proof::Anchor, tx::Tx, witnesses::LogKeys,
};
use gridhour_protocol::{
    signed::{PublicKey, Signed},
    units::Height,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

use self::{
    follow::{Following, Held},
    relay::Relay,
    shown::ShownFile,
    sources::Sources,
};
use crate::{
    consensus::{LedgerView, SubmitError, follower::Follower},
    drivers::{
        checkup::Checkups,
        ledger_client::LedgerClient,
        validator::{Answers, REQUESTS_MAX, answer, told},
    },
    http::public_log::PublicLog,
    net::{Address, NetEvent, NetHandle},
    rpc::{LedgerAnswer, detail},
};

/// Transactions that are passed on at once; fewer than the network allows, as the observer has questions of its own.
const PASSED_ON_MAX: usize = 4;

/// What an observer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObserverEvent {
    /// Blocks were checked and kept.
    Following {
        /// Who sent them.
        source: PublicKey,
        /// The last of them.
        height: Height,
        /// Blocks that the source has beyond it, by its own word.
        behind: u64,
    },
    /// There is nothing to fetch from this source any more.
    Level {
        /// Who has no more.
        source: PublicKey,
        /// The last block.
        height: Height,
    },
    /// The operator signed a checkpoint that is not of the block that it signed. Told once.
    Contradiction {
        /// The file with both.
        kept: PathBuf,
    },
    /// A source began to give nothing that can be used. It is asked again, ever more slowly.
    Trouble {
        /// Which.
        source: Address,
        /// What is wrong.
        why: String,
    },
}

/// Told about events, from any thread; it must not wait.
pub type OnObserverEvent = Arc<dyn Fn(ObserverEvent) + Send + Sync>;

/// Why an observer does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserverEnd {
    /// The operator signed what cannot be.
    #[error("the ledger's operator broke a rule: {finding}; the signed blocks are kept in {}", kept.display())]
    Breach {
        /// What.
        finding: Box<Finding>,
        /// The file with the blocks that prove it.
        kept: PathBuf,
    },
    /// Its own disk or threads, or there is nobody to follow.
    #[error("{0}")]
    Failed(String),
}

/// Parts of a running observer.
pub struct Observer {
    follower: Follower,
    shared: Arc<Shared>,
    following: Following,
    shown: PathBuf,
}

struct Shared {
    view: LedgerView,
    network: Signed<NetworkFile>,
    ledger: LedgerClient,
    passing_on: Semaphore,
    checkups: Checkups,
}

/// What an observer is made of.
pub struct ObserverConfig {
    /// The network file that it hands out.
    pub network: Signed<NetworkFile>,
    /// Nodes to follow: the ledger node, or other observers.
    pub sources: Vec<Address>,
    /// The folder for evidence against the operator.
    pub evidence: PathBuf,
    /// The file for the checkpoint that is shown, to be shown again after a restart.
    pub shown: PathBuf,
    /// Told how it goes.
    pub on_event: OnObserverEvent,
}

impl Observer {
    /// An observer that goes on from what `follower` has.
    #[must_use]
    pub fn new(follower: Follower, net: NetHandle, config: ObserverConfig) -> Self {
        let ObserverConfig { network, sources, evidence, shown, on_event } = config;
        let anchor = Anchor::from(&network.body.genesis);
        let shared = Arc::new(Shared {
            view: follower.view().clone(),
            network,
            ledger: LedgerClient::new(net.clone(), anchor, anchor.operator),
            passing_on: Semaphore::new(PASSED_ON_MAX),
            checkups: Checkups::new(net.clone(), anchor.network),
        });
        let sources = Sources::new(sources, Instant::now());
        let following = Following { net, anchor, sources, evidence, on_event, level: false };
        Self { follower, shared, following, shown }
    }

    /// Its public log, to be served over HTTP: the checkpoint that it showed last, those that peers bring, once it has
    /// followed the ledger so far, and tiles of what it checked. `None` if the ledger was opened without one, or the network
    /// file names keys that sign nothing. To be called within a runtime.
    #[must_use]
    pub fn public_log(&self) -> Option<PublicLog> {
        let shelf = self.follower.public_log()?;
        let keys = LogKeys::of(&self.shared.network.body).ok()?;
        let (shown, given) = watch::channel(None);
        let relay = Relay {
            view: self.view().clone(),
            shelf: shelf.clone(),
            seen: self.following.net.watch_checkpoints(),
            shown,
            file: ShownFile { path: self.shown.clone(), keys },
            kept: None,
            evidence: self.following.evidence.clone(),
            on_event: Arc::clone(&self.following.on_event),
        };
        tokio::spawn(relay.run());
        Some(PublicLog::showing(shelf, given))
    }

    /// What it has followed so far.
    #[must_use]
    pub fn view(&self) -> &LedgerView {
        &self.shared.view
    }

    /// Follows and serves until `stop` turns true.
    ///
    /// # Errors
    /// If it cannot go on.
    pub async fn run(
        self,
        mut inbox: mpsc::Receiver<NetEvent>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ObserverEnd> {
        let Self { follower, shared, following, .. } = self;
        let (alive, mut gone) = mpsc::channel(1);
        let mut following = Box::pin(following.run(Held { follower, _alive: alive }));
        let mut tasks = JoinSet::new();
        let ended = loop {
            tokio::select! {
                () = told(&mut stop) => break Ok(()),
                end = &mut following => break Err(end),
                Some(_) = tasks.join_next() => {}
                event = inbox.recv() => match event {
                    None => break Err(ObserverEnd::Failed("the network ended".into())),
                    Some(NetEvent::Request(request)) if tasks.len() < REQUESTS_MAX => {
                        tasks.spawn(answer(shared.clone(), request));
                    }
                    // Dropping it refuses it. Adverts pass through by gossip alone; jobs are for providers.
                    Some(_) => {}
                },
            }
        };
        while tasks.join_next().await.is_some() {}
        drop(following);
        // A block that was being written is finished, and the directory free.
        let _ = gone.recv().await;
        ended
    }
}

impl Answers for Shared {
    fn checkups(&self) -> Option<&Checkups> {
        Some(&self.checkups)
    }

    fn view(&self) -> &LedgerView {
        &self.view
    }

    fn network(&self) -> &Signed<NetworkFile> {
        &self.network
    }

    /// It makes no blocks: what is proven is as new as the last checkpoint that a block it has names.
    async fn freshen(&self) -> Result<(), SubmitError> {
        Ok(())
    }

    /// Passes it on to the ledger node, whose answer this is. Its block may take a moment to be seen here.
    async fn submit(&self, tx: Signed<Tx>) -> LedgerAnswer {
        let Ok(_place) = self.passing_on.try_acquire() else {
            return LedgerAnswer::Fault("this observer passes on as much as it may; try again".into());
        };
        match self.ledger.pass_on(tx).await {
            Ok(said) => said,
            Err(error) => LedgerAnswer::Fault(detail(format!("not passed on by this observer: {error}"))),
        }
    }
}
