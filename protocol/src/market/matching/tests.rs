use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    arbitrary::key,
    id::PostingId,
    market::{
        data_class::DataClass,
        estimate::{HISTORY_SAMPLES_MIN, Latency, Pace, Reach, TtftHistory},
        exploration::Tries,
        order::{LatencyLimit, LimitKind},
        quote::Quote,
        tier::{Spot, Tier},
    },
    sample,
    units::{Millis, PricePerHour, WorkRate},
};

const NOW: Timestamp = sample::NOW;

fn order(change: impl FnOnce(&mut Order)) -> Verified<Order> {
    let mut order = sample::order();
    change(&mut order);
    key(sample::CLIENT).sign(order).verify().unwrap()
}

fn advert(seed: u8, change: impl FnOnce(&mut Advert)) -> Verified<Advert> {
    let mut advert = Advert { provider: key(seed).public(), ..sample::advert() };
    change(&mut advert);
    key(seed).sign(advert).verify().unwrap()
}

fn pinged(ewma_us: u64, p95_us: u64) -> Measured {
    Measured { latency: Some(Latency { ewma_us, p95_us, samples: 9 }), ..Measured::default() }
}

fn soft(ms: u64, per_ms: u64) -> LatencyLimit {
    LatencyLimit { limit: Millis(ms), kind: LimitKind::Soft { per_ms: Credits(per_ms) } }
}

fn near() -> Measured {
    pinged(2_000, 3_000)
}

fn matcher(order: &Verified<Order>) -> Matcher<'_> {
    Matcher { order, numerics: sample::NUMERICS, now: NOW, costs: &BuyerCosts::NONE }
}

/// The one refusal of one offer.
fn refused(order: &Verified<Order>, advert: &Verified<Advert>, measured: Measured) -> (Reason, String) {
    let record = matcher(order).record(&[Offer { advert, measured }]);
    assert_eq!(record.chosen, None);
    let [refusal] = &record.refused[..] else { panic!("one refusal: {record:?}") };
    assert_eq!(refusal.provider, advert.provider);
    (refusal.reason, refusal.detail.clone())
}

fn fits(measured: Measured, change: impl FnOnce(&mut Advert), ordered: impl FnOnce(&mut Order)) -> Score {
    let (order, advert) = (order(ordered), advert(2, change));
    matcher(&order).judge(&Offer { advert: &advert, measured }).unwrap()
}

/// An order and an offer that meet but for one mask, and what is said then.
struct Case {
    order: Verified<Order>,
    advert: Verified<Advert>,
    measured: Measured,
    reason: Reason,
    detail: &'static str,
}

fn offered(change: fn(&mut Advert), reason: Reason, detail: &'static str) -> Case {
    Case { order: order(|_| ()), advert: advert(2, change), measured: near(), reason, detail }
}

fn ordered(change: fn(&mut Order), reason: Reason, detail: &'static str) -> Case {
    Case { order: order(change), advert: advert(2, |_| ()), measured: near(), reason, detail }
}

fn measured(measured: Measured, reason: Reason, detail: &'static str) -> Case {
    Case { measured, ..ordered(|_| (), reason, detail) }
}

fn cases_of_parties_and_model() -> Vec<Case> {
    let own = offered(|_| (), Reason::OwnOffer, "the provider is the client itself");
    vec![
        ordered(|o| o.expires_at = NOW, Reason::OrderExpired, "the order expired 0 ms ago"),
        offered(|a| a.network.0[0] ^= 1, Reason::WrongNetwork, "order and advert are for different networks"),
        Case { advert: advert(sample::CLIENT, |_| ()), ..own },
        offered(|a| a.expires_at = Timestamp(NOW.0 - 5), Reason::Expired, "the advert expired 5 ms ago"),
        ordered(
            |o| o.data = DataClass::LocalOnly,
            Reason::NotOwn,
            "the data may not leave your own machines, and this is none of them",
        ),
        offered(|a| a.device.numerics = 2, Reason::NumericsVersion, "computes with numerics v2, need v1"),
        offered(|a| a.models[0].model.0[0] ^= 1, Reason::ModelNotServed, "serves 1 models, not this one"),
        offered(|a| a.models[0].context = 139, Reason::ContextTooShort, "context of 139 tokens, need 140"),
    ]
}

fn cases_of_places_and_load() -> Vec<Case> {
    vec![
        offered(
            |a| a.region = Some("us-east".into()),
            Reason::RegionNotAllowed,
            "region \"us-east\", allowed eu-de, eu-fi",
        ),
        offered(|a| a.region = None, Reason::RegionNotAllowed, "states no region, allowed eu-de, eu-fi"),
        offered(
            |a| {
                let quote = Quote { client: key(9).public(), posting: PostingId([5; 32]) };
                (a.quote, a.sequence) = (Some(quote), 0);
            },
            Reason::QuotedToAnother,
            "is a quote to fd172438",
        ),
        ordered(
            |o| o.jurisdictions = vec!["FI".into()],
            Reason::JurisdictionNotAllowed,
            "jurisdiction \"DE\", allowed FI",
        ),
        ordered(
            |o| o.calibrated_by = vec![key(8).public(), key(9).public()],
            Reason::NotCalibrated,
            "measured itself, 2 challengers are trusted",
        ),
        ordered(
            |o| o.stake_min = Credits(5_000_000),
            Reason::StakeTooLow,
            "it is not known what is at stake, need 5 credits",
        ),
        Case {
            measured: Measured { stake: Some(Credits(4_999_999)), ..near() },
            ..ordered(
                |o| o.stake_min = Credits(5_000_000),
                Reason::StakeTooLow,
                "4.999999 credits at stake, need 5",
            )
        },
        ordered(
            |o| o.tier = Tier::Spot,
            Reason::TierNotOffered,
            "asks 1 credits/GPU-h on demand, nothing for spot",
        ),
        offered(|a| (a.slots_free, a.queued) = (0, 3), Reason::NoFreeSlot, "no free slot, 3 jobs wait"),
    ]
}

fn cases_of_money() -> Vec<Case> {
    let ask = offered(
        |a| a.ask = PricePerHour(3_200_000),
        Reason::PriceOverLimit,
        "asks 3.2 credits/GPU-h, limit 1",
    );
    vec![
        Case { order: order(|o| o.price_max = PricePerHour(1_000_000)), ..ask },
        offered(
            |a| a.models[0].work.layers = 1 << 60,
            Reason::AmountOverflow,
            "reference time or cost of the longest job is beyond 64 bits",
        ),
        ordered(
            |o| o.total_max = Credits(1),
            Reason::TotalOverLimit,
            "may cost 0.000817 credits, limit 0.000001",
        ),
        ordered(
            |o| o.total_time = Some(soft(0, u64::MAX)),
            Reason::ScoreOverflow,
            "cost of 0.000817 credits and penalties are beyond 64 bits",
        ),
    ]
}

fn cases_of_time() -> Vec<Case> {
    vec![
        measured(
            Measured { reach: Reach::Silent, ..near() },
            Reason::NotReached,
            "did not answer a ping just now",
        ),
        measured(
            Measured { reach: Reach::GivenUp, ..near() },
            Reason::NotReached,
            "was not asked: too many that looked as good did not answer or were worse",
        ),
        measured(
            Measured { light_us: 2_001, ..pinged(2_000, 3_000) },
            Reason::FasterThanLight,
            "round trip of 2000 us, from the region that it states light needs 2001 us",
        ),
        measured(
            Measured::default(),
            Reason::LatencyUnknown,
            "the order limits a time and this provider was not measured",
        ),
        measured(pinged(1, 1_900_000), Reason::TtftOverLimit, "first token after 2120 ms, limit 2000"),
        ordered(
            |o| o.total_time = o.ttft,
            Reason::TotalTimeOverLimit,
            "last token after 2965 ms, limit 2000",
        ),
    ]
}

#[test]
fn every_mask_is_named_with_the_numbers_that_failed() {
    let cases = [cases_of_parties_and_model(), cases_of_places_and_load(), cases_of_money(), cases_of_time()];
    let cases: Vec<Case> = cases.into_iter().flatten().collect();
    for case in &cases {
        let found = refused(&case.order, &case.advert, case.measured);
        assert_eq!(found, (case.reason, case.detail.to_owned()));
    }
    for reason in Reason::ALL {
        assert!(cases.iter().any(|case| case.reason == reason), "{} has a case", reason.name());
    }
}

#[test]
fn the_first_mask_in_order_is_told() {
    let order = order(|o| o.total_max = Credits(0));
    let bad = advert(2, |a| (a.region, a.slots_free, a.ask) = (None, 0, PricePerHour(u64::MAX)));
    assert_eq!(refused(&order, &bad, Measured::default()).0, Reason::RegionNotAllowed);
}

#[test]
fn reason_names_are_stable_and_distinct() {
    let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    assert!(Reason::ALL.is_sorted());
}

#[test]
fn cost_is_what_the_terms_would_bill() {
    let score = fits(near(), |_| (), |o| o.total_time = None);
    let time = sample::RATES.time(&sample::WORK, 40, 100).unwrap();
    assert_eq!(score.cost, sample::advert().ask.amount(time).unwrap());
    assert_eq!((score.penalty, score.total), (Credits(0), score.cost));
}

#[test]
fn hard_limits_hold_at_the_95th_percentile_and_soft_ones_at_the_mean() {
    let jittery = pinged(1_000, 1_700_000);
    let calm = pinged(1_000, 1_000);
    let limits = |o: &mut Order| {
        o.ttft = Some(soft(200, 3));
        o.total_time = None;
    };
    let (a, b) = (fits(jittery, |_| (), limits), fits(calm, |_| (), limits));
    assert_eq!(a.total, b.total, "a soft limit looks at the mean");
    assert_eq!(a.penalty, Credits(3 * (a.times.unwrap().ttft_ms - 200)));
    let hard = order(|o| o.ttft = Some(LatencyLimit { limit: Millis(1_900), kind: LimitKind::Hard }));
    let advert = advert(2, |_| ());
    assert_eq!(refused(&hard, &advert, jittery).0, Reason::TtftOverLimit);
    assert!(matcher(&hard).judge(&Offer { advert: &advert, measured: calm }).is_ok());
}

#[test]
fn enough_history_replaces_the_estimate_and_little_does_not() {
    let with = |samples| Measured {
        history: Some(TtftHistory { ewma_us: 50_000, p95_us: 60_000, samples }),
        ..near()
    };
    let few = fits(with(HISTORY_SAMPLES_MIN - 1), |_| (), |_| ());
    let many = fits(with(HISTORY_SAMPLES_MIN), |_| (), |_| ());
    assert_eq!(few, fits(near(), |_| (), |_| ()));
    assert_eq!(many.times.unwrap().ttft_ms, 50);
    assert_eq!(many.times.unwrap().ttft_p95_ms, 60);
}

#[test]
fn the_measured_pace_replaces_decoding_and_its_round_trips() {
    let with = |samples| Measured {
        history: Some(TtftHistory { ewma_us: 50_000, p95_us: 60_000, samples: HISTORY_SAMPLES_MIN }),
        pace: Some(Pace { ewma_ns: 2_000_000, p95_ns: 3_000_000, samples }),
        ..near()
    };
    let known = fits(with(HISTORY_SAMPLES_MIN), |_| (), |_| ()).times.unwrap();
    assert_eq!((known.total_ms, known.total_p95_ms), (50 + 99 * 2, 60 + 99 * 3), "an order of 100 tokens");
    let little = fits(with(HISTORY_SAMPLES_MIN - 1), |_| (), |_| ()).times.unwrap();
    assert!(little.total_ms > known.total_ms, "the advert's rates are slower");
    let queued = fits(with(HISTORY_SAMPLES_MIN), |a| a.queued = 1, |o| o.ttft = None).times.unwrap();
    assert!(queued.ttft_ms > known.ttft_ms, "whoever waits now waits on top of what was measured");
}

#[test]
fn a_newcomer_is_tried_when_its_discount_reaches_the_best() {
    let order = order(|o| (o.ttft, o.total_time) = (None, None));
    let known = advert(2, |a| a.ask = PricePerHour(1_000_000));
    let newcomer = advert(3, |a| a.ask = PricePerHour(1_050_000));
    let chosen = |all| {
        let tried = |here| Measured { tries: Some(Tries { here, all }), ..near() };
        let offers =
            [Offer { advert: &known, measured: tried(all) }, Offer { advert: &newcomer, measured: tried(0) }];
        let record = matcher(&order).record(&offers);
        assert!(record.candidates.iter().all(|c| c.score.0 + c.discount.0 == c.cost.0 + c.penalty.0));
        record.chosen
    };
    assert_eq!(chosen(HISTORY_SAMPLES_MIN), Some(known.provider), "5 % dearer, its discount is 3 %");
    assert_eq!(chosen(255), Some(newcomer.provider), "by now it is over 5 %");
}

/// An advert that sells spot at this price, and whose slots are held like this.
fn spot(ask: u64, held: u16, slots_free: u16) -> Verified<Advert> {
    advert(2, |a| {
        a.spot = Some(Spot { ask: PricePerHour(ask), notice: Millis(5_000), held });
        a.slots_free = slots_free;
    })
}

#[test]
fn an_order_for_spot_is_held_against_the_price_of_spot_alone() {
    let wanted = |tier, price| {
        order(|o| (o.tier, o.price_max, o.ttft, o.total_time) = (tier, PricePerHour(price), None, None))
    };
    let offered = spot(400_000, 0, 1);
    let judged = |order: &Verified<Order>| {
        let judged = matcher(order).judge(&Offer { advert: &offered, measured: near() });
        judged.map(|score| score.cost).map_err(|failure| failure.reason())
    };
    let time = sample::RATES.time(&sample::WORK, 40, 100).unwrap();
    let cheap = PricePerHour(400_000).amount(time).unwrap();
    assert_eq!(judged(&wanted(Tier::Spot, 400_000)), Ok(cheap), "the ask of a million is no matter");
    assert_eq!(judged(&wanted(Tier::Spot, 399_999)), Err(Reason::PriceOverLimit));
    assert_eq!(judged(&wanted(Tier::OnDemand, 999_999)), Err(Reason::PriceOverLimit));
    assert_eq!(judged(&wanted(Tier::OnDemand, 1_000_000)), Ok(sample::advert().ask.amount(time).unwrap()));
}

#[test]
fn slots_that_spot_jobs_hold_are_for_other_tiers_after_the_notice() {
    let wanted = |tier| order(|o| (o.tier, o.ttft, o.total_time) = (tier, None, None));
    let judged = |tier, advert: &Verified<Advert>| {
        let order = wanted(tier);
        let judged = matcher(&order).judge(&Offer { advert, measured: near() });
        judged.map(|score| score.times.unwrap().ttft_ms).map_err(|failure| failure.reason())
    };
    let (idle, held) = (spot(400_000, 1, 1), spot(400_000, 1, 0));
    let at_once = judged(Tier::OnDemand, &idle).unwrap();
    assert_eq!(judged(Tier::Spot, &idle), Ok(at_once));
    assert_eq!(judged(Tier::OnDemand, &held), Ok(at_once + 5_000));
    assert_eq!(judged(Tier::Spot, &held), Err(Reason::NoFreeSlot), "spot jobs do not reclaim each other");
    assert_eq!(judged(Tier::OnDemand, &spot(400_000, 0, 0)), Err(Reason::NoFreeSlot));
}

#[test]
fn waiting_jobs_and_voucher_round_trips_count() {
    let idle = fits(near(), |_| (), |o| o.ttft = None).times.unwrap();
    let queued = fits(near(), |a| a.queued = 2, |o| o.ttft = None).times.unwrap();
    let job_ms = sample::RATES.time(&sample::WORK, 40, 100).unwrap().0.div_ceil(1_000_000);
    assert!(queued.ttft_ms.abs_diff(idle.ttft_ms + 2 * job_ms) <= 2);
    let far = fits(pinged(102_000, 103_000), |_| (), |o| o.ttft = None).times.unwrap();
    assert_eq!(far.total_ms - idle.total_ms, 100 * 7, "100 tokens take voucher 0 and six more");
}

#[test]
fn ties_go_to_the_earlier_advert_then_to_the_lower_key() {
    let order = order(|_| ());
    let (a, b) = (advert(2, |_| ()), advert(3, |_| ()));
    let early = advert(4, |a| a.issued_at.0 -= 1);
    let offers = |adverts: &[&'static Verified<Advert>]| -> Vec<Offer<'static>> {
        adverts.iter().map(|advert| Offer { advert, measured: near() }).collect()
    };
    let [a, b, early]: [&'static _; 3] = [a, b, early].map(|advert| &*Box::leak(Box::new(advert)));
    let lower = a.provider.min(b.provider);
    assert_eq!(matcher(&order).record(&offers(&[a, b])).chosen, Some(lower));
    assert_eq!(matcher(&order).record(&offers(&[a, b, early])).chosen, Some(early.provider));
}

#[test]
fn a_dearer_offer_wins_by_what_the_soft_limit_says_a_millisecond_is_worth() {
    let (near_dear, far_cheap) =
        (advert(2, |a| a.ask = PricePerHour(1_100_000)), advert(3, |a| a.ask = PricePerHour(1_000_000)));
    let chosen = |per_ms| {
        let order = order(|o| (o.ttft, o.total_time) = (Some(soft(0, per_ms)), None));
        let offers = [
            Offer { advert: &near_dear, measured: pinged(1_000, 1_000) },
            Offer { advert: &far_cheap, measured: pinged(101_000, 101_000) },
        ];
        let best = matcher(&order).best(offers).map(|(offer, _)| offer.advert.provider);
        assert_eq!(matcher(&order).record(&offers).chosen, best);
        best
    };
    // 100 ms nearer for 82 micro-credits more.
    assert_eq!(chosen(0), Some(far_cheap.provider));
    assert_eq!(chosen(1), Some(near_dear.provider));
}

#[test]
fn an_order_meets_those_who_have_as_much_at_stake_as_it_wants() {
    let wanted = order(|o| o.stake_min = Credits(5));
    let advert = advert(2, |_| ());
    let judged = |stake| {
        let measured = Measured { stake, ..near() };
        matcher(&wanted).judge(&Offer { advert: &advert, measured }).map(|_| ()).map_err(|why| why.reason())
    };
    assert_eq!(judged(Some(Credits(5))), Ok(()));
    for stake in [None, Some(Credits::ZERO), Some(Credits(4))] {
        assert_eq!(judged(stake), Err(Reason::StakeTooLow), "{stake:?}");
    }
}

#[test]
fn the_record_commits_to_what_was_considered() {
    let (order, advert) = (order(|_| ()), advert(2, |_| ()));
    let hash = |measured| matcher(&order).record(&[Offer { advert: &advert, measured }]).considered;
    assert_ne!(hash(near()), hash(pinged(2_000, 3_001)));
    assert_ne!(hash(near()), matcher(&order).record(&[]).considered);
    let staked = |stake| hash(Measured { stake, ..near() });
    assert_ne!(staked(None), staked(Some(Credits::ZERO)), "nothing at stake is not unknown");
    assert_ne!(staked(Some(Credits(1))), staked(Some(Credits(2))));
    let tried = |here| hash(Measured { tries: Some(Tries { here, all: 9 }), ..near() });
    assert_ne!(tried(0), tried(1));
    let served = |ppm| hash(Measured { availability_ppm: ppm, ..near() });
    assert_ne!(served(None), served(Some(0)));
    let paced = |ns| hash(Measured { pace: Some(Pace { ewma_ns: ns, p95_ns: 9, samples: 1 }), ..near() });
    assert_ne!(paced(1), paced(2));
    let asked = |reach| hash(Measured { reach, ..near() });
    assert_ne!(asked(Reach::NotAsked), asked(Reach::Answered));
    assert_ne!(hash(near()), hash(Measured { light_us: 1, ..near() }));
    let later = Matcher { now: Timestamp(NOW.0 + 1), ..matcher(&order) };
    assert_ne!(hash(near()), later.record(&[Offer { advert: &advert, measured: near() }]).considered);
    for costs in [
        BuyerCosts { home: Some("eu-de".into()), ..BuyerCosts::NONE },
        BuyerCosts { home: Some(String::new()), ..BuyerCosts::NONE },
        BuyerCosts { egress_per_gib: Credits(1), ..BuyerCosts::NONE },
        BuyerCosts { retry: Credits(1), ..BuyerCosts::NONE },
    ] {
        let other = Matcher { costs: &costs, ..matcher(&order) };
        let record = other.record(&[Offer { advert: &advert, measured: near() }]);
        assert_ne!(record.considered, hash(near()), "{costs:?}");
        assert_eq!(record.costs, costs);
    }
}

#[test]
fn every_term_of_the_score_is_in_the_record() {
    let costs = BuyerCosts { home: None, egress_per_gib: Credits(10_000_000), retry: Credits(200) };
    let order = order(|o| o.ttft = Some(soft(200, 3)));
    let advert = advert(2, |_| ());
    let measured =
        Measured { availability_ppm: Some(900_000), tries: Some(Tries { here: 0, all: 15 }), ..near() };
    let record = Matcher { costs: &costs, ..matcher(&order) }.record(&[Offer { advert: &advert, measured }]);
    let [found] = &record.candidates[..] else { panic!("one candidate: {record:?}") };
    let late = 3 * (found.expected_ttft_ms.unwrap() - 200) + 2 * (found.expected_total_ms.unwrap() - 1_000);
    assert_eq!((found.cost, found.penalty), (Credits(817), Credits(late)));
    // 512 + 160 + 7 x 320 bytes, a tenth of 817 + 200, and four hundredths of 817.
    assert_eq!((found.egress, found.risk, found.discount), (Credits(28), Credits(102), Credits(32)));
    assert_eq!(found.score, Credits(817 + late + 28 + 102 - 32));
}

#[test]
fn what_is_often_away_or_far_loses_by_that_and_is_never_refused_for_it() {
    let (reliable, flaky) = (advert(2, |a| a.ask.0 += 100_000), advert(3, |_| ()));
    let chosen = |availability_ppm, costs: &BuyerCosts| {
        let order = order(|o| (o.ttft, o.total_time) = (None, None));
        let offers = [
            Offer { advert: &reliable, measured: near() },
            Offer { advert: &flaky, measured: Measured { availability_ppm, ..near() } },
        ];
        let record = Matcher { costs, ..matcher(&order) }.record(&offers);
        assert_eq!(record.candidates.len(), 2, "soft terms exclude nobody");
        record.chosen
    };
    assert_eq!(chosen(None, &BuyerCosts::NONE), Some(flaky.provider));
    assert_eq!(
        chosen(Some(950_000), &BuyerCosts::NONE),
        Some(flaky.provider),
        "5% of the run for 10% of price"
    );
    assert_eq!(chosen(Some(800_000), &BuyerCosts::NONE), Some(reliable.provider));
    let hasty = BuyerCosts { retry: Credits(10_000), ..BuyerCosts::NONE };
    assert_eq!(chosen(Some(950_000), &hasty), Some(reliable.provider), "a run in vain is dear to this buyer");
    let near_home =
        BuyerCosts { home: Some("eu-fi".into()), egress_per_gib: Credits(1 << 40), retry: Credits(0) };
    assert_eq!(chosen(None, &near_home), Some(flaky.provider), "both are elsewhere");
}

// ---- properties over random offers ----

/// What varies between offers.
type Draw = (u64, u64, u16, u16, Option<&'static str>, u64, u32, Option<(u64, u64)>);

/// Mostly `usual`, so that many offers fit; else one of `odd`.
fn mostly<T: Clone + std::fmt::Debug + 'static>(usual: Vec<T>, odd: Vec<T>) -> impl Strategy<Value = T> {
    prop_oneof![6 => select(usual), 1 => select(odd)]
}

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let ask = mostly(vec![0, 900_000, 1_000_000, 2_000_000], vec![2_000_001, u64::MAX]);
    let rate = mostly(vec![2_000_000_000, 5_000_000_000, 1 << 60], vec![1u64]);
    let region = mostly(vec![Some("eu-de"), Some("eu-fi")], vec![None, Some("us-east")]);
    let ewma = mostly(vec![0u64, 1_000, 40_000, 300_000], vec![u64::MAX]);
    let p95 = mostly(vec![2_000u64, 90_000], vec![1_900_000, u64::MAX]);
    let latency = prop_oneof![6 => (ewma, p95).prop_map(Some), 1 => Just(None)];
    let (slots, context) = (mostly(vec![1, 2], vec![0]), mostly(vec![140, 2048], vec![0u32]));
    let queued = mostly(vec![0u16, 1], vec![u16::MAX]);
    vec((ask, rate, slots, queued, region, 0..3u64, context, latency), 0..12)
}

fn materialise(draws: &[Draw]) -> Vec<(Verified<Advert>, Measured)> {
    let make = |(i, draw): (usize, &Draw)| {
        let (ask, rate, slots, queued, region, age, context, latency) = *draw;
        let advert = advert(2 + i as u8, |a| {
            a.ask = PricePerHour(ask);
            a.device.rates.decode = WorkRate(rate);
            (a.slots_free, a.queued) = (slots, queued);
            a.region = region.map(Into::into);
            a.issued_at.0 -= age;
            a.models[0].context = context;
        });
        (advert, latency.map_or_else(Measured::default, |(ewma, p95)| pinged(ewma, p95)))
    };
    draws.iter().enumerate().map(make).collect()
}

fn order_draws() -> impl Strategy<Value = Verified<Order>> {
    let kind = || {
        prop_oneof![
            Just(LimitKind::Hard),
            mostly(vec![1u64, 3, 500], vec![0, u64::MAX])
                .prop_map(|x| LimitKind::Soft { per_ms: Credits(x) })
        ]
    };
    let limit = || {
        option::of((mostly(vec![250u64, 9_000], vec![0, 2_000]), kind()))
            .prop_map(|limit| limit.map(|(ms, kind)| LatencyLimit { limit: Millis(ms), kind }))
    };
    (limit(), limit(), any::<bool>(), mostly(vec![1_000_000, u64::MAX], vec![0u64, 700])).prop_map(
        |(ttft, total_time, anywhere, total_max)| {
            order(|o| {
                (o.ttft, o.total_time, o.total_max) = (ttft, total_time, Credits(total_max));
                if anywhere {
                    o.regions.clear();
                }
            })
        },
    )
}

fn offers(made: &[(Verified<Advert>, Measured)]) -> Vec<Offer<'_>> {
    made.iter().map(|(advert, measured)| Offer { advert, measured: *measured }).collect()
}

/// The definition, written apart: all in 128 bits (every input below is far from their end) and floor division.
fn reference_score(order: &Order, advert: &Advert, measured: &Measured) -> Option<u128> {
    let model = &advert.models[0];
    let limited = order.ttft.is_some() || order.total_time.is_some();
    let region = advert.region.as_ref();
    if !(order.regions.is_empty() || region.is_some_and(|place| order.regions.contains(place)))
        || advert.slots_free == 0
        || u64::from(model.context) < 140
        || advert.ask > order.price_max
        || (limited && measured.latency.is_none())
    {
        return None;
    }
    let (p, g) = (40u128, 100u128);
    let [m, h, a] = [model.work.layers, model.work.head, model.work.attention].map(u128::from);
    let [prefill_rate, decode_rate] =
        [advert.device.rates.prefill.0, advert.device.rates.decode.0].map(u128::from);
    let prefill = (p * m + a * p * (p + 1) / 2) * 1_000_000_000 / prefill_rate;
    let first = prefill + h * 1_000_000_000 / decode_rate;
    let passes: u128 = (1..g).map(|i| m + a * (p + i)).sum();
    let all = prefill + (g * h + passes) * 1_000_000_000 / decode_rate;
    let most = u128::from(u64::MAX);
    let cost = u128::from(advert.ask.0) * all / 3_600_000_000_000;
    if all > most || cost > most || cost > u128::from(order.total_max.0) {
        return None;
    }
    let Some(latency) = measured.latency else { return Some(cost) };
    let times = |rtt: u64| {
        let rtt = u128::from(rtt) * 1_000;
        let ttft = rtt + u128::from(advert.queued) * all + first;
        [ttft.div_ceil(1_000_000), (ttft + all - first + 6 * rtt).div_ceil(1_000_000)]
    };
    let mut score = cost;
    let expected = times(latency.ewma_us).into_iter().zip(times(latency.p95_us));
    for (limit, (mean, p95)) in [order.ttft, order.total_time].into_iter().zip(expected) {
        match limit {
            Some(LatencyLimit { limit, kind: LimitKind::Hard }) if p95 > u128::from(limit.0) => return None,
            Some(LatencyLimit { limit, kind: LimitKind::Soft { per_ms } }) => {
                score += mean.saturating_sub(u128::from(limit.0)) * u128::from(per_ms.0);
            }
            _ => {}
        }
    }
    (score <= most).then_some(score)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_order_of_offers_changes_nothing(draws in draws(), order in order_draws(), turn in 0..12usize) {
        let made = materialise(&draws);
        let mut offers = offers(&made);
        let record = matcher(&order).record(&offers);
        if !offers.is_empty() {
            let turn = turn % offers.len();
            offers.rotate_left(turn);
        }
        prop_assert_eq!(&matcher(&order).record(&offers), &record);
        offers.reverse();
        prop_assert_eq!(&matcher(&order).record(&offers), &record);
    }

    #[test]
    fn the_record_is_what_brute_force_finds(draws in draws(), order in order_draws()) {
        let made = materialise(&draws);
        let record = matcher(&order).record(&offers(&made));
        let mut expected: Vec<_> = made
            .iter()
            .filter_map(|(advert, measured)| {
                let score = reference_score(&order, advert, measured)?;
                Some((score, advert.issued_at, advert.provider))
            })
            .collect();
        expected.sort_unstable();
        let found: Vec<_> = record.candidates.iter().map(|c| (u128::from(c.score.0), c.provider)).collect();
        let expected: Vec<_> = expected.into_iter().map(|(score, _, provider)| (score, provider)).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(record.chosen, expected.first().map(|best| best.1));
        prop_assert_eq!(record.refused.len() + record.candidates.len(), made.len());
        let best = matcher(&order).best(offers(&made)).map(|(offer, _)| offer.advert.provider);
        prop_assert_eq!(best, record.chosen, "the short path picks the same");
    }

    #[test]
    fn the_chosen_is_never_dominated(draws in draws(), order in order_draws()) {
        let made = materialise(&draws);
        let record = matcher(&order).record(&offers(&made));
        if let Some((chosen, rest)) = record.candidates.split_first() {
            for other in rest {
                let better = other.cost <= chosen.cost && other.penalty <= chosen.penalty;
                prop_assert!(!better || (other.cost, other.penalty) == (chosen.cost, chosen.penalty));
            }
            prop_assert_eq!(chosen.cost.checked_add(chosen.penalty), Some(chosen.score));
        }
    }

    #[test]
    fn a_worse_offer_changes_nothing(draws in draws(), order in order_draws()) {
        let mut made = materialise(&draws);
        let before = matcher(&order).record(&offers(&made)).chosen;
        prop_assume!(before.is_some());
        let (best, measured) = made.iter().find(|(advert, _)| Some(advert.provider) == before).unwrap().clone();
        let worse = advert(99, |a| {
            *a = Advert { provider: a.provider, ..best.signed().body.clone() };
            a.ask.0 += 1;
            a.issued_at.0 += 1;
        });
        made.push((worse, measured));
        prop_assert_eq!(matcher(&order).record(&offers(&made)).chosen, before);
    }

    /// Repairing just the mask that was named gets the offer past it: the reason is true, and it is the first.
    #[test]
    fn who_was_refused_fails_the_mask_that_is_named(draws in draws(), order in order_draws()) {
        let made = materialise(&draws);
        let record = matcher(&order).record(&offers(&made));
        for refusal in &record.refused {
            let (advert, measured) = made.iter().find(|(a, _)| a.provider == refusal.provider).unwrap();
            let (order, advert, measured) = repaired(&order, advert, *measured, refusal.reason);
            let judged = matcher(&order).judge(&Offer { advert: &advert, measured });
            if let Err(failure) = judged {
                prop_assert!(failure.reason() > refusal.reason, "{refusal:?}, then {failure:?}");
            }
        }
    }
}

fn repaired(
    order: &Verified<Order>,
    advert: &Verified<Advert>,
    mut measured: Measured,
    reason: Reason,
) -> (Verified<Order>, Verified<Advert>, Measured) {
    let (mut wanted, mut offered) = (order.signed().body.clone(), advert.signed().body.clone());
    match reason {
        Reason::ContextTooShort => offered.models[0].context = u32::MAX,
        Reason::RegionNotAllowed => wanted.regions.clear(),
        Reason::NoFreeSlot => offered.slots_free = 1,
        Reason::PriceOverLimit => wanted.price_max = offered.ask,
        Reason::AmountOverflow => {
            (offered.device.rates.decode, offered.ask) = (WorkRate(1 << 60), PricePerHour(0));
        }
        Reason::TotalOverLimit => wanted.total_max = Credits(u64::MAX),
        Reason::LatencyUnknown => measured = pinged(0, 0),
        Reason::TtftOverLimit => wanted.ttft = None,
        Reason::TotalTimeOverLimit => wanted.total_time = None,
        Reason::ScoreOverflow => (wanted.ttft, wanted.total_time) = (None, None),
        other => panic!("these draws never fail {}", other.name()),
    }
    let advert = (2..=255).map(key).find(|key| key.public() == offered.provider).unwrap().sign(offered);
    (key(sample::CLIENT).sign(wanted).verify().unwrap(), advert.verify().unwrap(), measured)
}

#[test]
fn an_order_for_calibrated_rates_meets_those_calibrated_by_whom_it_trusts() {
    let calibrated = key(sample::PROVIDER).sign(sample::calibrated_advert()).verify().unwrap();
    let by = calibrated.device.calibration().expect("it is").challenge.challenger;
    let fit = |trusted: Vec<PublicKey>, advert: &Verified<Advert>| {
        let wanted = Order { calibrated_by: trusted, ..sample::order() };
        let roomy = Order { total_max: Credits(u64::MAX), ttft: None, total_time: None, ..wanted };
        let checked = mask::check(&roomy, sample::NUMERICS, NOW, advert, &Measured::default());
        checked.map(|_| ()).map_err(|failure| (failure.reason(), failure.to_string()))
    };
    let measured_itself = advert(sample::PROVIDER, |_| ());
    assert_eq!(fit(vec![], &measured_itself), Ok(()));
    assert_eq!(fit(vec![by], &measured_itself).map_err(|(reason, _)| reason), Err(Reason::NotCalibrated));
    assert_eq!(fit(vec![key(9).public(), by], &calibrated), Ok(()));
    let detail = format!("calibrated by {}, 1 others are trusted", by.short());
    assert_eq!(fit(vec![key(9).public()], &calibrated), Err((Reason::NotCalibrated, detail)));
}
