//! Many prompts in one session, and answers that nobody reads: real processes.

use std::{fs::File, process::Stdio};

use serde_json::Value;

use crate::{
    market::{Market, Order},
    sandbox::{Answer, Sandbox},
    watched,
};

const LIMITS: [&str; 6] = ["--model", "small.gguf", "--max-price", "2000", "--max-total", "5"];

fn cost(result: &Value) -> u64 {
    result["cost"].as_u64().expect("an amount")
}

#[test]
fn a_batch_is_answered_in_one_session_that_is_settled_at_its_end() {
    let market = Market::new("120");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let seller = market.provider();
    seller.wait_for("ready");
    market.sandbox.write("prompts.txt", "Hello\n\nWho are you?\nHello\n");
    let batch = ["--json", "run", "--batch", "prompts.txt", "--max-tokens", "3"];
    let answer = market.sandbox.run(&[&batch[..], &LIMITS].concat());
    assert_eq!(answer.code, Some(0), "{answer}");
    let results: Vec<Value> =
        answer.stdout.lines().map(|line| serde_json::from_str(line).expect("a record a line")).collect();
    assert_eq!(results.len(), 3, "an empty line is no prompt: {answer}");
    assert!(results.iter().all(|result| result["session"] == results[0]["session"]), "{answer}");
    assert_eq!(results[0]["token_ids"], results[2]["token_ids"], "exact, wherever in the session");
    let paid = funds - market.balance_without_holds();
    assert_eq!(paid, results.iter().map(cost).sum::<u64>());
    assert_eq!(market.earned(), paid);
    let found = market.sandbox.json(&[&["bench", "first-token", "--orders", "20"], &LIMITS[..]].concat());
    let rows = found["rows"].as_array().expect("rows");
    let published = [
        "first_token_cold_ms",
        "first_token_warm_p50_ms",
        "first_token_warm_p95_ms",
        "first_token_warm_worst_ms",
        "engine_p50_ms",
    ];
    assert_eq!(rows.iter().map(|row| row["name"].as_str().expect("a name")).collect::<Vec<_>>(), published);
    assert!(rows.iter().all(|row| row["value"].as_f64().is_some_and(|value| value > 0.0)), "{found}");
    market.audit();
}

#[test]
fn a_batch_whose_provider_leaves_keeps_its_answers_and_settles() {
    let market = Market::new("60");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let only = market.provider_with(&["--drain", "1"]);
    only.wait_for("ready");
    market.sandbox.write("prompts.txt", "Hello\n".repeat(3));
    let ask = |what: &[&'static str]| [&["run", "--max-tokens", "100"], what, &LIMITS[..]].concat();
    let alone = market.sandbox.run(&ask(&["Hello"]));
    let (first, _) = alone.stdout.split_once("Look further").expect("it ends so");
    let mut running = Order::start(market.sandbox.command(&ask(&["--batch", "prompts.txt"])));
    // In the middle of the second answer.
    running.wait_for_output(first.len() + 60);
    only.terminate();
    assert_eq!(only.exit_code(), Some(0));
    let answer = running.end(&market);
    assert_eq!(answer.code, Some(3), "{answer}");
    assert!(answer.stderr.contains("1 of 3 prompts were answered; they are kept and paid for"), "{answer}");
    let kept = market.sandbox.json(&["receipt", "list"]);
    let kept = kept["results"].as_array().expect("a list");
    let whole = kept.iter().filter(|result| result["output_tokens"] == 100).count();
    assert_eq!((kept.len(), whole), (3, 2), "{kept:?}");
    let paid = funds - market.balance_without_holds();
    assert_eq!((paid, market.earned()), (kept.iter().map(cost).sum(), paid));
    market.audit();
}

/// `gridhour run … | head`.
#[test]
fn an_order_that_nobody_reads_to_its_end_is_ended_and_paid_for_as_far_as_it_came() {
    let market = Market::new("120");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let funds = market.fund();
    let seller = market.provider();
    seller.wait_for("ready");
    let mut order = market.order_of("400");
    order.wait_for_output(1);
    order.stop_reading();
    let answer = order.end(&market);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer}");
    let kept = market.sandbox.json(&["receipt", "list"])["results"][0].clone();
    assert!(kept["output_tokens"].as_u64().is_some_and(|tokens| 0 < tokens && tokens < 400), "{kept}");
    let paid = funds - market.balance_without_holds();
    assert_eq!((paid, market.earned()), (cost(&kept), paid));
    market.audit();
}

#[test]
fn an_answer_that_cannot_be_written_is_kept_and_why_there_is_none_is_said_first() {
    let market = Market::new("120");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    market.fund();
    let seller = market.provider();
    seller.wait_for("ready");
    let to_full_disk = |price| {
        let limits = ["--max-tokens", "3", "--max-price", price];
        let order = ["run", "Hello", "--model", "small.gguf", "--max-total", "5"];
        let mut command = market.sandbox.command(&[&order[..], &limits].concat());
        let full = File::options().write(true).open("/dev/full").expect("a disk that is full");
        let child = command.stdout(full).stderr(Stdio::piped()).spawn().expect("the program starts");
        let output = watched::wait_for(child.id(), || child.wait_with_output());
        Answer::new(&output.expect("a child can be waited for"), &market.sandbox.path(""))
    };
    let answer = to_full_disk("2000");
    assert_eq!(answer.code, Some(4), "{answer}");
    assert!(answer.stderr.starts_with("error: cannot write the answer: No space left"), "{answer}");
    let kept = market.sandbox.json(&["receipt", "list"])["results"].clone();
    assert_eq!((kept.as_array().map(Vec::len), &kept[0]["output_tokens"]), (Some(1), &3.into()), "{kept}");
    let answer = to_full_disk("1");
    assert_eq!(answer.code, Some(1), "{answer}");
    assert!(answer.stderr.contains("no offer"), "{answer}");
}

#[test]
fn a_batch_without_a_prompt_is_refused_before_anyone_is_asked() {
    let sandbox = Sandbox::with_model();
    sandbox.write("empty.txt", "\n \n");
    for (line, said) in [
        (vec!["run", "--batch", "empty.txt"], "has no prompt"),
        (vec!["run", "--batch", "missing.txt"], "missing.txt"),
        (vec!["run", "Hello", "--batch", "empty.txt"], "cannot be used with"),
        (vec!["run"], "required"),
    ] {
        let answer = sandbox.run(&line);
        assert_eq!(answer.code, Some(2), "{answer}");
        assert!(answer.stderr.contains(said), "{answer}");
    }
}
