//! `gridhour market explain` against real providers: who would be chosen, who loses by what, who is refused and why.

use serde_json::Value;

use crate::market::{Market, Node};

const EXPLAIN: [&str; 10] = [
    "market",
    "explain",
    "--model",
    "small.gguf",
    "--max-price",
    "2000",
    "--max-total",
    "20",
    "--max-tokens",
    "50",
];

/// Two providers: a cheap one in eu-de and a dearer one in eu-fi. So much dearer that it stays so by the job, whatever
/// rates two providers on a busy machine find for themselves.
fn two_rivals(market: &Market) -> [Node; 3] {
    let ledger = market.ledger();
    let cheap = market.rival("cheap", &["--ask", "100", "--region", "eu-de"]);
    let dear = market.rival("dear", &["--ask", "1900", "--region", "eu-fi"]);
    for provider in [&cheap, &dear] {
        provider.wait_for("advertised");
    }
    [ledger, cheap, dear]
}

fn account(market: &Market, folder: &str) -> Value {
    market.sandbox.json(&["--data-dir", folder, "key", "show"])["id"].clone()
}

/// Explains until both providers are seen: adverts come when they come.
fn explain(market: &Market, more: &[&str]) -> Value {
    let sees_both = |found: &Value| {
        ["candidates", "refused"].map(|list| found[list].as_array().map_or(0, Vec::len)).iter().sum::<usize>()
            == 2
    };
    let end = std::time::Instant::now() + crate::market::PATIENCE;
    loop {
        let found = market.sandbox.json(&[&EXPLAIN[..], more].concat());
        if sees_both(&found) {
            return found;
        }
        assert!(std::time::Instant::now() < end, "both offers are not seen: {found}");
    }
}

/// The terms add up to the score, and what a loser lost by to the difference of the scores.
fn check_sums(candidate: &Value) {
    let sum = |it: &Value, sign: i64| {
        let terms = ["cost", "penalty", "egress", "risk"].map(|name| it[name].as_i64().expect("a term"));
        terms.iter().sum::<i64>() + sign * it["discount"].as_i64().expect("a term")
    };
    assert_eq!(candidate["score"].as_i64(), Some(sum(candidate, -1)), "{candidate}");
    let lost_by = &candidate["lost_by"];
    if lost_by.is_object() {
        assert_eq!(lost_by["score"].as_i64(), Some(sum(lost_by, 1)), "{candidate}");
    }
}

#[test]
fn the_winner_the_loser_and_the_refused_are_told_with_their_numbers() {
    let market = Market::new("60");
    let _nodes = two_rivals(&market);
    let [cheap, dear] = ["cheap", "dear"].map(|folder| account(&market, folder));

    let found = explain(&market, &[]);
    let candidates = found["candidates"].as_array().expect("candidates");
    assert_eq!(
        (&found["chosen"], &candidates[0]["provider"], &candidates[1]["provider"]),
        (&cheap, &cheap, &dear)
    );
    candidates.iter().for_each(check_sums);
    assert!(candidates[0]["lost_by"].is_null());
    assert!(candidates[1]["lost_by"]["cost"].as_i64().is_some_and(|cost| cost > 0), "{found}");

    // A buyer in eu-fi pays so much for traffic that the dearer provider is the better one.
    let found = explain(&market, &["--home", "eu-fi", "--egress-per-gib", "1000000"]);
    assert_eq!(found["chosen"], dear);
    let loser = &found["candidates"][1];
    check_sums(loser);
    assert_eq!((&loser["provider"], &loser["lost_by"]["egress"]), (&cheap, &loser["egress"]));
    assert_eq!(found["costs"]["home"], "eu-fi");

    let found = explain(&market, &["--region", "eu-de", "--prompt-tokens", "100"]);
    let refused = &found["refused"][0];
    assert_eq!((&refused["provider"], &refused["reason"]), (&dear, &"region-not-allowed".into()));
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("eu-fi")), "{found}");

    let text = market.sandbox.run(&[&EXPLAIN[..], &["--home", "eu-de", "--egress-per-gib", "9"]].concat());
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    for part in ["chosen ", "lost ", "against the chosen one: cost +", "egress +"] {
        assert!(text.stdout.contains(part), "{part:?} is not in {}", text.stdout);
    }
    // Whoever explained has no account: nothing was opened, held or paid.
    assert_eq!(market.account()["holds"], serde_json::json!([]));
    market.audit();
}

#[test]
fn an_order_that_meets_nobody_says_so() {
    let market = Market::new("60");
    let _nodes = two_rivals(&market);
    let found = explain(&market, &["--jurisdiction", "XX"]);
    assert!(found["chosen"].is_null() && found["candidates"] == serde_json::json!([]), "{found}");
    let names: Vec<_> =
        found["refused"].as_array().expect("refusals").iter().map(|it| &it["reason"]).collect();
    assert_eq!(names, ["jurisdiction-not-allowed"; 2]);
}
