//! A cast, a network and a seed become a world.

use gridhour_contracts_sim::{
    genesis::{Allocation, Genesis},
    limits::LEDGER_VERSION,
};
use gridhour_protocol::{
    id::NetworkId,
    job::sampling::Sampling,
    signed::{PublicKey, SecretKey},
    units::{Credits, Millis, PricePerHour, Timestamp},
};

use crate::{
    actors::{
        Actor,
        advert_flooder::Flooding,
        advert_forger::{Forgery, Forging},
        advert_pourer::Pouring,
        client::{self, Errand, MarketClient},
        double_spender::{DoubleSpender, Fraud, SCARCE},
        ghost_advertiser::Ghosts,
        goods,
        honest_client::{self, HonestClient},
        honest_provider::{self, HonestProvider},
        keeper::Keeper,
        lying_provider::{Lie, Lying},
        misplaced_provider::Misplaced,
        observer::Observer,
        provider::{self, MarketProvider},
        replaying_provider::Replaying,
        silent_provider::{Silence, Silent},
        uncollecting_provider::Uncollecting,
    },
    sim::{
        clock::{EPOCH_MS, SimClock},
        engine::VOCABULARY,
        ledger_node::LedgerNode,
        net::{NodeId, Partition, Weather},
        rng::Rng,
        world::{Failure, Land, NodeSpec, Outage, Part, Report, Role, World},
    },
};

/// Micro-credits that an honest client begins with.
const WEALTH: Credits = Credits(1_000_000_000);
/// How far a node's clock may be off at the beginning, in milliseconds.
const SKEW_MS: u64 = 1_500;

/// A provider of the cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// Follows the protocol.
    Honest,
    /// Says what is not so.
    Lying(Lie),
    /// Says nothing.
    Silent(Silence),
    /// Collects twice.
    Replaying,
    /// Never collects.
    Uncollecting,
    /// Advertises providers that do not exist.
    Ghosts,
    /// Floods its neighbours with adverts.
    Flooding,
    /// Pours adverts over its neighbours, as many as it may bring.
    Pouring,
    /// Passes on adverts that nobody signed, or that are old.
    Forging(Forgery),
    /// Says that it is elsewhere.
    Misplaced,
}

/// A client of the cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Follows the protocol.
    Honest,
    /// Spends what it does not have, or twice.
    DoubleSpending(Fraud),
}

/// What happens to one node's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whose.
    pub node: NodeId,
    /// When it goes.
    pub outage: Outage,
    /// How long it is down, in milliseconds; `None` if it never returns.
    pub down_ms: Option<u64>,
    /// Whether a bit of its disk is another one when it is back. The disk of an observer alone: who orders would need a
    /// repair.
    pub flips_bit: bool,
}

/// The plan of a world.
///
/// Nodes are numbered: the ledger is 0, then come the providers, the clients, a bystander, and the observers.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides everything that the fields below do not.
    pub seed: u64,
    /// The providers, in order of their price: the first is the cheapest, so every client asks it first.
    pub providers: Vec<ProviderKind>,
    /// The clients.
    pub clients: Vec<ClientKind>,
    /// Sessions that each client keeps open at once.
    pub sessions: usize,
    /// Errands of each client; drawn if `None`.
    pub errands: Option<Vec<Errand>>,
    /// Time that an engine takes for a token, in milliseconds; drawn if `None`.
    pub token_ms: Option<u64>,
    /// Tokens that one voucher of an honest client releases; drawn if `None`.
    pub chunk_tokens: Option<u16>,
    /// The network.
    pub weather: Weather,
    /// Who is cut off when.
    pub partitions: Vec<Partition>,
    /// Whose power goes when.
    pub troubles: Vec<Trouble>,
    /// Nodes that keep a copy of the ledger.
    pub observers: usize,
    /// Chance that an engine fails before a token, per thousand.
    pub engine_failures: u64,
    /// Chance that a user stops a job at a chunk, per thousand.
    pub cancels: u64,
}

impl Scenario {
    /// Honest parties in calm weather.
    #[must_use]
    pub fn honest(seed: u64, providers: usize, clients: usize) -> Self {
        Self {
            seed,
            providers: vec![ProviderKind::Honest; providers],
            clients: vec![ClientKind::Honest; clients],
            sessions: 1,
            errands: None,
            token_ms: None,
            chunk_tokens: None,
            weather: Weather::CALM,
            partitions: Vec::new(),
            troubles: Vec::new(),
            observers: 0,
            engine_failures: 0,
            cancels: 0,
        }
    }

    /// The ledger.
    pub const LEDGER: NodeId = NodeId(0);

    /// The node of a provider, counted from 0.
    #[must_use]
    pub fn provider(&self, at: usize) -> NodeId {
        NodeId(1 + at as u16)
    }

    /// The node of a client, counted from 0.
    #[must_use]
    pub fn client(&self, at: usize) -> NodeId {
        NodeId((1 + self.providers.len() + at) as u16)
    }

    /// The key of a node.
    #[must_use]
    pub fn key(&self, node: NodeId) -> SecretKey {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..10].copy_from_slice(&node.0.to_le_bytes());
        SecretKey::from_seed(seed)
    }

    /// Whether the owner of a key follows the protocol.
    #[must_use]
    pub fn is_honest(&self, key: &PublicKey) -> bool {
        let is = |node: NodeId| self.key(node).public() == *key;
        let liar = (0..)
            .zip(&self.providers)
            .any(|(at, kind)| *kind != ProviderKind::Honest && is(self.provider(at)));
        let spender =
            (0..).zip(&self.clients).any(|(at, kind)| *kind != ClientKind::Honest && is(self.client(at)));
        !liar && !spender
    }

    /// The errands of a client, counted from 0.
    #[must_use]
    pub fn errands_of(&self, at: usize) -> Vec<Errand> {
        let mut rng = Rng::new(self.seed ^ (0xe77a << 32) ^ at as u64);
        self.errands.clone().unwrap_or_else(|| (0..1 + rng.below(3)).map(|_| errand(&mut rng)).collect())
    }

    /// What a client, counted from 0, has at the beginning.
    #[must_use]
    pub fn wealth(&self, at: usize) -> Credits {
        let is_poor = self.clients[at] == ClientKind::DoubleSpending(Fraud::BeyondBalance);
        if is_poor { SCARCE } else { WEALTH }
    }

    /// Runs the world.
    ///
    /// # Errors
    /// With the first thing that a checker finds.
    pub fn run(&self) -> Result<Report, Failure> {
        let genesis = self.genesis();
        let nodes = self.nodes(&genesis);
        World::new(self.seed, genesis, nodes, Land::small(self.weather, self.partitions.clone())).run()
    }

    fn keeper(&self) -> NodeId {
        self.client(self.clients.len())
    }

    /// The node of an observer, counted from 0.
    #[must_use]
    pub fn observer(&self, at: usize) -> NodeId {
        NodeId(self.keeper().0 + 1 + at as u16)
    }

    pub(crate) fn genesis(&self) -> Genesis {
        let ledger = self.key(Self::LEDGER).public();
        let accounts = (0..self.clients.len())
            .map(|at| Allocation { account: self.key(self.client(at)).public(), amount: self.wealth(at) });
        Genesis {
            version: LEDGER_VERSION,
            name: "simulated".into(),
            created_at: Timestamp(EPOCH_MS - 10_000),
            operator: ledger,
            issuer: ledger,
            allocations: accounts.collect(),
            grace_min: Millis(10_000),
            clock_skew: Millis(5_000),
        }
    }

    fn nodes(&self, genesis: &Genesis) -> Vec<NodeSpec> {
        let mut rng = Rng::new(self.seed ^ 0x0ca5_7000);
        let network = genesis.id();
        let (operator, copy) = (self.key(Self::LEDGER), genesis.clone());
        let ledger: Build = Box::new(move || Box::new(LedgerNode::new(operator.clone(), copy.clone())));
        let mut nodes = vec![self.spec(Self::LEDGER, Part::Ledger, true, ledger, &mut rng)];
        for (at, kind) in self.providers.iter().enumerate() {
            let build = provider_of(*kind, self.provider_profile(at, network, &mut rng));
            let honest = *kind == ProviderKind::Honest;
            nodes.push(self.spec(self.provider(at), Part::Provider, honest, build, &mut rng));
        }
        for (at, kind) in self.clients.iter().enumerate() {
            let build = client_of(*kind, self.client_profile(at, network, &mut rng));
            let honest = *kind == ClientKind::Honest;
            nodes.push(self.spec(self.client(at), Part::Client, honest, build, &mut rng));
        }
        let key = self.key(self.keeper());
        let keeper: Build = Box::new(move || Box::new(Keeper::new(key.clone(), network)));
        nodes.push(self.spec(self.keeper(), Part::Bystander, true, keeper, &mut rng));
        for at in 0..self.observers {
            let copy = genesis.clone();
            let build: Build = Box::new(move || Box::new(Observer::new(copy.clone())));
            nodes.push(self.spec(self.observer(at), Part::Observer, true, build, &mut rng));
        }
        nodes
    }

    fn spec(&self, node: NodeId, part: Part, honest: bool, build: Build, rng: &mut Rng) -> NodeSpec {
        let trouble = self.troubles.iter().find(|one| one.node == node);
        let returns = trouble.is_none_or(|one| one.down_ms.is_some());
        let ahead_ms = rng.below(2 * SKEW_MS + 1) as i64 - SKEW_MS as i64;
        let drift_ppm = rng.below(401) as i64 - 200;
        NodeSpec {
            role: Role { part, key: self.key(node).public(), honest, returns },
            clock: SimClock { ahead_ms, drift_ppm },
            absences: Vec::new(),
            outage: trouble.map(|one| one.outage),
            down_ms: trouble.and_then(|one| one.down_ms).unwrap_or(0),
            flips_bit: trouble.is_some_and(|one| one.flips_bit),
            build,
        }
    }

    fn provider_profile(&self, at: usize, network: NetworkId, rng: &mut Rng) -> provider::Profile {
        provider::Profile {
            key: self.key(self.provider(at)),
            network,
            ask: PricePerHour(36_000_000 * (1 + at as u64) + rng.below(1_000_000)),
            adverts: (10_000, 60_000),
            region: None,
            slots: 1 + rng.below(4) as u16,
            token_ms: self.token_ms.unwrap_or(5 + rng.below(60)),
            burst: 1 + rng.below(4) as u32,
            engine_failures: self.engine_failures,
            collects_early: rng.one_in(2),
        }
    }

    fn client_profile(&self, at: usize, network: NetworkId, rng: &mut Rng) -> client::Profile {
        let lanes = 1 + rng.below(3) as u16;
        // Drawn in any case, so that the rest of the world is the same.
        let chunk_tokens = 1 + rng.below(8) as u16;
        client::Profile {
            key: self.key(self.client(at)),
            network,
            errands: self.errands_of(at),
            schedule: Vec::new(),
            grace: goods::GRACE,
            region: None,
            purchases: client::PURCHASES_MAX,
            sessions: self.sessions,
            lanes,
            chunk_tokens: self.chunk_tokens.unwrap_or(chunk_tokens),
            price_max: PricePerHour(1_000_000_000),
            total_max: Credits(500_000_000),
            cancels: self.cancels,
        }
    }
}

/// Builds an actor without memory.
pub(crate) type Build = Box<dyn Fn() -> Box<dyn Actor>>;

pub(crate) fn errand(rng: &mut Rng) -> Errand {
    let token = |rng: &mut Rng| rng.below(u64::from(VOCABULARY)) as u32;
    let greedy = rng.one_in(2);
    let stop_text = |rng: &mut Rng| (0..1 + rng.below(2)).map(|_| goods::letter(token(rng))).collect();
    Errand {
        prompt: (0..1 + rng.below(20)).map(|_| token(rng)).collect(),
        max_tokens: 1 + rng.below(24) as u32,
        sampling: if greedy {
            Sampling::GREEDY
        } else {
            Sampling { temperature_q16: 65_536, seed: rng.bits(), ..Sampling::GREEDY }
        },
        stop: if rng.one_in(2) { vec![token(rng)] } else { Vec::new() },
        stop_texts: if rng.one_in(2) { vec![stop_text(rng), stop_text(rng)] } else { Vec::new() },
        logprobs: rng.below(4) as u8,
    }
}

pub(crate) fn provider_of(kind: ProviderKind, profile: provider::Profile) -> Build {
    match kind {
        ProviderKind::Honest => {
            Box::new(move || Box::new(HonestProvider::new(profile.clone(), honest_provider::Honest)))
        }
        ProviderKind::Lying(lie) => {
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Lying::new(lie))))
        }
        ProviderKind::Silent(silence) => {
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Silent::new(silence))))
        }
        ProviderKind::Replaying => {
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Replaying::default())))
        }
        ProviderKind::Uncollecting => {
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Uncollecting)))
        }
        ProviderKind::Ghosts => Box::new(move || Box::new(MarketProvider::new(profile.clone(), Ghosts))),
        ProviderKind::Pouring => {
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Pouring::default())))
        }
        ProviderKind::Flooding => {
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Flooding::default())))
        }
        ProviderKind::Forging(forgery) => {
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Forging::new(forgery))))
        }
        ProviderKind::Misplaced => {
            let regions = ["us-va", "de", "sg", "jp-tk"].map(str::to_owned).to_vec();
            Box::new(move || Box::new(MarketProvider::new(profile.clone(), Misplaced::new(regions.clone()))))
        }
    }
}

pub(crate) fn client_of(kind: ClientKind, profile: client::Profile) -> Build {
    match kind {
        ClientKind::Honest => {
            Box::new(move || Box::new(HonestClient::new(profile.clone(), honest_client::Honest)))
        }
        ClientKind::DoubleSpending(fraud) => {
            Box::new(move || Box::new(MarketClient::new(profile.clone(), DoubleSpender::new(fraud))))
        }
    }
}
