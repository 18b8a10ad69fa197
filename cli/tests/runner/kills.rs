//! kill -9 in the middle of a job: nobody loses what was acknowledged, and nothing stays held.

use gridhour_protocol::units::Credits;

use crate::{market::Market, sandbox::Answer};

/// Output after which some chunks are paid: tokens are no longer than six bytes.
const SOME_CHUNKS_BYTES: usize = 600;

/// The most that a broken order says it can cost.
fn at_most(answer: &Answer) -> u64 {
    assert_eq!(answer.code, Some(3), "{answer}");
    assert!(answer.stderr.starts_with("error: the connection to the provider broke; "), "{answer}");
    let (_, rest) = answer.stderr.split_once("it can cost ").expect("it says what it can cost");
    let (amount, _) = rest.split_once(" credits at most").expect("it says what it can cost");
    amount.parse::<Credits>().expect("an amount").0
}

#[test]
fn a_killed_provider_costs_its_client_nothing_and_its_hold_is_refunded() {
    let market = Market::new("2");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let provider = market.provider();
    provider.wait_for("ready");
    let funds = market.fund();
    let mut order = market.order("3");
    order.wait_for_output(1);
    provider.kill();
    at_most(&order.end(&market));
    assert_eq!(market.balance_without_holds(), funds);
    assert_eq!((market.earned(), &market.audit()["issued"]), (0, &funds.into()));
}

#[test]
fn a_provider_that_comes_back_collects_the_vouchers_that_it_had() {
    let market = Market::new("30");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let provider = market.provider();
    provider.wait_for("ready");
    let funds = market.fund();
    let mut order = market.order("600");
    order.wait_for_output(SOME_CHUNKS_BYTES);
    provider.kill();
    let most = at_most(&order.end(&market));
    let provider = market.provider();
    // The client has closed the session from its side, so only the grace is left, and not the ten minutes of use.
    provider.wait_for("closed");
    let paid = funds - market.balance_without_holds();
    assert!(0 < paid && paid <= most, "{paid} of at most {most}");
    assert_eq!(market.earned(), paid);
    market.audit();
}

/// Two programs that write in one data directory would damage what both remember.
#[test]
fn a_data_directory_is_used_by_one_program_at_a_time() {
    let market = Market::new("4");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let provider = market.provider();
    provider.wait_for("ready");
    market.fund();
    let order = ["run", "--model", "small.gguf", "--max-tokens", "1", "--max-price", "2000", "Hello"];
    let beside = market.sandbox.run(&[&["--data-dir", "seller"], &order[..]].concat());
    assert_eq!(beside.code, Some(1), "{beside}");
    assert!(beside.stderr.contains("seller is in use by process "), "{beside}");
    let mut running = market.order("600");
    running.wait_for_output(1);
    let second = market.sandbox.run(&order);
    assert_eq!(second.code, Some(1), "{second}");
    assert!(second.stderr.contains("data is in use by process "), "{second}");
    // Who only asks is not in anybody's way.
    assert_eq!(market.sandbox.json(&["market", "offers"])["offers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_killed_ledger_forgets_nothing_that_it_acknowledged() {
    let market = Market::new("4");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let provider = market.provider();
    provider.wait_for("ready");
    let funds = market.fund();
    let height = market.account()["height"].as_u64().expect("a height");
    let mut order = market.order("6");
    order.wait_for_output(1);
    ledger.kill();
    let answer = order.end(&market);
    let ledger = market.ledger();
    // One more block: the session was opened before the first output.
    let found = ledger.wait_for("ledger")["height"].as_u64().expect("a height");
    assert!(found > height, "{found} after {height} and a session");
    ledger.wait_for("ready");
    let paid = funds - market.balance_without_holds();
    assert!(matches!(answer.code, Some(0 | 1 | 3)), "{answer}");
    assert_eq!(market.earned(), paid);
    assert_eq!(market.audit()["issued"], funds);
}
