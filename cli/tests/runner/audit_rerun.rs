//! `gridhour audit rerun`: a sample of results, computed again.

use std::fs;

use gridhour_node::{drivers::results::Results, keys};
use gridhour_protocol::{
    id::ReceiptId,
    job::request::OutputChain,
    merkle::leaf_hash,
    receipt::Receipt,
    session::voucher::Voucher,
    signed::{PublicKey, SecretKey},
};
use serde_json::{Value, json};

use crate::{
    demo::{first_receipt, jobs, played},
    sandbox::{Answer, Sandbox},
};

const EXPORT: &str = "data/ledger.export";
/// Where the forged output differs.
const PLACE: usize = 5;

fn rerun(sandbox: &Sandbox, options: &[&str]) -> Answer {
    sandbox.run(&[&["--json", "audit", "rerun", EXPORT, "--model", "small.gguf"], options].concat())
}

/// The secret key of a demo's provider.
fn provider_key(sandbox: &Sandbox, provider: &PublicKey) -> SecretKey {
    let nodes = fs::read_dir(sandbox.path("data/nodes")).expect("the demo leaves its nodes");
    let mut keys = nodes.map(|node| keys::load(&node.expect("an entry").path().join("key")).expect("a key"));
    keys.find(|key| key.public() == *provider).expect("a provider of the demo")
}

/// What a provider that computes something else would have had its client keep: another token under honest signatures.
fn forged(sandbox: &Sandbox, id: &str) -> ReceiptId {
    let results = Results::new(sandbox.path("data/results"));
    let honest: ReceiptId = id.parse().expect("an id");
    let (mut result, text) = results.load(honest).expect("it is kept");
    result.output[PLACE] ^= 1;
    let receipt = &result.receipt.body;
    let output = OutputChain::of(&receipt.request, &result.output, &result.logprobs);
    let key = provider_key(sandbox, &receipt.provider);
    result.receipt = key.sign(Receipt { output, ..receipt.clone() });
    let client = keys::load(&sandbox.path("data/key")).expect("the client's key");
    let receipts_root = leaf_hash(&result.receipt.id().0);
    result.voucher = client.sign(Voucher { receipts_root, ..result.voucher.body.clone() });
    fs::remove_file(results.path(honest)).expect("it is there");
    results.keep(&result, &text).expect("the folder can be written");
    result.receipt.id()
}

#[test]
fn honest_results_are_computed_again_and_what_could_be_hidden_is_said() {
    let (sandbox, told) = played();
    let delivered = jobs(&told).0;
    let count = delivered.len() as u64;
    let all = rerun(&sandbox, &["--sample", "1.0"]);
    let document = all.document();
    assert_eq!((all.code, &document["ok"]), (Some(0), &json!(true)), "{all}");
    assert_eq!([&document["results"], &document["sampled"], &document["paid"]], [&json!(count); 3], "{all}");
    let none = json!({ "results": 0, "share": 0.0, "credits": 0, "confidence": 0.95 });
    assert_eq!(document["hidden"], none, "nothing hides where all is looked at");

    let seed = "5".repeat(64);
    let one = rerun(&sandbox, &["--sample", "1", "--seed", &seed]).document();
    assert_eq!((&one["sampled"], &one["seed"]), (&json!(1), &json!(seed)));
    assert_eq!(one["sample"], rerun(&sandbox, &["--sample", "1", "--seed", &seed]).document()["sample"]);
    // With one of three to six drawn, all but it escape with a chance of at least 1/6.
    let drawn = one["sample"][0].as_str().expect("an id");
    let rest = delivered.iter().filter(|job| job["receipt_id"] != drawn);
    let dearest: u64 = rest.map(|job| job["cost"].as_u64().expect("an amount")).sum();
    assert!((3..=6).contains(&count));
    assert_eq!(one["hidden"]["results"], json!(count - 1));
    assert_eq!(one["hidden"]["credits"], json!(dearest));
    let sure = ["--sample", "1", "--seed", &seed, "--confidence", "0.5"];
    assert!(rerun(&sandbox, &sure).document()["hidden"]["results"].as_u64() < Some(count - 1));
}

#[test]
fn a_sample_is_drawn_anew_each_time_unless_its_seed_is_given() {
    let (sandbox, _) = played();
    let [one, other] = [(); 2].map(|()| rerun(&sandbox, &["--sample", "0.05"]).document());
    assert_eq!(one["sampled"], 1, "a share is rounded up");
    assert_ne!(one["seed"], other["seed"]);
    let again = rerun(&sandbox, &["--sample", "0.05", "--seed", one["seed"].as_str().expect("a seed")]);
    assert_eq!(again.document()["sample"], one["sample"]);
}

#[test]
fn a_false_result_in_the_sample_is_found_and_named() {
    let (sandbox, told) = played();
    let id = forged(&sandbox, first_receipt(&told)).to_string();
    let found = rerun(&sandbox, &["--sample", "1.0"]);
    let document = found.document();
    assert_eq!((found.code, &document["ok"], &document["hidden"]), (Some(1), &json!(false), &Value::Null));
    let named = &document["false"];
    assert_eq!(named.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(
        (&named[0]["receipt_id"], &named[0]["first_difference"]),
        (&json!(id), &json!(PLACE)),
        "{found}"
    );
    let reasons = named[0]["reasons"].as_array().expect("a list");
    let reasons: Vec<&str> = reasons.iter().map(|reason| reason.as_str().expect("words")).collect();
    assert_eq!(reasons.len(), 2, "every signature is good: {reasons:?}");
    assert!(reasons[0].contains("paid for other receipts"), "{reasons:?}");
    assert!(reasons[1].starts_with("output token 5 is "), "{reasons:?}");
    let text = sandbox.run(&["audit", "rerun", EXPORT, "--model", "small.gguf", "--sample", "1.0"]);
    assert!(text.code == Some(1) && text.stdout.contains(&format!("FALSE      {id} of ")), "{text}");
}

#[test]
fn samples_that_make_no_sense_are_refused_by_name() {
    let (sandbox, _) = played();
    for (option, value, said) in [
        ("--sample", "0", "says nothing"),
        ("--sample", "2.0", "is no share"),
        ("--seed", "77", "hexadecimal"),
        ("--confidence", "1.0", "must be below 1"),
    ] {
        let defaults = if option == "--sample" { &[][..] } else { &["--sample", "1"] };
        let answer = sandbox.run(&[&["audit", "rerun", EXPORT, option, value], defaults].concat());
        assert!(answer.code == Some(2) && answer.stderr.contains(said), "{value}: {answer}");
    }
    let empty = Sandbox::new();
    let answer = empty.run(&["audit", "rerun", "--sample", "1"]);
    assert!(answer.code == Some(1) && answer.stderr.contains("no results are kept"), "{answer}");
}
