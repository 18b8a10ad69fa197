//! `gridhour audit verify` on ledgers that somebody changed.

use std::fs;

use serde_json::json;

use crate::{
    demo::played,
    sandbox::{Answer, Sandbox},
};

/// Places at which a ledger is changed.
const CHANGES: usize = 40;

fn audit(sandbox: &Sandbox, bytes: &[u8]) -> Answer {
    sandbox.write("changed.export", bytes);
    let arguments = ["--json", "audit", "verify", "changed.export", "--network", "data/network.json"];
    sandbox.run(&arguments)
}

/// The audit failed, and says at which height which rule was broken.
fn assert_found(answer: &Answer, what: &str) {
    let report = answer.document();
    assert_eq!((answer.code, &report["ok"]), (Some(1), &json!(false)), "{what}: {answer}");
    let finding = &report["findings"][0];
    assert!(finding["height"].is_u64() && finding["rule"].is_string(), "{what}: {answer}");
}

#[test]
fn a_ledger_with_any_byte_changed_or_missing_is_refused() {
    let (sandbox, _) = played();
    let good = fs::read(sandbox.path("data/ledger.export")).expect("the demo exports its ledger");
    assert_eq!(audit(&sandbox, &good).code, Some(0));
    for change in 0..CHANGES {
        let at = change * (good.len() - 1) / (CHANGES - 1);
        let mut changed = good.clone();
        changed[at] ^= 1 << (change % 8);
        assert_found(&audit(&sandbox, &changed), &format!("byte {at} of {}", good.len()));
    }
    for length in [0, 1, good.len() / 3, good.len() / 2, good.len() - 1] {
        assert_found(&audit(&sandbox, &good[..length]), &format!("{length} of {} bytes", good.len()));
    }
}

#[test]
fn a_ledger_that_cannot_be_read_is_an_audit_that_failed() {
    let sandbox = Sandbox::new();
    for file in ["absent.export", "."] {
        let answer = sandbox.run(&["--json", "audit", "verify", file]);
        assert_eq!(
            (answer.code, &answer.document()["error"]["kind"]),
            (Some(1), &json!("refused")),
            "{answer}"
        );
    }
}
