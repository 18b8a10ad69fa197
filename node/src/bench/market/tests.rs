use super::*;

const PLAN: Plan = Plan { seed: 1, seeds: 2, orders: 600, providers: 40, load_percent: 70 };

#[test]
fn every_order_is_served_and_counted_once() {
    let plan = Plan { seeds: 2, ..PLAN };
    for outcome in measure(&plan, &Matrix::synthetic(), &|| ()) {
        assert!(outcome.score >= outcome.paid && outcome.best >= 1, "{outcome:?}");
        assert!(outcome.best_chosen <= outcome.orders && outcome.late <= outcome.orders, "{outcome:?}");
        assert_eq!(outcome.orders, plan.orders);
    }
}

#[test]
fn what_is_chosen_by_price_alone_is_paid_least_and_by_the_first_token_alone_is_late_least() {
    let outcomes = measure(&Plan { seeds: 1, ..PLAN }, &Matrix::synthetic(), &|| ());
    let [ours, cheapest, fastest] = &outcomes[..] else { panic!("three policies: {outcomes:?}") };
    assert!(cheapest.paid < fastest.paid && fastest.late < cheapest.late, "{outcomes:?}");
    assert!(ours.score < cheapest.score && ours.score < fastest.score, "{outcomes:?}");
}

#[test]
fn a_seed_is_one_run() {
    let plan = Plan { seeds: 1, orders: 60, ..PLAN };
    let run = || measure(&plan, &Matrix::synthetic(), &|| ());
    assert_eq!(run(), run());
    let other = measure(&Plan { seed: 2, ..plan }, &Matrix::synthetic(), &|| ());
    assert_ne!(run()[0].score, other[0].score);
}
