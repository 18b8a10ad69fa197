use super::*;
use crate::{
    arbitrary::key,
    market::{
        coordinate::{DIMENSIONS, ERROR_PPM_MAX},
        costs::BuyerCosts,
        estimate::TtftHistory,
        order::{LatencyLimit, LimitKind, Order},
    },
    sample,
    units::{Credits, Millis},
};

const PINGED: Latency = Latency { ewma_us: 30_000, p95_us: 40_000, samples: PINGS_MIN };

fn coordinate(first_us: i32, error_ppm: u32) -> Coordinate {
    let mut position_us = [0; DIMENSIONS];
    position_us[0] = first_us;
    Coordinate { position_us, error_ppm, ..Coordinate::UNKNOWN }
}

/// Providers `first_us` apart on a line.
fn adverts(first_us: impl IntoIterator<Item = i32>) -> Vec<Verified<Advert>> {
    let signed = |(i, first_us)| {
        let (key, coordinate) = (key(2 + i as u8), Some(coordinate(first_us, 1_000)));
        key.sign(Advert { provider: key.public(), coordinate, ..sample::advert() }).verify().unwrap()
    };
    first_us.into_iter().enumerate().map(signed).collect()
}

/// An order that wants its first token soon.
fn order() -> Verified<Order> {
    let soon = LatencyLimit { limit: Millis(0), kind: LimitKind::Soft { per_ms: Credits(9) } };
    let order = Order { ttft: Some(soon), total_time: None, ..sample::order() };
    key(sample::CLIENT).sign(order).verify().unwrap()
}

type Known = BTreeMap<PublicKey, Measured>;

/// Whom a search pings next.
fn next(search: &mut Search, adverts: &[Verified<Advert>], measured: &Known) -> Vec<PublicKey> {
    next_for(&order(), search, adverts, measured)
}

fn next_for(
    order: &Verified<Order>,
    search: &mut Search,
    adverts: &[Verified<Advert>],
    measured: &Known,
) -> Vec<PublicKey> {
    let matcher = Matcher { order, numerics: sample::NUMERICS, now: sample::NOW, costs: &BuyerCosts::NONE };
    search.next(&Knowledge { here: here(), measured }, &matcher, adverts)
}

fn here() -> Whereabouts<'static> {
    Whereabouts { coordinate: Some(coordinate(0, 1_000)), region: None }
}

/// Everybody is pinged and found as `found` says, until nobody is left to ping: so many each time.
fn search(
    adverts: &[Verified<Advert>],
    measured: &Known,
    found: impl Fn(usize) -> Option<Latency>,
) -> (Search, Vec<usize>) {
    search_for(&order(), adverts, measured, found)
}

fn search_for(
    order: &Verified<Order>,
    adverts: &[Verified<Advert>],
    measured: &Known,
    found: impl Fn(usize) -> Option<Latency>,
) -> (Search, Vec<usize>) {
    let (mut search, mut rounds) = (Search::default(), Vec::new());
    loop {
        let next = next_for(order, &mut search, adverts, measured);
        if next.is_empty() {
            return (search, rounds);
        }
        rounds.push(next.len());
        let number = |one: &PublicKey| adverts.iter().position(|advert| advert.provider == *one).unwrap();
        search.take_in(next.into_iter().map(|one| (one, found(number(&one)))).collect());
    }
}

fn reach(search: &Search, advert: &Advert) -> Reach {
    search.measured(&Knowledge { here: here(), measured: &Known::new() }, advert).reach
}

#[test]
fn pings_come_before_coordinates_and_coordinates_before_geography() {
    let few = Latency { samples: PINGS_MIN - 1, ..PINGED };
    assert_eq!(round_trip(Some(PINGED), Some(7)), Some(PINGED));
    assert_eq!(round_trip(Some(few), Some(7)).map(|it| (it.ewma_us, it.samples)), Some((7, 0)));
    assert_eq!(round_trip(Some(few), None), Some(few));
    assert_eq!(round_trip(None, None), None);

    let here = Whereabouts { coordinate: Some(coordinate(0, 1_000)), region: Some("us-va") };
    let sure = Whereabouts { coordinate: Some(coordinate(90_000, 1_000)), region: Some("de") };
    assert_eq!(here.guess_us(&sure), Some(90_020));
    let unsure = Whereabouts { coordinate: Some(coordinate(90_000, ERROR_PPM_MAX)), ..sure };
    let by_region = here.guess_us(&unsure);
    assert!(by_region.is_some_and(|us| (120_000..140_000).contains(&us)), "{by_region:?}");
    assert_eq!(here.guess_us(&Whereabouts { region: None, ..unsure }), None);
}

#[test]
fn a_coordinate_that_claims_more_than_light_can_do_is_not_believed() {
    let here = Whereabouts { coordinate: Some(coordinate(0, 1_000)), region: Some("us-va") };
    let near = Whereabouts { coordinate: Some(coordinate(1_000, 1_000)), region: Some("sg") };
    assert_eq!(here.guess_us(&near), guess_us("us-va", "sg"));
    assert_eq!(
        here.guess_us(&Whereabouts { region: None, ..near }),
        Some(1_020),
        "there it claims no region"
    );
}

#[test]
fn a_thousand_offers_are_not_a_thousand_pings() {
    let adverts = adverts((0..200).map(|i| (200 - i) * 1_000));
    let mut search = Search::default();
    let first = next(&mut search, &adverts, &Known::new());
    let nearest: Vec<PublicKey> =
        adverts.iter().rev().take(SHORTLIST).map(|advert| advert.provider).collect();
    assert_eq!(first, nearest);
    search.take_in(first.iter().map(|one| (*one, Some(Latency { ewma_us: 1, ..PINGED }))).collect());
    assert_eq!(next(&mut search, &adverts, &Known::new()), [], "the best is known now");
    assert_eq!(
        (reach(&search, &adverts[199]), reach(&search, &adverts[0])),
        (Reach::Answered, Reach::NotAsked)
    );
}

#[test]
fn where_pings_disappoint_the_next_best_are_pinged() {
    let adverts = adverts((0..40).map(|i| i * 1_000));
    let far = Some(Latency { ewma_us: 900_000, ..PINGED });
    let (found, rounds) = search(&adverts, &Known::new(), |_| far);
    assert_eq!(rounds, [SHORTLIST; SHORTLIST_ROUNDS as usize]);
    assert_eq!(reach(&found, &adverts[23]), Reach::Answered);
    assert_eq!(reach(&found, &adverts[24]), Reach::GivenUp, "nobody wins by a guess");
}

#[test]
fn adverts_that_nobody_stands_behind_do_not_use_up_the_rounds() {
    let adverts = adverts((0..81).map(|i| i * 1_000));
    let last = |i| (i == 80).then_some(PINGED);
    let (found, rounds) = search(&adverts, &Known::new(), last);
    assert_eq!(rounds, [8, 16, 24, 24, 9]);
    assert_eq!((reach(&found, &adverts[0]), reach(&found, &adverts[80])), (Reach::Silent, Reach::Answered));
    let (found, rounds) = search(&adverts[..80], &Known::new(), |_| None);
    assert_eq!(rounds.iter().sum::<usize>(), 80);
    assert!(adverts[..80].iter().all(|advert| reach(&found, advert) == Reach::Silent));
}

#[test]
fn a_search_among_the_dead_ends_and_reaches_whoever_served_before() {
    let adverts = adverts((0..97).map(|i| i * 1_000));
    let (found, rounds) = search(&adverts, &Known::new(), |_| None);
    assert_eq!(rounds, [8, 16, 24, 24, 24]);
    let left: Vec<_> = adverts.iter().filter(|advert| reach(&found, advert) != Reach::Silent).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(reach(&found, left[0]), Reach::NotAsked, "it may still be tried: nobody else answers");

    let history = Some(TtftHistory { ewma_us: 1, p95_us: 1, samples: 1 });
    let served = adverts[96].provider;
    let known = Known::from([(served, Measured { history, ..Measured::default() })]);
    let (found, rounds) = search(&adverts, &known, |i| (i == 96).then_some(PINGED));
    assert_eq!(rounds[0], 9);
    assert_eq!(found.pinged()[&served], Some(PINGED));
    assert_eq!(reach(&found, &adverts[20]), Reach::Silent, "nearer ones are tried all the same");
    assert_eq!(reach(&found, &adverts[95]), Reach::NotAsked, "it is no better");
}

/// Two hundred adverts that look better than any honest one, and nobody behind them: one of twenty that are there is found
/// all the same, but for one search in a hundred (the chance that 44 lots of 220 miss 20 is 0.8 %).
#[test]
fn no_flood_of_adverts_hides_who_is_there() {
    let adverts = adverts((0..220).map(|i| i * 1_000));
    let is_there = |i: usize| (i >= 200).then_some(PINGED);
    let finds = |nonce: &u64| {
        let order = Order { nonce: *nonce, ..order().into_signed().body };
        let order = key(sample::CLIENT).sign(order).verify().unwrap();
        let (found, rounds) = search_for(&order, &adverts, &Known::new(), is_there);
        assert!(rounds.iter().sum::<usize>() <= 120, "{rounds:?}");
        found.pinged().values().any(Option::is_some)
    };
    assert!((0..24).filter(finds).count() >= 23);
}

#[test]
fn a_round_trip_is_held_against_what_light_can_do() {
    let advert = &adverts([0])[0];
    let known = Known::new();
    let knowledge = |region| Knowledge { here: Whereabouts { region, ..here() }, measured: &known };
    let light_us = |region| Search::default().measured(&knowledge(region), advert).light_us;
    assert_eq!(light_us(None), 0);
    assert_eq!(light_us(Some("sg")), super::light_us(Some("sg"), advert.region.as_deref()));
    assert!(light_us(Some("sg")) > 50_000);
}
