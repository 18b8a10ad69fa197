use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn plan() -> Plan {
    Plan { seed: 3, regions: Matrix::synthetic(), orders: 60, offers: 40, repeat: 1, markets: 2 }
}

/// Not the optimum, but no plan is worth more: every order at its best offer.
fn bound(problem: &Problem) -> Result<f64, String> {
    let orders = problem.pairs.chunk_by(|a, b| a.order == b.order);
    Ok(orders.filter_map(|pairs| pairs.iter().map(|pair| pair.surplus).max()).sum::<u64>() as f64)
}

#[test]
fn everything_is_measured_and_told() {
    let done = AtomicU64::new(0);
    let report = measure(&plan(), &bound, &|| {
        done.fetch_add(1, Ordering::Relaxed);
    })
    .expect("it is measured");
    assert_eq!(done.into_inner(), steps(&plan()));
    assert!(report.continuous.matched > 0 && report.continuous.indexed_per_s > 0.0, "{report:?}");
    assert_eq!((report.batches.len(), report.surplus.len()), (6, 3));
    for surplus in &report.surplus {
        let Surplus { mean, worst, greedy_mean, fifo_mean, .. } = *surplus;
        assert!(worst < mean && greedy_mean <= mean && mean <= 1.0, "{surplus:?}");
        assert!(0.0 < fifo_mean && fifo_mean < mean, "{surplus:?}");
    }
}

#[test]
fn an_optimum_that_a_plan_exceeds_is_none() {
    let low = |problem: &Problem| bound(problem).map(|bound| bound / 2.0);
    let error = measure(&plan(), &low, &|| ()).expect_err("no plan can be worth more");
    assert!(error.to_string().contains("of the optimum"), "{error}");
}

#[test]
fn a_seed_is_a_market() {
    let regions = Matrix::synthetic();
    let size = Size::at_load(30, 12, 90);
    let problem = |seed| Problem::of(&Market::drawn(size, &regions, seed));
    assert_eq!(problem(5), problem(5));
    assert_ne!(problem(5), problem(6));
    assert_eq!(
        problem(5).slots.iter().map(|&slots| usize::from(slots)).sum::<usize>(),
        34,
        "30 of 34 are 90%"
    );
}
