//! A user's own machines: listed, asked first, and asked alone for what may not leave. Real processes.

use std::time::Instant;

use serde_json::{Value, json};

use crate::market::{Market, Node, PATIENCE};

const LIMITS: [&str; 8] =
    ["--model", "small.gguf", "--max-price", "20000", "--max-total", "5", "--max-tokens", "8"];

fn account(market: &Market, folder: &str) -> String {
    let key = market.sandbox.json(&["--data-dir", folder, "key", "show"]);
    key["id"].as_str().expect("an account").to_owned()
}

/// A ledger, and two providers: `mine` asks far more than `theirs`.
fn mine_and_theirs(market: &Market) -> [Node; 3] {
    let ledger = market.ledger();
    ledger.wait_for("ready");
    let mine = market.rival("mine", &["--ask", "10000"]);
    let theirs = market.rival("theirs", &["--ask", "100"]);
    for provider in [&mine, &theirs] {
        provider.wait_for("advertised");
    }
    [ledger, mine, theirs]
}

fn explain(market: &Market, more: &[&str]) -> Value {
    market.sandbox.json(&[&["market", "explain"], &LIMITS[..], more].concat())
}

/// Explains until it says of both providers what it should: adverts come when they come.
fn explain_both(market: &Market, more: &[&str]) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = explain(market, more);
        let told = ["candidates", "refused"].map(|list| found[list].as_array().map_or(0, Vec::len));
        if told.iter().sum::<usize>() == 2 {
            return found;
        }
        assert!(Instant::now() < end, "both offers are not seen: {found}");
    }
}

#[test]
fn own_machines_are_listed_and_taken_off_again_and_never_guessed() {
    let market = Market::new("60");
    let (mine, theirs) = ("cd".repeat(32), "ab".repeat(32));
    let list = |arguments: &[&str]| market.sandbox.json(&[&["local"], arguments].concat())["own"].clone();
    assert_eq!(list(&["list"]), json!([]));
    assert_eq!(list(&["add", &mine]), json!([mine]));
    assert_eq!(list(&["add", &mine, &theirs]).as_array().map(Vec::len), Some(2), "each stands there once");
    assert_eq!(list(&["remove", &theirs]), json!([mine]));
    let refused = |arguments: &[&str]| {
        let answer = market.sandbox.run(arguments);
        assert_eq!(answer.code, Some(2), "{answer}");
        answer.stderr
    };
    assert!(refused(&["local", "remove", &theirs]).contains("is not on the list"));
    assert!(refused(&["local", "add", &mine[1..]]).contains(&mine[1..]));
    let client = market.sandbox.json(&["key", "new"])["id"].as_str().expect("an account").to_owned();
    assert!(refused(&["local", "add", &client]).contains("nobody sells to itself"));
    let posted = ["run", "Hello", "--local-only", "--post"];
    assert!(refused(&posted).contains("local data is nobody else's"));
    market.sandbox.json(&["local", "remove", &mine]);
    assert!(refused(&posted).contains("local data is nobody else's"), "whatever is listed");
    assert!(refused(&["run", "Hello", "--local-only"]).contains("no provider is named as one"));
    market.sandbox.write("data/own-machines", format!("{mine}\n{}\n", &mine[..63]));
    let said = refused(&["run", "Hello", "--local-only"]);
    assert!(said.contains("line 2") && said.contains("is no account"), "{said}");
}

#[test]
fn an_own_machine_is_asked_first_and_alone_for_what_may_not_leave() {
    let market = Market::new("60");
    let [_ledger, mine, _theirs] = mine_and_theirs(&market);
    market.fund();
    let ids = ["mine", "theirs"].map(|folder| account(&market, folder));
    let local_only = [&["run", "Hello", "--local-only"], &LIMITS[..]].concat();
    let nobody = market.sandbox.run(&local_only);
    assert_eq!(nobody.code, Some(2), "{nobody}");
    assert!(nobody.stderr.contains("no provider is named as one"), "{nobody}");

    assert_eq!(explain_both(&market, &[])["chosen"], *ids[1], "the cheaper one, as long as none is listed");
    let found = explain_both(&market, &["--local", &ids[0]]);
    assert_eq!((&found["chosen"], &found["candidates"][0]["own"]), (&json!(ids[0]), &json!(true)));
    market.sandbox.json(&["local", "add", &ids[0]]);
    let text = market.sandbox.run(&[&["market", "explain"], &LIMITS[..]].concat());
    assert!(text.stdout.contains("(own)  at most"), "{text}");
    let found = explain_both(&market, &["--local-only"]);
    assert_eq!(found["refused"][0]["reason"], "not-own", "{found}");

    let answer = market.sandbox.json(&local_only);
    assert_eq!(answer["provider"], *ids[0], "{answer}");
    let resident = market.sandbox.run(&[&["run", "Hello", "--data-class", "resident"], &LIMITS[..]].concat());
    assert_eq!(resident.code, Some(2), "{resident}");
    assert!(resident.stderr.contains("names no region"), "{resident}");

    mine.terminate();
    assert_eq!(mine.exit_code(), Some(0));
    let gone = market.sandbox.run(&local_only);
    assert_eq!(gone.code, Some(1), "{gone}");
    assert!(gone.stderr.contains("its data may go nowhere else"), "{gone}");
    let overflown = market.sandbox.json(&[&["run", "Hello"], &LIMITS[..]].concat());
    assert_eq!(overflown["provider"], *ids[1]);
    market.balance_without_holds();
    market.audit();
}
