//! Witnesses over HTTP: what a log that asks is answered, and what a log publishes that asks several.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use gridhour_contracts_sim::{
    checkpoint::{Checkpoint, SignedCheckpoint, operator_key},
    fraud::Fraud,
    harness::key,
    witnesses::{LogKeys, NamedWitness, Witnesses},
};
use gridhour_node::{
    consensus::solo::Solo,
    drivers::witnessing::{Witnessing, WitnessingEvent},
    http::{
        HttpServer,
        witness::{WitnessEvent, routes},
        witness_client::{AskError, WitnessClient},
    },
    store::{
        ledger_dir::Ledger,
        tiles::TileShelf,
        witness::{Cosigner, Witness},
    },
};
use gridhour_protocol::{
    add_checkpoint::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint},
    merkle::tiled::TiledTree,
    note::{KeyKind, Note, VerifierKey},
};
use testkit::sim::disk::SimDisk;
use tokio::{runtime::Runtime, sync::watch};

use crate::world::{genesis, mints, operator, pay, start, submit};

/// A limit that only a failure reaches.
const PATIENCE: Duration = Duration::from_secs(60);

fn name(n: u8) -> String {
    format!("witness.example/{n}")
}

/// The operator's key, and those of witnesses 1, 2 and 3, of which two are required.
fn keys() -> LogKeys {
    let named = [1, 2, 3].map(|n| NamedWitness { name: name(n), key: key(n).public() });
    let operator = operator_key(&genesis().id(), operator().public()).expect("a good key");
    LogKeys::new(operator, &Witnesses { named: named.to_vec(), required: 2 }).expect("good keys")
}

/// A witness behind a port of its own. Dropping it ends its connections as well.
struct Served {
    server: HttpServer,
    _runtime: Runtime,
    proofs: Arc<Mutex<Vec<Fraud>>>,
}

impl Served {
    fn start(n: u8) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let cosigner = Cosigner { name: name(n), key: key(n) };
        let witness = Witness::new(Arc::new(SimDisk::new(n.into())), keys().operator().clone(), cosigner);
        let proofs = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&proofs);
        let on_event = Arc::new(move |event| match event {
            WitnessEvent::Fraud(fraud) => kept.lock().expect("no panic").push(*fraud),
            WitnessEvent::Cosigned(_) => {}
            WitnessEvent::Broken(why) => panic!("{why}"),
        });
        let address = "127.0.0.1:0".parse().expect("an address");
        let server = runtime.block_on(HttpServer::start(address, routes(witness, on_event)));
        Self { server: server.expect("a free port"), _runtime: runtime, proofs }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.server.address())
    }

    /// Status, content type and body of the answer to these bytes.
    fn post(&self, body: &[u8]) -> (u16, String, String) {
        self.ask("POST", body)
    }

    fn ask(&self, method: &str, body: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.server.address()).expect("it listens");
        let len = body.len();
        let head = format!(
            "{method} /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it hears");
        // A body that is too long is refused before it is read.
        let _ = stream.write_all(body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let of = |name: &str| {
            head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned))
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, of("content-type: ").unwrap_or_default(), body.to_owned())
    }
}

/// A ledger with a public log; every payment is one more entry.
struct Log {
    solo: Solo,
    paid: u64,
}

impl Log {
    fn open(folder: &Path) -> Self {
        let solo = start(Ledger::open(folder, &genesis()).expect("opens"));
        for mint in mints() {
            submit(&solo, mint).expect("accepted");
        }
        Self { solo, paid: 0 }
    }

    fn pay(&mut self, runtime: &Runtime, to: u8) -> SignedCheckpoint {
        self.paid += 1;
        let height =
            submit(&self.solo, pay(1, to, 1, 1_000 * u64::from(to) + self.paid)).expect("accepted").height;
        let mut published = self.shelf().watch();
        let reached = published.wait_for(|checkpoint| checkpoint.height >= height);
        let checkpoint: Checkpoint = *runtime.block_on(reached).expect("the log grows");
        checkpoint.sign(&operator())
    }

    fn shelf(&self) -> TileShelf {
        self.solo.public_log().expect("a directory has one").clone()
    }

    fn request(&self, signed: &SignedCheckpoint, old: u64) -> AddCheckpoint {
        let shelf = self.shelf();
        let tree = TiledTree::new(&shelf, signed.checkpoint().log.size);
        let proof =
            if old == 0 { Vec::new() } else { tree.consistency_proof(old).expect("the tiles are there") };
        AddCheckpoint { old, proof, note: signed.note().clone() }
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn a_witness_answers_as_the_text_says() {
    let (runtime, dir) = (Runtime::new().expect("a runtime"), folder());
    let (witness, mut log) = (Served::start(1), Log::open(dir.path()));
    let first = log.pay(&runtime, 2);
    let size = first.checkpoint().log.size;
    let good = log.request(&first, 0);

    let (status, _, body) = witness.post(good.to_string().as_bytes());
    assert_eq!(status, 200, "{body}");
    let vkey = VerifierKey::new(&name(1), KeyKind::Witness, key(1).public()).expect("a good key");
    let note = Note::parse(format!("{}{body}", good.note).as_bytes()).expect("lines that make a note");
    assert!(note.verify(&vkey).expect("the witness's") > Some(1_700_000_000), "it states the time");

    let second = log.pay(&runtime, 2);
    let conflict = (409, "text/x.tlog.size".to_owned(), format!("{size}\n"));
    assert_eq!(witness.post(log.request(&second, 0).to_string().as_bytes()), conflict);
    assert_eq!(witness.post(log.request(&second, 1).to_string().as_bytes()), conflict);
    let next = log.request(&second, size);
    let status = |request: &AddCheckpoint| witness.post(request.to_string().as_bytes()).0;
    assert_eq!(status(&AddCheckpoint { proof: vec![[7; 32]], ..next.clone() }), 422);
    assert_eq!(status(&AddCheckpoint { old: size + 2, ..next.clone() }), 400);
    let by = |text: &str, n| Note::signed(text.into(), keys().operator().name(), &key(n)).expect("a note");
    assert_eq!(status(&AddCheckpoint { note: by(next.note.text(), 66), ..next.clone() }), 403);
    let foreign = next.note.text().replacen("gridhour/", "example.com/", 1);
    assert_eq!(status(&AddCheckpoint { note: by(&foreign, 254), ..next.clone() }), 404);
    assert_eq!(status(&next), 200, "refusals change nothing");

    for nonsense in [&b""[..], b"old 1\n\n", b"old 01\n\nnote\n", &[0xff; 300]] {
        assert_eq!(witness.post(nonsense).0, 400);
    }
    let long = format!("old 1\n{}", "A".repeat(ADD_CHECKPOINT_BYTES_MAX));
    assert_eq!(witness.post(long.as_bytes()).0, 413, "longer than any request may be");
    assert_eq!(witness.ask("GET", b"").0, 405);
    assert!(witness.proofs.lock().expect("no panic").is_empty());
}

/// Two ledgers of one operator: a witness that cosigned one never cosigns the other, and has the proof.
#[test]
fn a_witness_that_is_shown_a_forked_history_refuses_it_and_keeps_the_proof() {
    let (runtime, dirs) = (Runtime::new().expect("a runtime"), [folder(), folder()]);
    let witness = Served::start(1);
    let [mut honest, mut forked] = dirs.each_ref().map(|dir| Log::open(dir.path()));
    let mut client = WitnessClient::new(&witness.url());
    let seen = [2, 2, 2].map(|to| honest.pay(&runtime, to));
    let note = client.ask(&seen[2], &honest.shelf()).expect("it cosigns");
    assert_eq!(keys().count(&note).cosigned.len(), 1);

    // One entry fewer, as many, and more than the witness has seen.
    for _ in 0..5 {
        let other = forked.pay(&runtime, 3);
        let refused = WitnessClient::new(&witness.url()).ask(&other, &forked.shelf());
        let status = match refused.expect_err("another history") {
            AskError::Elsewhere { .. } => 409,
            AskError::Refused { status, .. } => status,
            error => panic!("{error}"),
        };
        assert!([409, 422].contains(&status), "{status}");
    }
    let proofs = witness.proofs.lock().expect("no panic").clone();
    assert!(!proofs.is_empty(), "the operator is convicted");
    for fraud in proofs {
        assert_eq!(Fraud::open(fraud.to_string().as_bytes(), keys().operator()), Ok(fraud));
    }
    let later = honest.pay(&runtime, 2);
    assert!(client.ask(&later, &honest.shelf()).is_ok(), "the first history goes on");
}

/// What a ledger node would publish.
struct Published {
    newest: watch::Receiver<Option<SignedCheckpoint>>,
    troubles: mpsc::Receiver<String>,
}

fn witnessed(runtime: &Runtime, log: &Log, witnesses: &[String]) -> Published {
    let (published, newest) = watch::channel(None);
    let (told, troubles) = mpsc::sync_channel(64);
    let on_event = Arc::new(move |event| {
        if let WitnessingEvent::Trouble { url, .. } = event {
            told.try_send(url).expect("few troubles");
        }
    });
    let (shelf, urls) = (log.shelf(), witnesses.to_vec());
    let witnessing = Witnessing { shelf, operator: operator(), keys: keys(), urls, on_event };
    runtime.spawn(witnessing.run(published));
    Published { newest, troubles }
}

impl Published {
    /// Waits until a checkpoint at least as high as `signed` is published with so many cosignatures.
    fn wait(&mut self, runtime: &Runtime, signed: &SignedCheckpoint, count: usize) -> SignedCheckpoint {
        let reached = self.newest.wait_for(|newest| {
            newest.as_ref().is_some_and(|newest| {
                newest.checkpoint().height >= signed.checkpoint().height
                    && keys().count(newest.note()).cosigned.len() == count
            })
        });
        let newest = runtime.block_on(async { tokio::time::timeout(PATIENCE, reached).await });
        newest.expect("published in time").expect("the log goes on").clone().expect("waited for")
    }
}

/// All three cosign; one is down, two are; a stranger's cosignature is no one's. Something is published all
/// along.
#[test]
fn checkpoints_are_published_with_as_many_cosignatures_as_can_be_had() {
    let (runtime, dir) = (Runtime::new().expect("a runtime"), folder());
    let mut log = Log::open(dir.path());
    let mut served: Vec<Served> = [1, 2, 3].map(Served::start).into();
    let stranger = Served::start(9);
    let mut urls: Vec<String> = served.iter().map(Served::url).collect();
    urls.push(stranger.url());
    let mut published = witnessed(&runtime, &log, &urls);
    assert_eq!(
        published.troubles.recv_timeout(PATIENCE).as_ref(),
        Ok(&stranger.url()),
        "nobody knows its key"
    );

    let signed = log.pay(&runtime, 2);
    let newest = published.wait(&runtime, &signed, 3);
    assert_eq!(newest.note().signatures().len(), 4, "nobody else's line is published");
    assert!(SignedCheckpoint::open(newest.to_string().as_bytes(), keys().operator()).is_ok());
    for left in [2, 1] {
        let gone = served.pop().expect("one more").url();
        let signed = log.pay(&runtime, 2);
        let newest = published.wait(&runtime, &signed, left);
        assert_eq!(keys().count(newest.note()).is_enough(), left == 2);
        assert_eq!(published.troubles.recv_timeout(PATIENCE), Ok(gone));
    }
}
