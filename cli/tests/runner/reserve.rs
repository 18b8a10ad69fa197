//! Capacity that is reserved by command, each party a process of its own.

use serde_json::{Value, json};

use crate::market::Market;

/// A claim of some five megabytes, which is soon calibrated; a stake; slots that can be given up a minute ahead.
const RESERVING: [&str; 7] = ["--kv-memory", "5MiB", "--stake", "5", "--reserve", "--reserve-notice", "60"];
/// Three slots of a minute, an hour from now, with 6 s of reference time in each: a 600th of an hour, at 1,000 credits.
const WINDOW: [&str; 10] =
    ["--in", "1h", "--slot", "1min", "--slots", "3", "--capacity", "6s", "--model", "small.gguf"];
const SLOT_PRICE: u64 = 1_666_666;

fn account(market: &Market, member: &str) -> String {
    let key = market.sandbox.json(&["--data-dir", member, "key", "show"]);
    key["id"].as_str().expect("an account").to_owned()
}

fn reserve(market: &Market, arguments: &[&str]) -> Value {
    market.sandbox.json(&[&["reserve"], arguments].concat())
}

#[test]
fn slots_are_offered_booked_shown_and_given_up_by_command() {
    let market = Market::new("2");
    let (ledger, provider) = (market.ledger(), market.provider_with(&RESERVING));
    ledger.wait_for("ready");
    provider.wait_for("stake-short");
    market.fund();
    let seller = account(&market, "seller");
    market.sandbox.json(&["account", "fund", "20", "--to", &seller]);
    provider.wait_for("staked");
    market.sandbox.json(&["--data-dir", "judge", "network", "join", "ledger/network.json"]);
    let early = [&["--data-dir", "judge", "reserve", "offers"], &WINDOW[..]].concat();
    let refused = market.sandbox.run(&early);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("no challenger has measured this device"), "{refused}");
    market.sandbox.json(&["--data-dir", "judge", "market", "calibrate", &seller[..6], "--threads", "1"]);
    provider.wait_for("calibration-entered");

    let offered = reserve(&market, &[&["offers"], &WINDOW[..]].concat());
    let offer = &offered["offers"][0];
    assert_eq!((&offer["provider"], &offer["slot_price"]), (&json!(seller), &json!(SLOT_PRICE)), "{offered}");
    assert_eq!(offer["ladder"], json!([100, 250, 500, 1_000]));
    let book = [&["reserve", "book"], &WINDOW[..]].concat();
    let dear = market.sandbox.run(&[&book[..], &["--max-total", "1"]].concat());
    assert_eq!(dear.code, Some(1), "{dear}");
    assert!(dear.stderr.contains("--max-total is 1"), "{dear}");
    let booked = market.sandbox.json(&[&book[..], &["--max-total", "9"]].concat());
    let id = booked["booked"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(provider.wait_for("reserved")["reservation"], json!(id));

    let shown = reserve(&market, &["show", &id[..8]]);
    assert_eq!((&shown["side"], &shown["prepaid"]), (&json!("client"), &json!(3 * SLOT_PRICE)), "{shown}");
    assert_eq!((&shown["state"], &shown["settled"]), (&json!("waits for its next slot"), &json!(0)));
    let theirs = market.sandbox.json(&["--data-dir", "seller", "reserve", "list"]);
    assert_eq!(theirs["reservations"][0]["side"], json!("provider"), "{theirs}");
    let order = ["run", "Hello", "--max-tokens", "3", "--max-price", "2000", "--model", "small.gguf"];
    let waits = market.sandbox.run(&[&order[..], &["--tier", "reserved"]].concat());
    assert_eq!(waits.code, Some(1), "{waits}");
    assert!(waits.stderr.contains("runs now: the next begins in"), "{waits}");
    let untold = market.sandbox.run(&[&order[..], &["--reservation", &id]].concat());
    assert_eq!(untold.code, Some(2), "{untold}");

    let given = reserve(&market, &["give-up", &id[..8]]);
    assert_eq!((&given["given_up"], &given["paid_back"]), (&json!(3), &json!(3 * SLOT_PRICE)), "{given}");
    assert_eq!(reserve(&market, &["list"])["reservations"], json!([]));
    let gone = market.sandbox.run(&["reserve", "show", &id]);
    assert_eq!(gone.code, Some(1), "{gone}");
    let whole = market.sandbox.json(&["account", "show"]);
    assert_eq!((&whole["balance"], &whole["holds"]), (&json!(25_000_000), &json!([])), "{whole}");
}
