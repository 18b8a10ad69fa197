//! A node's public log over HTTP, and what an auditor makes of its checkpoints.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use gridhour_contracts_sim::checkpoint::{Checkpoint, SignedCheckpoint};
use gridhour_node::keys;
use gridhour_protocol::{
    id::BlockHash,
    merkle::leaf_hash,
    note::{Note, VerifierKey},
};
use serde_json::json;

use crate::market::{Market, PATIENCE};

/// Asks the server at `url` for `path`; head and body of its answer.
pub fn get(url: &str, path: &str) -> (String, Vec<u8>) {
    let host = url.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(host).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").expect("it hears");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    (String::from_utf8_lossy(&answer[..end]).to_lowercase(), answer[end..].to_vec())
}

/// Waits until the log has `size` entries, and returns its checkpoint.
fn checkpoint_of_size(url: &str, vkey: &VerifierKey, size: u64) -> SignedCheckpoint {
    let end = Instant::now() + PATIENCE;
    loop {
        let signed = SignedCheckpoint::open(&get(url, "/checkpoint").1, vkey).expect("the operator signs");
        if signed.checkpoint().log.size == size {
            return signed;
        }
        assert!(Instant::now() < end, "the log does not grow to {size}");
    }
}

#[test]
fn a_node_serves_its_log_and_a_second_history_convicts_its_operator() {
    let market = Market::new("2");
    let ledger = market.ledger_with(&["--http", "127.0.0.1:0"]);
    let announced = ledger.wait_for("public-log");
    ledger.wait_for("ready");
    let url = announced["url"].as_str().expect("a URL");
    let shown = market.sandbox.json(&["network", "show"]);
    assert_eq!(announced["vkey"], shown["vkey"], "whoever has the network file knows the key");
    let vkey: VerifierKey = shown["vkey"].as_str().expect("a text").parse().expect("a vkey");

    market.fund();
    let old = checkpoint_of_size(url, &vkey, 1);
    market.sandbox.write("old.txt", old.to_string());
    market.fund();
    let new = checkpoint_of_size(url, &vkey, 2);

    let (head, bundle) = get(url, "/tile/entries/000.p/2");
    assert!(
        head.contains("200 ok") && head.contains("immutable") && head.contains("application/octet-stream")
    );
    let (_, leaves) = get(url, "/tile/0/000.p/2");
    let len = usize::from(u16::from_be_bytes([bundle[0], bundle[1]]));
    assert_eq!(leaf_hash(&bundle[2..2 + len])[..], leaves[..32], "an entry hashes to its leaf");
    for absent in ["/tile/0/000", "/tile/0/000.p/3", "/tile/0/0", "/tile/../key", "/nothing"] {
        assert!(get(url, absent).0.contains("404 not found"), "{absent}");
    }
    let (head, _) = get(url, "/checkpoint");
    assert!(head.contains("text/plain; charset=utf-8") && head.contains("max-age=1\r\n"), "{head}");

    let report = market.sandbox.json(&["audit", "verify-consistency", "old.txt", url]);
    assert_eq!((&report["ok"], &report["conflict"]), (&json!(true), &json!(null)), "{report}");
    assert_eq!((&report["old"]["size"], &report["new"]["size"]), (&json!(1), &json!(2)), "{report}");
    let answer = market.sandbox.run(&["audit", "verify-consistency", "old.txt", "old.txt"]);
    assert_eq!(answer.code, Some(0), "{answer}");

    // A witness cosigns, and what it cosigned pins an audit.
    let cosign = ["audit", "witness", url, "--name", "witness.example/w1", "--out", "seen.txt"];
    let cosigned = market.sandbox.json(&cosign);
    assert_eq!(cosigned["height"], json!(new.checkpoint().height.0), "{cosigned}");
    let witness: VerifierKey = cosigned["vkey"].as_str().expect("a text").parse().expect("a vkey");
    let note = Note::parse(cosigned["note"].as_str().expect("a text").as_bytes()).expect("a note");
    assert!(note.verify(&witness).is_ok_and(|time| time.is_some()), "it states its time");
    let audit = market.sandbox.json(&["audit", "verify", "--checkpoint", "seen.txt"]);
    assert_eq!((&audit["ok"], &audit["trust"]), (&json!(true), &json!("checkpoint")), "{audit}");

    // The same operator signs another block of that height.
    let operator = keys::load(&market.sandbox.path("ledger/key")).expect("the operator's key");
    let second = Checkpoint { hash: BlockHash([7; 32]), ..*new.checkpoint() }.sign(&operator);
    market.sandbox.write("second.txt", second.to_string());
    let compare =
        ["--json", "audit", "verify-consistency", "second.txt", url, "--fraud-proof", "fraud.proof"];
    let answer = market.sandbox.run(&compare);
    assert_eq!((answer.code, &answer.document()["ok"]), (Some(1), &json!(false)), "{answer}");
    assert_eq!(answer.document()["conflict"], "two-blocks-of-one-height");

    // Anyone with the network file checks the proof, also when the node is gone.
    drop(ledger);
    let check = [
        "--data-dir",
        "elsewhere",
        "audit",
        "verify-fraud",
        "fraud.proof",
        "--network",
        "ledger/network.json",
    ];
    assert_eq!(market.sandbox.json(&check)["ok"], json!(true));
    let honest = Note::parse(old.to_string().as_bytes()).expect("a note").to_string();
    market.sandbox.write("fraud.proof", format!("gridhour/fraud/v1\nnote {}\n{honest}", honest.len()));
    assert_eq!(market.sandbox.run(&check).code, Some(1), "half a proof is none");
}
