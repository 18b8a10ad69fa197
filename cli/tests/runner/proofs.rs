//! Proofs that are handed to a stranger, who has the network file and nothing else.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::{
    demo::{first_receipt, jobs, played},
    market::{Market, PATIENCE},
    sandbox::{Answer, Sandbox},
};

/// Places at which a proof is changed.
const CHANGES: usize = 60;

/// Someone else, with the network file and the proof of the file `name`.
fn stranger(sandbox: &Sandbox, name: &str) -> (Sandbox, Vec<u8>) {
    let other = Sandbox::new();
    other.write("network.json", fs::read(sandbox.path("data/network.json")).expect("it was joined"));
    let proof = fs::read(sandbox.path(name)).expect("the proof was written");
    other.write(name, &proof);
    (other, proof)
}

fn refused(answer: &Answer, what: &str) {
    let document = answer.document();
    let kind = &document["error"]["kind"];
    let said = document["ok"] == json!(false) || kind == "refused";
    assert!(answer.code == Some(1) && said, "{what}: {answer}");
}

/// Every change of the file `name` has `arguments` refuse it.
fn no_change_passes(other: &Sandbox, name: &str, proof: &[u8], arguments: &[&str]) {
    for change in 0..CHANGES {
        let at = change * (proof.len() - 1) / (CHANGES - 1);
        let mut changed = proof.to_vec();
        changed[at] ^= 1 << (change % 8);
        other.write(name, &changed);
        refused(&other.run(arguments), &format!("byte {at} of {}", proof.len()));
    }
    for length in [0, 7, 8, proof.len() - 1] {
        other.write(name, &proof[..length]);
        refused(&other.run(arguments), &format!("{length} bytes"));
    }
}

#[test]
fn a_stranger_checks_a_receipt_with_the_network_file_alone() {
    let (sandbox, told) = played();
    for job in jobs(&told).0 {
        let id = job["receipt_id"].as_str().expect("an id");
        let checked = sandbox.json(&["receipt", "verify", id, "--save-proof", "receipt.proof"]);
        assert_eq!((&checked["on_ledger"], &checked["proof"]), (&json!(true), &json!("receipt.proof")));
        let (other, _) = stranger(&sandbox, "receipt.proof");
        let verify = ["receipt", "verify", "--proof", "receipt.proof", "--network", "network.json"];
        let proven = other.json(&verify);
        assert_eq!(
            (&proven["ok"], &proven["receipt_id"], &proven["trust"]),
            (&json!(true), &json!(id), &json!("genesis"))
        );
        assert_eq!((&proven["height"], &proven["provider"]), (&checked["height"], &job["provider"]));
    }
    let id = first_receipt(&told);
    sandbox.json(&["receipt", "verify", id, "--save-proof", "receipt.proof"]);
    let (other, proof) = stranger(&sandbox, "receipt.proof");
    let verify = ["--json", "receipt", "verify", "--proof", "receipt.proof", "--network", "network.json"];
    no_change_passes(&other, "receipt.proof", &proof, &verify);
    other.write("receipt.proof", &proof);
    let balance = ["--json", "audit", "verify-balance", "receipt.proof", "--network", "network.json"];
    refused(&other.run(&balance), "a receipt is no balance");
}

/// The client's account once its balance is proven, which takes until the next checkpoint.
fn proven_account(market: &Market) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let account = market.sandbox.json(&["account", "show", "--proof", "balance.proof"]);
        if account["proven"]["balance"] == account["balance"] {
            return account;
        }
        assert!(Instant::now() < end, "not proven: {account}");
    }
}

#[test]
fn a_stranger_checks_a_balance_with_the_network_file_alone() {
    let market = Market::new("4");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let account = proven_account(&market);
    let (other, proof) = stranger(&market.sandbox, "balance.proof");
    let verify = ["--json", "audit", "verify-balance", "balance.proof", "--network", "network.json"];
    let answer = other.run(&verify);
    let proven = answer.document();
    assert_eq!((answer.code, &proven["balance"]), (Some(0), &json!(funds)), "{answer}");
    assert_eq!((&proven["account"], &proven["trust"]), (&account["id"], &json!("genesis")), "{answer}");
    assert_eq!(
        (&proven["height"], &proven["block"]),
        (&account["proven"]["height"], &account["proven"]["block"])
    );
    let nobody = "ab".repeat(32);
    let another = [&verify[..], &["--account", &nobody]].concat();
    refused(&other.run(&another), "another account");
    no_change_passes(&other, "balance.proof", &proof, &verify);
    other.write("balance.proof", &proof);
    let elsewhere = Market::new("4");
    let file = fs::read(elsewhere.sandbox.path("data/network.json")).expect("another network was made");
    other.write("other.json", file);
    let arguments = ["--json", "audit", "verify-balance", "balance.proof", "--network", "other.json"];
    refused(&other.run(&arguments), "another network");
}
