//! One policy in one world, order by order.

use std::collections::BTreeMap;

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    market::{
        advert::Advert,
        costs::BuyerCosts,
        estimate::{self, Latency, Measured},
        history::Run,
        matching::{Candidate, Matcher, Offer},
    },
    signed::Verified,
    units::Timestamp,
};

use super::{
    Outcome, Policy,
    buyer::Buyer,
    world::{JobTimes, Wanted, World},
};

/// How old the newest advert of a provider is that buyers have.
const ADVERT_AGE_US: u64 = 200_000;
/// How long an order for which nobody has a free slot waits until it is matched again.
const AGAIN_US: u64 = 100_000;

/// Adverts by what they say of a provider's load; the same ones come again and again.
type Signed = BTreeMap<(usize, u16, u16), Verified<Advert>>;

/// A world as the choices of one policy make it.
struct Market<'w> {
    world: &'w World,
    policy: Policy,
    /// Of each provider: its jobs, when they arrived and when they end.
    jobs: Vec<Vec<(u64, u64)>>,
    buyers: Vec<Buyer>,
    signed: Signed,
}

/// One order at one provider.
#[derive(Clone, Copy)]
struct Finish {
    sent_us: u64,
    arrives_us: u64,
    /// When the provider has its slot back.
    freed_us: u64,
    first_us: u64,
    /// From the order to its last token at the buyer.
    total_us: u64,
    paid: u64,
    score: u64,
}

/// Runs all orders of `world` by `policy`.
pub(super) fn run(world: &World, policy: Policy) -> Outcome {
    let buyers = (0..world.buyers.len()).map(Buyer::new).collect();
    let jobs = vec![Vec::new(); world.providers.len()];
    let mut market = Market { world, policy, jobs, buyers, signed: Signed::new() };
    let mut outcome = Outcome {
        seed: world.seed,
        policy,
        score: 0,
        paid: 0,
        best: 0,
        orders: world.orders.len(),
        late: 0,
        best_chosen: 0,
        fastest_foreseen: 0,
        pings: 0,
        refusals: 0,
    };
    for order in 0..world.orders.len() {
        market.serve(order, &mut outcome);
    }
    outcome
}

impl Market<'_> {
    /// Matches one order, and asks the chosen, then the next, until somebody has a free slot.
    fn serve(&mut self, order: usize, outcome: &mut Outcome) {
        let asked_us = self.world.orders[order].at_us;
        // No order comes before this one any more. One that is refused again and again takes its slot before those that
        // come meanwhile.
        let oldest_us = asked_us.saturating_sub(ADVERT_AGE_US);
        self.jobs.iter_mut().for_each(|jobs| jobs.retain(|(_, ends)| *ends > oldest_us));
        let mut now = asked_us;
        loop {
            let (candidates, pings) = self.candidates(order, now);
            outcome.pings += pings;
            let numbers: Vec<usize> =
                candidates.iter().filter_map(|candidate| self.world.number_of(&candidate.provider)).collect();
            for number in self.policy.ranked(&candidates).into_iter().map(|place| numbers[place]) {
                if let Some(finish) = self.finish(order, number, now) {
                    let best = self.best(order, asked_us).or(self.best(order, now)).unwrap_or(finish.score);
                    self.count(order, &finish, best, outcome);
                    outcome.fastest_foreseen += usize::from(self.foreseen(order, now, &candidates, &numbers));
                    return self.start(order, number, &finish);
                }
                outcome.refusals += 1;
                now += self.world.rtt_us(self.world.orders[order].buyer, number);
            }
            now += AGAIN_US;
        }
    }

    fn count(&self, order: usize, finish: &Finish, best: u64, outcome: &mut Outcome) {
        outcome.score += finish.score;
        outcome.paid += finish.paid;
        outcome.best += best;
        outcome.late += usize::from(finish.total_us > self.world.orders[order].limit_us);
        outcome.best_chosen += usize::from(finish.score <= best);
    }

    /// The least score that the order can have at any provider whose advert shows a free slot, and which has one, if it
    /// is sent there now.
    fn best(&mut self, order: usize, now_us: u64) -> Option<u64> {
        let adverts = self.adverts(now_us.saturating_sub(ADVERT_AGE_US));
        let feasible = adverts.iter().enumerate().filter(|(_, advert)| advert.slots_free > 0);
        let finishes = feasible.filter_map(|(number, _)| self.finish(order, number, now_us));
        finishes.map(|finish| finish.score).min()
    }

    /// Whether the candidate that was expected to finish first is the one that does, among those with a free slot.
    fn foreseen(&self, order: usize, now_us: u64, candidates: &[Candidate], numbers: &[usize]) -> bool {
        let finish = |number: &usize| self.finish(order, *number, now_us).map(|finish| finish.total_us);
        let all = candidates.iter().zip(numbers);
        let free: Vec<_> =
            all.filter_map(|(it, number)| Some((it.expected_total_ms, finish(number)?))).collect();
        let foreseen = free.iter().min_by_key(|(expected, _)| *expected);
        foreseen.map(|(_, total)| total) == free.iter().map(|(_, total)| total).min()
    }

    /// The offers that meet an order now, best score first, and how many providers were pinged for it.
    fn candidates(&mut self, order: usize, now_us: u64) -> (Vec<Candidate>, usize) {
        let wanted = &self.world.orders[order];
        let now = Timestamp(now_us / 1_000);
        let adverts = self.adverts(now_us.saturating_sub(ADVERT_AGE_US));
        let matcher =
            Matcher { order: &wanted.order, numerics: NUMERICS_VERSION, now, costs: &BuyerCosts::NONE };
        let buyer = &mut self.buyers[wanted.buyer];
        let (measured, pinged) = match self.policy {
            Policy::Ours => {
                buyer.learn(now_us);
                let measured = buyer.remember(now, &wanted.order, &adverts);
                let pinged = buyer.search(self.world, order, &matcher, &adverts, &measured);
                (measured, pinged)
            }
            // The others know every round trip for nothing.
            Policy::CheapestFirst | Policy::FirstTokenFirst => {
                let known = adverts.iter().enumerate().map(|(number, advert)| {
                    let us = self.world.rtt_us(wanted.buyer, number);
                    (advert.provider, Some(Latency { ewma_us: us, p95_us: us, samples: 5 }))
                });
                (BTreeMap::new(), known.collect())
            }
        };
        let offer = |advert: &'_ Verified<Advert>| {
            let known: Measured = measured.get(&advert.provider).copied().unwrap_or_default();
            let latency = pinged.get(&advert.provider).copied().flatten();
            Measured { latency, ..known }
        };
        let offers: Vec<Offer<'_>> =
            adverts.iter().map(|advert| Offer { advert, measured: offer(advert) }).collect();
        (matcher.record(&offers).candidates, pinged.len())
    }

    /// The adverts of all providers, as they stood at `then`, in the order of their numbers.
    fn adverts(&mut self, then_us: u64) -> Vec<Verified<Advert>> {
        let adverts = self.world.providers.iter().enumerate().map(|(number, provider)| {
            let busy = self.jobs[number].iter().filter(|job| job.0 <= then_us && then_us < job.1).count();
            let free = u16::try_from(provider.slots.saturating_sub(busy)).unwrap_or(u16::MAX);
            let queued = u16::try_from(busy.saturating_sub(provider.slots)).unwrap_or(u16::MAX);
            let sign = || {
                let advert = Advert { slots_free: free, queued, ..provider.advert.clone() };
                provider.key.sign(advert).verify().expect("it was just signed")
            };
            self.signed.entry((number, free, queued)).or_insert_with(sign).clone()
        });
        adverts.collect()
    }

    /// What the order comes to at a provider, if it is sent there now; `None` if no slot is free when it arrives.
    fn finish(&self, order: usize, number: usize, now_us: u64) -> Option<Finish> {
        let (wanted, provider) = (&self.world.orders[order], &self.world.providers[number]);
        let JobTimes { rtt, first, rest } = self.world.times(order, number)?;
        let arrives_us = now_us + rtt / 2;
        let running = self.jobs[number].iter().filter(|(_, ends)| *ends > arrives_us).count();
        if running >= provider.slots {
            return None;
        }
        let freed_us = arrives_us + first + rest;
        let total_us = freed_us + rtt / 2 - wanted.at_us;
        let paid =
            estimate::cost(&wanted.order, &provider.advert, &provider.advert.models[0], provider.advert.ask)?
                .0;
        let score = paid + late_penalty(wanted, total_us);
        Some(Finish { sent_us: now_us, arrives_us, freed_us, first_us: rtt + first, total_us, paid, score })
    }

    fn start(&mut self, order: usize, number: usize, finish: &Finish) {
        self.jobs[number].push((finish.arrives_us, finish.freed_us));
        let wanted = &self.world.orders[order];
        let ends_us = wanted.at_us + finish.total_us;
        let took_us = ends_us - finish.sent_us;
        let run = Run::new(Timestamp(ends_us / 1_000), finish.first_us, took_us, wanted.order.output_tokens);
        let provider = self.world.providers[number].advert.provider;
        self.buyers[wanted.buyer].expect(provider, wanted.order.prompt_tokens, ends_us, run);
    }
}

fn late_penalty(wanted: &Wanted, total_us: u64) -> u64 {
    total_us.saturating_sub(wanted.limit_us).div_ceil(1_000) * wanted.per_ms
}
