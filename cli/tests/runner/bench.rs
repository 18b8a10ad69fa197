use serde_json::json;

use crate::sandbox::Sandbox;

const ENGINE: [&str; 8] = ["bench", "engine", "--model", "small.gguf", "--threads", "1", "--repeat", "1"];
const LENGTHS: [&str; 6] = ["--prefill", "12", "--decode", "3", "--batch", "2"];

#[test]
fn scripts_get_these_figures() {
    let sandbox = Sandbox::with_model();
    let found = sandbox.json(&[&ENGINE[..], &LENGTHS].concat());
    let settings = ["device", "threads", "prefill", "decode", "depth", "batch", "repeat", "dispatches"];
    let found_settings: Vec<_> = settings.iter().map(|name| &found[name]).collect();
    assert_eq!(json!(found_settings), json!(["cpu", 1, 12, 3, 12, 2, 1, 0]));
    let figures = [
        "load_ms",
        "first_token_ms",
        "prefill_tokens_per_s",
        "prefill_gmacs_per_s",
        "decode_tokens_per_s",
        "batch_tokens_per_s",
        "batch_over_prefill",
        "verify_over_prefill",
        "chain_on_over_off",
        "decode_gbytes_per_s",
        "memory_gbytes_per_s",
        "decode_over_memory",
        "integer_gproducts_per_s",
        "prefill_over_integer",
    ];
    for name in figures {
        assert!(found[name].as_f64().is_some_and(|figure| figure > 0.0), "{name} is {}", found[name]);
    }
}

#[test]
fn people_get_a_line_a_figure_and_another_depth_if_they_want() {
    let sandbox = Sandbox::with_model();
    let answer = sandbox.run(&[&ENGINE[..], &LENGTHS, &["--depth", "5", "--isa", "portable"]].concat());
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    for line in ["on the cpu (portable, 1 threads)", "prefill of 12", "decode at 5", "integers"] {
        assert!(answer.stdout.contains(line), "{line:?} is not in {}", answer.stdout);
    }
}

#[test]
fn lengths_beyond_the_models_context_are_refused() {
    let sandbox = Sandbox::with_model();
    let answer = sandbox.run(&[&ENGINE[..], &["--prefill", "100000"]].concat());
    assert_eq!((answer.code, &answer.stdout[..]), (Some(2), ""));
    assert!(answer.stderr.contains("100000"), "{}", answer.stderr);
}
