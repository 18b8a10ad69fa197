//! An operator that shows two histories: each is a good ledger, served over HTTP; whoever holds both checkpoints has a
//! file that convicts it.

use std::{path::Path, sync::Arc};

use gridhour_contracts_sim::{
    checkpoint::operator_key,
    fraud::{Conflict, Fraud, compare},
};
use gridhour_node::{
    consensus::solo::Solo,
    http::{HttpServer, client::LogClient, public_log::PublicLog},
    store::ledger_dir::Ledger,
};
use gridhour_protocol::{note::VerifierKey, units::Height};
use tokio::runtime::Runtime;

use crate::world::{genesis, mints, operator, pay, start, submit, wait};

/// A ledger that runs, and its public log on a port of its own.
struct Served {
    solo: Solo,
    _server: HttpServer,
    url: String,
}

impl Served {
    fn start(runtime: &Runtime, dir: &Path) -> Self {
        let solo = start(Ledger::open(dir, &genesis()).expect("opens"));
        let shelf = solo.public_log().expect("a directory has one").clone();
        let log = Arc::new(PublicLog::new(shelf, operator()));
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = runtime.block_on(HttpServer::start(address, log.routes())).expect("a free port");
        let url = format!("http://{}/", server.address());
        Self { solo, _server: server, url }
    }

    /// Pays so often, and waits until the log shows it.
    fn pay(&self, to: u8, times: u64) {
        for nonce in 0..times {
            submit(&self.solo, pay(1, to, 1, 100 * u64::from(to) + nonce)).expect("accepted");
        }
        self.caught_up();
    }

    fn caught_up(&self) {
        let height = self.solo_height();
        let mut published = self.solo.public_log().expect("it has one").watch();
        wait(async { published.wait_for(|checkpoint| checkpoint.height >= height).await.map(|_| ()) })
            .expect("the log grows");
    }

    fn solo_height(&self) -> Height {
        use gridhour_node::consensus::Ordering;
        self.solo.view().read(|state| state.tip().height)
    }
}

fn vkey() -> VerifierKey {
    operator_key(&genesis().id(), operator().public()).expect("a good key")
}

/// Two directories with one ledger so far.
fn forked() -> [tempfile::TempDir; 2] {
    let dirs = [0, 1].map(|_| tempfile::tempdir().expect("a folder"));
    for dir in &dirs {
        let solo = start(Ledger::open(dir.path(), &genesis()).expect("opens"));
        for mint in mints() {
            submit(&solo, mint).expect("accepted");
        }
    }
    dirs
}

#[test]
fn an_operator_with_two_histories_is_convicted_by_a_file() {
    let runtime = Runtime::new().expect("a runtime");
    let dirs = forked();
    let [one, other] = dirs.each_ref().map(|dir| Served::start(&runtime, dir.path()));
    let [first, second] = [&one, &other].map(|served| LogClient::new(&served.url));
    let both = || [&first, &second].map(|log| log.checkpoint(&vkey()).expect("the operator signs"));

    let [here, there] = both();
    assert_eq!(here, there, "one history so far");
    assert_eq!(compare(&here, &there, &vkey(), &second).expect("nothing to fetch"), None);

    for (here_pays, there_pays, conflict) in [(1, 1, Conflict::Height), (0, 3, Conflict::Rewritten)] {
        one.pay(2, here_pays);
        other.pay(3, there_pays);
        let [here, there] = both();
        let fraud = compare(&here, &there, &vkey(), &second).expect("the tiles are served").expect("two");
        assert_eq!(fraud.conflict(), conflict);
        // A file is all that is needed: no node, no log.
        let file = dirs[0].path().join("fraud.proof");
        std::fs::write(&file, fraud.to_string()).expect("written");
        let read = std::fs::read(&file).expect("read");
        assert_eq!(Fraud::open(&read, &vkey()), Ok(fraud));
    }
}

#[test]
fn an_honest_ledger_that_grows_convicts_nobody() {
    let runtime = Runtime::new().expect("a runtime");
    let [dir, _] = forked();
    let served = Served::start(&runtime, dir.path());
    let log = LogClient::new(&served.url);
    let mut seen = log.checkpoint(&vkey()).expect("the operator signs");
    for times in [1, 5, 40] {
        served.pay(2, times);
        let newer = log.checkpoint(&vkey()).expect("the operator signs");
        assert!(newer.checkpoint().height > seen.checkpoint().height);
        assert_eq!(compare(&seen, &newer, &vkey(), &log).expect("the tiles are served"), None);
        seen = newer;
    }
}
