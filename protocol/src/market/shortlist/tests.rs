use super::*;
use crate::{
    arbitrary::key,
    market::{
        coordinate::{DIMENSIONS, ERROR_PPM_MAX},
        costs::BuyerCosts,
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

fn listed(adverts: &[Verified<Advert>], pinged: &BTreeMap<PublicKey, Option<Latency>>) -> Vec<PublicKey> {
    let order = order();
    let matcher =
        Matcher { order: &order, numerics: sample::NUMERICS, now: sample::NOW, costs: &BuyerCosts::NONE };
    let here = Whereabouts { coordinate: Some(coordinate(0, 1_000)), region: None };
    let measured = BTreeMap::new();
    Knowledge { here, measured: &measured, pinged }.shortlist(&matcher, adverts)
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
    let first = listed(&adverts, &BTreeMap::new());
    let nearest: Vec<PublicKey> =
        adverts.iter().rev().take(SHORTLIST).map(|advert| advert.provider).collect();
    assert_eq!(first, nearest);
    let as_guessed: BTreeMap<_, _> =
        first.iter().map(|one| (*one, Some(Latency { ewma_us: 1, ..PINGED }))).collect();
    assert_eq!(listed(&adverts, &as_guessed), [], "the best is known now");
}

#[test]
fn where_pings_disappoint_the_next_best_are_pinged() {
    let adverts = adverts((0..20).map(|i| i * 1_000));
    let first = listed(&adverts, &BTreeMap::new());
    let far = Some(Latency { ewma_us: 900_000, ..PINGED });
    let worse: BTreeMap<_, _> = first.iter().map(|one| (*one, far)).collect();
    let next: Vec<PublicKey> = adverts[8..16].iter().map(|advert| advert.provider).collect();
    assert_eq!(listed(&adverts, &worse), next);
    let silent: BTreeMap<_, _> = first.iter().map(|one| (*one, None)).collect();
    assert_eq!(listed(&adverts, &silent), next, "who does not answer is no candidate");
}
