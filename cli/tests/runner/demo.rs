//! `gridhour demo` from beginning to end, what it leaves to look at, and what it does not leave.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::gguf::SmallModel;

use crate::{sandbox::Sandbox, watched};

/// How long the system may take to bury a killed process.
const BURIAL_TIME: Duration = Duration::from_secs(10);

/// A sandbox with a model whose context is long enough for the demo's conversations.
pub fn with_model() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("small.gguf", SmallModel { context: 1024, ..SmallModel::new(1) }.bytes());
    sandbox
}

/// A sandbox after a demo, and what that said.
pub fn played() -> (Sandbox, Value) {
    let sandbox = with_model();
    let told = sandbox.json(&["demo", "--model", "small.gguf"]);
    (sandbox, told)
}

/// The jobs of a demo that were delivered, and those that were refused.
pub fn jobs(told: &Value) -> (Vec<&Value>, Vec<&Value>) {
    let jobs = told["jobs"].as_array().expect("a list");
    jobs.iter().partition(|job| job["provider"].is_string())
}

/// The receipt of a demo's first job.
pub fn first_receipt(told: &Value) -> &str {
    told["jobs"][0]["receipt_id"].as_str().expect("an id")
}

/// Command lines of running processes that name this sandbox.
fn left_running(sandbox: &Sandbox) -> Vec<String> {
    let folder = sandbox.path("data").display().to_string();
    let processes = fs::read_dir("/proc").expect("processes are listed").map_while(Result::ok);
    // A process may end while the list is read; a dead one that nobody has waited for has an empty command line.
    let lines = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&folder)).collect()
}

#[test]
fn a_demo_delivers_refuses_audits_and_leaves_nothing_running() {
    let (sandbox, told) = played();
    assert_eq!(left_running(&sandbox), Vec::<String>::new());
    assert_eq!(
        (&told["ok"], &told["audit"]["ok"], &told["rerun"]["match"]),
        (&json!(true), &json!(true), &json!(true))
    );
    let (delivered, refused) = jobs(&told);
    assert!(delivered.len() >= 3 && refused.len() == 1, "{told}");
    let reasons = refused[0]["match"]["refused"].as_array().expect("a list");
    assert_eq!((&refused[0]["provider"], reasons.len()), (&Value::Null, 3), "{told}");
    assert!(reasons.iter().all(|refusal| refusal["reason"] == "price-over-limit"), "{told}");
    let number = |name: &str| told["ledger"][name].as_u64().expect("an amount");
    assert_eq!((number("balances"), number("holds")), (number("issued"), 0));
    assert!(told["audit"]["receipts"].as_u64() >= Some(3), "{told}");
}

#[test]
fn what_a_demo_leaves_can_be_looked_at_offline() {
    let (sandbox, told) = played();
    let account = sandbox.json(&["account", "show"]);
    let spent: u64 = jobs(&told).0.iter().map(|job| job["cost"].as_u64().expect("an amount")).sum();
    assert_eq!((&account["source"], &account["holds"]), (&json!("export"), &json!([])));
    assert_eq!(account["balance"], json!(told["ledger"]["issued"].as_u64().expect("an amount") - spent));
    let audited = sandbox.json(&["audit", "verify"]);
    for (name, value) in told["audit"].as_object().expect("fields") {
        assert_eq!(&audited[name], value, "{name}");
    }
    let listed = sandbox.json(&["receipt", "list"]);
    assert_eq!(listed["results"].as_array().map(Vec::len), Some(jobs(&told).0.len()));
    for job in jobs(&told).0 {
        let id = job["receipt_id"].as_str().expect("an id");
        let checked = sandbox.json(&["receipt", "verify", id]);
        assert_eq!((&checked["ok"], &checked["on_ledger"]), (&json!(true), &json!(true)), "{checked}");
        assert_eq!(sandbox.json(&["receipt", "rerun", id, "--model", "small.gguf"])["match"], true);
    }
}

#[test]
fn a_demo_wants_an_empty_directory() {
    let sandbox = with_model();
    fs::create_dir(sandbox.path("data")).expect("a folder can be made");
    sandbox.write("data/mine", "");
    let answer = sandbox.run(&["--json", "demo", "--model", "small.gguf"]);
    assert_eq!((answer.code, &answer.document()["error"]["kind"]), (Some(1), &json!("refused")), "{answer}");
    assert_eq!(fs::read_dir(sandbox.path("data")).expect("the folder is there").count(), 1);
}

/// Presses Ctrl-C when a demo says something that begins so, and returns how it ended.
fn interrupt_at(sandbox: &Sandbox, beginning: &str) -> Option<i32> {
    let mut command = sandbox.command(&["demo", "--model", "small.gguf", "--max-tokens", "400"]);
    let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
    let mut said = BufReader::new(demo.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let is_said = watched::wait_for(demo.id(), || said.any(|line| line.starts_with(beginning)));
    assert!(is_said, "the demo never said {beginning:?}");
    kill_process(Pid::from_child(&demo), Signal::INT).expect("it runs");
    // What it still says is read, so that it never waits for its reader.
    watched::wait_for(demo.id(), || said.for_each(drop));
    demo.wait().expect("a child can be waited for").code()
}

#[test]
fn an_interrupted_demo_takes_its_processes_with_it() {
    for beginning in ["Provider ada", "> Name three animals"] {
        let sandbox = with_model();
        assert_eq!(interrupt_at(&sandbox, beginning), Some(130), "at {beginning:?}");
        let end = Instant::now() + BURIAL_TIME;
        while !left_running(&sandbox).is_empty() {
            assert!(Instant::now() < end, "left behind: {:?}", left_running(&sandbox));
        }
    }
}
