//! `gridhour run` with rules of sampling, log probabilities and a stop text, on a market of processes.

use serde_json::{Value, json};

use crate::market::Market;

/// An order with every rule, and `more`.
fn order(market: &Market, more: &[&str]) -> Value {
    let limits = ["--max-tokens", "30", "--max-price", "2000", "--max-total", "20"];
    let rules = ["--temperature", "0.75", "--top-k", "80", "--top-p", "0.9375", "--min-p", "0.0625"];
    let penalties = ["--repeat-penalty", "1.25", "--repeat-last-n", "16", "--frequency-penalty", "0.5"];
    let rest = ["--presence-penalty", "-0.25", "--seed", "7"];
    let begin = ["run", "Hello", "--model", "small.gguf"];
    market.sandbox.json(&[&begin[..], &limits, &rules, &penalties, &rest, more].concat())
}

#[test]
fn what_is_asked_for_is_reported_checked_and_computed_again() {
    let market = Market::new("2");
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let provider = market.provider();
    provider.wait_for("ready");
    market.fund();
    let told = order(&market, &["--logprobs", "3"]);
    let sampling = json!({
        "temperature": 0.75, "top_k": 80, "top_p": 0.9375, "min_p": 0.0625, "repeat_penalty": 1.25,
        "repeat_last_n": 16, "frequency_penalty": 0.5, "presence_penalty": -0.25,
    });
    assert_eq!((&told["sampling"], &told["seed"], &told["stop"]), (&sampling, &json!(7), &json!([])));
    let (tokens, logprobs) = (told["token_ids"].as_array().expect("tokens"), &told["logprobs"]);
    for (token, one) in tokens.iter().zip(logprobs.as_array().expect("one a token")) {
        assert_eq!((&one["token_id"], one["top"].as_array().map(Vec::len)), (token, Some(3)), "{one}");
        assert!(one["logprob"].as_f64() <= Some(0.0), "{one}");
    }
    let text = told["text"].as_str().expect("a text");
    let letters: Vec<char> = text.chars().filter(|letter| *letter != char::REPLACEMENT_CHARACTER).collect();
    let stop = letters.get(letters.len() / 2).expect("something can be read").to_string();
    let part = order(&market, &["--stop", "never said", "--stop", &stop]);
    assert_eq!(part["text"].as_str(), text.split(&stop).next(), "stopped by {stop:?}");
    assert_eq!((&part["cause"], &part["logprobs"]), (&json!("delivered"), &Value::Null));
    for answer in [told, part] {
        let id = answer["receipt_id"].as_str().expect("an id");
        let checked = market.sandbox.json(&["receipt", "verify", id]);
        let ends = json!({ "check": "the output ends where the request says", "ok": true });
        assert!(checked["checks"].as_array().is_some_and(|checks| checks.contains(&ends)), "{checked}");
        let rerun = market.sandbox.json(&["receipt", "rerun", id, "--model", "small.gguf"]);
        assert_eq!((&rerun["match"], &rerun["ends"]), (&json!(true), &json!(true)), "{rerun}");
        assert_eq!(rerun["first_false_logprobs"], Value::Null);
    }
}
