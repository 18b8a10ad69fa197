//! A world from its seed: providers, buyers, orders, and what the network does to each message.

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    id::{ModelId, NetworkId},
    limits::{CHUNK_TOKENS_MAX, PRICE_MAX, PROTOCOL_VERSION},
    market::{
        advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
        coordinate::{Coordinate, Vivaldi},
        data_class::DataClass,
        order::{LatencyLimit, LimitKind, Order, Verification},
        tier::Tier,
    },
    signed::{PublicKey, SecretKey, Verified},
    units::{Credits, Millis, PricePerHour, Timestamp, WorkRate},
    work::{Rates, WorkModel},
};

use super::Plan;
use crate::bench::{matrix::Matrix, random::Random};

/// Buyers, each with a place and a memory of its own.
const BUYERS: usize = 6;
/// The one model, of SmolLM2's size.
pub(super) const MODEL: ModelId = ModelId([1; 32]);
const WORK: WorkModel = WorkModel { layers: 106_168_320, head: 28_311_552, attention: 34_560 };
const NETWORK: NetworkId = NetworkId([2; 32]);
/// A provider that is as fast as it says computes so much in a second.
const PREFILL: f64 = 200e9;
const DECODE: f64 = 5e9;
/// The usual price of a GPU-hour, in micro-credits: high, so that no penalty is lost in rounding a millisecond's.
const USUAL_ASK: f64 = 10e9;
/// Round trips from which nodes learn their coordinates before the market opens, and with how many others.
const SAMPLES: usize = 120;
const NEIGHBOURS: usize = 16;
/// Jitter of every round trip, and how often one takes three times as long.
const JITTER: f64 = 0.05;
const OUTLIER: f64 = 0.01;
/// How often a job loses a message, and the least time until it is sent again, in microseconds.
const LOSS: f64 = 0.01;
const RESEND_US: f64 = 200_000.0;

/// A place in the network.
pub(super) struct Node {
    region: usize,
    access_us: u64,
    pub(super) coordinate: Coordinate,
}

/// A provider.
pub(super) struct Provider {
    pub(super) key: SecretKey,
    pub(super) node: Node,
    pub(super) slots: usize,
    /// Its advert while it is idle.
    pub(super) advert: Advert,
    /// What it takes, as a multiple of what it says.
    slowness: f64,
}

/// An order, and when and from where it comes.
pub(super) struct Wanted {
    pub(super) at_us: u64,
    pub(super) buyer: usize,
    pub(super) order: Verified<Order>,
    pub(super) limit_us: u64,
    pub(super) per_ms: u64,
}

/// Everything that happens to whoever chooses.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) providers: Vec<Provider>,
    pub(super) buyers: Vec<Node>,
    pub(super) orders: Vec<Wanted>,
    region_names: Vec<String>,
    rtt_us: Vec<Vec<u64>>,
}

/// How long a job takes at one provider, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobTimes {
    /// From asking to the job's arrival, and back.
    pub(super) rtt: u64,
    /// On the device, to the first token.
    pub(super) first: u64,
    /// From the first token to the last, with the waits for vouchers.
    pub(super) rest: u64,
}

impl World {
    pub(super) fn new(seed: u64, plan: &Plan, matrix: &Matrix) -> Self {
        let mut random = Random::new(&[seed]);
        let regions = matrix.names().len();
        let rtt_us = (0..regions).map(|i| (0..regions).map(|j| matrix.rtt_us(i, j)).collect()).collect();
        let mut world = Self {
            seed,
            providers: (0..plan.providers).map(|i| provider(i, regions, &mut random)).collect(),
            buyers: (0..BUYERS).map(|_| node(regions, &mut random)).collect(),
            orders: Vec::new(),
            region_names: matrix.names().to_vec(),
            rtt_us,
        };
        world.place_nodes(&mut random);
        world.advertise();
        world.orders = world.orders(plan, &mut random);
        world
    }

    /// The number of a provider.
    pub(super) fn number_of(&self, provider: &PublicKey) -> Option<usize> {
        self.providers.iter().position(|known| known.advert.provider == *provider)
    }

    /// The mean round trip between a buyer and a provider, in microseconds.
    pub(super) fn rtt_us(&self, buyer: usize, provider: usize) -> u64 {
        self.between(&self.buyers[buyer], &self.providers[provider].node)
    }

    fn between(&self, a: &Node, b: &Node) -> u64 {
        self.rtt_us[a.region][b.region] + a.access_us + b.access_us
    }

    /// Round trips of pings of a buyer to a provider.
    pub(super) fn pings(&self, buyer: usize, provider: usize, order: usize, count: usize) -> Vec<u64> {
        let mut random = Random::new(&[self.seed, 1, buyer as u64, provider as u64, order as u64]);
        let mean = self.rtt_us(buyer, provider);
        (0..count).map(|_| jittered(mean, &mut random)).collect()
    }

    /// What an order takes at a provider: the same whoever chooses it.
    pub(super) fn times(&self, order: usize, provider: usize) -> Option<JobTimes> {
        let (wanted, offer) = (&self.orders[order], &self.providers[provider]);
        let mut random = Random::new(&[self.seed, 2, order as u64, provider as u64]);
        let slowness = offer.slowness * random.between(0.98, 1.02);
        let (first, all) = compute_us(&offer.advert, &wanted.order, slowness)?;
        let rtt = jittered(self.rtt_us(wanted.buyer, provider), &mut random);
        let lost = if random.unit() < LOSS { RESEND_US.max(2.0 * rtt as f64) } else { 0.0 };
        let chunks = wanted.order.output_tokens.div_ceil(CHUNK_TOKENS_MAX as u32);
        let waits = rtt * u64::from(chunks.saturating_sub(1));
        Some(JobTimes { rtt, first, rest: all - first + waits + lost as u64 })
    }

    /// Lets all nodes find their coordinates, as pings between peers do.
    fn place_nodes(&mut self, random: &mut Random) {
        let nodes: Vec<&Node> =
            self.providers.iter().map(|provider| &provider.node).chain(&self.buyers).collect();
        let count = nodes.len();
        let rtts: Vec<Vec<u64>> =
            nodes.iter().map(|a| nodes.iter().map(|b| self.between(a, b)).collect()).collect();
        let mut placed: Vec<Vivaldi> =
            (0..count).map(|i| Vivaldi::new(Coordinate::UNKNOWN, i as u64 + 1)).collect();
        let neighbours: Vec<Vec<usize>> =
            (0..count).map(|_| (0..NEIGHBOURS).map(|_| random.below(count)).collect()).collect();
        for _ in 0..SAMPLES {
            for i in 0..count {
                let other = neighbours[i][random.below(NEIGHBOURS)];
                let mut pings: Vec<u64> = (0..3).map(|_| jittered(rtts[i][other], random)).collect();
                pings.sort_unstable();
                let theirs = placed[other].coordinate();
                // A node learns nothing from itself, and nothing else can be refused here.
                if other != i {
                    let _ = placed[i].learn(&theirs, pings[1], 0);
                }
            }
        }
        let (providers, buyers) = placed.split_at(self.providers.len());
        self.providers.iter_mut().zip(providers).for_each(|(it, at)| it.node.coordinate = at.coordinate());
        self.buyers.iter_mut().zip(buyers).for_each(|(it, at)| it.coordinate = at.coordinate());
    }

    fn advertise(&mut self) {
        for provider in &mut self.providers {
            provider.advert.coordinate = Some(provider.node.coordinate);
            provider.advert.region = Some(self.region_names[provider.node.region].clone());
        }
    }

    /// Orders that come at random, so that all providers together are as busy as the plan says.
    fn orders(&self, plan: &Plan, random: &mut Random) -> Vec<Wanted> {
        let typical = self.typical_us();
        let slots: usize = self.providers.iter().map(|provider| provider.slots).sum();
        let apart = typical / slots as f64 / (f64::from(plan.load_percent.max(1)) / 100.0);
        let mut at = 0.0;
        (0..plan.orders)
            .map(|nonce| {
                at += random.wait(apart);
                self.wanted(nonce as u64, at as u64, random)
            })
            .collect()
    }

    /// How long an average job keeps a slot of an average provider, its waits for vouchers included.
    fn typical_us(&self) -> f64 {
        let mut random = Random::new(&[self.seed, 3]);
        let (mut sum, samples) = (0.0, 400);
        for _ in 0..samples {
            let wanted = self.wanted(0, 0, &mut random);
            let provider = random.below(self.providers.len());
            let offer = &self.providers[provider];
            let all = compute_us(&offer.advert, &wanted.order, offer.slowness).map_or(0, |(_, all)| all);
            let chunks = u64::from(wanted.order.output_tokens.div_ceil(CHUNK_TOKENS_MAX as u32));
            sum += (all + chunks.saturating_sub(1) * self.rtt_us(wanted.buyer, provider)) as f64;
        }
        sum / f64::from(samples)
    }

    fn wanted(&self, nonce: u64, at_us: u64, random: &mut Random) -> Wanted {
        let buyer = random.below(BUYERS);
        let (prompt, output) = (random.doubling(32.0, 1_024.0) as u32, random.doubling(32.0, 512.0) as u32);
        let usual_us = f64::from(prompt) * 1e6 * WORK.layers as f64 / PREFILL
            + f64::from(output) * 1e6 * (WORK.layers + WORK.head) as f64 / DECODE;
        let limit_us = (usual_us * random.between(0.8, 2.0) + 500_000.0) as u64;
        // A second late is worth a twentieth of what the job costs, up to half of it.
        let usual_cost = usual_us * USUAL_ASK / 3_600e6;
        let per_ms = (usual_cost * random.between(0.05, 0.5) / 1_000.0).ceil() as u64;
        let soft = LimitKind::Soft { per_ms: Credits(per_ms) };
        let order = Order {
            version: PROTOCOL_VERSION,
            network: NETWORK,
            client: buyer_key(buyer).public(),
            nonce,
            issued_at: Timestamp(0),
            expires_at: Timestamp(u64::MAX),
            model: MODEL,
            prompt_tokens: prompt,
            output_tokens: output,
            price_max: PricePerHour(PRICE_MAX),
            total_max: Credits(u64::MAX),
            ttft: None,
            total_time: Some(LatencyLimit { limit: Millis(limit_us / 1_000), kind: soft }),
            regions: Vec::new(),
            jurisdictions: Vec::new(),
            calibrated_by: Vec::new(),
            stake_min: Credits::ZERO,
            verification: Verification::Receipt,
            tier: Tier::OnDemand,
            data: DataClass::Any,
            tag: None,
        };
        let order = buyer_key(buyer).sign(order).verify().expect("it was just signed");
        Wanted { at_us, buyer, order, limit_us, per_ms }
    }
}

/// Microseconds on the device to the first token, and to the last.
fn compute_us(advert: &Advert, order: &Order, slowness: f64) -> Option<(u64, u64)> {
    let time = |output| advert.device.rates.time(&WORK, order.prompt_tokens, output);
    let micros = |ns: u64| (ns as f64 * slowness / 1_000.0) as u64;
    Some((micros(time(1)?.0), micros(time(order.output_tokens)?.0)))
}

fn jittered(mean_us: u64, random: &mut Random) -> u64 {
    let factor = 1.0 + random.between(-JITTER, JITTER);
    let outlier = if random.unit() < OUTLIER { 3.0 } else { 1.0 };
    (mean_us as f64 * factor * outlier) as u64
}

fn node(regions: usize, random: &mut Random) -> Node {
    let access_us = random.between(500.0, 7_500.0) as u64;
    Node { region: random.below(regions), access_us, coordinate: Coordinate::UNKNOWN }
}

fn buyer_key(number: usize) -> SecretKey {
    SecretKey::from_seed([200 + number as u8; 32])
}

fn provider_key(number: usize) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SecretKey::from_seed(seed)
}

/// Most keep their word within a few per cent; one in eight is up to half slower than it says.
fn provider(number: usize, regions: usize, random: &mut Random) -> Provider {
    let (node, key) = (node(regions, random), provider_key(number));
    let speed = random.doubling(0.5, 2.0);
    let slots = 1 + random.below(4);
    let boasts = random.below(8) == 0;
    let slowness = if boasts { random.between(1.1, 1.5) } else { random.between(0.97, 1.03) };
    let ask = PricePerHour((random.doubling(0.5, 2.0) * USUAL_ASK) as u64);
    let advert = idle_advert(key.public(), ask, speed, slots as u16);
    Provider { key, node, slots, advert, slowness }
}

fn idle_advert(provider: PublicKey, ask: PricePerHour, speed: f64, slots: u16) -> Advert {
    let rate = |usual: f64| WorkRate((usual * speed) as u64);
    Advert {
        version: PROTOCOL_VERSION,
        network: NETWORK,
        provider,
        addresses: Vec::new(),
        sequence: 1,
        issued_at: Timestamp(0),
        expires_at: Timestamp(u64::MAX),
        device: Device {
            class: DeviceClass::Cpu,
            name: "simulated".into(),
            backend: "none".into(),
            memory_bytes: 1 << 30,
            threads: 1,
            numerics: NUMERICS_VERSION,
            rates: Rates { prefill: rate(PREFILL), decode: rate(DECODE) },
            rate_source: RateSource::SelfMeasured,
        },
        models: vec![ModelOffer { model: MODEL, work: WORK, context: 8_192 }],
        ask,
        spot: None,
        slots_free: slots,
        queued: 0,
        region: None,
        jurisdiction: None,
        coordinate: None,
        quote: None,
    }
}
