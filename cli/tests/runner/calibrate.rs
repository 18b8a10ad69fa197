//! A provider is timed by a challenger, each a process of its own.

use serde_json::Value;

use crate::market::Market;

/// A claim of some five megabytes: the weights of the model are few.
const SMALL: [&str; 2] = ["--kv-memory", "5MiB"];

/// The only offer, as a member sees it. A ledger node answers one key four times in a row, and then only now
/// and then.
fn offer(market: &Market, member: &str) -> Value {
    let document = market.sandbox.json(&["--data-dir", member, "market", "offers"]);
    document["offers"][0].clone()
}

#[test]
fn a_provider_is_calibrated_shows_it_and_sells_to_those_who_want_it() {
    let market = Market::new("2");
    let (ledger, provider) = (market.ledger(), market.provider_with(&SMALL));
    ledger.wait_for("ready");
    provider.wait_for("advertised");
    market.fund();
    market.sandbox.json(&["--data-dir", "judge", "network", "join", "ledger/network.json"]);
    let claim = offer(&market, "judge");
    assert_eq!((&claim["device"]["rates"], &claim["calibration"]), (&"self-measured".into(), &Value::Null));
    let judge = market.sandbox.json(&["--data-dir", "judge", "key", "show"])["id"].clone();
    let judge_key = judge.as_str().expect("an account");
    let order = ["run", "Hello", "--max-tokens", "3", "--max-price", "2000", "--model", "small.gguf"];
    let order = [&order[..], &["--calibrated-by", judge_key]].concat();
    let refused = market.sandbox.run(&order);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(
        refused.stderr.contains("not-calibrated: measured itself, 1 challengers are trusted"),
        "{refused}"
    );

    let name = claim["provider"].as_str().expect("an account");
    let calibrate =
        ["--data-dir", "judge", "market", "calibrate", &name[..6], "--out", "found", "--threads", "1"];
    let found = market.sandbox.json(&calibrate);
    assert_eq!((&found["provider"], &found["challenger"]), (&claim["provider"], &judge));
    assert_eq!(found["memory_bytes"], claim["device"]["memory_bytes"]);
    provider.wait_for("calibrating");
    let told = provider.wait_for("calibrated");
    assert_eq!(told["decode_macs_per_s"], found["decode_macs_per_s"]);
    assert_eq!(market.sandbox.json(&["market", "calibration", "found"]), found);
    let [_, entered] = provider.wait_for_each(["advertised", "calibration-entered"]);
    assert_eq!(entered["challenger"], judge);
    let known = market.sandbox.json(&["provider", "devices", name]);
    let measured = &known["devices"][0]["entry"]["measured"];
    assert_eq!(
        (&measured["challenger"], &measured["decode_macs_per_s"]),
        (&judge, &found["decode_macs_per_s"])
    );

    let shown = offer(&market, "data");
    assert_eq!(shown["calibration"]["digest"], found["digest"], "{shown}");
    for rate in ["prefill_macs_per_s", "decode_macs_per_s"] {
        assert_eq!(shown["device"][rate], found[rate], "{rate}");
    }
    let listed = market.sandbox.run(&["--data-dir", "judge", "market", "offers"]);
    assert!(listed.stdout.contains(&format!("calibrated by {}, 0 min ago", &judge_key[..8])), "{listed}");
    assert_eq!(market.sandbox.json(&order)["cause"], "delivered");
    let again = market.sandbox.run(&calibrate);
    assert_eq!(again.code, Some(1), "{again}");
    assert!(again.stderr.contains("too-soon") && again.stderr.contains("try again later"), "{again}");
}

#[test]
fn who_may_calibrate_is_the_provider_s_to_say() {
    let market = Market::new("2");
    let nobody = "0".repeat(64);
    let (ledger, provider) = (market.ledger(), market.provider_with(&["--challenger", &nobody]));
    ledger.wait_for("ready");
    provider.wait_for("advertised");
    let name = offer(&market, "data")["provider"].as_str().expect("an account").to_owned();
    let refused = market.sandbox.run(&["market", "calibrate", &name]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("not-welcome"), "{refused}");
    provider.kill();
    let provider = market.provider_with(&["--calibrate-every", "never"]);
    provider.wait_for("advertised");
    let refused = market.sandbox.run(&["market", "calibrate", &name, "--memory", "4MiB"]);
    assert!(refused.stderr.contains(" off: "), "{refused}");
    let unknown = market.sandbox.run(&["market", "calibrate", "ffffffff"]);
    assert_eq!(unknown.code, Some(1), "{unknown}");
    assert!(unknown.stderr.contains("no live offer"), "{unknown}");
}

#[test]
fn a_file_that_is_no_calibration_is_refused() {
    let market = Market::new("2");
    market.sandbox.write("long", vec![0; 1 << 20]);
    market.sandbox.write("short", [1, 2, 3]);
    for name in ["long", "short"] {
        let refused = market.sandbox.run(&["market", "calibration", name]);
        assert_eq!(refused.code, Some(1), "{refused}");
    }
    assert_eq!(market.sandbox.run(&["market", "calibration", "absent"]).code, Some(2));
}
