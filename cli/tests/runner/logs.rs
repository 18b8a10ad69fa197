//! What is logged while a job runs: which job a line is about, and never what is in it.

use std::fs;

use serde_json::Value;

use crate::{market::Market, watched};

/// Nothing else says this.
const MARKED: &str = "Xyzzyplugh quetzalcoatl frobnicates";
const LIMITS: [&str; 6] = ["--max-tokens", "8", "--max-price", "2000", "--max-total", "20"];

/// The logs of a ledger node, a provider and a client after one job, and the job's result.
struct Logged {
    market: Market,
    ledger: String,
    provider: String,
    client: String,
    result: Value,
}

fn run_logged(filter: &'static str, format: &'static str) -> Logged {
    let mut market = Market::new("2");
    market.logs = Some((filter, format));
    let (ledger, provider) = (market.ledger(), market.provider());
    ledger.wait_for("ready");
    provider.wait_for("ready");
    market.fund();
    let order = ["--json", "run", MARKED, "--model", "small.gguf"];
    let ran = watched::output(&mut market.logged(&[&order[..], &LIMITS].concat()));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    provider.wait_for("closed");
    ledger.kill();
    provider.kill();
    let log = |name: &str| fs::read_to_string(market.sandbox.path(name)).expect("a log in UTF-8");
    Logged {
        ledger: log("ledger.log"),
        provider: log("seller.log"),
        client: String::from_utf8(ran.stderr).expect("UTF-8"),
        result: serde_json::from_slice(&ran.stdout).expect("a document"),
        market,
    }
}

/// The spans called `job` of all lines that stand within one.
fn jobs(log: &str) -> Vec<Value> {
    let line =
        |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let spans = log.lines().flat_map(|text| line(text)["spans"].as_array().cloned().unwrap_or_default());
    spans.filter(|span| span["name"] == "job").collect()
}

#[test]
fn every_line_of_a_job_names_it_and_none_holds_what_is_secret() {
    let Logged { market, ledger, provider, client, result } = run_logged("trace", "json");
    let member = |folder: &str| market.sandbox.json(&["--data-dir", folder, "key", "show"])["id"].clone();
    for (log, peer) in [(&provider, member("data")), (&client, member("seller"))] {
        let named: Vec<Value> = jobs(log).into_iter().filter(|job| !job["job"].is_null()).collect();
        assert!(named.len() >= 2, "a job begins and ends");
        for job in &named {
            assert_eq!((&job["peer"], &job["session"]), (&peer, &result["session"]), "{job}");
            assert!(job["job"].as_str().is_some_and(|id| id.len() == 64), "{job}");
            assert!(job["order"].as_str().is_some_and(|id| id.len() == 64), "{job}");
            assert_eq!(job, &named[0], "one job, one name");
        }
    }
    assert_eq!(
        jobs(&provider).last().map(|job| job["job"].clone()),
        jobs(&client).last().map(|job| job["job"].clone())
    );
    let tokens = market.sandbox.json(&["model", "tokenize", MARKED, "--model", "small.gguf"]);
    let tokens = tokens["token_ids"].as_array().expect("a list");
    let tokens: Vec<String> = tokens.iter().map(Value::to_string).collect();
    let key =
        |folder: &str| fs::read_to_string(market.sandbox.path(&format!("{folder}/key"))).expect("a key");
    let mut secrets =
        vec![MARKED.to_owned(), "Xyzzyplugh".into(), tokens[..6].join(", "), tokens[..6].join(",")];
    secrets.extend(["data", "seller", "ledger"].map(|folder| key(folder).trim().to_owned()));
    for (name, log) in [("ledger", &ledger), ("provider", &provider), ("client", &client)] {
        assert!(log.lines().count() > 20, "the {name} logs at this level");
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "the {name} logs {secret:?}");
        }
    }
}

#[test]
fn people_read_short_ids() {
    let Logged { provider, result, .. } = run_logged("gridhour_node=info", "text");
    let session = result["session"].as_str().expect("an id");
    let lines: Vec<&str> = provider.lines().filter(|line| line.contains("the job ended")).collect();
    assert_eq!(lines.len(), 1, "{provider}");
    assert!(lines[0].contains(&format!("session={}", &session[..8])), "{provider}");
    assert!(!provider.contains(session), "{provider}");
}
