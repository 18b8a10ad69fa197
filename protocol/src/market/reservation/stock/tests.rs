use proptest::prelude::*;

use super::*;
use crate::{sample, units::GpuNs};

const NOW: Timestamp = sample::NOW;
const MINUTE: Millis = Millis(60_000);

fn terms() -> ReservationTerms {
    let offer = sample::reservation_offer();
    ReservationTerms {
        price: offer.price,
        standby: offer.standby,
        answer_within: offer.answer_within,
        notice: offer.notice,
        ladder: offer.ladder,
        longest: Millis(100 * MINUTE.0),
    }
}

fn wish(from_min: u64, slots: u16) -> ReservationWish {
    ReservationWish {
        model: sample::reservation_offer().model,
        starts_at: at(from_min),
        slot: MINUTE,
        slots,
        capacity: GpuNs(30_000_000_000),
    }
}

fn at(minutes: u64) -> Timestamp {
    Timestamp(NOW.0 + minutes * MINUTE.0)
}

fn stock(terms: &ReservationTerms) -> Stock<'_> {
    let offer = sample::reservation_offer();
    Stock {
        terms,
        network: offer.network,
        provider: offer.provider,
        device: offer.device,
        serves: ModelOffer { model: offer.model, work: offer.work, context: 2_048 },
        rates: offer.rates,
        measured: Some(offer.rates),
        bonded: Credits(1),
        balance: Credits(u64::MAX),
        clients: Credits(u64::MAX),
        booked: &[],
        booked_max: 32,
    }
}

fn client(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

#[test]
fn an_offer_is_what_was_wished_for_on_the_operators_terms() {
    let terms = terms();
    let stock = stock(&terms);
    let offer = FirmOffers::default().offer(&stock, (client(7), &wish(2, 3)), NOW, 5).unwrap();
    assert_eq!(offer.check_bounds(), Ok(()));
    assert_eq!((offer.client, offer.nonce), (client(7), 5));
    assert_eq!((offer.starts_at, offer.start_of(offer.slots)), (at(2), at(5)));
    assert_eq!((offer.price, offer.standby, &offer.ladder), (terms.price, terms.standby, &terms.ladder));
    assert_eq!(offer.accept_until, NOW.after(OFFER_FIRM).unwrap());
    assert_eq!(offer.answer_within, Millis(MINUTE.0 / 2), "half a slot is left to the client");
    let soon = ReservationWish { starts_at: Timestamp(NOW.0 + 1), ..wish(0, 1) };
    let offer = FirmOffers::default().offer(&stock, (client(7), &soon), NOW, 5).unwrap();
    assert_eq!(offer.accept_until, soon.starts_at, "it stands no longer than until the first slot");
}

#[test]
fn each_reason_is_told() {
    let terms = terms();
    let sound = stock(&terms);
    let said = |stock: &Stock<'_>, wish: &ReservationWish| {
        FirmOffers::default().offer(stock, (client(7), wish), NOW, 1).unwrap_err()
    };
    let other_model = ReservationWish { model: crate::id::ModelId([0; 32]), ..wish(1, 1) };
    assert_eq!(said(&sound, &other_model), NotOffered::ModelNotServed);
    assert_eq!(said(&sound, &wish(0, 1)), NotOffered::Begun);
    assert_eq!(said(&sound, &wish(31 * 24 * 60, 1)), NotOffered::FarAway);
    let too_long = NotOffered::TooLong { wanted: Millis(101 * MINUTE.0), longest: terms.longest };
    assert_eq!(said(&sound, &wish(1, 101)), too_long);
    let mut slower = sample::reservation_offer().rates;
    slower.decode.0 -= 1;
    for measured in [None, Some(slower)] {
        assert_eq!(said(&Stock { measured, ..sound.clone() }, &wish(1, 1)), NotOffered::NotMeasured);
    }
    assert_eq!(said(&Stock { bonded: Credits::ZERO, ..sound.clone() }, &wish(1, 1)), NotOffered::NotStaked);
    let booked = [Window { from: at(1), until: at(3) }];
    assert_eq!(said(&Stock { booked: &booked, ..sound.clone() }, &wish(2, 5)), NotOffered::Taken(booked[0]));
    let one = Stock { booked: &booked, booked_max: 1, ..sound.clone() };
    assert_eq!(said(&one, &wish(3, 1)), NotOffered::Full);
    assert_eq!(said(&Stock { balance: Credits::ZERO, ..sound.clone() }, &wish(1, 1)), NotOffered::NoBond);
    let free = ReservationTerms { price: PricePerHour(0), ..terms.clone() };
    assert!(matches!(said(&stock(&free), &wish(1, 1)), NotOffered::Terms(_)));
}

#[test]
fn both_sides_can_pay_for_all_that_stands() {
    let terms = terms();
    let one = FirmOffers::default().offer(&stock(&terms), (client(1), &wish(1, 1)), NOW, 1).unwrap();
    let (price, bond) = (one.price_of(1), one.bond(0));
    let mut firm = FirmOffers::default();
    let scarce = Stock { balance: Credits(2 * bond.0), clients: price, ..stock(&terms) };
    firm.offer(&scarce, (client(1), &wish(1, 1)), NOW, 1).unwrap();
    let short = NotOffered::ClientShort { price: Credits(2 * price.0), balance: price };
    assert_eq!(firm.offer(&scarce, (client(1), &wish(2, 1)), NOW, 2), Err(short));
    firm.offer(&scarce, (client(2), &wish(2, 1)), NOW, 2).unwrap();
    assert_eq!(firm.offer(&scarce, (client(3), &wish(3, 1)), NOW, 3), Err(NotOffered::NoBond));
}

#[test]
fn who_asks_again_gets_the_same_offer_and_nobody_gets_many() {
    let terms = terms();
    let (stock, mut firm) = (stock(&terms), FirmOffers::default());
    let first = firm.offer(&stock, (client(1), &wish(1, 1)), NOW, 1).unwrap();
    assert_eq!(firm.offer(&stock, (client(1), &wish(1, 1)), NOW, 2).unwrap(), first);
    let window = Window { from: at(1), until: at(2) };
    assert_eq!(firm.offer(&stock, (client(2), &wish(1, 1)), NOW, 3), Err(NotOffered::Taken(window)));
    let inside = ReservationWish { capacity: GpuNs(1_000_000_000), ..wish(1, 1) };
    let other = firm.offer(&stock, (client(1), &inside), NOW, 4).unwrap();
    assert_ne!(other, first, "it may choose between offers of the same time");
    for from in 2..FIRM_OFFERS_TO_ONE_MAX as u64 {
        firm.offer(&stock, (client(1), &wish(from, 1)), NOW, from).unwrap();
    }
    assert_eq!(firm.offer(&stock, (client(1), &wish(5, 1)), NOW, 9), Err(NotOffered::EnoughOffers));
    firm.forget(NOW, &[window_of(&first)]);
    assert_eq!(firm.0.len(), FIRM_OFFERS_TO_ONE_MAX - 2, "what was booked, and what is not free any more");
    firm.offer(&stock, (client(1), &wish(5, 1)), NOW, 9).unwrap();
    firm.forget(Timestamp(NOW.0 + OFFER_FIRM.0), &[]);
    assert!(!firm.is_empty(), "to the last moment");
    firm.forget(Timestamp(NOW.0 + OFFER_FIRM.0 + 1), &[]);
    assert!(firm.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Ask { who: u8, from: u64, slots: u16 },
    Book(prop::sample::Index),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0..4u8, 1..60u64, 1..8u16).prop_map(|(who, from, slots)| Step::Ask { who, from, slots });
    let step = prop_oneof![
        6 => ask,
        2 => any::<prop::sample::Index>().prop_map(Step::Book),
        1 => (0..3u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// Whatever is asked, booked and forgotten: what is booked and what still may be overlaps nowhere, but in offers of which
    /// one client can book one; and the provider can always put up the bond for all of it.
    #[test]
    fn no_time_is_promised_twice(steps in steps(), purse in 0..20_000u64) {
        let terms = terms();
        let (mut firm, mut booked, mut now) = (FirmOffers::default(), Vec::new(), NOW);
        for (nonce, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(minutes) => now = now.after(Millis(minutes * MINUTE.0)).unwrap(),
                Step::Book(index) if !firm.is_empty() => {
                    let offer = firm.0[index.index(firm.0.len())].clone();
                    booked.push(window_of(&offer));
                    firm.forget(now, &booked);
                }
                Step::Book(_) => {}
                Step::Ask { who, from, slots } => {
                    firm.forget(now, &booked);
                    let sides = (Credits(purse * 10), Credits(purse));
                    let stock = Stock { balance: sides.0, clients: sides.1, booked: &booked, ..stock(&terms) };
                    let asked = firm.offer(&stock, (client(who), &wish(from, slots)), now, nonce as u64);
                    prop_assert!(asked.is_err() || asked.unwrap().accept_until >= now);
                    prop_assert!(firm.0.iter().map(|offer| offer.bond(0).0).sum::<u64>() <= sides.0.0);
                }
            }
            let by_all = booked.iter().map(|window| (*window, None));
            let all: Vec<_> = by_all.chain(firm.0.iter().map(|it| (window_of(it), Some(it.client)))).collect();
            for (at, (one, to)) in all.iter().enumerate() {
                let may_overlap = |other: &Option<PublicKey>| to.is_some() && other == to;
                prop_assert!(all[..at].iter().all(|(other, of)| !one.overlaps(other) || may_overlap(of)));
            }
            prop_assert!(all.len() <= 32 && (0..4).all(|n| firm.to(&client(n)).count() <= FIRM_OFFERS_TO_ONE_MAX));
        }
    }
}
