//! One order that several providers run at the same time: real processes.

use serde_json::json;

use crate::market::Market;

const ORDER: [&str; 8] =
    ["run", "Name a river.", "--model", "small.gguf", "--max-tokens", "20", "--max-price", "20000"];

#[test]
fn two_providers_are_asked_at_once_and_a_third_is_missed_by_number() {
    let market = Market::new("120");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let (first, second) = (market.provider(), market.rival("rival", &["--ask", "20000"]));
    let providers = [&first, &second].map(|node| node.wait_for("ready")["id"].clone());
    let json = |options: &[&str]| market.sandbox.json(&[&ORDER[..], &["--max-total", "5"], options].concat());
    let (alone, both) = (json(&[]), json(&["--redundant", "2"]));
    let explain = [
        "market",
        "explain",
        "--model",
        "small.gguf",
        "--max-tokens",
        "20",
        "--max-price",
        "20000",
        "--max-total",
        "5",
    ];
    let explained = market.sandbox.json(&[&explain[..], &["--redundant", "2"]].concat());
    assert_eq!(explained["together"].as_array().map(Vec::len), Some(2), "{explained}");
    assert_eq!(alone["verification"], json!({ "level": "none", "odds": 0 }));
    let verification = &both["verification"];
    assert_eq!(
        (&verification["level"], &verification["verdict"]),
        (&json!("redundant(2)"), &json!("unanimous"))
    );
    assert_eq!((&verification["evidence"], &verification["odds"]), (&json!(null), &json!(1)));
    let agreed = verification["agreed"].as_array().expect("a list");
    assert!(
        agreed.len() == 2 && providers.iter().all(|provider| agreed.contains(provider)),
        "{verification}"
    );
    assert_eq!(both["text"], alone["text"]);
    let cost = |result: &serde_json::Value| result["cost"].as_u64().expect("an amount");
    assert_eq!(market.balance_without_holds(), funds - cost(&alone) - cost(&both));
    let refused = market.sandbox.run(&[&ORDER[..], &["--max-total", "5", "--redundant", "3"]].concat());
    assert_eq!(refused.code, Some(1), "{refused}");
    let said = "3 providers with different stake accounts are wanted, 2 meet the order";
    assert!(refused.stderr.contains(said), "{refused}");
    let usage = market.sandbox.run(&[&ORDER[..], &["--redundant", "1"]].concat());
    assert_eq!(usage.code, Some(2), "{usage}");
    market.sandbox.write("no.mismatch", "nothing");
    let nothing = market.sandbox.run(&["receipt", "mismatch", "no.mismatch"]);
    assert!(
        nothing.code == Some(1) && nothing.stderr.contains("does not begin as such a file does"),
        "{nothing}"
    );
}
