//! A client: joins a network, sees offers, matches its orders, opens sessions, runs jobs and settles.
//!
//! ```text
//!  connect -> offers (verified adverts, round trips measured from here)
//!  challenge -> a provider computes a standard job, is timed and checked -> calibration, signed
//!  order ---> match record -> session opened on the ledger -> job -> receipt checked -> settled -> result kept
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gridhour_contracts_sim::{
    network_file::NetworkFile,
    state::{StateKey, StateValue},
};
use gridhour_protocol::{
    calibration::receipt::DeviceName,
    exact::NUMERICS_VERSION,
    id::NetworkId,
    market::{
        advert::Advert,
        book::Book,
        estimate::Measured,
        matching::{MatchRecord, Matcher, Offer},
        order::Order,
    },
    signed::{PublicKey, SecretKey, Verified},
    units::{Credits, Millis, Timestamp},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    clock,
    data_dir::DataDir,
    drivers::{
        ledger_client::{LedgerClient, LedgerError},
        memory::{Memory, MemoryError},
        results::Results,
        split_view::proof_of_fraud,
        testimony::Testimony,
    },
    keys::KeyError,
    net::{Address, DialError, Net, NetConfig, NetError, NetEvent, NetHandle},
    store::lock::DirLock,
};

mod assets;
mod calibrate;
mod error;
mod job;
mod run;

pub use assets::FetchError;
pub use calibrate::{CalibrateError, CalibrationEvent, CalibrationPlan, Monotonic, OnCalibration};
pub use error::RunError;
pub use run::{BudgetCap, RunEvent, RunSpec};

/// How long to try to reach any bootstrap peer.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long the offers must have stood still before they are taken as all.
const QUIET_TIME: Duration = Duration::from_millis(400);
/// Round trips measured before an order is matched.
const PINGS: usize = 5;

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where it keeps what it must remember.
    pub data_dir: DataDir,
    /// Its key.
    pub key: SecretKey,
    /// The network; its signature was checked.
    pub network: Verified<NetworkFile>,
}

/// Why a client could not join.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network room.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The network file's addresses.
    #[error("bootstrap address {address:?} of the network file: {why}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answered.
    #[error("no bootstrap peer of this network answers: {}", .0.join("; "))]
    Nobody(Vec<String>),
    /// No randomness.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A client that has joined its network.
pub struct Client {
    pub(crate) key: SecretKey,
    pub(crate) network: NetworkId,
    pub(crate) net: NetHandle,
    pub(crate) ledger: LedgerClient,
    records: Mutex<Option<Own>>,
    pub(crate) results: Results,
    pub(crate) data_dir: DataDir,
    grace_min_ms: u64,
    book: Arc<Mutex<Book>>,
    entered: watch::Receiver<u64>,
}

/// Records that no other process writes while this one has them.
struct Own {
    memory: Memory,
    _lock: DirLock,
}

impl Client {
    /// Joins the network and waits until a bootstrap peer answered.
    ///
    /// # Errors
    /// If nobody does.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let ClientConfig { data_dir, key, network } = config;
        let id = network.id();
        let bootstrap = addresses(&network.bootstrap)?;
        let net_config = NetConfig { bootstrap: bootstrap.clone(), ..NetConfig::of(&network, key.clone()) };
        let (net, inbox) = Net::start(net_config).await?;
        let copies: Vec<PublicKey> = bootstrap.iter().filter_map(Address::peer).collect();
        let (seen, proof) = (net.watch_checkpoints(), data_dir.fraud_proof());
        tokio::spawn(async move { proof_of_fraud(seen, &proof).await });
        reach_any(&net, bootstrap).await?;
        let book = Arc::new(Mutex::new(Book::new(id)));
        let (count, entered) = watch::channel(0);
        tokio::spawn(listen(inbox, book.clone(), count));
        Ok(Self {
            ledger: LedgerClient::new(net.clone(), (&network.genesis).into(), network.genesis.operator)
                .or_ask(copies),
            grace_min_ms: network.genesis.grace_min.0,
            results: Results::new(data_dir.results()),
            network: id,
            key,
            net,
            records: Mutex::default(),
            data_dir,
            book,
            entered,
        })
    }

    /// The client's account.
    #[must_use]
    pub fn id(&self) -> PublicKey {
        self.key.public()
    }

    /// The client's key, for transactions of its own.
    #[must_use]
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The ledger of this network.
    #[must_use]
    pub fn ledger(&self) -> &LedgerClient {
        &self.ledger
    }

    /// The network room.
    #[must_use]
    pub fn net(&self) -> &NetHandle {
        &self.net
    }

    /// Kept results.
    #[must_use]
    pub fn results(&self) -> &Results {
        &self.results
    }

    /// Takes the data directory for this process now, and not only with its first order.
    ///
    /// # Errors
    /// If another process has it, or the records cannot be read.
    pub fn claim(&self) -> Result<(), MemoryError> {
        self.memory().map(drop)
    }

    /// What this client remembers. The first call takes the data directory, so that no other process writes there: who only
    /// asks never comes here.
    ///
    /// # Errors
    /// If another process has the directory, or the records cannot be read.
    pub(crate) fn memory(&self) -> Result<Memory, MemoryError> {
        let mut records = lock(&self.records);
        if let Some(own) = &*records {
            return Ok(own.memory.clone());
        }
        let lock = DirLock::acquire(self.data_dir.root())?;
        let (memory, torn) = Memory::open(&self.data_dir.records(), self.key.public())?;
        if let Some(torn) = torn {
            tracing::warn!(?torn, "an interrupted write was removed from the records");
        }
        *records = Some(Own { memory: memory.clone(), _lock: lock });
        Ok(memory)
    }

    /// What providers signed to this client.
    ///
    /// # Errors
    /// If the records cannot be read.
    pub fn testimonies(&self) -> Result<Vec<Testimony>, MemoryError> {
        self.memory()?.testimonies(None)
    }

    /// Live adverts, once at least `least` have come and none came for a moment, or `patience` is over.
    pub async fn offers(&self, least: usize, patience: Duration) -> Vec<Verified<Advert>> {
        let mut entered = self.entered.clone();
        let end = Instant::now() + patience;
        loop {
            let enough = self.live().len() >= least;
            let wait = if enough { (Instant::now() + QUIET_TIME).min(end) } else { end };
            if !matches!(timeout_at(wait, entered.changed()).await, Ok(Ok(()))) {
                return self.live();
            }
        }
    }

    fn live(&self) -> Vec<Verified<Advert>> {
        lock(&self.book).live(clock::now()).cloned().collect()
    }

    /// Measures the round trip to each of these providers. One that does not answer stays unmeasured.
    pub async fn measure(&self, adverts: &[Verified<Advert>]) -> BTreeMap<PublicKey, Measured> {
        let mut pings = JoinSet::new();
        for advert in adverts {
            let (net, provider) = (self.net.clone(), advert.provider);
            pings.spawn(async move { (provider, net.measure(provider, PINGS).await) });
        }
        let mut measured = BTreeMap::new();
        while let Some(ping) = pings.join_next().await {
            let Ok((provider, latency)) = ping else { continue };
            if let Err(error) = &latency {
                tracing::info!(provider = %provider.short(), %error, "not measured");
            }
            measured.insert(provider, Measured { latency: latency.ok(), ..Measured::default() });
        }
        measured
    }

    /// Matches an order against offers: which provider, at what expected cost and time, and why not the others. Its
    /// session is to be used for `use_for`, for which the stake that the order may want has to last.
    ///
    /// # Errors
    /// If the order wants a stake, and the ledger does not say what is at stake.
    pub async fn match_order(
        &self,
        order: &Verified<Order>,
        adverts: &[Verified<Advert>],
        use_for: Millis,
    ) -> Result<MatchRecord, LedgerError> {
        let mut measured = self.measure(adverts).await;
        if order.stake_min != Credits::ZERO {
            for advert in adverts.iter().filter(|advert| advert.offer_of(&order.model).is_some()) {
                let stake = self.stake_behind(advert, use_for).await?;
                measured.entry(advert.provider).or_default().stake = Some(stake);
            }
        }
        let offers: Vec<Offer<'_>> = adverts
            .iter()
            .map(|advert| Offer {
                advert,
                measured: measured.get(&advert.provider).copied().unwrap_or_default(),
            })
            .collect();
        Ok(Matcher { order, numerics: NUMERICS_VERSION, now: clock::now() }.record(&offers))
    }

    /// What is bonded for the advert's device for at least `use_for` more. The ledger decides when a session opens, so the
    /// node's word will do.
    async fn stake_behind(&self, advert: &Advert, use_for: Millis) -> Result<Credits, LedgerError> {
        let device = DeviceName::of(&advert.device).id_of(&advert.provider);
        let end = clock::now().after(use_for).unwrap_or(Timestamp(u64::MAX));
        Ok(match self.ledger.record(StateKey::Stake(device)).await? {
            Some(StateValue::Stake(stake)) if stake.until >= end => stake.bonded,
            _ => Credits::ZERO,
        })
    }
}

pub(super) fn addresses(texts: &[String]) -> Result<Vec<Address>, ConnectError> {
    let parse = |text: &String| {
        text.parse().map_err(|error| ConnectError::Address { address: text.clone(), why: format!("{error}") })
    };
    texts.iter().map(parse).collect()
}

/// Waits for the first of these peers that answers.
pub(super) async fn reach_any(net: &NetHandle, bootstrap: Vec<Address>) -> Result<(), ConnectError> {
    let mut dials = JoinSet::new();
    for address in bootstrap {
        let net = net.clone();
        dials.spawn(async move {
            let answer = timeout(CONNECT_TIME, net.dial(address.clone())).await;
            match answer {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(describe(&address, &error)),
                Err(_) => Err(format!("{address}: no answer within {CONNECT_TIME:?}")),
            }
        });
    }
    let mut failures = Vec::new();
    while let Some(dial) = dials.join_next().await {
        match dial {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failures.push(failure),
            Err(error) => failures.push(error.to_string()),
        }
    }
    net.shutdown().await;
    Err(ConnectError::Nobody(failures))
}

fn describe(address: &Address, error: &DialError) -> String {
    format!("{address}: {error}")
}

/// Enters adverts into the book until the network ends.
async fn listen(mut inbox: mpsc::Receiver<NetEvent>, book: Arc<Mutex<Book>>, count: watch::Sender<u64>) {
    while let Some(event) = inbox.recv().await {
        // A client serves nobody: dropping a stream or a request refuses it.
        let NetEvent::Advert(advert) = event else { continue };
        if lock(&book).enter(clock::now(), advert).is_ok() {
            count.send_modify(|count| *count += 1);
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave it half-changed: every change is one insertion.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
