use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    arbitrary::key,
    market::{
        advert::Advert,
        costs::BuyerCosts,
        data_class::DataClass,
        estimate::{self, Latency, Measured},
        mask::Reason,
        matching::{Matcher, Offer},
    },
    sample,
    signed::{PublicKey, Verified},
    units::{Credits, Millis, PricePerHour},
};

type Made = (Verified<Advert>, Measured);

fn order(change: impl FnOnce(&mut Order)) -> Verified<Order> {
    let limits = Order { ttft: None, total_time: None, regions: Vec::new(), ..sample::order() };
    let mut order = Order { total_max: Credits(u64::MAX), ..limits };
    change(&mut order);
    key(sample::CLIENT).sign(order).verify().unwrap()
}

fn offer(seed: u8, own: bool, change: impl FnOnce(&mut Advert)) -> Made {
    let mut advert = Advert { provider: key(seed).public(), ..sample::advert() };
    change(&mut advert);
    let latency = Some(Latency { ewma_us: 2_000, p95_us: 3_000, samples: 9 });
    (key(seed).sign(advert).verify().unwrap(), Measured { latency, own, ..Measured::default() })
}

fn dear(advert: &mut Advert) {
    advert.ask = PricePerHour(2_000_000);
}

fn matcher(order: &Verified<Order>) -> Matcher<'_> {
    Matcher { order, numerics: sample::NUMERICS, now: sample::NOW, costs: &BuyerCosts::NONE }
}

fn offers(made: &[Made]) -> Vec<Offer<'_>> {
    made.iter().map(|(advert, measured)| Offer { advert, measured: *measured }).collect()
}

fn hard(ms: u64) -> Option<LatencyLimit> {
    Some(LatencyLimit { limit: Millis(ms), kind: LimitKind::Hard })
}

fn soft(ms: u64, per_ms: u64) -> Option<LatencyLimit> {
    Some(LatencyLimit { limit: Millis(ms), kind: LimitKind::Soft { per_ms: Credits(per_ms) } })
}

/// Milliseconds of an order's longest job, and so of each that waits.
fn job_ms() -> u64 {
    sample::RATES.time(&sample::WORK, 40, 100).unwrap().0.div_ceil(1_000_000)
}

#[test]
fn an_own_machine_that_is_in_time_is_chosen_though_it_is_dearer() {
    let made =
        [offer(2, true, dear), offer(3, false, |_| ()), offer(4, true, |advert| advert.ask.0 += 500_000)];
    let record = matcher(&order(|_| ())).record(&offers(&made));
    let ranked: Vec<_> = record.candidates.iter().map(|it| (it.provider, it.standing)).collect();
    let [dear, foreign, own] = [&made[0], &made[1], &made[2]].map(|(advert, _)| advert.provider);
    assert_eq!(ranked, [(own, Standing::Own), (dear, Standing::Own), (foreign, Standing::Market)]);
    assert!(record.candidates[2].score < record.candidates[0].score, "and yet it lost");
}

#[test]
fn a_queue_that_would_break_a_hard_limit_sends_the_order_to_the_market_and_is_named() {
    let limit = 2 * job_ms() + 1_000;
    let order = order(|order| order.ttft = hard(limit));
    let chosen = |queued| {
        let made = [offer(2, true, |advert| advert.queued = queued), offer(3, false, dear)];
        matcher(&order).record(&offers(&made))
    };
    for queued in [0, 1, 2] {
        assert_eq!(chosen(queued).chosen, Some(key(2).public()), "{queued} wait");
    }
    let record = chosen(3);
    assert_eq!(record.chosen, Some(key(3).public()));
    let [refusal] = &record.refused[..] else { panic!("{record:?}") };
    assert_eq!((refusal.own, refusal.reason), (true, Reason::TtftOverLimit));
    let late = format!(", limit {limit}: ");
    assert!(
        refusal.detail.contains(&late)
            && refusal.detail.ends_with(&format!("its queue takes {} ms", 3 * job_ms()))
    );
}

#[test]
fn a_late_own_machine_is_left_only_if_the_market_is_the_cheaper_way_out() {
    let limit = job_ms();
    let chosen = |per_ms| {
        let order = order(|order| order.ttft = soft(limit, per_ms));
        let made = [offer(2, true, |advert| advert.queued = 1), offer(3, false, dear)];
        matcher(&order).record(&offers(&made))
    };
    let patient = chosen(1);
    let by_ms = patient.candidates[0].expected_ttft_ms.unwrap() - limit;
    let late = Late { is_first: true, by_ms, queue_ms: job_ms() };
    assert_eq!(
        patient.candidates[0].standing,
        Standing::OwnLate(late),
        "it is late, and still the better one"
    );
    let hasty = chosen(1_000);
    assert_eq!(hasty.chosen, Some(key(3).public()));
    assert_eq!(hasty.candidates[1].standing.late(), Some(late));
    let said = format!("its first token would be {by_ms} ms late, its queue takes {} ms", job_ms());
    assert_eq!(late.to_string(), said);
    assert!(patient.candidates[0].penalty > Credits::ZERO);
}

#[test]
fn an_own_machine_without_a_slot_or_the_model_is_told_and_the_market_serves() {
    let order = order(|_| ());
    let full = |advert: &mut Advert| (advert.slots_free, advert.queued) = (0, 4);
    let made =
        [offer(2, true, full), offer(3, false, |_| ()), offer(4, true, |advert| advert.models.clear())];
    let record = matcher(&order).record(&offers(&made));
    assert_eq!(record.chosen, Some(key(3).public()));
    let mut told: Vec<_> = record.refused.iter().map(|it| (it.reason, it.own, &*it.detail)).collect();
    told.sort_unstable_by_key(|(reason, ..)| *reason);
    let expected = [
        (Reason::ModelNotServed, true, "serves 0 models, not this one"),
        (Reason::NoFreeSlot, true, "no free slot, 4 jobs wait"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_is_own_is_part_of_what_the_record_commits_to() {
    let (order, made) = (order(|_| ()), offer(2, false, |_| ()));
    let mut owned = made.clone();
    owned.1.own = true;
    let considered = |made: Made| matcher(&order).record(&offers(&[made])).considered;
    assert_ne!(considered(made), considered(owned));
}

#[test]
fn resident_data_goes_to_no_own_machine_that_does_not_say_where_it_is() {
    let order = order(|order| (order.data, order.regions) = (DataClass::Resident, vec!["eu-de".into()]));
    let made = [offer(2, true, |advert| advert.region = None), offer(3, false, |_| ())];
    let record = matcher(&order).record(&offers(&made));
    assert_eq!(record.chosen, Some(key(3).public()));
    assert_eq!(record.refused[0].reason, Reason::RegionNotAllowed);
}

// ---- properties over random offers ----

/// Ask, queue, free slots, round trip, whether it is own.
type Draw = (u64, u16, u16, Option<u64>, bool);

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let ask = select(vec![0u64, 900_000, 1_000_000, 1_900_000, 2_000_001]);
    let rtt = option::weighted(0.9, select(vec![1_000u64, 40_000, 300_000]));
    vec((ask, 0..4u16, 0..3u16, rtt, any::<bool>()), 0..10)
}

fn materialise(draws: &[Draw]) -> Vec<Made> {
    let made = |(at, draw): (usize, &Draw)| {
        let (ask, queued, slots_free, rtt, own) = *draw;
        let (advert, measured) = offer(2 + at as u8, own, |advert| {
            (advert.ask, advert.queued, advert.slots_free) = (PricePerHour(ask), queued, slots_free);
        });
        let latency = rtt.map(|us| Latency { ewma_us: us, p95_us: us, samples: 9 });
        (advert, Measured { latency, ..measured })
    };
    draws.iter().enumerate().map(made).collect()
}

fn orders() -> impl Strategy<Value = Verified<Order>> {
    let kind = prop_oneof![
        Just(LimitKind::Hard),
        select(vec![0u64, 1, 3, 1_000]).prop_map(|per_ms| LimitKind::Soft { per_ms: Credits(per_ms) })
    ];
    let limit = || {
        let limit = (0..4 * job_ms(), kind.clone());
        option::of(limit.prop_map(|(ms, kind)| LatencyLimit { limit: Millis(ms), kind }))
    };
    (limit(), limit(), select(&DataClass::ALL[..])).prop_map(|(ttft, total_time, data)| {
        order(|order| {
            (order.ttft, order.total_time, order.data) = (ttft, total_time, data);
            order.regions = vec!["eu-de".into()];
        })
    })
}

/// Whether the machine is expected to break a soft limit, by the times alone.
fn is_late(order: &Order, (advert, measured): &Made) -> bool {
    let Some(times) = estimate::times(order, advert, &advert.models[0], measured) else { return false };
    let late = |limit: Option<LatencyLimit>, ms| {
        limit.is_some_and(|limit| limit.kind != LimitKind::Hard && ms > limit.limit.0)
    };
    late(order.ttft, times.ttft_ms) || late(order.total_time, times.total_ms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The definition: of the own machines that meet the order and are in time the best by score; if there is none, the
    /// best by score of all.
    #[test]
    fn own_machines_serve_as_long_as_they_are_in_time(draws in draws(), order in orders()) {
        let made = materialise(&draws);
        let record = matcher(&order).record(&offers(&made));
        let scored = |made: &Made| {
            let score = matcher(&order).judge(&Offer { advert: &made.0, measured: made.1 }).ok()?;
            Some((score.total, made.0.issued_at, made.0.provider))
        };
        let in_time = |made: &&Made| made.1.own && !is_late(&order, made);
        let own: Option<(_, _, PublicKey)> = made.iter().filter(in_time).filter_map(scored).min();
        let best = own.or_else(|| made.iter().filter_map(scored).min());
        prop_assert_eq!(record.chosen, best.map(|(.., provider)| provider));
        for candidate in &record.candidates {
            let made = made.iter().find(|made| made.0.provider == candidate.provider).unwrap();
            prop_assert_eq!(candidate.standing.is_own(), made.1.own);
            prop_assert_eq!(candidate.standing.late().is_some(), made.1.own && is_late(&order, made));
        }
    }

    #[test]
    fn data_that_is_local_never_meets_a_foreign_offer(draws in draws(), order in orders()) {
        let local = Order { data: DataClass::LocalOnly, ..order.signed().body.clone() };
        let local = key(sample::CLIENT).sign(local).verify().unwrap();
        let made = materialise(&draws);
        let record = matcher(&local).record(&offers(&made));
        prop_assert!(record.candidates.iter().all(|candidate| candidate.standing.is_own()));
        for refusal in record.refused.iter().filter(|refusal| !refusal.own) {
            prop_assert_eq!(refusal.reason, Reason::NotOwn);
        }
        prop_assert_eq!(record.candidates.len() + record.refused.len(), made.len());
    }

    /// More of a queue never brings an order back from the market.
    #[test]
    fn an_order_overflows_once_and_for_all_as_the_queue_grows(order in orders(), ask in 900_000..2_000_000u64) {
        let is_own = |queued| {
            let made = [
                offer(2, true, |advert| (advert.queued, advert.ask) = (queued, PricePerHour(ask))),
                offer(3, false, |_| ()),
            ];
            matcher(&order).record(&offers(&made)).chosen == Some(key(2).public())
        };
        let served: Vec<bool> = (0..8).map(is_own).collect();
        prop_assert!(served.is_sorted_by(|before, after| before >= after), "{served:?}");
    }
}
