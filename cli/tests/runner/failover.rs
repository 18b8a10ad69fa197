//! Providers that are killed, or told to leave, in the middle of an answer: real processes, real signals.

use serde_json::Value;
use testkit::seeds::scale;

use crate::market::{Market, Node};

/// Tokens of an answer that is cut.
const WHOLE: &str = "64";
/// So dear that it is asked last, once the other is heard, and within the order's limit behind it.
const DEAR: [&str; 2] = ["--ask", "8000"];
/// Kills if nobody asks for more; there are no more places than tokens.
const KILLS: u64 = 6;

/// The answer to `options`, by whoever is there.
fn ask(market: &Market, options: &[&str]) -> Value {
    let order = ["run", "Tell me everything.", "--model", "small.gguf", "--max-tokens", WHOLE];
    market.sandbox.json(&[&order[..], &["--max-price", "20000", "--max-total", "5"], options].concat())
}

fn newest_result(market: &Market) -> Value {
    let all = market.sandbox.json(&["receipt", "list"]);
    all["results"].as_array().expect("a list").last().expect("a result").clone()
}

fn cost(result: &Value) -> u64 {
    result["cost"].as_u64().expect("an amount")
}

/// Every receipt of an answer verifies, and the last one by being computed again.
fn verify_parts(market: &Market, result: &Value) {
    let parts = result["parts"].as_array().expect("a list");
    for id in parts.iter().filter_map(|part| part["receipt_id"].as_str()) {
        let verdict = market.sandbox.json(&["receipt", "verify", id]);
        assert_eq!(verdict["ok"], true, "{verdict}");
        let rerun = market.sandbox.json(&["receipt", "rerun", id, "--model", "small.gguf"]);
        assert_eq!(rerun["match"], true, "{rerun}");
    }
}

#[test]
fn a_provider_killed_with_kill_9_in_the_middle_of_an_answer_is_followed_by_another() {
    let market = Market::new("120");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let second = market.rival("rival", &DEAR);
    second.wait_for("ready");
    let whole = ask(&market, &["--no-failover"]);
    let text = whole["text"].as_str().expect("a text").to_owned();
    let mut most = cost(&whole);
    let kills = (KILLS * scale()).min(64);
    for kill in 0..kills {
        let first = market.provider();
        first.wait_for("ready");
        market.wait_for_offers(2);
        let mut order = market.order_of(WHOLE);
        // Somewhere between the first byte and the last but one chunk's.
        order.wait_for_output(1 + text.len() / 2 * kill as usize / kills as usize);
        first.kill();
        let answer = order.end(&market);
        assert_eq!(answer.code, Some(0), "{answer}");
        assert!(answer.stdout.starts_with(&text), "kill {kill}: {answer}");
        assert!(answer.stderr.contains("did not finish after"), "the user is told: {answer}");
        let result = newest_result(&market);
        assert_eq!(result["token_ids"], whole["token_ids"], "kill {kill}");
        let parts = result["parts"].as_array().expect("a list");
        assert_eq!((parts.len(), &parts[0]["receipt_id"]), (2, &Value::Null), "{result}");
        verify_parts(&market, &result);
        most += cost(&result);
    }
    let first = market.provider();
    first.wait_for("ready");
    let paid = funds - market.balance_without_holds();
    assert!(0 < paid && paid <= most, "{paid} of at most {most}");
    assert_eq!(market.earned() + market.second_earned(), paid);
    assert!(market.earned() > 0, "the dead one is paid for what it sent");
    market.audit();
}

/// Tells a node to stop, and waits until it has left in good order.
fn leaves(node: Node) {
    node.terminate();
    assert_eq!(node.exit_code(), Some(0));
}

#[test]
fn a_provider_told_to_stop_hands_its_job_over_and_leaves() {
    let market = Market::new("60");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let second = market.rival("rival", &DEAR);
    second.wait_for("ready");
    let first = market.provider_with(&["--drain", "1"]);
    first.wait_for("ready");
    market.wait_for_offers(2);
    let mut order = market.order_of("400");
    order.wait_for_output(40);
    first.terminate();
    assert_eq!(first.wait_for("draining")["jobs"], 1);
    let advert = first.wait_for("advertised");
    assert_eq!(advert["slots_free"], 0, "it offers nothing more");
    assert!(first.wait_for("job")["end"].as_str().expect("a cause").starts_with("reclaimed"));
    assert_eq!(first.exit_code(), Some(0));
    let answer = order.end(&market);
    assert_eq!(answer.code, Some(0), "{answer}");
    let result = newest_result(&market);
    assert_eq!(result["output_tokens"], 400, "{result} {answer}");
    let parts = result["parts"].as_array().expect("a list");
    assert_eq!((parts.len(), &parts[0]["cause"]), (2, &"reclaimed".into()), "{result}");
    assert!(parts[0]["receipt_id"].is_string(), "it answers for what it wrote");
    verify_parts(&market, &result);
    let paid = funds - market.balance_without_holds();
    assert_eq!((paid, market.earned() + market.second_earned()), (cost(&result), paid));
    leaves(second);
    market.audit();
}

#[test]
fn an_answer_that_nobody_goes_on_with_is_kept_and_paid_for_as_far_as_it_came() {
    let market = Market::new("60");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let only = market.provider_with(&["--drain", "1"]);
    only.wait_for("ready");
    let mut order = market.order_of("400");
    order.wait_for_output(40);
    only.terminate();
    assert_eq!(only.exit_code(), Some(0));
    let answer = order.end(&market);
    assert_eq!(answer.code, Some(3), "{answer}");
    assert!(answer.stderr.contains("(reclaimed), and nobody goes on"), "{answer}");
    let result = newest_result(&market);
    assert!(result["output_tokens"].as_u64().is_some_and(|tokens| 0 < tokens && tokens < 400), "{result}");
    verify_parts(&market, &result);
    let paid = funds - market.balance_without_holds();
    assert_eq!((paid, market.earned()), (cost(&result), paid));
    market.audit();
}

#[test]
fn a_provider_told_to_stop_lets_a_short_job_end() {
    let market = Market::new("60");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let only = market.provider_with(&["--drain", "40"]);
    only.wait_for("ready");
    let mut order = market.order_of("30");
    order.wait_for_output(1);
    only.terminate();
    assert_eq!(only.wait_for("draining")["jobs"], 1);
    assert_eq!(only.wait_for("job")["end"], "delivered");
    only.wait_for("closed");
    assert_eq!(only.exit_code(), Some(0));
    assert_eq!(order.end(&market).code, Some(0));
    assert_eq!(market.earned(), funds - market.balance_without_holds());
    market.audit();
}

/// `gridhour node provider | head`.
#[test]
fn a_node_whose_events_nobody_reads_any_more_goes_on() {
    let market = Market::new("60");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    market.fund();
    let mut only = market.provider();
    only.wait_for("ready");
    only.stop_listening();
    for _ in 0..3 {
        assert_eq!(market.order_of("2").end(&market).code, Some(0));
    }
    leaves(only);
}
