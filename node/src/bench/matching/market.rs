//! A market from a seed: providers and clients in regions, as they might be.

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    id::{ModelId, NetworkId},
    limits::PROTOCOL_VERSION,
    market::{
        advert::{Advert, Device, DeviceClass, ModelOffer, RateSource},
        batch::{Batch, BatchError, Waiting},
        costs::BuyerCosts,
        data_class::DataClass,
        estimate::{Latency, Measured},
        matching::{Matcher, Offer},
        order::{LatencyLimit, LimitKind, Order, Verification},
        tier::Tier,
    },
    signed::{PublicKey, SecretKey, Signable, Verified},
    units::{Credits, Millis, PricePerHour, Timestamp, WorkRate},
    work::{Rates, WorkModel},
};
use rayon::prelude::*;

use crate::bench::{matrix::Matrix, random::Random};

/// When every order and advert is alive.
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// The network, and the one model that all offer and all want: no order gets by with a look at a few.
const NETWORK: NetworkId = NetworkId([1; 32]);
const MODEL: ModelId = ModelId([2; 32]);
/// These buyers count nothing beside the price and the time.
const COSTS: BuyerCosts = BuyerCosts::NONE;
/// A model of seven billion weights.
const WORK: WorkModel = WorkModel { layers: 6_500_000_000, head: 500_000_000, attention: 262_144 };
/// Work per second of the middle device, decoding.
const RATE: f64 = 1e12;
/// How much faster prompts are read.
const PREFILL: f64 = 20.0;
/// What the middle device costs, in micro-credits per hour.
const ASK: f64 = 2e6;
/// Budgets of the time to the first token, in milliseconds: interactive and standard.
const TTFT_MS: [u64; 2] = [300, 1_500];

/// How large a market is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Orders that wait.
    pub(super) orders: usize,
    /// Offers.
    pub(super) offers: usize,
    /// Free slots of all offers together.
    pub(super) slots: usize,
}

impl Size {
    /// So many slots that there are `load_percent` orders for a hundred of them.
    pub(super) const fn at_load(orders: usize, offers: usize, load_percent: usize) -> Self {
        Self { orders, offers, slots: (orders * 100).div_ceil(load_percent) }
    }
}

/// Orders and offers.
pub(super) struct Market {
    adverts: Vec<Verified<Advert>>,
    orders: Vec<Verified<Order>>,
    /// Each order's region.
    homes: Vec<usize>,
    /// What a client of each region measured of each offer.
    measured: Vec<Vec<Measured>>,
}

impl Market {
    /// The market of a seed.
    pub(super) fn drawn(size: Size, regions: &Matrix, seed: u64) -> Self {
        let mut draw = Random::new(&[seed]);
        // Prices differ between regions, as those of power do.
        let dear: Vec<f64> = (0..regions.len()).map(|_| draw.between(0.8, 1.25)).collect();
        let places: Vec<usize> = (0..size.offers).map(|_| draw.below(regions.len())).collect();
        let homes: Vec<usize> = (0..size.orders).map(|_| draw.below(regions.len())).collect();
        let adverts = places.iter().map(|&at| advert(&mut draw, regions.name(at), dear[at]));
        let mut adverts: Vec<Advert> = adverts.collect();
        for _ in 0..size.slots {
            adverts[draw.below(size.offers)].slots_free += 1;
        }
        let orders: Vec<Order> = (0..size.orders).map(|_| order(&mut draw, regions)).collect();
        let measured = |home| places.iter().map(|&at| pinged(regions.rtt_us(home, at))).collect();
        Self {
            adverts: signed(1, adverts, |advert, provider| advert.provider = provider),
            orders: signed(2, orders, |order, client| order.client = client),
            homes,
            measured: (0..regions.len()).map(measured).collect(),
        }
    }

    /// All orders against all offers.
    pub(super) fn batch(&self) -> Result<Batch<'_>, BatchError> {
        let orders = self.orders.iter().zip(&self.homes);
        let waiting =
            orders.map(|(order, &home)| Waiting { order, measured: &self.measured[home], costs: &COSTS });
        let (waiting, adverts): (Vec<_>, Vec<_>) = (waiting.collect(), self.adverts.iter().collect());
        Batch::new(NUMERICS_VERSION, NOW, &waiting, &adverts)
    }

    /// Slots that each offer has free.
    pub(super) fn slots(&self) -> Vec<u16> {
        self.adverts.iter().map(|advert| advert.slots_free).collect()
    }

    /// The offers as they are seen from each region.
    pub(super) fn offers(&self) -> Vec<Vec<Offer<'_>>> {
        let seen = |measured: &Vec<Measured>| {
            let offers = self.adverts.iter().zip(measured);
            offers.map(|(advert, &measured)| Offer { advert, measured }).collect()
        };
        self.measured.iter().map(seen).collect()
    }

    /// What is held against an order's offers, and the order's region.
    pub(super) fn matchers(&self) -> Vec<(usize, Matcher<'_>)> {
        let orders = self.orders.iter().zip(&self.homes);
        orders
            .map(|(order, &home)| {
                (home, Matcher { order, numerics: NUMERICS_VERSION, now: NOW, costs: &COSTS })
            })
            .collect()
    }
}

fn advert(draw: &mut Random, region: &str, dear: f64) -> Advert {
    let speed = draw.between(0.25, 2.0);
    let rate = |factor: f64| WorkRate((RATE * speed * factor) as u64);
    Advert {
        version: PROTOCOL_VERSION,
        network: NETWORK,
        provider: SecretKey::from_seed([0; 32]).public(),
        addresses: Vec::new(),
        sequence: 1,
        issued_at: Timestamp(NOW.0 - draw.below(60_000) as u64),
        expires_at: Timestamp(NOW.0 + 60_000),
        device: Device {
            class: DeviceClass::Gpu,
            name: "drawn".into(),
            backend: "drawn".into(),
            memory_bytes: 1 << 34,
            threads: 0,
            numerics: NUMERICS_VERSION,
            rates: Rates { prefill: rate(PREFILL), decode: rate(1.0) },
            rate_source: RateSource::SelfMeasured,
        },
        models: vec![ModelOffer { model: MODEL, work: WORK, context: 8_192 }],
        ask: PricePerHour((ASK * speed * dear * draw.between(0.7, 1.4)) as u64),
        spot: None,
        slots_free: 0,
        queued: 0,
        region: Some(region.to_owned()),
        jurisdiction: None,
        coordinate: None,
        quote: None,
    }
}

fn order(draw: &mut Random, regions: &Matrix) -> Order {
    let (prompt_tokens, output_tokens) = (16 + draw.below(1_009) as u32, 16 + draw.below(497) as u32);
    let rates = Rates { prefill: WorkRate((RATE * PREFILL) as u64), decode: WorkRate(RATE as u64) };
    let time = rates.time(&WORK, prompt_tokens, output_tokens);
    let usual = time.and_then(|time| PricePerHour(ASK as u64).amount(time)).unwrap_or(Credits::ZERO);
    let allowed = if draw.below(4) == 0 { 1 + draw.below(4) } else { 0 };
    Order {
        version: PROTOCOL_VERSION,
        network: NETWORK,
        client: SecretKey::from_seed([0; 32]).public(),
        nonce: draw.bits(),
        issued_at: Timestamp(NOW.0 - draw.below(1_000) as u64),
        expires_at: Timestamp(NOW.0 + 60_000),
        model: MODEL,
        prompt_tokens,
        output_tokens,
        price_max: PricePerHour((4.0 * ASK) as u64),
        total_max: Credits((usual.0 as f64 * draw.between(0.8, 3.0)) as u64),
        ttft: ttft(draw),
        total_time: None,
        regions: (0..allowed).map(|_| regions.name(draw.below(regions.len())).to_owned()).collect(),
        jurisdictions: Vec::new(),
        calibrated_by: Vec::new(),
        stake_min: Credits::ZERO,
        verification: Verification::Receipt,
        tier: Tier::OnDemand,
        data: DataClass::Any,
        tag: None,
    }
}

/// A third is interactive, a third standard, a sixth would pay for speed, a sixth does not care.
fn ttft(draw: &mut Random) -> Option<LatencyLimit> {
    let hard = |ms| Some(LatencyLimit { limit: Millis(ms), kind: LimitKind::Hard });
    match draw.below(6) {
        0 | 1 => hard(TTFT_MS[0]),
        2 | 3 => hard(TTFT_MS[1]),
        4 => {
            let per_ms = Credits(1 + draw.below(10) as u64);
            Some(LatencyLimit { limit: Millis(TTFT_MS[0]), kind: LimitKind::Soft { per_ms } })
        }
        _ => None,
    }
}

/// Pings on a path with some jitter.
fn pinged(rtt_us: u64) -> Measured {
    let latency = Latency { ewma_us: rtt_us, p95_us: rtt_us + rtt_us / 4, samples: 9 };
    Measured { latency: Some(latency), ..Measured::default() }
}

/// Signs each with a key of its own, that everybody could make: nothing of this has a value.
fn signed<T: Signable + Send>(
    kind: u8,
    bodies: Vec<T>,
    own: impl Fn(&mut T, PublicKey) + Sync,
) -> Vec<Verified<T>> {
    let sign = |(at, mut body): (usize, T)| {
        let mut seed = [kind; 32];
        seed[..8].copy_from_slice(&(at as u64).to_le_bytes());
        let key = SecretKey::from_seed(seed);
        own(&mut body, key.public());
        key.sign(body).verify().expect("a key verifies what it signed")
    };
    bodies.into_par_iter().enumerate().map(sign).collect()
}
