use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use gridhour_node::model::{
    gguf::Gguf,
    tokenizer::{Tokenizer, tokenizer_asset},
};
use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::f32_eval::F32Model;

use crate::{
    sandbox::{Answer, Sandbox},
    watched,
};

const MODEL: [&str; 4] = ["model", "eval", "--model", "small.gguf"];
/// Tokens of the small model's vocabulary.
const VOCABULARY: usize = 283;

/// A sandbox with a model and a text of some hundred tokens.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_model();
    sandbox.write("text.txt", text());
    sandbox
}

fn text() -> String {
    (0..40).map(|i| format!("the user and the world is in {} hello {i} ", i * i)).collect()
}

fn eval(sandbox: &Sandbox, options: &str) -> Value {
    let options: Vec<&str> = options.split(' ').collect();
    sandbox.json(&[&MODEL[..], &["--text", "text.txt"], &options].concat())
}

fn refused(sandbox: &Sandbox, options: &str) -> Answer {
    let options: Vec<&str> = options.split(' ').collect();
    let answer = sandbox.run(&[&MODEL[..], &options].concat());
    assert_eq!(answer.stdout, "");
    answer
}

/// The rows of an `.npy` file of the small model.
fn rows(sandbox: &Sandbox, name: &str, count: usize) -> Vec<Vec<f32>> {
    let bytes = fs::read(sandbox.path(name)).unwrap();
    assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
    let data = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(data % 64, 0);
    let header = std::str::from_utf8(&bytes[10..data]).unwrap();
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {VOCABULARY}), }}");
    assert_eq!(header.trim_end(), shape);
    let floats: Vec<f32> =
        bytes[data..].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(floats.len(), count * VOCABULARY);
    floats.chunks(VOCABULARY).map(<[f32]>::to_vec).collect()
}

fn tokens(sandbox: &Sandbox) -> Vec<u32> {
    let file = Gguf::open(&sandbox.path("small.gguf")).unwrap();
    Tokenizer::new(tokenizer_asset(&file).unwrap()).unwrap().encode_bare(&text()).unwrap()
}

#[test]
fn scripts_get_these_fields() {
    let sandbox = sandbox();
    let found = eval(&sandbox, "--window 100 --tokens 350 --threads 1 --isa portable");
    let names: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    let promised = ["tokens", "perplexity", "device", "backend", "adapter", "dispatches"];
    let added = ["model_id", "windows", "predictions", "threads", "total_ms"];
    assert_eq!(names, [&promised[..], &added].concat());
    assert_eq!((&found["tokens"], &found["predictions"]), (&json!(300), &json!(150)));
    assert_eq!((&found["device"], &found["backend"]), (&json!("cpu"), &json!("portable")));
    assert_eq!((&found["adapter"], &found["dispatches"]), (&json!(null), &json!(0)));
}

#[test]
fn rows_are_probabilities_and_perplexity_follows_from_them() {
    let sandbox = sandbox();
    let found = eval(&sandbox, "--window 70 --tokens 210 --dump-logprobs p.npy");
    let (tokens, rows) = (tokens(&sandbox), rows(&sandbox, "p.npy", 3 * 69));
    for row in &rows {
        let sum: f64 = row.iter().map(|log| f64::from(*log).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    }
    let predicted = |window: usize, position: usize| {
        f64::from(rows[window * 69 + position - 1][tokens[window * 70 + position] as usize])
    };
    let sum: f64 = (0..3).flat_map(|w| (35..70).map(move |p| (w, p))).map(|(w, p)| predicted(w, p)).sum();
    let perplexity = (-sum / 105.0).exp();
    let reported = found["perplexity"].as_f64().unwrap();
    assert!((reported / perplexity - 1.0).abs() < 1e-5, "{reported} {perplexity}");
}

#[test]
fn rows_agree_with_an_evaluation_in_floats() {
    let sandbox = sandbox();
    eval(&sandbox, "--window 130 --tokens 130 --dump-logprobs p.npy");
    let exact = rows(&sandbox, "p.npy", 129);
    let model = F32Model::load(&Gguf::open(&sandbox.path("small.gguf")).unwrap()).unwrap();
    let floats = model.log_probs(&tokens(&sandbox)[..130], 0..129);
    for (position, row) in exact.iter().enumerate() {
        let pairs = row.iter().zip(floats.row(position));
        let kl: f64 = pairs.map(|(p, q)| f64::from(*q).exp() * f64::from(q - p)).sum();
        assert!(kl < 1e-3, "position {position}: {kl}");
    }
}

#[test]
fn the_last_rows_are_a_part_of_all() {
    let sandbox = sandbox();
    eval(&sandbox, "--window 80 --tokens 160 --dump-logprobs all.npy");
    eval(&sandbox, "--window 80 --tokens 160 --dump-logprobs last.npy --last 5");
    let (all, last) = (rows(&sandbox, "all.npy", 2 * 79), rows(&sandbox, "last.npy", 2 * 5));
    assert_eq!((&all[74..79], &all[153..158]), (&last[..5], &last[5..]));
}

#[test]
fn neither_instructions_nor_threads_change_a_bit() {
    let sandbox = sandbox();
    let found = |options: &str| {
        let dump = format!("--window 90 --dump-logprobs p.npy {options}");
        let perplexity = eval(&sandbox, &dump)["perplexity"].clone();
        (perplexity, fs::read(sandbox.path("p.npy")).unwrap())
    };
    let portable = found("--isa portable --threads 1");
    assert_eq!(found("--isa auto --threads 2"), portable);
    assert_eq!(found("--threads 3"), portable);
}

#[test]
fn a_gpu_is_never_replaced_in_silence() {
    let sandbox = sandbox();
    let said =
        refused(&sandbox, "--text text.txt --device gpu --adapter no-adapter-has-this-name").to_string();
    // Which adapters there are depends on the machine, and drivers may print lines of their own.
    assert!(said.starts_with("exit 1\n") && said.contains("\nerr: error: no "), "{said}");
    assert!(said.contains("hint: compute on the processor"), "{said}");
}

#[test]
fn what_cannot_be_evaluated_is_bad_usage() {
    let sandbox = sandbox();
    sandbox.write("binary.txt", [0xff, 0xfe]);
    sandbox.write("long.txt", "x".repeat((1 << 22) + 1));
    assert_snapshot!(refused(&sandbox, "--text absent.txt"), @r"
    exit 2
    err: error: absent.txt: No such file or directory (os error 2)
    ");
    assert_snapshot!(refused(&sandbox, "--text binary.txt"), @r"
    exit 2
    err: error: binary.txt is not UTF-8 text
    ");
    assert_snapshot!(refused(&sandbox, "--text long.txt"), @r"
    exit 2
    err: error: long.txt has more than 4194304 bytes
    err:   hint: cut a piece of it, for instance with `head -c`
    ");
    assert_snapshot!(refused(&sandbox, "--text text.txt --window 257"), @r"
    exit 2
    err: error: windows of 257 tokens asked for; this model takes 2 to 256
    ");
    assert_snapshot!(refused(&sandbox, "--text text.txt --window 1"), @r"
    exit 2
    err: error: windows of 1 tokens asked for; this model takes 2 to 256
    ");
    assert_snapshot!(refused(&sandbox, "--text text.txt --window 64 --tokens 63"), @r"
    exit 2
    err: error: 63 tokens do not fill one window of 64: give more text or a smaller window
    ");
    assert_snapshot!(refused(&sandbox, "--text text.txt --window 8 --dump-logprobs p.npy --last 8"), @r"
    exit 2
    err: error: the last 8 rows of each window asked for; a window has 7
    ");
    assert_snapshot!(refused(&sandbox, "--text text.txt --window 8 --dump-logprobs no/p.npy"), @r"
    exit 2
    err: error: no/p.npy: No such file or directory (os error 2)
    ");
    assert_eq!(refused(&sandbox, "--text text.txt --last 3").code, Some(2), "without a file to write");
    assert_eq!(sandbox.files(), ["binary.txt", "long.txt", "models", "small.gguf", "text.txt"]);
}

#[test]
fn people_see_one_number_first() {
    let sandbox = sandbox();
    let answer =
        sandbox.run(&[&MODEL[..], &["--text", "text.txt", "--window", "64", "--tokens", "128"]].concat());
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "no bar in a pipe");
    let perplexity = eval(&sandbox, "--window 64 --tokens 128")["perplexity"].as_f64().unwrap();
    let first = format!("perplexity {perplexity:.4} over 64 predictions in 2 windows");
    assert_eq!(answer.stdout.lines().next(), Some(first.as_str()));
}

#[test]
fn an_interrupted_evaluation_leaves_no_file() {
    let sandbox = Sandbox::with_model();
    sandbox.write("text.txt", text().repeat(1000));
    let arguments = ["--text", "text.txt", "--window", "256", "--dump-logprobs", "p.npy"];
    let mut command = sandbox.command(&[&MODEL[..], &arguments].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sandbox.files().iter().any(|name| name.ends_with(".partial")) {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no dump was begun");
        thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let answer =
        Answer::new(&watched::wait_for(child.id(), || child.wait_with_output()).unwrap(), &sandbox.path(""));
    assert_snapshot!(answer, @r"
    exit 130
    err: error: interrupted
    ");
    assert_eq!(sandbox.files(), ["models", "small.gguf", "text.txt"]);
}
