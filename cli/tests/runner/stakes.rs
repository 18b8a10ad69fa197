//! A provider's device and stake on the ledger, each party a process of its own: kept by the node, seen and moved by
//! commands, and lost by two receipts that contradict each other.

use gridhour_node::{
    data_dir::DataDir,
    drivers::{memory::Memory, testimony::Testimony},
    keys,
};
use gridhour_protocol::id::OutputDigest;
use serde_json::{Value, json};

use crate::{market::Market, sandbox::Answer};

const STAKE: u64 = 5_000_000;
const AS_SELLER: [&str; 2] = ["--data-dir", "seller"];

fn seller(market: &Market, arguments: &[&str]) -> Value {
    market.sandbox.json(&[&AS_SELLER, arguments].concat())
}

fn refused(market: &Market, arguments: &[&str]) -> Answer {
    let answer = market.sandbox.run(&[&AS_SELLER, arguments].concat());
    assert_eq!(answer.code, Some(1), "{answer}");
    answer
}

fn fund_seller(market: &Market, credits: &str) {
    let key = seller(market, &["key", "show"]);
    market.sandbox.json(&["account", "fund", credits, "--to", key["id"].as_str().expect("an account")]);
}

#[test]
fn a_provider_registers_itself_and_keeps_its_stake() {
    let market = Market::new("2");
    let (ledger, provider) = (market.ledger(), market.provider_with(&["--stake", "5"]));
    ledger.wait_for("ready");
    let entry = provider.wait_for("registered");
    let short = provider.wait_for("stake-short");
    assert_eq!((&short["missing"], &short["bonded"]), (&json!(STAKE), &json!(0)), "{short}");
    let key = seller(&market, &["key", "show"]);
    assert_eq!((&short["account"], &short["device"]), (&key["id"], &entry["device"]));
    fund_seller(&market, "7");
    let staked = provider.wait_for("staked");
    assert_eq!((&staked["bonded"], &staked["device"]), (&json!(STAKE), &entry["device"]));

    // While the node runs over the directory.
    let listed = seller(&market, &["provider", "devices"]);
    let device = &listed["devices"][0];
    assert_eq!((&device["id"], &device["stake"]["bonded"]), (&entry["device"], &json!(STAKE)), "{listed}");
    assert_eq!((&device["entry"]["class"], &device["entry"]["measured"]), (&json!("cpu"), &Value::Null));
    let account = market.sandbox.json(&["account", "show", key["id"].as_str().expect("an account")]);
    assert_eq!((&account["balance"], &account["holds"][0]["amount"]), (&json!(2_000_000), &json!(STAKE)));
    provider.kill();

    let provider = market.provider_with(&["--stake", "5"]);
    assert_eq!(provider.wait_for("registered"), entry, "what stands there is not entered again");
    assert_eq!(provider.wait_for("staked"), staked, "nor staked twice");
    assert_eq!(seller(&market, &["provider", "stake", "show"])["at_stake"], json!(STAKE));
}

#[test]
fn a_stake_is_bonded_unbonded_and_withdrawn_by_command() {
    let market = Market::new("2");
    let (ledger, provider) = (market.ledger(), market.provider());
    ledger.wait_for("ready");
    provider.wait_for("registered");
    provider.kill();
    let poor = refused(&market, &["provider", "stake", "bond", "3"]);
    assert!(poor.stderr.contains("insufficient-balance") && poor.stderr.contains("fund it first"), "{poor}");
    fund_seller(&market, "9");
    assert_eq!(seller(&market, &["provider", "stake", "bond", "3", "--for", "30d"])["call"], "bond");
    let until = |market: &Market| {
        let shown = seller(market, &["provider", "stake", "show"]);
        assert_eq!(shown["at_stake"], json!(3_000_000), "{shown}");
        shown["stakes"][0]["stake"]["until"].as_u64().expect("a time")
    };
    let first = until(&market);
    seller(&market, &["provider", "stake", "bond", "0", "--for", "60d"]);
    assert!(until(&market) > first, "the end moved, and not a credit");

    let over = refused(&market, &["provider", "stake", "unbond", "4"]);
    assert!(over.stderr.contains("over-stake") && over.stderr.contains("3 credits are bonded"), "{over}");
    let text = market.sandbox.run(&[&AS_SELLER, &["provider", "stake", "unbond", "1"][..]].concat());
    assert!(text.stdout.contains("still at stake until") && text.stdout.contains("in 1"), "{text}");
    let early = refused(&market, &["provider", "stake", "withdraw"]);
    assert!(
        early.stderr.contains("nothing-due") && early.stderr.contains("the next 1 credits are due"),
        "{early}"
    );
    seller(&market, &["provider", "stake", "unbond", "--all"]);
    let shown = seller(&market, &["provider", "stake", "show"]);
    let stake = &shown["stakes"][0]["stake"];
    assert_eq!(
        (&stake["bonded"], stake["unbonding"].as_array().map(Vec::len)),
        (&json!(0), Some(2)),
        "{shown}"
    );
    assert_eq!(shown["at_stake"], json!(3_000_000), "it stays at stake meanwhile");
    let unknown = market.sandbox.run(&["provider", "stake", "unbond", "1"]);
    assert_eq!(unknown.code, Some(1), "{unknown}");
    assert!(unknown.stderr.contains("knows no such device"), "{unknown}");
}

#[test]
fn an_order_that_wants_a_stake_meets_providers_that_have_one() {
    let market = Market::new("2");
    let (ledger, provider) = (market.ledger(), market.provider_with(&["--stake", "5"]));
    ledger.wait_for("ready");
    provider.wait_for("stake-short");
    market.fund();
    let order = ["run", "Hello", "--max-tokens", "3", "--max-price", "2000", "--model", "small.gguf"];
    let wanting = |least| market.sandbox.run(&[&order[..], &["--min-stake", least]].concat());
    let none = wanting("5");
    assert_eq!(none.code, Some(1), "{none}");
    assert!(none.stderr.contains("stake-too-low: 0 credits at stake, need 5"), "{none}");
    fund_seller(&market, "5");
    provider.wait_for("staked");
    let met = wanting("5");
    assert_eq!(met.code, Some(0), "{met}");
    let more = wanting("5.1");
    assert!(more.stderr.contains("stake-too-low: 5 credits at stake, need 5.1"), "{more}");
}

/// Has the provider's stolen key sign a second receipt for the job of the client's only one.
fn sign_twice(market: &Market) {
    let [client, seller] = ["data", "seller"].map(|name| DataDir::new(market.sandbox.path(name)));
    let key = keys::load(&client.key()).expect("the client has a key");
    let (memory, _) = Memory::open(&client.records(), key.public()).expect("its records open");
    let kept = memory.testimonies(None).expect("they are read");
    assert_eq!(kept.len(), 1, "what the provider signed is kept");
    let thief = keys::load(&seller.key()).expect("a key can be stolen");
    let mut receipt = kept[0].receipt.body.clone();
    receipt.output = OutputDigest([9; 32]);
    let second = Testimony { receipt: thief.sign(receipt), ..kept[0].clone() };
    memory.keep_testimony(&second).expect("it is written");
}

#[test]
fn two_receipts_that_contradict_each_other_cost_the_provider_its_stake() {
    let market = Market::new("2");
    let (ledger, provider) = (market.ledger(), market.provider_with(&["--stake", "5"]));
    ledger.wait_for("ready");
    fund_seller(&market, "5");
    let staked = provider.wait_for("staked");
    let funds = market.fund();
    let order = ["run", "Hello", "--max-tokens", "3", "--max-price", "2000", "--model", "small.gguf"];
    let cost = market.sandbox.json(&order)["cost"].as_u64().expect("an amount");
    let honest = market.sandbox.run(&["audit", "accuse"]);
    assert_eq!(honest.code, Some(1), "{honest}");
    assert!(honest.stderr.contains("no two of the 1 receipts"), "{honest}");

    sign_twice(&market);
    let shown = market.sandbox.json(&["audit", "accuse", "--out", "evidence"]);
    assert_eq!((&shown["at_stake"], &shown["share"]), (&json!(STAKE), &json!(STAKE / 10)), "{shown}");
    assert_eq!((&shown["device"], &shown["applied"]), (&staked["device"], &Value::Null));
    let told = market.sandbox.run(&["audit", "accuse"]);
    for sentence in ["0.5 are paid to you, 4.5 are burned", "This cannot be undone", "nothing was sent"] {
        assert!(told.stdout.contains(sentence), "{told}");
    }
    let itself = refused(&market, &["audit", "accuse", "--file", "evidence", "--send"]);
    assert!(itself.stderr.contains("cannot accuse itself"), "{itself}");

    let sent = market.sandbox.json(&["audit", "accuse", "--file", "evidence", "--send"]);
    assert!(sent["applied"]["height"].is_u64(), "{sent}");
    assert_eq!(market.account()["balance"], json!(funds - cost + STAKE / 10));
    provider.kill();
    let provider = market.provider_with(&["--stake", "5"]);
    assert_eq!(provider.wait_for("stake-barred")["device"], staked["device"]);
    let again = market.sandbox.run(&["audit", "accuse", "--send"]);
    assert!(again.stderr.contains("nothing is at stake for the device"), "{again}");
    let report = market.audit();
    assert_eq!(report["issued"], json!(funds + STAKE / 10), "nine tenths are burned");
}

#[test]
fn a_file_that_is_no_evidence_is_refused() {
    let market = Market::new("2");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    market.sandbox.write("nonsense", [1, 2, 3]);
    let refused = market.sandbox.run(&["audit", "accuse", "--file", "nonsense"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("holds no evidence"), "{refused}");
}
