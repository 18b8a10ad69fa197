//! A client: joins a network, sees offers, matches its orders, opens sessions, runs jobs and settles.
//!
//! ```text
//!  connect -> offers (verified adverts, round trips measured from here)
//!  challenge -> a provider computes a standard job, is timed and checked -> calibration, signed
//!  order ---> match record -> session opened on the ledger -> job -> receipt checked -> settled -> result kept
//! ```

use std::{collections::BTreeMap, time::Duration};

use gridhour_contracts_sim::network_file::NetworkFile;
use gridhour_protocol::{
    id::NetworkId,
    market::{
        advert::Advert, coordinate::Coordinate, data_class::DataClass, estimate::Measured,
        matching::MatchRecord, order::Order,
    },
    signed::{PublicKey, SecretKey, Verified},
};
use tokio::{task::JoinSet, time::timeout};

use self::records::OwnRecords;
use crate::{
    data_dir::DataDir,
    drivers::{
        ledger_client::{LedgerClient, LedgerError},
        memory::{Memory, MemoryError},
        offers::Offers,
        results::Results,
        split_view::proof_of_fraud,
        testimony::Testimony,
    },
    keys::KeyError,
    net::{Address, DialError, Net, NetConfig, NetError, NetHandle},
};

mod assets;
mod calibrate;
mod error;
mod job;
pub mod learning;
mod look;
mod outgoing;
mod pings;
mod posted;
mod race;
mod records;
mod relay;
mod reserve;
mod run;
mod slot;
mod turn;
mod warm;

pub use assets::FetchError;
pub use calibrate::{CalibrateError, CalibrationEvent, CalibrationPlan, Monotonic, OnCalibration};
pub use error::{RunError, Undecided};
pub use posted::Post;
pub use race::Hedge;
pub use reserve::{ASKED_MAX, ReservationAnswer};
pub use run::{BudgetCap, RunEvent, RunSpec};
pub use slot::{NoSlot, SlotError};
pub use warm::Keep;

/// How long to try to reach any bootstrap peer.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long round trips to all who offer are measured: a node dials only so many at once.
const MEASURE_TIME: Duration = Duration::from_secs(30);

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where it keeps what it must remember.
    pub data_dir: DataDir,
    /// Its key.
    pub key: SecretKey,
    /// The network; its signature was checked.
    pub network: Verified<NetworkFile>,
    /// Where it says to itself that it is, such as `eu-de`; absent, nothing follows from it.
    pub region: Option<String>,
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
    records: OwnRecords,
    pub(crate) results: Results,
    pub(crate) data_dir: DataDir,
    region: Option<String>,
    grace_min_ms: u64,
    offers: Offers,
    /// Sessions for requests to come.
    shelf: warm::Shelf,
    tools: assets::Loaded,
}

impl Client {
    /// Joins the network and waits until a bootstrap peer answered.
    ///
    /// # Errors
    /// If nobody does.
    pub async fn connect(config: ClientConfig) -> Result<Self, ConnectError> {
        let ClientConfig { data_dir, key, network, region } = config;
        let records = OwnRecords::new(data_dir.clone(), key.public());
        let id = network.id();
        let bootstrap = addresses(&network.bootstrap)?;
        let coordinate = records.look(Memory::coordinate).flatten().unwrap_or(Coordinate::UNKNOWN);
        let net_config = NetConfig {
            bootstrap: bootstrap.clone(),
            region: region.clone(),
            coordinate,
            ..NetConfig::of(&network, key.clone())
        };
        let (net, inbox) = Net::start(net_config).await?;
        let copies: Vec<PublicKey> = bootstrap.iter().filter_map(Address::peer).collect();
        let (seen, proof) = (net.watch_checkpoints(), data_dir.fraud_proof());
        tokio::spawn(async move { proof_of_fraud(seen, &proof).await });
        reach_any(&net, bootstrap).await?;
        let offers = Offers::listen(id, inbox);
        Ok(Self {
            ledger: LedgerClient::new(net.clone(), (&network.genesis).into(), network.genesis.operator)
                .or_ask(copies),
            grace_min_ms: network.genesis.grace_min.0,
            results: Results::new(data_dir.results()),
            network: id,
            key,
            net,
            records,
            data_dir,
            region,
            offers,
            shelf: warm::Shelf::default(),
            tools: assets::Loaded::default(),
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
        self.records.take()
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
        self.offers.wait_for(least, patience).await
    }

    /// Live adverts for an order of `spec`, as [`Client::offers`] waits for them; if its data is local, not before one of
    /// the client's own machines is heard, or `patience` is over.
    pub async fn offers_for(&self, spec: &RunSpec, patience: Duration) -> Vec<Verified<Advert>> {
        if spec.data == DataClass::LocalOnly {
            self.offers.wait_for_one_of(&spec.own, patience).await;
        }
        self.offers(usize::from(spec.verification.providers()), patience).await
    }

    /// The same offers as their providers make them now, where they were heard since. A quote is firm, and stays.
    pub(crate) fn newest(&self, adverts: &[Verified<Advert>]) -> Vec<Verified<Advert>> {
        let live = self.offers.live();
        let renewed = |old: &Verified<Advert>| {
            let newer = |new: &&Verified<Advert>| new.provider == old.provider && new.sequence > old.sequence;
            live.iter().find(newer).filter(|_| old.quote.is_none()).cloned()
        };
        adverts.iter().map(|old| renewed(old).unwrap_or_else(|| old.clone())).collect()
    }

    /// Measures the round trip to each of these providers. One that does not answer stays unmeasured.
    pub async fn measure(&self, adverts: &[Verified<Advert>]) -> BTreeMap<PublicKey, Measured> {
        let pinged = self.ping(adverts.iter().map(|advert| advert.provider), MEASURE_TIME).await;
        let measured = |(provider, latency)| (provider, Measured { latency, ..Measured::default() });
        pinged.into_iter().map(measured).collect()
    }

    /// Matches an order of `spec` against offers: which provider, at what expected cost and time, and why not the others.
    /// Who was heard anew while they were pinged is matched by its newest advert. The stake that the order may want has
    /// to last as long as its session is to be used.
    ///
    /// # Errors
    /// If the order wants a stake, and the ledger does not say what is at stake.
    pub async fn match_order(
        &self,
        order: &Verified<Order>,
        adverts: &[Verified<Advert>],
        spec: &RunSpec,
    ) -> Result<MatchRecord, LedgerError> {
        let found = self.look_round(order, adverts, spec).await?;
        Ok(self.record(&found, order, &self.newest(adverts), spec))
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
