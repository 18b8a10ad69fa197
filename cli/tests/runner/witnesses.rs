//! Witnesses as processes: a network names them, its ledger node asks them, and an auditor counts them.

use std::time::Instant;

use gridhour_contracts_sim::checkpoint::{Checkpoint, SignedCheckpoint};
use gridhour_protocol::note::{Note, VerifierKey};
use serde_json::{Value, json};

use crate::{
    market::{Market, Node, PATIENCE},
    public_log::get,
};

const WITNESSES: [&str; 3] = ["w1.example", "w2.example", "w3.example"];

/// The vkey of the witness whose key is in `folder`, made now.
fn vkey(market: &Market, folder: &str) -> String {
    market.sandbox.json(&["--data-dir", folder, "key", "new"]);
    let shown = market.sandbox.json(&["--data-dir", folder, "key", "vkey", folder]);
    shown["vkey"].as_str().expect("a text").to_owned()
}

/// A network that requires two of three witnesses.
fn witnessed() -> Market {
    let market = Market::new("2");
    let [one, two, three] = WITNESSES.map(|folder| vkey(&market, folder));
    let set = ["--data-dir", "ledger", "network", "set-witnesses", "--witnesses-required", "2"];
    let named = ["--witness", &one, "--witness", &two, "--witness", &three];
    let id = market.sandbox.json(&["network", "show"])["network"].clone();
    let shown = market.sandbox.json(&[&set[..], &named].concat());
    assert_eq!((&shown["network"], &shown["witnesses_required"]), (&id, &json!(2)), "{shown}");
    let joined = market.sandbox.json(&["network", "join", "ledger/network.json"]);
    assert_eq!(joined["witnesses"], json!([one, two, three]), "{joined}");
    market
}

/// Waits until a checkpoint of `height` at least is published with so many cosignatures.
fn published(ledger: &Node, height: u64, cosigned: u64) -> Value {
    loop {
        let event = ledger.wait_for("published");
        if event["height"].as_u64() >= Some(height) && event["cosigned"] == cosigned {
            return event;
        }
    }
}

/// Waits until the log at `url` shows a checkpoint with so many entries and lines, and returns it.
fn shown(url: &str, entries: u64, lines: usize) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let (head, body) = get(url, "/checkpoint");
        if head.contains("200 ok") {
            let note = Note::parse(&body).expect("a note");
            let size = Checkpoint::parse(note.text()).expect("a checkpoint").log.size;
            if (size, note.signatures().len()) == (entries, lines) {
                return note.to_string();
            }
        }
        assert!(Instant::now() < end, "{entries} entries with {lines} lines are not shown");
    }
}

fn url(node: &Node) -> String {
    node.wait_for("public-log")["url"].as_str().expect("a URL").to_owned()
}

#[test]
fn a_ledger_is_witnessed_by_two_of_three_and_an_auditor_says_when_it_is_not() {
    let market = witnessed();
    let mut witnesses = Vec::from(WITNESSES.map(|folder| market.witness(folder)));
    let urls: Vec<&str> = witnesses.iter().flat_map(|(_, url)| ["--witness", url]).collect();
    let ledger = market.ledger_with(&[&["--http", "127.0.0.1:0"], &urls[..]].concat());
    let log = url(&ledger);
    ledger.wait_for("ready");
    let observer = market.observer_with(&["--http", "127.0.0.1:0"]);
    let copy = url(&observer);

    market.fund();
    let all = published(&ledger, 1, 3);
    assert_eq!((&all["required"], &all["witnesses"]), (&json!(2), &json!(3)), "{all}");

    // One witness is down: still witnessed, and the node says whom it misses.
    witnesses.pop().expect("three").0.kill();
    market.fund();
    published(&ledger, 2, 2);
    let audit = market.sandbox.json(&["audit", "verify", "--checkpoint", &log]);
    let counted = &audit["witnesses"];
    assert_eq!((&audit["ok"], &audit["trust"]), (&json!(true), &json!("checkpoint")), "{audit}");
    assert_eq!((&counted["cosigned"], &counted["enough"]), (&json!(2), &json!(true)), "{audit}");
    assert_eq!(counted["by"][1]["name"], WITNESSES[1], "{audit}");

    // An observer shows the same, with tiles of its own.
    market.sandbox.write("seen.txt", shown(&copy, 2, 3));
    assert_eq!(get(&copy, "/tile/0/000.p/2").1, get(&log, "/tile/0/000.p/2").1);
    assert_eq!(get(&copy, "/tile/entries/000.p/2").1, get(&log, "/tile/entries/000.p/2").1);
    for absent in ["/tile/0/000", "/tile/0/000.p/9", "/nothing", "/tile/../key"] {
        assert!(get(&copy, absent).0.contains("404 not found"), "{absent}");
    }

    // Two are down: it is published without, and the auditor says so.
    witnesses.pop().expect("two").0.kill();
    market.fund();
    published(&ledger, 3, 1);
    let verify = ["--json", "audit", "verify", "--checkpoint", &log];
    let refused = market.sandbox.run(&verify);
    assert_eq!(refused.code, Some(1), "{refused}");
    let document = refused.document();
    assert_eq!(
        (&document["ok"], &document["witnesses"]["enough"]),
        (&json!(false), &json!(false)),
        "{document}"
    );
    let finding = &document["findings"][0];
    assert_eq!(
        (&finding["rule"], &finding["height"]),
        (&json!("witnesses"), &document["height"]),
        "{document}"
    );
    let allowed = market.sandbox.json(&["audit", "verify", "--checkpoint", &log, "--allow-unwitnessed"]);
    assert_eq!((&allowed["ok"], &allowed["witnesses"]["cosigned"]), (&json!(true), &json!(1)), "{allowed}");
    let compared = market.sandbox.json(&["audit", "verify-consistency", "seen.txt", &log]);
    assert_eq!(compared["old"]["witnesses"]["cosigned"], 2, "{compared}");
    assert_eq!(compared["new"]["witnesses"]["enough"], json!(false), "{compared}");

    // What an observer showed verifies when nobody is there to ask.
    market.sandbox.json(&["audit", "export", "--out", "ledger.export"]);
    drop((ledger, observer, witnesses));
    let offline = ["audit", "verify", "ledger.export", "--checkpoint", "seen.txt"];
    let elsewhere = ["--data-dir", "elsewhere"];
    let network = ["--network", "ledger/network.json"];
    let audit = market.sandbox.json(&[&elsewhere[..], &offline, &network].concat());
    assert_eq!((&audit["ok"], &audit["witnesses"]["cosigned"]), (&json!(true), &json!(2)), "{audit}");
    let nobody = market.sandbox.json(&[&elsewhere[..], &offline].concat());
    assert_eq!(
        (&nobody["ok"], &nobody["witnesses"]),
        (&json!(true), &Value::Null),
        "no network, no witnesses"
    );
}

#[test]
fn a_cosigned_checkpoint_of_strangers_pins_nothing_more() {
    let market = witnessed();
    let ledger = market.ledger_with(&["--http", "127.0.0.1:0"]);
    let log = url(&ledger);
    ledger.wait_for("ready");
    market.fund();
    let note = shown(&log, 1, 1);
    // Somebody who is no witness cosigns under the name of one, twice.
    let cosign = ["audit", "witness", &log, "--name", WITNESSES[0], "--out", "seen.txt"];
    let stranger = market.sandbox.json(&cosign);
    let vkey: VerifierKey = stranger["vkey"].as_str().expect("a text").parse().expect("a vkey");
    let seen = std::fs::read(market.sandbox.path("seen.txt")).expect("written");
    assert!(Note::parse(&seen).expect("a note").verify(&vkey).is_ok());
    let verify = ["--json", "audit", "verify", "--checkpoint", "seen.txt"];
    let refused = market.sandbox.run(&verify);
    assert_eq!(
        (refused.code, &refused.document()["witnesses"]["cosigned"]),
        (Some(1), &json!(0)),
        "{refused}"
    );
    // What you saw yourself needs no witness.
    let operator =
        market.sandbox.json(&["network", "show"])["vkey"].as_str().expect("a text").parse().expect("a vkey");
    let signed = SignedCheckpoint::open(note.as_bytes(), &operator).expect("the operator's");
    market.sandbox.write("own.txt", signed.checkpoint().to_string());
    let own = market.sandbox.json(&["audit", "verify", "--checkpoint", "own.txt"]);
    assert_eq!((&own["ok"], &own["witnesses"]), (&json!(true), &Value::Null), "{own}");
}

#[test]
fn a_network_names_its_witnesses_once_each() {
    let market = Market::new("2");
    let [one, two, _] = WITNESSES.map(|folder| vkey(&market, folder));
    let init = ["--data-dir", "new", "network", "init", "--witness", &one];
    for (more, said) in [
        (&["--witness", &one][..], "are called"),
        (&["--witness", &one.replace("w1", "w9")], "the vkey's id is not that of its name and key"),
        (&["--witness", &two, "--witnesses-required", "3"], "3 of 2 witnesses cannot be required"),
        (&["--witnesses-required", "0"], "0 of 1 witnesses cannot be required"),
    ] {
        let refused = market.sandbox.run(&[&init[..], more].concat());
        assert_eq!(refused.code, Some(2), "{refused}");
        assert!(refused.stderr.contains(said), "{said}: {refused}");
    }
    let made = market.sandbox.json(&[&init[..], &["--witness", &two]].concat());
    assert_eq!((&made["witnesses"], &made["witnesses_required"]), (&json!([one, two]), &json!(2)), "{made}");
    let answer = market.sandbox.run(&["--data-dir", "new", "network", "show"]);
    assert!(answer.stdout.contains("required  2 of 2 witnesses"), "{answer}");

    let log_key = made["vkey"].as_str().expect("a text");
    let set = ["--data-dir", "new", "network", "set-witnesses"];
    let refused = market.sandbox.run(&[&set[..], &["--witness", log_key]].concat());
    assert!(refused.stderr.contains("a log's key, not a witness's"), "{refused}");
    let none = market.sandbox.json(&set);
    assert_eq!((&none["network"], &none["witnesses"]), (&made["network"], &json!([])), "{none}");
    market.sandbox.json(&["key", "new"]);
    let stranger = market.sandbox.run(&["network", "set-witnesses"]);
    assert_eq!(stranger.code, Some(1), "only the operator names witnesses: {stranger}");
}
