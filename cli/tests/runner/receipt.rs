//! `gridhour receipt` on a result that somebody changed.

use std::fs;

use serde_json::{Value, json};

use crate::{
    demo::{first_receipt, played},
    sandbox::Sandbox,
};

/// Changes one token of a kept result to another one of the vocabulary.
fn change_a_token(sandbox: &Sandbox, id: &str, place: usize) {
    let path = sandbox.path(&format!("data/results/{id}.json"));
    let text = fs::read_to_string(&path).expect("the result is kept");
    let mut result: Value = serde_json::from_str(&text).expect("it is JSON");
    let token = &mut result["token_ids"][place];
    *token = json!(token.as_u64().expect("a number") ^ 1);
    fs::write(path, result.to_string()).expect("a result can be changed");
}

#[test]
fn a_receipt_names_the_clock_of_its_measured_time() {
    let (sandbox, told) = played();
    let id = first_receipt(&told);
    let document = sandbox.json(&["receipt", "show", id]);
    assert_eq!(document["receipt"]["measured_by"], "host-clock", "{document}");
    let shown = sandbox.run(&["receipt", "show", id]).to_string();
    assert!(shown.contains(" ms by host-clock, the provider's word and not billed"), "{shown}");
}

#[test]
fn a_result_with_another_token_is_refused() {
    let (sandbox, told) = played();
    let id = first_receipt(&told);
    let rerun = ["--json", "receipt", "rerun", id, "--model", "small.gguf"];
    assert_eq!(sandbox.run(&rerun).document()["match"], true);
    let place = 5;
    change_a_token(&sandbox, id, place);
    let again = sandbox.run(&rerun);
    let document = again.document();
    assert_eq!((again.code, &document["match"]), (Some(1), &json!(false)), "{again}");
    assert_eq!(document["first_difference"], json!(place), "{again}");
    let checked = sandbox.run(&["--json", "receipt", "verify", id]);
    assert_eq!((checked.code, &checked.document()["ok"]), (Some(1), &json!(false)), "{checked}");
}
