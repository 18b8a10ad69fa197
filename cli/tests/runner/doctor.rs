//! `gridhour doctor` beside real nodes: all is well, and each check when it is not.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Instant,
};

use gridhour_node::{
    model::catalogue::{CATALOGUE, ModelCache},
    net::peer_id_of,
};
use gridhour_protocol::signed::PublicKey;
use serde_json::Value;

use crate::{
    market::{Market, Node, PATIENCE},
    sandbox::Answer,
};

/// The doctor's answer about a folder.
fn ask(market: &Market, folder: &str, more: &[&str]) -> Answer {
    market.sandbox.run(&[&["--json", "--data-dir", folder, "doctor"], more].concat())
}

/// One check of it.
fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().expect("a list");
    checks.iter().find(|check| check["check"] == *name).unwrap_or_else(|| panic!("no {name} in {document}"))
}

/// Asserts that a check failed, says what to do, and that the exit code shows it.
fn assert_failed(answer: &Answer, name: &str, part: &str) {
    let document = answer.document();
    let found = check(&document, name);
    assert_eq!((&found["state"], answer.code), (&"failed".into(), Some(1)), "{document:#}");
    assert!(found["what"].as_str().is_some_and(|what| what.contains(part)), "{found}");
    assert!(found["do"].as_str().is_some_and(|todo| !todo.is_empty()), "{found}");
    assert_eq!(document["ok"], false);
}

/// Asks until a check has this state.
fn until(market: &Market, folder: &str, more: &[&str], name: &str, state: &str) -> Answer {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask(market, folder, more);
        if check(&answer.document(), name)["state"] == *state {
            return answer;
        }
        assert!(Instant::now() < end, "{name} is never {state}: {answer}");
    }
}

fn address(node: &Node) -> String {
    node.wait_for("ready")["addresses"][0].as_str().expect("an address").to_owned()
}

#[test]
fn a_node_that_is_well_is_told_so_and_a_stopped_provider_is_missed() {
    let market = Market::new("2");
    let (ledger, provider, observer) = (market.ledger(), market.provider(), market.observer());
    let address = address(&observer);
    provider.wait_for_each(["ready", "registered"]);
    let node = ["--node", &address];
    let answer = until(&market, "seller", &node, "ports", "ok");
    let document = answer.document();
    assert_eq!((answer.code, &document["ok"]), (Some(0), &true.into()), "{document:#}");
    for name in ["key", "network", "disk", "operator", "ledger", "history", "clock", "ports"] {
        assert_ne!(check(&document, name)["state"], "failed", "{document:#}");
        assert_ne!(check(&document, name)["state"], "skipped", "{document:#}");
    }
    assert!(
        check(&document, "ports")["what"].as_str().is_some_and(|what| what.contains("TCP")),
        "{document:#}"
    );
    until(&market, "seller", &node, "offer", "ok");
    provider.kill();
    // Its advert lives on for a while, but nobody answers at its port.
    assert_failed(&until(&market, "seller", &node, "ports", "failed"), "ports", "TCP");
    drop((ledger, observer));
}

#[test]
fn a_client_has_no_offer_to_be_seen() {
    let market = Market::new("2");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    market.fund();
    let answer = ask(&market, "data", &[]);
    let document = answer.document();
    assert_eq!(answer.code, Some(0), "{document:#}");
    for name in ["offer", "ports", "history"] {
        assert_eq!(check(&document, name)["state"], "skipped", "{document:#}");
    }
    assert_eq!(check(&document, "clock")["state"], "ok", "{document:#}");
}

#[test]
fn whatever_is_broken_here_fails_by_name() {
    let market = Market::new("2");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    market.fund();
    let key = market.sandbox.path("data/key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("a mode can be set");
    let open = ask(&market, "data", &[]);
    assert_failed(&open, "key", "mode 644");
    assert_eq!(check(&open.document(), "clock")["state"], "skipped");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("a mode can be set");
    market.sandbox.write("data/fraud.proof", "a proof");
    assert_failed(&ask(&market, "data", &[]), "operator", "TWO HISTORIES");
    fs::remove_file(market.sandbox.path("data/fraud.proof")).expect("it is there");
    let model = ModelCache::new(market.sandbox.path("models")).path_of(&CATALOGUE[0]);
    fs::create_dir_all(model.parent().expect("a folder")).expect("a folder can be made");
    fs::write(&model, "no model").expect("a file can be written");
    assert_failed(&ask(&market, "data", &[]), "models", "8 bytes instead of");
    fs::remove_file(&model).expect("it is there");
    let file = fs::read_to_string(market.sandbox.path("data/network.json")).expect("a file");
    market.sandbox.write("data/network.json", file.replacen("\"name\"", "\"nome\"", 1));
    assert_failed(&ask(&market, "data", &[]), "network", "network.json");
    market.sandbox.write("data/network.json", file);
    assert_eq!(ask(&market, "data", &[]).code, Some(0));
    ledger.kill();
    assert_failed(&ask(&market, "data", &[]), "ledger", "no bootstrap peer");
    assert_failed(&ask(&market, "nowhere", &[]), "disk", "nowhere");
}

#[test]
fn two_ledgers_of_one_network_are_two_histories() {
    let market = Market::new("2");
    let (ledger, observer) = (market.ledger(), market.observer());
    ledger.wait_for("ready");
    market.fund();
    while observer.wait_for("following")["height"].as_u64() < Some(1) {}
    ledger.kill();
    observer.kill();
    // The operator begins again from nothing, and orders something else.
    fs::remove_dir_all(market.sandbox.path("ledger/ledger")).expect("it is there");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    market.sandbox.json(&["account", "fund", "7"]);
    // One that follows the ledger node would find out itself, and end.
    let nobody = market.sandbox.json(&["--data-dir", "nobody", "key", "new"]);
    let nobody: PublicKey = nobody["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let nobody = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", peer_id_of(&nobody).expect("a key"));
    let observer = market.observer_with(&["--follow", &nobody]);
    let answer = ask(&market, "data", &["--node", &address(&observer)]);
    assert_failed(&answer, "history", "other blocks at height 1");
}
