//! Orders that are posted, and providers that quote for them. Real processes.

use serde_json::Value;

use crate::market::Market;

const LIMITS: [&str; 8] =
    ["--model", "small.gguf", "--max-price", "20000", "--max-total", "5", "--max-tokens", "8"];
/// Longer than a busy machine takes to quote.
const WAIT: [&str; 3] = ["--post", "--quote-wait-ms", "5000"];

/// The only candidate for an order, which is not made.
fn explained(market: &Market, more: &[&str]) -> Value {
    let found = market.sandbox.json(&[&["market", "explain"], &LIMITS[..], more].concat());
    assert_eq!(found["candidates"].as_array().map(Vec::len), Some(1), "{found}");
    found["candidates"][0].clone()
}

#[test]
fn a_posted_order_is_quoted_for_and_pays_what_was_quoted() {
    let market = Market::new("60");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let provider = market.rival("quoting", &["--ask", "10000", "--quote-floor", "100"]);
    provider.wait_for("advertised");
    let funds = market.fund();
    let advertised = explained(&market, &[]);
    assert!(advertised["quoted"].is_null(), "nobody was asked for a quote");

    let order = [&["run", "Hello"], &LIMITS[..], &WAIT].concat();
    let answer = market.sandbox.run(&[&["--json"], &order[..]].concat());
    assert_eq!(answer.code, Some(0), "{answer}");
    let result = answer.document();
    let matched = &result["match"]["candidates"][0];
    assert!(matched["quoted"].is_string(), "{result}");
    let (cost, most) = (result["cost"].as_u64(), matched["cost"].as_u64());
    assert!(cost > Some(0) && cost <= most, "{result}");
    assert_eq!(Some(funds - market.balance_without_holds()), cost);

    let quoted = explained(&market, &WAIT);
    assert!(quoted["quoted"].is_string(), "{quoted}");
    assert!(quoted["cost"].as_u64() < advertised["cost"].as_u64(), "{quoted} instead of {advertised}");
    market.audit();
}

#[test]
fn an_order_for_which_nobody_quotes_goes_to_what_is_advertised() {
    let market = Market::new("60");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let provider = market.rival("advertising", &["--ask", "9000"]);
    provider.wait_for("advertised");
    market.fund();
    let order = [&["run", "Hello"], &LIMITS[..], &["--post", "--quote-wait-ms", "1"]].concat();
    let answer = market.sandbox.run(&order);
    assert_eq!(answer.code, Some(0), "{answer}");
    assert!(answer.stderr.contains("nobody quoted for the posted order"), "{answer}");
    for (more, why) in [(&["--tier", "spot"][..], "on-demand work"), (&["--local-only"][..], "nobody else's")]
    {
        let refused = market.sandbox.run(&[&order[..], more].concat());
        assert_eq!(refused.code, Some(2), "{refused}");
        assert!(refused.stderr.contains(why), "{refused}");
    }
    market.balance_without_holds();
    market.audit();
}
