//! An observer as a process: it follows the ledger, says how far it is, and gives a damaged ledger back to its node.

use std::fs;

use serde_json::{Value, json};

use crate::{
    market::{Market, Node},
    sandbox::Answer,
};

/// Where a node that is ready can be reached.
fn address(node: &Node) -> String {
    let ready = node.wait_for("ready");
    ready["addresses"][0].as_str().expect("an address").to_owned()
}

/// Waits until the observer has `height`.
fn level_at(observer: &Node, height: u64) {
    while observer.wait_for("following")["height"].as_u64() < Some(height) {}
}

fn validator(market: &Market) -> Answer {
    let listen = ["--listen", "/ip4/127.0.0.1/tcp/0"];
    market.sandbox.run(&[&["--data-dir", "ledger", "node", "validator"], &listen[..]].concat())
}

fn repair(market: &Market, from: &str) -> Value {
    market.sandbox.json(&["--data-dir", "ledger", "node", "repair", "--from", from])
}

#[test]
fn a_damaged_ledger_comes_back_from_its_observer() {
    let market = Market::new("2");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let observer = market.observer();
    let address = address(&observer);
    for _ in 0..4 {
        market.fund();
    }
    level_at(&observer, 4);

    let status = market.sandbox.json(&["status", "--node", &address]);
    let nodes = status["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 2, "{status}");
    for node in nodes {
        assert_eq!((&node["height"], &node["behind"], &node["error"]), (&json!(4), &json!(0), &Value::Null));
        assert_eq!(node["hash"], status["ledger"]["hash"]);
    }
    let root = market.audit()["root"].clone();
    ledger.kill();

    let file = market.sandbox.path("ledger/ledger/journal/blocks-00000000000000000001.log");
    let mut bytes = fs::read(&file).expect("the journal is there");
    let third = bytes.len() / 3;
    bytes[third] ^= 1;
    fs::write(&file, &bytes).expect("writes");
    let refused = validator(&market);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("is damaged at byte") && refused.stderr.contains("repair"), "{refused}");

    let repaired = repair(&market, &address);
    assert_eq!(repaired["height"], 4, "{repaired}");
    assert!(repaired["checked_to"].as_u64().is_some_and(|height| height <= 4), "{repaired}");
    // One answer of the observer holds all blocks behind the first.
    assert_eq!((&repaired["salvaged"], &repaired["fetched"]), (&json!(1), &json!(3)), "{repaired}");
    let kept = market.sandbox.path("ledger/ledger/journal.1.damaged/blocks-00000000000000000001.log");
    assert!(fs::read(kept).expect("kept") == bytes, "the damaged journal is kept as it was");
    assert_eq!(repair(&market, &address)["damage"], Value::Null, "there is nothing left to repair");

    let ledger = market.ledger();
    assert_eq!(ledger.wait_for("ledger")["height"], 4);
    ledger.wait_for("ready");
    market.fund();
    level_at(&observer, 5);
    let report = market.audit();
    assert_eq!(report["height"], 5);
    assert_ne!(report["root"], root);
    let before = market.sandbox.json(&["status", "--node", &address]);
    assert_eq!(before["ledger"]["hash"], report["root"], "observer and ledger have one history: {before}");
}

#[test]
fn an_observer_with_the_operators_key_or_nobody_to_follow_is_refused() {
    let market = Market::new("2");
    let operator = market.sandbox.run(&["--data-dir", "ledger", "node", "observer"]);
    assert_eq!(operator.code, Some(2), "{operator}");
    assert!(operator.stderr.contains("has the operator's key"), "{operator}");
    let nameless = market.sandbox.run(&["node", "observer", "--follow", "/ip4/127.0.0.1/tcp/1"]);
    assert_eq!(nameless.code, Some(2), "{nameless}");
    assert!(nameless.stderr.contains("does not end in /p2p/"), "{nameless}");
}
