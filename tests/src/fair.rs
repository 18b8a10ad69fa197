//! A market of hundreds of nodes for an hour: most of them honest, a fifth of them leaving in every ten minutes, a tenth of
//! them cheating, over the round trips of real regions.
//!
//! It is the simulated world of [`crate::sim`], with the same nodes as the small stories; nothing is made up anew but how
//! many there are, where they are, and when they come and go.

use gridhour_contracts_sim::{
    genesis::{Allocation, Genesis},
    limits::LEDGER_VERSION,
};
use gridhour_node::bench::matrix::Matrix;
use gridhour_protocol::{
    id::NetworkId,
    signed::{PublicKey, SecretKey},
    units::{Credits, Millis, PricePerHour, Timestamp},
};

use crate::{
    actors::{
        advert_forger::Forgery, advert_pourer, client, double_spender::Fraud, keeper::Keeper,
        lying_provider::Lie, provider, silent_provider::Silence,
    },
    scenario::{Build, ClientKind, ProviderKind, client_of, errand, provider_of},
    sim::{
        atlas::Atlas,
        clock::{EPOCH_MS, Moment, SimClock},
        ledger_node::LedgerNode,
        net::{NodeId, Partition, Weather},
        rng::Rng,
        world::{Failure, Land, NodeSpec, Part, Report, Role, World},
    },
};

/// Delays come from the map; the rest of the weather is that of a bad day.
const WEATHER: Weather =
    Weather { delay_ms: 0, jitter_ms: 20, breaks: 1, stalls: 5, stall_ms: 1_500, losses: 20, repeats: 20 };
/// With how many others a node gossips, about.
const DEGREE: usize = 6;
/// Of every ten minutes, a fifth of the nodes is away for a part.
const PERIOD_MS: u64 = 600_000;
const ABSENT: u64 = 5;
/// How long a node is away.
const AWAY_MS: core::ops::Range<u64> = 20_000..240_000;
/// Longer than anybody is away: whoever returns still finds what it earned.
const GRACE: Millis = Millis(300_000);
/// Time between two adverts, and life of each.
pub const ADVERTS_MS: (u64, u64) = (60_000, 150_000);
/// Time between two orders of a client, and the time that each has.
const ORDER_EVERY_MS: core::ops::Range<u64> = 60_000..180_000;
const ORDER_MS: u64 = 240_000;
/// What providers ask. Liars are cheaper, so every client meets every one of them that it does not see through.
const HONEST_ASKS: core::ops::Range<u64> = 36_000_000..72_000_000;
const LIARS_ASKS: core::ops::Range<u64> = 30_000_000..33_000_000;
/// What is poured nobody can pay: it is to drown others' offers, and not to be one.
const POURED_ASKS: core::ops::Range<u64> = 2_000_000_000..2_000_000_001;
/// What every client begins with.
const WEALTH: Credits = Credits(20_000_000_000);
/// How far clocks are off at the beginning, in milliseconds, and how much they gain or lose in a million.
const SKEW_MS: u64 = 1_500;
const DRIFT_PPM: u64 = 50;

/// Providers that cheat, each in a way of its own.
const LIARS: [ProviderKind; 16] = [
    ProviderKind::Lying(Lie::WrongDigest),
    ProviderKind::Lying(Lie::ExtraTokens),
    ProviderKind::Lying(Lie::InflatedWork),
    ProviderKind::Lying(Lie::InflatedTime),
    ProviderKind::Lying(Lie::FalseCause),
    ProviderKind::Lying(Lie::OldReceipt),
    ProviderKind::Lying(Lie::WrongTokens),
    ProviderKind::Silent(Silence::FromTheStart),
    ProviderKind::Silent(Silence::After(4)),
    ProviderKind::Replaying,
    ProviderKind::Uncollecting,
    ProviderKind::Ghosts,
    ProviderKind::Flooding,
    ProviderKind::Forging(Forgery::Price),
    ProviderKind::Forging(Forgery::Replay),
    ProviderKind::Misplaced,
];
/// Clients that cheat.
const SPENDERS: [Fraud; 4] =
    [Fraud::StopsPaying, Fraud::ReusedSequence, Fraud::WithholdsFinal, Fraud::ReplayedOpen];

/// A fair: how many, for how long, where.
#[derive(Clone, Debug)]
pub struct Fair {
    /// What everything follows from.
    pub seed: u64,
    /// Providers, of whom one in eight cheats, as long as there are ways to.
    pub providers: usize,
    /// Clients, of whom one in seventeen cheats.
    pub clients: usize,
    /// Providers that pour adverts over their neighbours all the time; the first of each three.
    pub pourers: usize,
    /// Time between two adverts of a provider, and life of each, in milliseconds.
    pub adverts_ms: (u64, u64),
    /// How long orders come, in minutes.
    pub minutes: u64,
    /// Where they are.
    pub matrix: Matrix,
}

impl Fair {
    /// Two hundred nodes for an hour: a ledger, 127 providers, 71 clients and a bystander, of whom 20 cheat.
    #[must_use]
    pub fn of_two_hundred(seed: u64, matrix: Matrix) -> Self {
        Self { seed, providers: 127, clients: 71, pourers: 0, adverts_ms: ADVERTS_MS, minutes: 60, matrix }
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.providers + self.clients + 2
    }

    /// What kind of provider the one at this place is.
    #[must_use]
    pub fn provider_kind(&self, at: usize) -> ProviderKind {
        if at.is_multiple_of(3) && at / 3 < self.pourers {
            return ProviderKind::Pouring;
        }
        let liar = LIARS.get(at / 8).filter(|_| at % 8 == 3);
        liar.copied().unwrap_or(ProviderKind::Honest)
    }

    /// What kind of client the one at this place is.
    #[must_use]
    pub fn client_kind(&self, at: usize) -> ClientKind {
        let spender = SPENDERS.get(at / 17).filter(|_| at % 17 == 5);
        spender.map_or(ClientKind::Honest, |fraud| ClientKind::DoubleSpending(*fraud))
    }

    /// Nodes that cheat.
    #[must_use]
    pub fn cheats(&self) -> usize {
        let liars = (0..self.providers).filter(|at| self.provider_kind(*at) != ProviderKind::Honest);
        liars.count() + (0..self.clients).filter(|at| self.client_kind(*at) != ClientKind::Honest).count()
    }

    /// The node of a client, counted from 0.
    #[must_use]
    pub fn client(&self, at: usize) -> NodeId {
        NodeId((1 + self.providers + at) as u16)
    }

    /// The key of a provider, counted from 0.
    #[must_use]
    pub fn provider(&self, at: usize) -> PublicKey {
        self.key(NodeId((1 + at) as u16)).public()
    }

    /// When a client wants each of its errands, and until when.
    #[must_use]
    pub fn schedule(&self, at: usize) -> Vec<(u64, u64)> {
        let mut rng = Rng::new(self.seed ^ (0x5c4e << 32) ^ at as u64);
        let mut from = 5_000 + between(&mut rng, &ORDER_EVERY_MS);
        let mut schedule = Vec::new();
        while from < self.minutes * 60_000 {
            schedule.push((from, from + ORDER_MS));
            from += between(&mut rng, &ORDER_EVERY_MS);
        }
        schedule
    }

    /// Runs the world.
    ///
    /// # Errors
    /// With the first thing that a checker finds.
    pub fn run(&self) -> Result<Report, Failure> {
        let keeper = NodeId((self.nodes() - 1) as u16);
        let atlas = Atlas::new(self.matrix.clone(), self.nodes()).with_beside(keeper, NodeId(0));
        let mut rng = Rng::new(self.seed ^ 0xfa_1200);
        let genesis = self.genesis();
        let nodes = self.cast(&genesis, &atlas, &mut rng);
        let land = Land {
            weather: WEATHER,
            partitions: self.partitions(&atlas, &mut rng),
            atlas: Some(atlas),
            degree: DEGREE,
            horizon_ms: self.minutes * 60_000 + ORDER_MS + 2 * PERIOD_MS,
        };
        World::new(self.seed, genesis, nodes, land).run()
    }

    fn key(&self, node: NodeId) -> SecretKey {
        let mut seed = *b"a fair of so many nodes, and one";
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..10].copy_from_slice(&node.0.to_le_bytes());
        SecretKey::from_seed(seed)
    }

    fn genesis(&self) -> Genesis {
        let ledger = self.key(NodeId(0)).public();
        let account = |at| Allocation { account: self.key(self.client(at)).public(), amount: WEALTH };
        Genesis {
            version: LEDGER_VERSION,
            name: "fair".into(),
            created_at: Timestamp(EPOCH_MS - 10_000),
            operator: ledger,
            issuer: ledger,
            allocations: (0..self.clients).map(account).collect(),
            grace_min: Millis(10_000),
            clock_skew: Millis(5_000),
        }
    }

    fn cast(&self, genesis: &Genesis, atlas: &Atlas, rng: &mut Rng) -> Vec<NodeSpec> {
        let network = genesis.id();
        let (operator, copy) = (self.key(NodeId(0)), genesis.clone());
        let ledger: Build = Box::new(move || Box::new(LedgerNode::new(operator.clone(), copy.clone())));
        let mut nodes = vec![self.spec(Part::Ledger, true, NodeId(0), ledger, rng)];
        for at in 0..self.providers {
            let (node, kind) = (NodeId(nodes.len() as u16), self.provider_kind(at));
            let (asks, every_ms) = match kind {
                ProviderKind::Honest => (HONEST_ASKS, self.adverts_ms.0),
                ProviderKind::Pouring => (POURED_ASKS, advert_pourer::EVERY_MS),
                _ => (LIARS_ASKS, self.adverts_ms.0),
            };
            let profile = provider::Profile {
                ask: PricePerHour(between(rng, &asks)),
                adverts: (every_ms, self.adverts_ms.1),
                ..self.provider_profile(node, network, atlas, rng)
            };
            let build = provider_of(kind, profile);
            nodes.push(self.spec(Part::Provider, kind == ProviderKind::Honest, node, build, rng));
        }
        for at in 0..self.clients {
            let (node, kind) = (self.client(at), self.client_kind(at));
            let build = client_of(kind, self.client_profile(at, network, atlas, rng));
            nodes.push(self.spec(Part::Client, kind == ClientKind::Honest, node, build, rng));
        }
        let (node, network) = (NodeId(nodes.len() as u16), network);
        let key = self.key(node);
        let keeper: Build = Box::new(move || Box::new(Keeper::new(key.clone(), network)));
        nodes.push(self.spec(Part::Bystander, true, node, keeper, rng));
        nodes
    }

    fn spec(&self, part: Part, honest: bool, node: NodeId, build: Build, rng: &mut Rng) -> NodeSpec {
        let ahead_ms = rng.below(2 * SKEW_MS + 1) as i64 - SKEW_MS as i64;
        let drift_ppm = rng.below(2 * DRIFT_PPM + 1) as i64 - DRIFT_PPM as i64;
        NodeSpec {
            role: Role { part, key: self.key(node).public(), honest, returns: true },
            clock: SimClock { ahead_ms, drift_ppm },
            absences: self.absences(part, rng),
            outage: None,
            down_ms: 0,
            flips_bit: false,
            build,
        }
    }

    /// When a node is away: in each period by the chance of one in [`ABSENT`], the ledger never for long. Who has overdue
    /// holds released stands for the ledger node's own sweep, and stays.
    fn absences(&self, part: Part, rng: &mut Rng) -> Vec<(Moment, u64)> {
        let mut absences = Vec::new();
        for period in 0..self.minutes * 60_000 / PERIOD_MS {
            let (leaves, away) = (rng.below(PERIOD_MS / 2), between(rng, &AWAY_MS));
            let away = if part == Part::Ledger { AWAY_MS.start } else { away };
            if rng.one_in(ABSENT) && part != Part::Bystander {
                absences.push((Moment(period * PERIOD_MS + leaves), away));
            }
        }
        absences
    }

    /// In each period one region is cut off from all others for up to two minutes.
    fn partitions(&self, atlas: &Atlas, rng: &mut Rng) -> Vec<Partition> {
        let cut = |period: u64| {
            let from = Moment(period * PERIOD_MS + rng.below(PERIOD_MS));
            let side = atlas.within(rng.below(atlas.regions() as u64) as usize);
            Partition { side, from, until: from.after(10_000 + rng.below(110_000)) }
        };
        (0..self.minutes * 60_000 / PERIOD_MS).map(cut).collect()
    }

    fn provider_profile(
        &self,
        node: NodeId,
        network: NetworkId,
        atlas: &Atlas,
        rng: &mut Rng,
    ) -> provider::Profile {
        provider::Profile {
            key: self.key(node),
            network,
            ask: PricePerHour(HONEST_ASKS.end),
            adverts: self.adverts_ms,
            region: Some(atlas.region(node).to_owned()),
            slots: 1 + rng.below(4) as u16,
            token_ms: 5 + rng.below(60),
            burst: 1 + rng.below(4) as u32,
            engine_failures: 2,
            collects_early: rng.one_in(2),
        }
    }

    fn client_profile(&self, at: usize, network: NetworkId, atlas: &Atlas, rng: &mut Rng) -> client::Profile {
        let schedule = self.schedule(at);
        client::Profile {
            key: self.key(self.client(at)),
            network,
            errands: schedule.iter().map(|_| errand(rng)).collect(),
            purchases: 16 * schedule.len(),
            schedule,
            grace: GRACE,
            region: Some(atlas.region(self.client(at)).to_owned()),
            sessions: 1,
            lanes: 1 + rng.below(3) as u16,
            chunk_tokens: 1 + rng.below(8) as u16,
            price_max: PricePerHour(1_000_000_000),
            total_max: Credits(500_000_000),
            cancels: 10,
        }
    }
}

fn between(rng: &mut Rng, range: &core::ops::Range<u64>) -> u64 {
    range.start + rng.below(range.end - range.start)
}
