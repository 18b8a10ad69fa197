//! Many prompts in one session: real processes.

use serde_json::Value;

use crate::{market::Market, sandbox::Sandbox};

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
