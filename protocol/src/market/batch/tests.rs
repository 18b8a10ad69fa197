use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    arbitrary::key,
    market::{
        estimate::Latency,
        order::{LatencyLimit, LimitKind},
    },
    sample,
    signed::PublicKey,
    units::{Credits, Millis, PricePerHour},
};

const NOW: Timestamp = sample::NOW;

// ---- the assignment alone ----

/// A row of surpluses for each order; what each offer has free. An offer without a slot has no pairs: a mask sees to it.
fn tables() -> impl Strategy<Value = (Vec<Vec<u64>>, Vec<u16>)> {
    let worth = prop_oneof![2 => Just(0), 3 => 1..20u64, 2 => 1_000..1_100u64, 1 => Just(u64::MAX)];
    (1..5usize).prop_flat_map(move |offers| {
        (vec(vec(worth.clone(), offers), 0..6), vec(select(vec![1u16, 1, 2, 3]), offers))
    })
}

fn pairs_of(rows: &[Vec<u64>]) -> Pairs {
    let mut pairs = Pairs::new(rows.len(), rows.first().map_or(0, Vec::len));
    for (order, row) in rows.iter().enumerate() {
        for (offer, &surplus) in row.iter().enumerate().filter(|(_, surplus)| **surplus > 0) {
            pairs.add(order, offer, Credits(surplus), Credits(0));
        }
    }
    pairs
}

/// The most that any placement is worth, by trying all.
fn optimum(rows: &[Vec<u64>], slots: &mut [u16]) -> u128 {
    let Some((row, rest)) = rows.split_first() else { return 0 };
    let mut most = optimum(rest, slots);
    for (offer, &surplus) in row.iter().enumerate() {
        if surplus > 0 && slots[offer] > 0 {
            slots[offer] -= 1;
            most = most.max(u128::from(surplus) + optimum(rest, slots));
            slots[offer] += 1;
        }
    }
    most
}

/// Edge-greedy as it is defined: all pairs sorted.
fn greedy_by_definition(rows: &[Vec<u64>], slots: &[u16]) -> Vec<(usize, usize)> {
    let cells = rows.iter().enumerate().flat_map(|(order, row)| {
        row.iter().enumerate().map(move |(offer, &surplus)| (core::cmp::Reverse(surplus), order, offer))
    });
    let mut cells: Vec<_> = cells.filter(|cell| cell.0.0 > 0).collect();
    cells.sort_unstable();
    let (mut slots, mut placed) = (slots.to_vec(), Vec::new());
    for (_, order, offer) in cells {
        if slots[offer] > 0 && placed.iter().all(|&(other, _)| other != order) {
            slots[offer] -= 1;
            placed.push((order, offer));
        }
    }
    placed.sort_unstable();
    placed
}

fn assert_no_slot_is_sold_twice(plan: &Plan, slots: &[u16]) {
    for (offer, &had) in slots.iter().enumerate() {
        let sold = plan.placed().filter(|&(_, at)| at == offer).count();
        assert_eq!(sold + usize::from(plan.free(offer)), usize::from(had), "offer {offer}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn greedy_is_edge_greedy((rows, slots) in tables()) {
        let mut plan = Plan::new(rows.len(), slots.iter().copied());
        plan.fill(&pairs_of(&rows));
        assert_no_slot_is_sold_twice(&plan, &slots);
        prop_assert_eq!(plan.placed().collect::<Vec<_>>(), greedy_by_definition(&rows, &slots));
    }

    #[test]
    fn bidding_ends_within_a_step_an_order_of_brute_force((rows, slots) in tables()) {
        let pairs = pairs_of(&rows);
        let mut greedy = Plan::new(rows.len(), slots.iter().copied());
        greedy.fill(&pairs);
        let plan = auction::improve(&pairs, &greedy);
        assert_no_slot_is_sold_twice(&plan, &slots);
        let (found, best) = (plan.surplus(&pairs), optimum(&rows, &mut slots.clone()));
        let loss = (greedy.surplus(&pairs) / 32).max(rows.len() as u128);
        prop_assert!(found <= best && best - found <= loss, "{found} of {best}, greedy {}", greedy.surplus(&pairs));
    }
}

#[test]
fn a_chain_of_three_gives_way_where_greedy_is_stuck() {
    // Greedy takes 100 + 80, and the others find their only offers taken.
    let rows = [vec![90, 100, 0], vec![89, 0, 0], vec![0, 79, 80], vec![0, 0, 70]];
    let pairs = pairs_of(&rows);
    let mut greedy = Plan::new(4, [1, 1, 1].into_iter());
    greedy.fill(&pairs);
    assert_eq!(greedy.surplus(&pairs), 100 + 89 + 80);
    assert_eq!(auction::improve(&pairs, &greedy).surplus(&pairs), optimum(&rows, &mut [1, 1, 1]));
    let rows = [vec![100, 99, 0], vec![98, 0, 0], vec![0, 97, 90]];
    let pairs = pairs_of(&rows);
    let mut greedy = Plan::new(3, [1, 1, 1].into_iter());
    greedy.fill(&pairs);
    assert_eq!(greedy.surplus(&pairs), 100 + 97);
    let improved = auction::improve(&pairs, &greedy);
    assert_eq!(improved.placed().collect::<Vec<_>>(), [(0, 1), (1, 0), (2, 2)]);
}

#[test]
fn bids_over_nothing_between_many_alike_end() {
    // A hundred orders want the same three slots, and none can be told from another.
    let rows = vec![vec![1_000, 1_000, 1_000]; 100];
    let pairs = pairs_of(&rows);
    let mut greedy = Plan::new(100, [1, 1, 1].into_iter());
    greedy.fill(&pairs);
    let plan = auction::improve(&pairs, &greedy);
    assert_eq!((plan.placed().count(), plan.surplus(&pairs)), (3, 3_000));
}

// ---- orders and adverts ----

fn order(seed: u8, change: impl FnOnce(&mut Order)) -> Verified<Order> {
    let limits = Order { ttft: None, total_time: None, regions: Vec::new(), ..sample::order() };
    let mut order = Order { client: key(seed).public(), ..limits };
    change(&mut order);
    key(seed).sign(order).verify().unwrap()
}

fn advert(seed: u8, change: impl FnOnce(&mut Advert)) -> Verified<Advert> {
    let mut advert = Advert { provider: key(seed).public(), ..sample::advert() };
    change(&mut advert);
    key(seed).sign(advert).verify().unwrap()
}

fn pinged(us: u64) -> Measured {
    Measured { latency: Some(Latency { ewma_us: us, p95_us: us, samples: 9 }), ..Measured::default() }
}

/// Orders, adverts, and the round trips of each order to each advert.
#[derive(Clone, Debug)]
struct Scene {
    orders: Vec<Verified<Order>>,
    adverts: Vec<Verified<Advert>>,
    measured: Vec<Vec<Measured>>,
}

impl Scene {
    fn solve(&self) -> Outcome {
        let measured = self.measured.iter().map(Vec::as_slice);
        let waiting: Vec<_> = self
            .orders
            .iter()
            .zip(measured)
            .map(|(order, measured)| Waiting { order, measured, costs: &BuyerCosts::NONE })
            .collect();
        let adverts: Vec<_> = self.adverts.iter().collect();
        Batch::new(sample::NUMERICS, NOW, &waiting, &adverts).unwrap().solve()
    }

    fn score(&self, order: usize, offer: usize) -> Option<Score> {
        let matcher = Matcher {
            order: &self.orders[order],
            numerics: sample::NUMERICS,
            now: NOW,
            costs: &BuyerCosts::NONE,
        };
        let offer = Offer { advert: &self.adverts[offer], measured: self.measured[order][offer] };
        matcher.judge(&offer).ok()
    }

    fn rows(&self) -> Vec<Vec<u64>> {
        let surplus = |order: usize, offer| {
            let score = self.score(order, offer)?;
            Some(self.orders[order].total_max.saturating_sub(score.total).0)
        };
        let row = |order| (0..self.adverts.len()).map(|offer| surplus(order, offer).unwrap_or(0)).collect();
        (0..self.orders.len()).map(row).collect()
    }

    /// Who is served by whom, at what score, and what all gain.
    fn told(&self) -> (Vec<(PublicKey, PublicKey, Score)>, u128) {
        let outcome = self.solve();
        let name = |p: &Placement| (self.orders[p.order].client, self.adverts[p.offer].provider, p.score);
        let mut told: Vec<_> = outcome.placements.iter().map(name).collect();
        told.sort_unstable_by_key(|(client, ..)| *client);
        (told, outcome.surplus)
    }

    /// The same, listed from other positions on and backwards.
    fn turned(&self, turn: usize) -> Self {
        let mut other = self.clone();
        let (orders, offers) = (self.orders.len().max(1), self.adverts.len().max(1));
        other.orders.rotate_left(turn % orders);
        other.measured.rotate_left(turn % orders);
        other.adverts.rotate_left(turn % offers);
        other.adverts.reverse();
        for row in &mut other.measured {
            row.rotate_left(turn % offers);
            row.reverse();
        }
        other
    }
}

/// Few different values, so that there are many ties.
fn scenes() -> impl Strategy<Value = Scene> {
    let offer = (
        select(vec![500_000u64, 1_000_000, 1_500_000, 3_000_000]),
        select(vec![0u16, 1, 1, 2, 3]),
        select(vec![Some("eu-de"), Some("eu-fi"), None]),
        0..3u64,
    );
    let limit = select(vec![
        None,
        Some(LatencyLimit { limit: Millis(300), kind: LimitKind::Hard }),
        Some(LatencyLimit { limit: Millis(250), kind: LimitKind::Soft { per_ms: Credits(5) } }),
    ]);
    let total = select(vec![600u64, 900, 1_500, 1_500, 5_000]);
    let order = (total, limit, any::<bool>(), 0..3u64);
    let rtt = select(vec![Some(1_000u64), Some(50_000), Some(120_000), None]);
    (vec(offer, 0..5), vec(order, 0..6)).prop_flat_map(move |(offers, orders)| {
        let row = vec(rtt.clone(), offers.len());
        vec(row, orders.len()).prop_map(move |rtts| scene(&offers, &orders, &rtts))
    })
}

type OfferDraw = (u64, u16, Option<&'static str>, u64);
type OrderDraw = (u64, Option<LatencyLimit>, bool, u64);

fn scene(offers: &[OfferDraw], orders: &[OrderDraw], rtts: &[Vec<Option<u64>>]) -> Scene {
    let adverts = offers.iter().enumerate().map(|(at, &(ask, slots, region, age))| {
        advert(100 + at as u8, |advert| {
            (advert.ask, advert.slots_free) = (PricePerHour(ask), slots);
            advert.region = region.map(Into::into);
            advert.issued_at.0 -= age;
        })
    });
    let orders = orders.iter().enumerate().map(|(at, &(total, ttft, anywhere, age))| {
        order(10 + at as u8, |order| {
            (order.total_max, order.ttft) = (Credits(total), ttft);
            order.issued_at.0 -= age;
            if !anywhere {
                order.regions = vec!["eu-de".into()];
            }
        })
    });
    let measured = |rtt: &Option<u64>| rtt.map_or_else(Measured::default, pinged);
    Scene {
        orders: orders.collect(),
        adverts: adverts.collect(),
        measured: rtts.iter().map(|row| row.iter().map(measured).collect()).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_slot_is_sold_twice_and_no_order_served_twice(scene in scenes()) {
        let outcome = scene.solve();
        for (offer, advert) in scene.adverts.iter().enumerate() {
            let sold = outcome.placements.iter().filter(|placement| placement.offer == offer).count();
            prop_assert!(sold <= usize::from(advert.slots_free), "{sold} of {}", advert.slots_free);
        }
        prop_assert!(outcome.placements.is_sorted_by(|a, b| a.order < b.order));
    }

    #[test]
    fn every_mask_is_obeyed_and_the_score_is_that_of_a_match(scene in scenes()) {
        for placement in scene.solve().placements {
            prop_assert_eq!(scene.score(placement.order, placement.offer), Some(placement.score));
        }
    }

    #[test]
    fn the_surplus_is_never_under_greedy_and_near_brute_force(scene in scenes()) {
        let outcome = scene.solve();
        let rows = scene.rows();
        let found = outcome.placements.iter().map(|p| u128::from(rows[p.order][p.offer])).sum::<u128>();
        prop_assert_eq!(found, outcome.surplus);
        prop_assert!(outcome.surplus >= outcome.greedy_surplus);
        let mut slots: Vec<u16> = scene.adverts.iter().map(|advert| advert.slots_free).collect();
        let best = optimum(&rows, &mut slots);
        let loss = (outcome.greedy_surplus / 32).max(scene.orders.len() as u128);
        prop_assert!(found <= best && best - found <= loss, "{found} of {best}");
    }

    #[test]
    fn no_order_waits_beside_a_free_slot_that_it_fits(scene in scenes()) {
        let outcome = scene.solve();
        for order in 0..scene.orders.len() {
            if outcome.placements.iter().any(|placement| placement.order == order) {
                continue;
            }
            for (offer, advert) in scene.adverts.iter().enumerate() {
                let sold = outcome.placements.iter().filter(|placement| placement.offer == offer).count();
                let full = sold == usize::from(advert.slots_free);
                prop_assert!(full || scene.score(order, offer).is_none(), "order {order}, offer {offer}");
            }
        }
    }

    #[test]
    fn the_order_of_listing_changes_nothing(scene in scenes(), turn in 0..6usize) {
        prop_assert_eq!(scene.turned(turn).told(), scene.told());
    }
}

/// The same, with machines of the clients' own: an advert is own to every other order, or to none.
fn scenes_with_own() -> impl Strategy<Value = Scene> {
    (scenes(), vec(any::<bool>(), 5), 0..2usize).prop_map(|(mut scene, own, turn)| {
        for (order, row) in scene.measured.iter_mut().enumerate() {
            for (measured, own) in row.iter_mut().zip(&own) {
                measured.own = *own && (order + turn).is_multiple_of(2);
            }
        }
        scene
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_order_goes_elsewhere_beside_a_free_slot_of_its_own_that_is_in_time(scene in scenes_with_own()) {
        let outcome = scene.solve();
        let own = |order, offer| scene.score(order, offer).is_some_and(|score| score.standing.comes_first());
        let on_own = |offer: usize| {
            let there = outcome.placements.iter().filter(move |placement| placement.offer == offer);
            there.filter(|placement| own(placement.order, placement.offer)).count()
        };
        for order in 0..scene.orders.len() {
            let at = outcome.placements.iter().find(|placement| placement.order == order);
            if at.is_some_and(|at| at.score.standing.comes_first()) {
                continue;
            }
            for offer in (0..scene.adverts.len()).filter(|&offer| own(order, offer)) {
                let full = on_own(offer) == usize::from(scene.adverts[offer].slots_free);
                prop_assert!(full, "order {order} could have its own offer {offer}: {outcome:?}");
            }
        }
    }

    #[test]
    fn own_machines_change_no_rule_of_slots_masks_and_listing(scene in scenes_with_own(), turn in 0..6usize) {
        let outcome = scene.solve();
        for (offer, advert) in scene.adverts.iter().enumerate() {
            let sold = outcome.placements.iter().filter(|placement| placement.offer == offer).count();
            prop_assert!(sold <= usize::from(advert.slots_free), "{sold} of {}", advert.slots_free);
        }
        prop_assert!(outcome.placements.is_sorted_by(|a, b| a.order < b.order));
        for placement in &outcome.placements {
            prop_assert_eq!(scene.score(placement.order, placement.offer), Some(placement.score));
        }
        let rows = scene.rows();
        let found = outcome.placements.iter().map(|p| u128::from(rows[p.order][p.offer])).sum::<u128>();
        prop_assert_eq!(found, outcome.surplus);
        prop_assert_eq!(scene.turned(turn).told(), scene.told());
        for order in (0..scene.orders.len()).filter(|order| outcome.placements.iter().all(|p| p.order != *order)) {
            for (offer, advert) in scene.adverts.iter().enumerate() {
                let sold = outcome.placements.iter().filter(|placement| placement.offer == offer).count();
                let full = sold == usize::from(advert.slots_free);
                prop_assert!(full || scene.score(order, offer).is_none(), "order {order}, offer {offer}");
            }
        }
    }
}

#[test]
fn ties_go_to_the_earlier_order_and_the_earlier_advert() {
    let orders = [order(10, |_| ()), order(11, |order| order.issued_at.0 -= 1)];
    let adverts = [advert(100, |_| ()), advert(101, |advert| advert.issued_at.0 -= 1)];
    let one_slot = |mut advert: Advert, seed: u8| {
        advert.slots_free = 1;
        key(seed).sign(advert).verify().unwrap()
    };
    let adverts =
        [100, 101].map(|seed| one_slot(adverts[usize::from(seed) - 100].signed().body.clone(), seed));
    let measured = vec![vec![pinged(1_000); 2]; 2];
    let scene = Scene { orders: orders.into(), adverts: adverts.into(), measured };
    let earlier = scene.solve().placements[1];
    assert_eq!((earlier.order, earlier.offer), (1, 1));
    let scarce =
        Scene { adverts: vec![scene.adverts[0].clone()], measured: vec![vec![pinged(1_000)]; 2], ..scene };
    let served: Vec<_> = scarce.solve().placements.iter().map(|placement| placement.order).collect();
    assert_eq!(served, [1]);
}

#[test]
fn an_order_whose_penalty_eats_its_limit_comes_last_but_is_served() {
    let hurry = |seed| {
        order(seed, |order| {
            let kind = LimitKind::Soft { per_ms: Credits(1_000_000) };
            order.ttft = Some(LatencyLimit { limit: Millis(0), kind });
        })
    };
    let adverts =
        vec![advert(100, |advert| advert.slots_free = 1), advert(101, |advert| advert.slots_free = 1)];
    let rows = vec![vec![pinged(90_000), pinged(10_000)]; 2];
    let scene = Scene { orders: vec![hurry(10), order(11, |_| ())], adverts, measured: rows };
    let outcome = scene.solve();
    assert_eq!(outcome.placements.len(), 2);
    assert_eq!(outcome.surplus, u128::from(scene.rows()[1].iter().max().copied().unwrap()));
}

#[test]
fn what_is_no_batch_is_refused() {
    let (one, advert) = (order(10, |_| ()), advert(100, |_| ()));
    let measured = [pinged(1)];
    let waiting = Waiting { order: &one, measured: &measured, costs: &BuyerCosts::NONE };
    let refused = |waiting: &[Waiting<'_>], adverts: &[&Verified<Advert>]| {
        Batch::new(sample::NUMERICS, NOW, waiting, adverts).map(|_| ()).unwrap_err()
    };
    let unmeasured = BatchError::Unmeasured { order: 0, measured: 1, offers: 0 };
    assert_eq!(refused(&[waiting], &[]), unmeasured);
    assert_eq!(refused(&[waiting; 2], &[&advert]), BatchError::SameOrder);
    let both = [pinged(1); 2];
    let waiting_for_both = Waiting { measured: &both, ..waiting };
    assert_eq!(refused(&[waiting_for_both], &[&advert, &advert]), BatchError::SameProvider);
    let many = vec![waiting; BATCH_ORDERS_MAX + 1];
    assert_eq!(refused(&many, &[&advert]), BatchError::TooManyOrders(BATCH_ORDERS_MAX + 1));
    let many = vec![&advert; BATCH_OFFERS_MAX + 1];
    assert_eq!(refused(&[], &many), BatchError::TooManyOffers(BATCH_OFFERS_MAX + 1));
    assert_eq!(Scene { orders: vec![], adverts: vec![], measured: vec![] }.solve().placements, []);
}
