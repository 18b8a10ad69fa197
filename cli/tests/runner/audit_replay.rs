//! `gridhour audit replay`: the ledger as it was.

use serde_json::{Value, json};

use crate::{demo::played, market::Market, sandbox::Sandbox};

const EXPORT: &str = "data/ledger.export";

fn replay(sandbox: &Sandbox, height: u64, more: &[&str]) -> Value {
    sandbox.json(&[&["audit", "replay", "--to", &height.to_string(), EXPORT], more].concat())
}

fn number(document: &Value, name: &str) -> u64 {
    document[name].as_u64().unwrap_or_else(|| panic!("{name} in {document}"))
}

#[test]
fn every_height_of_a_demo_is_told_with_what_was_held_for_its_client() {
    let (sandbox, told) = played();
    let client = sandbox.json(&["key", "show"])["id"].as_str().expect("an id").to_owned();
    let last = number(&told["audit"], "height");
    let mut held_at_times = 0;
    for height in 0..=last {
        let answer = replay(&sandbox, height, &["--account", &client]);
        assert_eq!((number(&answer, "height"), &answer["ok"]), (height, &json!(true)));
        let sums = ["balances", "holds", "stakes"].map(|name| number(&answer, name));
        assert_eq!(sums.iter().sum::<u64>(), number(&answer, "issued"), "{answer}");
        let holds = answer["account"]["holds"].as_array().expect("a list");
        // The client alone holds money in a demo.
        assert_eq!(holds.iter().map(|hold| number(hold, "amount")).sum::<u64>(), number(&answer, "holds"));
        assert!(holds.iter().all(|hold| number(hold, "deadline") > number(&answer, "time")), "{answer}");
        held_at_times += holds.len();
    }
    assert!(held_at_times > 0, "the demo opens sessions");
    let end = replay(&sandbox, last, &["--account", &client]);
    assert_eq!(end["root"], told["audit"]["root"]);
    assert_eq!(end["account"]["balance"], sandbox.json(&["account", "show"])["balance"]);
}

#[test]
fn a_replay_leaves_a_checkpoint_that_later_audits_take() {
    let (sandbox, _) = played();
    let saved = replay(&sandbox, 2, &["--save-checkpoint", "second.txt"]);
    let verified = sandbox.json(&["audit", "verify", EXPORT, "--checkpoint", "second.txt"]);
    assert_eq!((&verified["trust"], &verified["ok"]), (&json!("checkpoint"), &json!(true)));
    let text = std::fs::read_to_string(sandbox.path("second.txt")).expect("it was saved");
    assert!(text.contains("height 2") && text.contains(saved["root"].as_str().expect("a hash")), "{text}");
    assert!(text.contains(saved["log"]["root"].as_str().expect("a root")), "{text}");
}

#[test]
fn a_height_that_there_is_not_is_refused_by_name() {
    let (sandbox, told) = played();
    let last = number(&told["audit"], "height");
    let beyond = (last + 1).to_string();
    let answer = sandbox.run(&["audit", "replay", "--to", &beyond, EXPORT]);
    let said = format!("the ledger ends at block {last}; there is no block {beyond}");
    assert!(answer.code == Some(1) && answer.stderr.contains(&said), "{answer}");
    let mut changed = std::fs::read(sandbox.path(EXPORT)).expect("an export");
    let third = changed.len() / 3;
    changed[third] ^= 1;
    sandbox.write(EXPORT, &changed);
    let answer = sandbox.run(&["--json", "audit", "replay", "--to", &last.to_string(), EXPORT]);
    assert_eq!((answer.code, &answer.document()["ok"]), (Some(1), &json!(false)), "{answer}");
}

#[test]
fn a_running_ledger_is_replayed_as_well() {
    let market = Market::new("4");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    // The client's key is made with its first money.
    let funds = market.fund();
    let client = market.sandbox.json(&["key", "show"])["id"].as_str().expect("an id").to_owned();
    market.fund();
    for height in [1, 2] {
        let to = height.to_string();
        let answer = market.sandbox.json(&["audit", "replay", "--to", &to, "--account", &client]);
        assert_eq!(number(&answer["account"], "balance"), funds * height);
        assert_eq!((&answer["trust"], &answer["source"]["from"]), (&json!("genesis"), &json!("ledger")));
    }
    ledger.kill();
    let offline = market.sandbox.json(&["audit", "verify"]);
    assert_eq!((&offline["ok"], &offline["source"]["from"]), (&json!(true), &json!("last-export")));
    let told = market.sandbox.run(&["audit", "verify"]);
    assert!(
        told.stdout.contains("ledger.export, exported ") && told.stdout.contains(": nobody answers"),
        "{told}"
    );
}
