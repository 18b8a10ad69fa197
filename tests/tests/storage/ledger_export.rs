//! A ledger fetched into a file over a real connection, by a process that is killed in the middle.

use std::{fs, path::Path, sync::Arc};

use gridhour_contracts_sim::harness::{Chain, key};
use gridhour_node::{
    drivers::{
        ledger_client::LedgerClient,
        ledger_export::{FetchLedgerError, fetch_ledger},
        validator::status_of,
    },
    net::{Net, NetConfig, NetEvent, NetHandle},
    rpc::{LedgerAnswer, LedgerRequest},
};
use gridhour_protocol::{
    signed::PublicKey,
    units::{Credits, Height, Millis},
    wire,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::observer::PATIENCE;

/// Questions that a test has not looked at yet; more than any asks.
const ASKED_MAX: usize = 4096;
const SERVER: u8 = 41;

/// A ledger of some blocks and what a node that serves it was asked for.
struct Served {
    net: NetHandle,
    chain: Arc<watch::Sender<Chain>>,
    /// It answers questions for blocks up to this one, and no others.
    up_to: watch::Sender<u64>,
    asked: mpsc::Receiver<u64>,
}

async fn net(chain: &Chain, n: u8) -> (NetHandle, mpsc::Receiver<NetEvent>) {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    let config = NetConfig { listen, ..NetConfig::of(&chain.network_file().body, key(n)) };
    Net::start(config).await.expect("loopback listens")
}

/// One block an answer, and silence behind `up_to`.
async fn serve(chain: Chain, up_to: u64) -> Served {
    let (net, mut inbox) = net(&chain, SERVER).await;
    let (chain, up_to) = (Arc::new(watch::Sender::new(chain)), watch::Sender::new(up_to));
    let (told, asked) = mpsc::channel(ASKED_MAX);
    let (ledger, limit) = (Arc::clone(&chain), up_to.subscribe());
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(event) = inbox.recv().await {
            let NetEvent::Request(request) = event else { continue };
            let said = match wire::decode(&request.bytes).expect("it asks properly") {
                LedgerRequest::Blocks { from } => {
                    told.try_send(from.0).expect("a test looks");
                    if from.0 > *limit.borrow() {
                        unanswered.push(request);
                        continue;
                    }
                    let at = (from.0 - 1) as usize;
                    let block = ledger.borrow().blocks().get(at).map(wire::encode);
                    LedgerAnswer::Blocks(block.into_iter().collect())
                }
                _ => LedgerAnswer::Status(status_of(ledger.borrow().state())),
            };
            // Fails only if whoever asked is gone.
            let _ = request.responder.respond(wire::encode(&said)).await;
        }
    });
    Served { net, chain, up_to, asked }
}

/// Blocks of payments, by `who`.
fn pay(chain: &mut Chain, who: u8, blocks: u64) {
    for _ in 0..blocks {
        chain.advance(Millis(1));
        chain.fund(&key(who).public(), Credits(1));
    }
}

impl Served {
    async fn client(&self, n: u8) -> LedgerClient {
        let chain = self.chain.borrow().clone();
        let (net, mut inbox) = net(&chain, n).await;
        net.dial(self.net.listen_addrs()[0].clone()).await.expect("answers");
        tokio::spawn(async move { while inbox.recv().await.is_some() {} });
        let server: PublicKey = key(SERVER).public();
        LedgerClient::new(net, chain.state().genesis().into(), server)
    }

    /// Fetches the ledger into `path`, in a task of its own.
    async fn fetch(&self, n: u8, path: &Path) -> JoinHandle<Result<(Height, u64), FetchLedgerError>> {
        let (client, path) = (self.client(n).await, path.to_owned());
        let network = self.chain.borrow().network_file();
        tokio::spawn(async move { fetch_ledger(&client, &network, &path, |_, _| ()).await })
    }

    async fn asked_for(&mut self, from: u64) -> Vec<u64> {
        let mut before = Vec::new();
        loop {
            let asked = tokio::time::timeout(PATIENCE, self.asked.recv()).await.expect("asks in time");
            before.push(asked.expect("it serves"));
            if before.last() == Some(&from) {
                return before;
            }
        }
    }
}

/// Killed while it waits for a block, it leaves what lay there; the next one asks whether the block before is the same
/// still, and goes on behind it.
#[tokio::test]
async fn an_export_that_is_killed_goes_on_where_it_stopped() {
    let mut chain = Chain::new();
    pay(&mut chain, 1, 9);
    let (whole, blocks) = (chain.export(), chain.blocks().len() as u64);
    let (killed_at, folder) = (blocks - 3, tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("ledger.export");
    fs::write(&path, b"the one before").expect("room");
    let mut served = serve(chain, killed_at - 1).await;
    let first = served.fetch(42, &path).await;
    assert_eq!(served.asked_for(killed_at).await, (1..=killed_at).collect::<Vec<_>>());
    first.abort();
    assert!(first.await.expect_err("it waits for an answer").is_cancelled());
    assert_eq!(fs::read(&path).expect("it is there"), b"the one before");
    served.up_to.send_replace(u64::MAX);
    let (height, bytes) = served.fetch(43, &path).await.await.expect("no panic").expect("it answers");
    assert_eq!((height, bytes), (Height(blocks), whole.len() as u64));
    assert_eq!(fs::read(&path).expect("it is there"), whole);
    assert_eq!(served.asked_for(blocks).await, (killed_at - 1..=blocks).collect::<Vec<_>>());
}

/// What it has of another history than the node serves now is of no use.
#[tokio::test]
async fn an_export_of_another_history_begins_anew() {
    let (mut chain, mut other) = (Chain::new(), Chain::new());
    pay(&mut chain, 1, 5);
    pay(&mut other, 2, 4);
    let (whole, folder) = (other.export(), tempfile::tempdir().expect("a folder"));
    let path = folder.path().join("ledger.export");
    let mut served = serve(chain, 4).await;
    let first = served.fetch(42, &path).await;
    served.asked_for(5).await;
    first.abort();
    assert!(first.await.expect_err("it waits for an answer").is_cancelled());
    served.chain.send_replace(other);
    served.up_to.send_replace(u64::MAX);
    served.fetch(43, &path).await.await.expect("no panic").expect("it answers");
    assert_eq!(fs::read(&path).expect("it is there"), whole);
    assert_eq!(served.asked_for(4).await, [4], "the block that it has last");
    assert_eq!(served.asked_for(4).await, [1, 2, 3, 4], "another one, so all of them");
}
