use std::fs::{self, File};

use gridhour_node::model::catalogue::CATALOGUE;
use insta::assert_snapshot;
use serde_json::json;

use crate::{
    sandbox::{Answer, Sandbox},
    watched,
};

/// A file of the right name and size in the cache, with other content.
fn plant_impostor(sandbox: &Sandbox) {
    let entry = &CATALOGUE[0];
    fs::create_dir_all(sandbox.path("models")).unwrap();
    let file = File::create(sandbox.path(&format!("models/{}", entry.file))).unwrap();
    file.set_len(entry.bytes).unwrap();
}

#[test]
fn a_changed_file_is_refused_by_its_digest() {
    let sandbox = Sandbox::new();
    plant_impostor(&sandbox);
    assert_snapshot!(sandbox.run(&["model", "pull"]), @r"
    exit 1
    err: error: [DIR]/models/SmolLM2-135M-Instruct.Q4_1.gguf has SHA-256 47d877b6abe18d06cbadfb3c7852b24665ba2eb044d3d3ef5a562224429ca4c5, but b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 is pinned: it was changed
    err:   hint: remove the file and pull again
    ");
}

#[test]
fn without_a_network_it_says_what_was_tried() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["model", "pull", "smollm2-135m-instruct"]);
    // No hub listens there, and without a path there is no pip.
    command.env("HF_ENDPOINT", "http://127.0.0.1:1").env("PATH", "");
    let answer = Answer::new(&watched::output(&mut command), &sandbox.path(""));
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(3), ""), "{answer}");
    for word in ["SmolLM2-135M-Instruct", "Hugging Face hub", "pip", "--model PATH"] {
        assert!(answer.stderr.contains(word), "{answer}");
    }
    assert_eq!(sandbox.json(&["model", "list"])["models"][0]["path"], json!(null));
}

#[test]
fn the_catalogue_says_what_is_there() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.run(&["model", "list"]), @r"
    exit 0
    out: NAME                   BYTES     LICENSE     FILE
    out: SmolLM2-135M-Instruct  98362432  Apache-2.0  not pulled
    ");
    let listed = sandbox.json(&["model", "list"]);
    let entry = &CATALOGUE[0];
    let expected = json!({
        "name": entry.name,
        "bytes": entry.bytes,
        "license": entry.license,
        "sha256": entry.sha256,
        "path": null,
    });
    assert_eq!(listed["models"], json!([expected]));
    plant_impostor(&sandbox);
    let path = format!("[DIR]/models/{}", entry.file);
    assert_eq!(sandbox.json(&["model", "list"])["models"][0]["path"], json!(path));
}

#[test]
fn a_model_that_was_not_pulled_is_not_fetched_in_silence() {
    let sandbox = Sandbox::new();
    assert_snapshot!(sandbox.run(&["model", "tokenize", "hello"]), @r"
    exit 1
    err: error: model SmolLM2-135M-Instruct is not on this machine
    err:   hint: fetch it with `gridhour model pull SmolLM2-135M-Instruct`
    ");
}

#[test]
fn only_names_can_be_pulled() {
    let sandbox = Sandbox::with_model();
    assert_snapshot!(sandbox.run(&["model", "pull", "small.gguf"]), @r"
    exit 2
    err: error: small.gguf is a file on this machine already
    err:   hint: `gridhour model list` names the models that can be fetched
    ");
    assert_snapshot!(sandbox.run(&["model", "pull", "SmolLM3"]), @r#"
    exit 2
    err: error: "SmolLM3" is no model that is known by name (SmolLM2-135M-Instruct) and no file on this machine
    "#);
}
