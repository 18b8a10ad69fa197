//! `gridhour audit verify`, killed in the middle.

use std::{
    fs::{self, File},
    io::BufWriter,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use gridhour_contracts_sim::audit::{Resume, Resumed, Trust};
use gridhour_node::bench::audit::{Plan, write};
use gridhour_protocol::units::Height;
use serde_json::{Value, json};

use crate::{
    market::PATIENCE,
    sandbox::{PROGRAM, Sandbox},
    watched,
};

const LEDGER: &str = "long.export";
const KEPT: &str = "data/audit.resume";
/// Kept at every opportunity, so that a kill finds something.
const VERIFY: [&str; 5] = ["audit", "verify", LEDGER, "--save-every", "0"];
/// What an answer says of the run and not of the ledger.
const OF_THE_RUN: [&str; 5] = ["took_ms", "peak_memory_bytes", "checked", "resumed", "begun_anew"];

/// A sandbox with a ledger that takes long enough to audit to be killed meanwhile.
fn with_ledger() -> Sandbox {
    let sandbox = Sandbox::new();
    let plan = Plan { accounts: 200, transactions: 60_000, block: 100, valid_blocks: 50, seed: 7 };
    let file = File::create(sandbox.path(LEDGER)).expect("a file can be made");
    write(&plan, &mut BufWriter::new(file), &mut |_| ()).expect("the ledger is within the rules");
    sandbox
}

/// Which file is kept now; another one each time.
fn kept(sandbox: &Sandbox) -> Option<u64> {
    fs::metadata(sandbox.path(KEPT)).ok().map(|metadata| metadata.ino())
}

/// Kills an audit as soon as it kept where it stands. Returns that.
fn killed(sandbox: &Sandbox) -> Resumed {
    let before = kept(sandbox);
    let mut audit = sandbox.command(&VERIFY);
    // Long enough to be met, however many cores there are.
    audit.env("RAYON_NUM_THREADS", "1").stdout(Stdio::null());
    let mut audit = audit.spawn().expect("the program starts");
    let end = Instant::now() + PATIENCE;
    while kept(sandbox) == before {
        assert!(Instant::now() < end, "nothing is kept");
        thread::yield_now();
    }
    audit.kill().expect("it runs");
    let status = audit.wait().expect("a child can be waited for");
    assert_eq!(status.code(), None, "it ended by itself");
    let file = fs::read(sandbox.path(KEPT)).expect("it was kept");
    let program = *blake3::hash(&fs::read(PROGRAM).expect("it was built")).as_bytes();
    Resume::open(&file, Trust::SelfTrust, program).expect("a kill leaves one file or the other whole").at()
}

/// An answer without what it says of the run.
fn of_the_ledger(mut answer: Value) -> Value {
    let fields = answer.as_object_mut().expect("a document");
    OF_THE_RUN.iter().for_each(|name| drop(fields.remove(*name)));
    answer
}

#[test]
fn an_audit_that_is_killed_again_and_again_goes_on_with_the_same_answer() {
    let sandbox = with_ledger();
    let mut before = Resumed { height: Height(0), transactions: 0 };
    for _ in 0..3 {
        let now = killed(&sandbox);
        assert!(now.height > before.height, "{now:?} after {before:?}");
        before = now;
    }
    let answer = sandbox.json(&VERIFY);
    let resumed = json!({ "height": before.height.0, "transactions": before.transactions });
    assert_eq!((&answer["resumed"], &answer["begun_anew"]), (&resumed, &Value::Null));
    assert_eq!(answer["transactions"], json!(60_000));
    assert_eq!(
        answer["checked"],
        json!(60_000 - before.transactions),
        "what was checked is not checked again"
    );
    assert_eq!(kept(&sandbox), None, "nothing is left to go on with");
    let fresh = sandbox.json(&["audit", "verify", LEDGER, "--fresh"]);
    assert_eq!((&fresh["resumed"], &fresh["checked"]), (&Value::Null, &json!(60_000)));
    assert_eq!(of_the_ledger(answer), of_the_ledger(fresh));
}

#[test]
fn a_ledger_that_was_changed_where_it_had_been_audited_is_refused() {
    let sandbox = with_ledger();
    killed(&sandbox);
    let good = fs::read(sandbox.path(LEDGER)).expect("it was written");
    let mut changed = good.clone();
    let at = 300_000;
    changed[at] ^= 4;
    sandbox.write(LEDGER, &changed);
    let answer = sandbox.run(&[&["--json"], &VERIFY[..]].concat());
    let document = answer.document();
    assert_eq!((answer.code, &document["ok"], &document["resumed"]), (Some(1), &json!(false), &Value::Null));
    let why = document["begun_anew"].as_str().expect("it says so");
    assert!(why.contains("does not begin with the bytes that were audited"), "{why}");
    assert_eq!(document["findings"][0]["rule"], "frame-hash", "{answer}");
}

#[test]
fn another_build_of_the_program_begins_anew() {
    let sandbox = with_ledger();
    killed(&sandbox);
    let other = sandbox.path("another-build");
    // By a process of its own: a file that this one has open for writing cannot be run.
    let copied = Command::new("sh")
        .args(["-c", r#"cp "$0" "$1" && printf x >>"$1""#, PROGRAM])
        .arg(&other)
        .status()
        .expect("there is a shell");
    assert!(copied.success());
    let mut audit = sandbox.command_of(&other, &[&["--json"], &VERIFY[..]].concat());
    let audit = watched::output(&mut audit);
    let answer: Value = serde_json::from_slice(&audit.stdout).expect("a document");
    assert_eq!((&answer["ok"], &answer["checked"]), (&json!(true), &json!(60_000)));
    let why = answer["begun_anew"].as_str().expect("it says so");
    assert!(why.contains("another build of this program wrote it"), "{why}");
}

#[test]
fn a_file_that_says_how_far_an_audit_got_is_not_believed_when_it_is_damaged() {
    let sandbox = with_ledger();
    killed(&sandbox);
    let mut file = fs::read(sandbox.path(KEPT)).expect("it was kept");
    let middle = file.len() / 2;
    file[middle] ^= 1;
    sandbox.write(KEPT, &file);
    let answer = sandbox.run(&VERIFY);
    assert_eq!(answer.code, Some(0), "{answer}");
    let said = "begun anew    [DIR]/data/audit.resume is of no use here: it is damaged";
    assert!(answer.stdout.contains(said) && answer.stdout.contains("all in order"), "{answer}");
    assert!(answer.stderr.is_empty(), "no bar in a pipe: {answer}");
}
