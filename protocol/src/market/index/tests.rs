use std::sync::LazyLock;

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    arbitrary::key,
    limits::SPOT_NOTICE_MS_MIN,
    market::{
        advert::{Advert, ModelOffer},
        costs::BuyerCosts,
        estimate::{Latency, Measured, TtftHistory},
        tier::Spot,
    },
    sample,
    signed::Verified,
    units::{Credits, Millis, PricePerHour},
    work::Rates,
};

/// Traffic and runs in vain cost this buyer about as much as a job.
static COSTS: LazyLock<BuyerCosts> = LazyLock::new(|| BuyerCosts {
    home: Some("eu-de".into()),
    egress_per_gib: Credits(300_000_000),
    retry: Credits(400),
});

const MODELS: [ModelId; 2] = [ModelId([3; 32]), ModelId([4; 32])];

fn advert(seed: u8, change: impl FnOnce(&mut Advert)) -> Verified<Advert> {
    let mut advert = Advert { provider: key(seed).public(), ..sample::advert() };
    change(&mut advert);
    key(seed).sign(advert).verify().unwrap()
}

fn order(change: impl FnOnce(&mut Order)) -> Verified<Order> {
    let mut order = Order { regions: Vec::new(), ttft: None, total_time: None, ..sample::order() };
    change(&mut order);
    key(sample::CLIENT).sign(order).verify().unwrap()
}

fn matcher(order: &Verified<Order>) -> Matcher<'_> {
    Matcher { order, numerics: sample::NUMERICS, now: sample::NOW, costs: &COSTS }
}

/// Whom the index chooses and whom the whole list does, with the scores.
fn both(order: &Verified<Order>, offers: &[Offer<'_>]) -> [Option<([u8; 32], Score)>; 2] {
    let told =
        |best: Option<(Offer<'_>, Score)>| best.map(|(offer, score)| (offer.advert.signed().digest(), score));
    let matcher = matcher(order);
    [told(OfferIndex::new(offers).best(&matcher)), told(matcher.best(offers.iter().copied()))]
}

// ---- offers and orders at random, many of them alike ----

type Made = (Verified<Advert>, Measured);

fn adverts() -> impl Strategy<Value = Vec<Made>> {
    let money = (
        select(vec![
            0u64,
            1,
            999_999,
            1_000_000,
            1_000_001,
            1_500_000,
            2_000_001,
            1_000_000_000_000,
            u64::MAX,
        ]),
        select(vec![0u64, 1, 1_000_000_000, 4_999_999_999, 5_000_000_000, 20_000_000_000, 1 << 60]),
        select(vec![1u64, 20_000_000_000, 5_000_000_000]),
    );
    let place = (
        select(vec![Some("eu-de"), Some("eu-fi"), Some("us-tx"), None]),
        select(vec![Some("DE"), Some("US"), None]),
    );
    let spot = option::of((1..4u64, 0..2u16));
    let state = (0..3u16, 0..2u16, 0..3u64, 0..4u8, any::<bool>(), spot);
    let draws = vec((money, place, state, measured()), 0..16);
    draws.prop_map(|draws| (100..).zip(draws).map(|(seed, draw)| made(seed, draw)).collect())
}

type Money = (u64, u64, u64);
type Place = (Option<&'static str>, Option<&'static str>);
type State = (u16, u16, u64, u8, bool, Option<(u64, u16)>);

fn made(seed: u8, draw: (Money, Place, State, Measured)) -> Made {
    let ((ask, decode, prefill), (region, jurisdiction), state, measured) = draw;
    let (slots_free, queued, age, models, odd, spot) = state;
    let advert = advert(seed, |advert| {
        (advert.slots_free, advert.queued, advert.ask) = (slots_free, queued, PricePerHour(ask));
        advert.spot = spot.map(|(part, held)| {
            let notice = Millis(SPOT_NOTICE_MS_MIN);
            Spot { ask: PricePerHour(ask / part), notice, held }
        });
        advert.device.rates = Rates { prefill: WorkRate(prefill), decode: WorkRate(decode) };
        (advert.region, advert.jurisdiction) = (region.map(Into::into), jurisdiction.map(Into::into));
        advert.issued_at.0 -= age;
        advert.models = model_offers(models, odd);
    });
    (advert, measured)
}

/// Neither, one or both of the models, now and then twice or with another work formula.
fn model_offers(which: u8, odd: bool) -> Vec<ModelOffer> {
    let other = WorkModel { layers: sample::WORK.layers / 2, ..sample::WORK };
    let offer = |model, work| ModelOffer { model, work, context: 2048 };
    let mut offers: Vec<_> =
        (0..2).filter(|bit| which >> bit & 1 == 1).map(|at| offer(MODELS[at], sample::WORK)).collect();
    if odd {
        offers.insert(0, offer(MODELS[0], other));
    }
    offers
}

fn measured() -> impl Strategy<Value = Measured> {
    let times =
        || (select(vec![0u64, 999, 1_000, 90_001, u64::MAX]), select(vec![2_000u64, 400_000, u64::MAX]));
    let latency = option::weighted(0.8, times())
        .prop_map(|times| times.map(|(ewma_us, p95_us)| Latency { ewma_us, p95_us, samples: 9 }));
    let history = option::of((times(), 4..6u32)).prop_map(|history| {
        history.map(|((ewma_us, p95_us), samples)| TtftHistory { ewma_us, p95_us, samples })
    });
    let tries = option::of((0..6u32, select(vec![0u32, 1, 300, u32::MAX])));
    let availability_ppm = option::of(select(vec![0, 800_000, PPM]));
    let own = prop::bool::weighted(0.2);
    (latency, history, tries, availability_ppm, own).prop_map(
        |(latency, history, tries, availability_ppm, own)| Measured {
            own,
            latency,
            history,
            availability_ppm,
            tries: tries.map(|(here, all)| Tries { here, all }),
            ..Measured::default()
        },
    )
}

fn orders() -> impl Strategy<Value = Verified<Order>> {
    let limit = || {
        let per_ms = select(vec![0u64, 1, 300, u64::MAX])
            .prop_map(|per_ms| LimitKind::Soft { per_ms: Credits(per_ms) });
        let kind = prop_oneof![Just(LimitKind::Hard), per_ms];
        option::of((select(vec![0u64, 90, 1_000, 60_000]), kind))
            .prop_map(|limit| limit.map(|(ms, kind)| LatencyLimit { limit: Millis(ms), kind }))
    };
    let money =
        (select(vec![0u64, 1, 816, 817, 818, 1_000_000, u64::MAX]), select(vec![1_000_000u64, u64::MAX]));
    let tokens = (1..3_000u32, 1..600u32);
    let regions = vec(select(vec!["eu-de", "eu-fi", "us-tx", "nowhere"]), 0..3);
    let data = select(vec![DataClass::Any, DataClass::Any, DataClass::LocalOnly]);
    let how = (select(&Tier::ALL[..]), data);
    (limit(), limit(), money, tokens, regions, (any::<bool>(), any::<bool>()), how).prop_map(
        |(ttft, total_time, (total, price), (prompt, output), regions, (german, second), (tier, data))| {
            order(|order| {
                order.data = data;
                (order.ttft, order.total_time) = (ttft, total_time);
                (order.total_max, order.price_max) = (Credits(total), PricePerHour(price));
                (order.prompt_tokens, order.output_tokens) = (prompt, output);
                order.regions = regions.into_iter().map(Into::into).collect();
                order.jurisdictions = german.then(|| "DE".into()).into_iter().collect();
                order.model = MODELS[usize::from(second)];
                order.tier = tier;
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_index_finds_what_the_whole_list_and_the_record_do(made in adverts(), orders in vec(orders(), 1..12)) {
        let offers: Vec<_> = made.iter().map(|(advert, measured)| Offer { advert, measured: *measured }).collect();
        for order in &orders {
            let [indexed, whole] = both(order, &offers);
            prop_assert_eq!(&indexed, &whole);
            let chosen = OfferIndex::new(&offers).best(&matcher(order)).map(|(offer, _)| offer.advert.provider);
            prop_assert_eq!(matcher(order).record(&offers).chosen, chosen);
        }
    }

    #[test]
    fn no_line_promises_more_than_its_offer_costs(made in adverts(), orders in vec(orders(), 1..4)) {
        for (advert, measured) in &made {
            let offer = Offer { advert, measured: *measured };
            let index = OfferIndex::new(&[offer]);
            for order in &orders {
                let Ok(score) = matcher(order).judge(&offer) else { continue };
                let work = &advert.offer_of(&order.model).unwrap().work;
                let shelves = index.shelves.get(&(order.model, PriceList::of(order.tier))).unwrap();
                let shelf = shelves.iter().find(|shelf| shelf.work == *work).unwrap();
                let (job, line) = (index.job(order, work).unwrap(), &shelf.lines[0]);
                prop_assert!(job.allows(line) && !job.ends_before(shelf, line, score.total.0));
                prop_assert!(job.least_score(line) <= score.total.0, "{score:?}");
            }
        }
    }
}

#[test]
fn an_offer_that_only_rounding_makes_the_cheaper_one_is_found() {
    let order =
        order(|order| (order.price_max, order.total_max) = (PricePerHour(u64::MAX), Credits(u64::MAX)));
    let work = sample::WORK.prefill(order.prompt_tokens).unwrap().0
        + sample::WORK.decode(order.prompt_tokens, order.output_tokens).unwrap().0;
    // All of it in 1.9 ns, of which one is billed, for 1,000 micro-credits each; or a thousandth as fast and as dear, less
    // a twentieth, with nothing to round.
    let rate = work * 10 * (1_000_000_000 / 19);
    let priced = |seed, rate, ask| {
        advert(seed, |advert| {
            advert.ask = PricePerHour(ask);
            advert.device.rates = Rates { prefill: WorkRate(rate), decode: WorkRate(rate) };
        })
    };
    let (rounded, plain) =
        (priced(3, rate, 3_600_000_000_000_000), priced(4, rate / 1_000, 3_420_000_000_000));
    let offers = [&rounded, &plain].map(|advert| Offer { advert, measured: Measured::default() });
    let [indexed, whole] = both(&order, &offers);
    assert_eq!(indexed, whole);
    assert_eq!(whole.map(|(digest, _)| digest), Some(rounded.signed().digest()));
}

#[test]
fn a_bound_is_near_the_cost() {
    let (order, advert) = (order(|_| ()), advert(2, |_| ()));
    let offer = Offer { advert: &advert, measured: Measured::default() };
    let index = OfferIndex::new(&[offer]);
    let cost = matcher(&order).judge(&offer).unwrap().cost;
    let line = &index.shelves[&(order.model, PriceList::Ask)][0].lines[0];
    let least = index.job(&order, &sample::WORK).unwrap().least_score(line);
    assert!((cost.0 - 5..=cost.0).contains(&least), "{least} of {cost:?}");
}

#[test]
fn more_places_than_bits_are_told_apart() {
    let place = |at: u8| format!("place-{at}");
    let made: Vec<_> = (0..200)
        .map(|at| {
            advert(at, |advert| {
                advert.provider = key(at).public();
                advert.ask = PricePerHour(1_000_000 + u64::from(at) * 1_000);
                advert.region = Some(place(at));
            })
        })
        .collect();
    let offers: Vec<_> = made.iter().map(|advert| Offer { advert, measured: Measured::default() }).collect();
    let index = OfferIndex::new(&offers);
    for at in [2u8, 126, 127, 128, 199] {
        let order = order(|order| order.regions = vec![place(at)]);
        let (best, _) = index.best(&matcher(&order)).unwrap();
        assert_eq!(best.advert.region, Some(place(at)));
    }
}
