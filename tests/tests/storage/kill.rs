//! kill -9, with real processes and real files. Weaker than a power cut, but nothing in it is simulated.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use gridhour_contracts_sim::state::TxKey;
use gridhour_node::store::{
    disk::DirDisk,
    ledger_dir::Ledger,
    records::{Kind, Records},
};
use testkit::sim::rng::Rng;

use crate::{
    scale,
    world::{account, check_ledger, genesis, mints, pay, start, submit},
};

/// Tells a copy of this program to write here until it is killed.
const VICTIM_DIR: &str = "GRIDHOUR_TEST_VICTIM_DIR";
const OWNER: [u8; 32] = [5; 32];
const COUNTER: Kind = Kind(9);

/// What a victim says: this number is durable.
pub(crate) fn acknowledge(number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nacknowledged {number}")
        .and_then(|()| out.flush())
        .expect("the parent listens until the kill");
}

/// A copy of this program that runs one test, as a victim, until it is killed.
pub(crate) struct Victim(Child);

impl Victim {
    pub(crate) fn start(test: &str, dir: &Path) -> Self {
        Self::start_with(test, dir, &[])
    }

    /// The same, with these environment variables.
    pub(crate) fn start_with(test: &str, dir: &Path, variables: &[(&str, &str)]) -> Self {
        let program = env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.args(["--exact", test, "--nocapture"]).env(VICTIM_DIR, dir);
        command.envs(variables.iter().copied());
        Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts"))
    }

    /// Listens to `count` acknowledgements, kills it, and returns the last number that it ever said.
    fn kill_after(self, count: u64) -> Option<u64> {
        self.interrupt_after(count, |_| ())
    }

    /// The same, but `interrupt` comes before the kill; it is given the process's id.
    pub(crate) fn interrupt_after(mut self, count: u64, interrupt: impl FnOnce(u32)) -> Option<u64> {
        let mut interrupt = Some(interrupt);
        let mut heard = 0;
        let mut last = None;
        for number in self.acknowledged() {
            last = Some(number);
            heard += 1;
            if heard == count
                && let Some(interrupt) = interrupt.take()
            {
                interrupt(self.0.id());
                self.0.kill().expect("a running child can be killed");
            }
        }
        let status = self.0.wait().expect("waits");
        assert!(
            !status.success() && heard >= count,
            "the victim ended by itself: {status}, {heard} of {count}"
        );
        last
    }

    /// Waits until it dies by itself, and returns the last number that it said.
    pub(crate) fn last_words(mut self) -> Option<u64> {
        let last = self.acknowledged().last();
        let status = self.0.wait().expect("waits");
        assert_eq!(status.code(), None, "the victim did not die as it should: {status}");
        last
    }

    fn acknowledged(&mut self) -> impl Iterator<Item = u64> + use<> {
        let out = BufReader::new(self.0.stdout.take().expect("piped"));
        let number = |line: String| line.strip_prefix("acknowledged ")?.parse().ok();
        out.lines().map_while(Result::ok).filter_map(number)
    }
}

/// Every payment up to `last` is in the ledger.
pub(crate) fn check_payments(ledger: &Ledger, last: Option<u64>, what: &str) {
    check_ledger(&ledger.state, &ledger.journal.reader());
    for nonce in 0..last.map_or(0, |last| last + 1) {
        let key = TxKey { sender: account(1), nonce };
        assert!(ledger.state.applied(&key).is_some(), "{what}: payment {nonce} of {last:?} is lost");
    }
}

pub(crate) fn victim_dir() -> Option<PathBuf> {
    env::var_os(VICTIM_DIR).map(PathBuf::from)
}

#[test]
fn a_killed_ledger_keeps_every_payment_that_it_acknowledged() {
    if let Some(dir) = victim_dir() {
        return pay_for_ever(&dir);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for round in 0..8 * scale() {
        let mut rng = Rng::new(round);
        let victim =
            Victim::start("kill::a_killed_ledger_keeps_every_payment_that_it_acknowledged", dir.path());
        let last = victim.kill_after(1 + rng.below(60)).expect("something was acknowledged");
        let ledger =
            Ledger::open(dir.path(), &genesis()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        check_payments(&ledger, Some(last), &format!("round {round}"));
    }
}

fn pay_for_ever(dir: &Path) {
    pay_on(Ledger::open(dir, &genesis()).expect("opens"), |_| ());
}

/// Makes one payment after the other, and acknowledges each after `before` it does.
pub(crate) fn pay_on(ledger: Ledger, before: impl Fn(u64)) {
    let next =
        (0..).find(|nonce| ledger.state.applied(&TxKey { sender: account(1), nonce: *nonce }).is_none());
    let solo = start(ledger);
    for mint in mints() {
        submit(&solo, mint).expect("accepted, or was before");
    }
    for nonce in next.expect("there is a next number").. {
        // There and back, so that the money lasts.
        submit(&solo, pay(1, 2, 1, nonce)).expect("accepted");
        submit(&solo, pay(2, 1, 1, nonce)).expect("accepted");
        before(nonce);
        acknowledge(nonce);
    }
}

#[test]
fn a_killed_node_keeps_every_record_that_it_stored() {
    if let Some(dir) = victim_dir() {
        return count_for_ever(&dir);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for round in 0..8 * scale() {
        let mut rng = Rng::new(round);
        let victim = Victim::start("kill::a_killed_node_keeps_every_record_that_it_stored", dir.path());
        let last = victim.kill_after(1 + rng.below(200)).expect("something was acknowledged");
        assert!(stored(&records(dir.path())) >= last, "round {round}");
    }
}

fn records(dir: &Path) -> Records {
    let disk = DirDisk::create(&dir.join("records")).expect("creates");
    Records::open_with(Arc::new(disk), OWNER, 4_000).expect("opens after a kill").0
}

fn stored(records: &Records) -> u64 {
    let value = records.get(COUNTER, b"counter");
    value.map_or(0, |value| u64::from_le_bytes(value[..].try_into().expect("eight bytes")))
}

fn count_for_ever(dir: &Path) {
    let records = records(dir);
    for number in stored(&records) + 1.. {
        records.put(COUNTER, b"counter", &number.to_le_bytes()).expect("stores");
        acknowledge(number);
    }
}
