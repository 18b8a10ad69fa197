//! What an offer is expected to cost and how long it is expected to take, for one order.
//!
//! All of it is integer arithmetic on what both sides signed and on what the buyer measured itself. The cost is that of
//! the order's longest prompt and output by the work formula and the advert's rates, so it is a ceiling.
//!
//! - first token: the queue, and then one round trip and the prefill with the first token; or, for these two, what the
//!   buyer measured before, once it has seen enough ([`HISTORY_SAMPLES_MIN`]);
//! - last token: the first, the rest of the decoding, and one round trip for each voucher after voucher 0, because a
//!   chunk starts when its voucher arrives; or, for these two, what the buyer measured between tokens;
//! - queue: each waiting job is taken to be as long as this one; where no slot is idle, the notice of the spot job that
//!   leaves its own.

use serde::{Deserialize, Serialize};

use super::{
    advert::{Advert, ModelOffer},
    exploration::Tries,
    order::Order,
};
use crate::{
    layout::Layout,
    limits::CHUNK_TOKENS_MAX,
    units::{Credits, GpuNs, PricePerHour},
};

/// Nanoseconds of a millisecond.
const NS_PER_MS: u128 = 1_000_000;
/// Samples from which on a buyer's own measurements of jobs replace the estimate.
pub const HISTORY_SAMPLES_MIN: u32 = 5;

/// Round-trip time to a provider, measured by the buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Latency {
    /// Exponentially weighted mean, in microseconds.
    pub ewma_us: u64,
    /// 95th percentile, in microseconds.
    pub p95_us: u64,
    /// Pings behind these numbers.
    pub samples: u32,
}

/// Times to the first token that the buyer measured at this provider for prompts of this size, round trip included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TtftHistory {
    /// Exponentially weighted mean, in microseconds.
    pub ewma_us: u64,
    /// 95th percentile, in microseconds.
    pub p95_us: u64,
    /// Jobs behind these numbers.
    pub samples: u32,
}

/// Times from a token to the next that the buyer measured at this provider for prompts of this size, waits for vouchers
/// included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pace {
    /// Exponentially weighted mean, in nanoseconds.
    pub ewma_ns: u64,
    /// 95th percentile, in nanoseconds.
    pub p95_ns: u64,
    /// Jobs behind these numbers.
    pub samples: u32,
}

/// What came of asking a provider whether it is there, just before a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reach {
    /// It was not asked: others looked better.
    #[default]
    NotAsked,
    /// It answered.
    Answered,
    /// It did not.
    Silent,
    /// It was not asked, because too many that looked as good did not answer or were worse than they looked.
    GivenUp,
}

/// What the buyer knows of one provider beside its advert: what it measured, what it saw on the ledger, and whether the
/// machine is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Measured {
    /// Round trips; absent until the provider was pinged.
    pub latency: Option<Latency>,
    /// Whether it answered when it was asked last.
    pub reach: Reach,
    /// The least round trip that light allows from where both say they are, in microseconds; 0 if that is not known.
    pub light_us: u64,
    /// First tokens; absent until a job ran there.
    pub history: Option<TtftHistory>,
    /// The tokens after the first; absent until a job of more than one token ran there.
    pub pace: Option<Pace>,
    /// Share of its runs that the provider served in the last minutes, in parts per million; absent until it was tried.
    pub availability_ppm: Option<u32>,
    /// How often it was tried, for its chance as a newcomer; absent where newcomers get none.
    pub tries: Option<Tries>,
    /// Bonded for the device, not on its way back, and until the session's use is over; absent until the ledger was
    /// asked.
    pub stake: Option<Credits>,
    /// Whether the machine is the buyer's own, by the buyer's own list; no advert can say so.
    pub own: bool,
}

impl Measured {
    /// Appends all numbers, for the hash of what was considered.
    pub fn lay_out(&self, out: &mut Layout) {
        let latency = self.latency.map(|l| (l.ewma_us, l.p95_us, l.samples));
        let history = self.history.map(|h| (h.ewma_us, h.p95_us, h.samples));
        let pace = self.pace.map(|p| (p.ewma_ns, p.p95_ns, p.samples));
        for numbers in [latency, history, pace] {
            match numbers {
                None => out.u8(0),
                Some((ewma, p95, samples)) => out.u8(1).u64(ewma).u64(p95).u32(samples),
            };
        }
        out.u8(self.reach as u8).u64(self.light_us);
        match self.availability_ppm {
            None => out.u8(0),
            Some(ppm) => out.u8(1).u32(ppm),
        };
        match self.tries {
            None => out.u8(0),
            Some(Tries { here, all }) => out.u8(1).u32(here).u32(all),
        };
        match self.stake {
            None => out.u8(0),
            Some(stake) => out.u8(1).u64(stake.0),
        };
        out.u8(self.own.into());
    }
}

impl Measured {
    /// The soonest that [`times`] may expect the first token of any order, in milliseconds: by the means, and at the 95th
    /// percentile. At once where nothing was measured.
    #[must_use]
    pub fn soonest_ms(&self) -> (u64, u64) {
        let history = self.history.filter(|history| history.samples >= HISTORY_SAMPLES_MIN);
        let trip = self.latency.map_or((0, 0), |latency| (latency.ewma_us, latency.p95_us));
        let (mean, p95) = history.map_or(trip, |history| (history.ewma_us, history.p95_us));
        (mean.div_ceil(1_000), p95.div_ceil(1_000))
    }
}

/// Expected times from the buyer's side, in milliseconds, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// To the first token, by mean round trip.
    pub ttft_ms: u64,
    /// To the last token, by mean round trip.
    pub total_ms: u64,
    /// To the first token, 95th percentile of the round trip.
    pub ttft_p95_ms: u64,
    /// To the last token, 95th percentile of the round trip.
    pub total_p95_ms: u64,
    /// How much of each is the wait for jobs that were there before.
    pub queue_ms: u64,
}

/// What an order's longest job costs at this offer, at the ask for its tier. `None` if the numbers overflow.
#[must_use]
pub fn cost(order: &Order, advert: &Advert, model: &ModelOffer, ask: PricePerHour) -> Option<Credits> {
    let time = advert.device.rates.time(&model.work, order.prompt_tokens, order.output_tokens)?;
    ask.amount(time)
}

/// How long an order's longest job takes at this offer. `None` without a round trip, or if the job's reference time
/// overflows. Times beyond 64 bits of milliseconds become the largest, which is over every limit.
#[must_use]
pub fn times(order: &Order, advert: &Advert, model: &ModelOffer, measured: &Measured) -> Option<Times> {
    let latency = measured.latency?;
    let compute = Compute::of(order, advert, model)?;
    let history = measured.history.filter(|history| history.samples >= HISTORY_SAMPLES_MIN);
    let pace = measured.pace.filter(|pace| pace.samples >= HISTORY_SAMPLES_MIN);
    let mean = Seen {
        rtt_us: latency.ewma_us,
        first_us: history.map(|h| h.ewma_us),
        token_ns: pace.map(|p| p.ewma_ns),
    };
    let p95 = Seen {
        rtt_us: latency.p95_us,
        first_us: history.map(|h| h.p95_us),
        token_ns: pace.map(|p| p.p95_ns),
    };
    let (ttft_ms, total_ms) = compute.seen_as(order, &mean);
    let (ttft_p95_ms, total_p95_ms) = compute.seen_as(order, &p95);
    let queue_ms = ceil_ms(compute.queue);
    Some(Times { ttft_ms, total_ms, ttft_p95_ms, total_p95_ms, queue_ms })
}

/// One reading of what was measured: the means, or the percentiles.
struct Seen {
    rtt_us: u64,
    first_us: Option<u64>,
    token_ns: Option<u64>,
}

/// Time on the device, in nanoseconds.
struct Compute {
    queue: u128,
    first_token: u128,
    rest: u128,
}

impl Compute {
    fn of(order: &Order, advert: &Advert, model: &ModelOffer) -> Option<Self> {
        let time =
            |output| -> Option<GpuNs> { advert.device.rates.time(&model.work, order.prompt_tokens, output) };
        let (first, all) = (u128::from(time(1)?.0), u128::from(time(order.output_tokens)?.0));
        let reclaim = u128::from(advert.reclaim_in(order.tier).0) * NS_PER_MS;
        let queue = all * u128::from(advert.queued) + reclaim;
        Some(Self { queue, first_token: first, rest: all.saturating_sub(first) })
    }

    /// First and last token in milliseconds. The sums are of 64-bit numbers times at most 2^17, so 128 bits hold them.
    fn seen_as(&self, order: &Order, seen: &Seen) -> (u64, u64) {
        let rtt = u128::from(seen.rtt_us) * 1_000;
        let started = match seen.first_us {
            Some(us) => u128::from(us) * 1_000,
            None => rtt + self.first_token,
        };
        let tokens = u128::from(order.output_tokens);
        let rest = match seen.token_ns {
            Some(ns) => u128::from(ns) * tokens.saturating_sub(1),
            None => self.rest + rtt * tokens.div_ceil(CHUNK_TOKENS_MAX as u128).saturating_sub(1),
        };
        let ttft = self.queue + started;
        (ceil_ms(ttft), ceil_ms(ttft + rest))
    }
}

fn ceil_ms(ns: u128) -> u64 {
    u64::try_from(ns.div_ceil(NS_PER_MS)).unwrap_or(u64::MAX)
}
