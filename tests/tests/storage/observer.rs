//! Observers over real connections: they follow ledgers and each other, and nobody can make them believe anything.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use gridhour_contracts_sim::{
    block::Block,
    checkpoint::{Checkpoint, SignedCheckpoint},
    harness::{Chain, START, key},
    network_file::NetworkFile,
    tx::Call,
};
use gridhour_node::{
    consensus::follower::{Follower, authentic},
    drivers::{
        ledger_client::{LedgerClient, LedgerError},
        observer::{Observer, ObserverConfig, ObserverEnd, ObserverEvent},
        validator::Validator,
    },
    http::public_log::PublicLog,
    net::{Address, Net, NetConfig, NetEvent, NetHandle},
    rpc::{LedgerAnswer, LedgerRequest, LedgerStatus},
    store::ledger_dir::Ledger,
};
use gridhour_protocol::{
    id::{BlockHash, from_hex, to_hex},
    signed::{PublicKey, Signed},
    units::{Credits, Height},
    wire,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::world::{account, check_ledger, genesis, mints, operator, pay, start};

/// A limit that only a failure reaches.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Events that nobody has asked for yet; more than any test lets happen.
const EVENTS_MAX: usize = 4096;

fn network() -> Signed<NetworkFile> {
    Chain::new().network_file()
}

async fn net(n: u8) -> (NetHandle, mpsc::Receiver<NetEvent>) {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    let config = NetConfig { listen, ..NetConfig::of(&network().body, key(n)) };
    Net::start(config).await.expect("loopback listens")
}

/// A node that runs until it is stopped.
struct Node<E> {
    net: NetHandle,
    stop: watch::Sender<bool>,
    end: JoinHandle<Result<(), E>>,
}

impl<E: std::fmt::Debug> Node<E> {
    fn address(&self) -> Address {
        self.net.listen_addrs()[0].clone()
    }

    async fn ended(self) -> Result<(), E> {
        let ended = timeout(PATIENCE, self.end).await.expect("ends in time").expect("no panic");
        self.net.shutdown().await;
        ended
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.ended().await.expect("ends as asked");
    }
}

/// A ledger node on the ledger in `folder`.
async fn ledger_node(folder: &Path) -> Node<String> {
    let solo = start(Ledger::open(folder, &genesis()).expect("opens"));
    let (net, inbox) = net(254).await;
    let (stop, told) = watch::channel(false);
    let end = tokio::spawn(Validator::new(solo, operator(), network()).run(inbox, told));
    Node { net, stop, end }
}

struct Watched {
    node: Node<ObserverEnd>,
    events: mpsc::Receiver<ObserverEvent>,
    id: PublicKey,
    log: PublicLog,
}

/// An observer with the key `n` on the copy in `folder`, which follows these nodes.
async fn observer(n: u8, folder: &Path, sources: &[Address]) -> Watched {
    let follower =
        Follower::start(Ledger::open(folder, &genesis()).expect("opens"), || START).expect("starts");
    let (net, inbox) = net(n).await;
    let (told, events) = mpsc::channel(EVENTS_MAX);
    let config = ObserverConfig {
        network: network(),
        sources: sources.to_vec(),
        evidence: folder.join("evidence"),
        shown: folder.join("shown"),
        on_event: std::sync::Arc::new(move |event| told.try_send(event).expect("a test listens")),
    };
    let (stop, stopped) = watch::channel(false);
    let observer = Observer::new(follower, net.clone(), config);
    let log = observer.public_log().expect("a directory has one");
    let end = tokio::spawn(observer.run(inbox, stopped));
    Watched { node: Node { net, stop, end }, events, id: key(n).public(), log }
}

impl Watched {
    /// Waits until it has at least `height`.
    async fn reach(&mut self, height: u64) {
        while self.next().await < Some(Height(height)) {}
    }

    /// The height in the next event, if it has one.
    async fn next(&mut self) -> Option<Height> {
        match timeout(PATIENCE, self.events.recv()).await.expect("goes on").expect("runs") {
            ObserverEvent::Following { height, .. } | ObserverEvent::Level { height, .. } => Some(height),
            ObserverEvent::Trouble { .. } | ObserverEvent::Contradiction { .. } => None,
        }
    }

    /// Waits until the operator is accused, and returns what was kept.
    async fn contradiction(&mut self) -> String {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.expect("goes on").expect("runs");
            if let ObserverEvent::Contradiction { kept } = event {
                return fs::read_to_string(kept).expect("kept");
            }
        }
    }

    async fn trouble(&mut self) -> String {
        loop {
            let event = timeout(PATIENCE, self.events.recv()).await.expect("goes on").expect("runs");
            if let ObserverEvent::Trouble { why, .. } = event {
                return why;
            }
        }
    }
}

/// Someone who asks: connected to `node`, and asking whoever has the key `asked`.
async fn client(n: u8, node: Address, asked: PublicKey) -> LedgerClient {
    let (net, mut inbox) = net(n).await;
    net.dial(node).await.expect("answers");
    tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    LedgerClient::new(net, (&genesis()).into(), asked)
}

async fn fund(client: &LedgerClient) {
    for (nonce, mint) in mints().into_iter().enumerate() {
        let said = client.pass_on(mint).await.expect("answers");
        assert!(matches!(said, LedgerAnswer::Applied(_)), "mint {nonce}: {said:?}");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_of_an_observer_has_the_ledger_and_passes_transactions_on() {
    let dir = folder();
    let ledger = ledger_node(&dir.path().join("ledger")).await;
    let mut near = observer(11, &dir.path().join("near"), &[ledger.address()]).await;
    let direct = client(21, ledger.address(), operator().public()).await;
    fund(&direct).await;
    let mut far = observer(12, &dir.path().join("far"), &[near.node.address()]).await;
    far.reach(4).await;

    let asking = client(22, near.node.address(), near.id).await;
    let said = asking.pass_on(pay(1, 2, 10, 0)).await.expect("passed on");
    assert!(matches!(said, LedgerAnswer::Applied(applied) if applied.height == Height(5)), "{said:?}");
    let refused = asking.pass_on(pay(1, 2, 1_000_000, 1)).await.expect("passed on");
    assert!(
        matches!(&refused, LedgerAnswer::Rejected { name, .. } if name == "insufficient-balance"),
        "{refused:?}"
    );
    far.reach(5).await;

    let reading = client(23, far.node.address(), far.id).await;
    let status = direct.status().await.expect("answers");
    assert_eq!(reading.status().await.expect("answers"), status);
    assert_eq!(reading.account(account(2)).await.expect("answers").balance, Credits(1_010));
    assert_eq!(
        reading.blocks(Height(1)).await.expect("answers"),
        direct.blocks(Height(1)).await.expect("answers")
    );
    assert_eq!(reading.network_file().await.expect("answers"), network());
    near.reach(5).await;
    ledger.stop().await;
    let unheard = asking.pass_on(pay(1, 2, 10, 2)).await;
    assert!(matches!(&unheard, Err(LedgerError::Fault(why)) if why.contains("not passed on")), "{unheard:?}");
    assert_eq!(asking.status().await.expect("the copy outlives the ledger node"), status);
    far.node.stop().await;
    near.node.stop().await;
    let copy = Ledger::open(&dir.path().join("far"), &genesis()).expect("opens");
    check_ledger(&copy.state, &copy.journal.reader());
    assert_eq!(copy.state.tip().hash, status.hash);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_was_away_goes_on_where_it_stopped() {
    let dir = folder();
    let ledger = ledger_node(&dir.path().join("ledger")).await;
    let direct = client(21, ledger.address(), operator().public()).await;
    fund(&direct).await;
    let copy = dir.path().join("copy");
    let mut first = observer(11, &copy, &[ledger.address()]).await;
    first.reach(4).await;
    first.node.stop().await;
    for nonce in 0..6 {
        direct.pass_on(pay(1, 2, 1, nonce)).await.expect("answers");
    }
    let mut again = observer(11, &copy, &[ledger.address()]).await;
    let heights = [again.next().await, again.next().await];
    assert_eq!(heights, [Some(Height(10)); 2], "one answer brings all six, and then it is level");
    again.node.stop().await;
    ledger.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_reads_on_from_an_observer_while_the_ledger_node_is_away() {
    let dir = folder();
    let ledger = ledger_node(&dir.path().join("ledger")).await;
    let mut copy = observer(11, &dir.path().join("copy"), &[ledger.address()]).await;
    let asking = client(21, ledger.address(), operator().public()).await;
    fund(&asking).await;
    copy.reach(4).await;
    ledger.stop().await;
    let alone = client(22, copy.node.address(), operator().public()).await;
    assert!(matches!(alone.status().await, Err(LedgerError::Unreachable { .. })));
    let both = alone.or_ask([operator().public(), copy.id]);
    assert_eq!(both.account(account(1)).await.expect("the observer answers").balance, Credits(1_000));
    let failed = both.submit(&key(1), Call::Burn { amount: Credits(1) }).await;
    let Err(LedgerError::Unknown { source, .. }) = &failed else {
        panic!("the observer may have passed it on: {failed:?}");
    };
    assert!(matches!(**source, LedgerError::Fault(_)), "{failed:?}");
    copy.node.stop().await;
}

/// What a liar makes of a question for blocks.
type Lie = Box<dyn Fn(Height) -> Vec<Vec<u8>> + Send>;

/// A peer that says it stands at `status`, and lies about blocks.
async fn liar(n: u8, status: LedgerStatus, lie: Lie) -> NetHandle {
    let (handle, mut inbox) = net(n).await;
    tokio::spawn(async move {
        while let Some(event) = inbox.recv().await {
            let NetEvent::Request(request) = event else { continue };
            let said = match wire::decode(&request.bytes).expect("an observer asks properly") {
                LedgerRequest::Blocks { from } => LedgerAnswer::Blocks(lie(from)),
                _ => LedgerAnswer::Status(status),
            };
            // Fails only if the observer is gone.
            let _ = request.responder.respond(wire::encode(&said)).await;
        }
    });
    handle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_lies_is_named_and_the_others_are_followed() {
    let dir = folder();
    let honest = ledger_node(&dir.path().join("ledger")).await;
    let direct = client(21, honest.address(), operator().public()).await;
    fund(&direct).await;
    let blocks = direct.blocks(Height(1)).await.expect("answers");
    let status = LedgerStatus { height: Height(1_000), ..direct.status().await.expect("answers") };
    let mut forged = blocks.clone();
    let end = forged[1].len() - 1;
    forged[1][end] ^= 1;
    let lies: [(Lie, &str); 4] = [
        (Box::new(|_| Vec::new()), "but not the block behind ours"),
        (Box::new(|_| vec![vec![7; 100]]), "what the operator never signed: height 1: rule encoding"),
        (Box::new(move |_| forged.clone()), "what the operator never signed: height 2: rule"),
        (Box::new(move |_| blocks[2..].to_vec()), "never signed: height 1: rule height"),
    ];
    for (i, (lie, expected)) in lies.into_iter().enumerate() {
        let liar = liar(31, status, lie).await;
        let sources = [liar.listen_addrs()[0].clone(), honest.address()];
        let mut copy = observer(11, &dir.path().join(i.to_string()), &sources).await;
        let why = copy.trouble().await;
        assert!(why.contains(expected), "{why}");
        copy.reach(4).await;
        copy.node.stop().await;
        liar.shutdown().await;
    }
    honest.stop().await;
}

/// The evidence in `folder`: two blocks that the operator signed.
fn evidence(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder.join("evidence").join(name)).expect("the evidence is kept");
    // Blocks are the only long texts in it.
    text.split('"').filter(|text| text.len() > 100).map(|text| from_hex(text).expect("hexadecimal")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_with_two_histories_stops_its_observers_with_the_evidence() {
    let dir = folder();
    // The second history: the operator's disk went back in time, and it went on from there.
    let [ledger_dir, old, copy, other] = ["ledger", "old", "copy", "other"].map(|name| dir.path().join(name));
    let node = ledger_node(&ledger_dir).await;
    let direct = client(21, node.address(), operator().public()).await;
    fund(&direct).await;
    node.stop().await;
    crate::start::copy(&ledger_dir, &old);

    let node = ledger_node(&ledger_dir).await;
    let mut first = observer(11, &copy, &[node.address()]).await;
    let direct = client(22, node.address(), operator().public()).await;
    direct.pass_on(pay(1, 2, 1, 0)).await.expect("answers");
    first.reach(5).await;
    first.node.stop().await;
    node.stop().await;

    let node = ledger_node(&old).await;
    let direct = client(23, node.address(), operator().public()).await;
    direct.pass_on(pay(2, 1, 1, 0)).await.expect("answers");
    let at_fork = observer(11, &copy, &[node.address()]).await.node.ended().await;
    let Err(ObserverEnd::Breach { finding, kept }) = at_fork else { panic!("{at_fork:?}") };
    assert_eq!((finding.height, finding.rule.name()), (Height(5), "fork"));
    assert_eq!(kept, copy.join("evidence/height-5-fork.json"));
    for block in evidence(&copy, "height-5-fork.json") {
        authentic(&genesis(), Height(5), &block).expect("signed by the operator");
    }

    // Told by another observer, and further on, it comes to the same.
    direct.pass_on(pay(2, 1, 1, 1)).await.expect("answers");
    let mut second = observer(12, &other, &[node.address()]).await;
    second.reach(6).await;
    let beyond = observer(11, &copy, &[second.node.address()]).await.node.ended().await;
    let Err(ObserverEnd::Breach { finding, .. }) = beyond else { panic!("{beyond:?}") };
    assert_eq!((finding.height, finding.rule.name()), (Height(6), "previous"));
    assert_eq!(evidence(&copy, "height-6-previous.json").len(), 2);
    let kept: Vec<PathBuf> = fs::read_dir(copy.join("evidence"))
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    second.node.stop().await;
    node.stop().await;
}

/// Peers bring checkpoints, all signed by the operator: of blocks that are not here yet, and of one that is
/// another here.
#[tokio::test]
async fn an_observer_shows_no_checkpoint_that_its_own_blocks_contradict() {
    let [ours, theirs] = [folder(), folder()];
    let ledger = ledger_node(ours.path()).await;
    let mut observer = observer(31, theirs.path(), &[ledger.address()]).await;
    let client = client(32, ledger.address(), operator().public()).await;
    let (peer, mut inbox) = net(33).await;
    tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    peer.dial(observer.node.address()).await.expect("answers");
    assert_eq!(observer.log.checkpoint(), None, "nothing has come yet");

    let mut mints = mints().into_iter();
    let mut mint = async || client.pass_on(mints.next().expect("enough mints")).await.expect("answers");
    assert!(matches!(mint().await, LedgerAnswer::Applied(_)));
    observer.reach(1).await;
    let (bad, mut chain) = (BlockHash([7; 32]), Vec::new());
    let at = |chain: &[Vec<u8>], height: usize| {
        let block: Block = wire::decode(&chain[height - 1]).expect("a block");
        Checkpoint::of_header(&block.header.body)
    };
    chain.extend(client.blocks(Height(1)).await.expect("answers"));
    let forged = Checkpoint { hash: bad, ..at(&chain, 1) }.sign(&operator());
    bring(&peer, &observer, &forged).await;
    let kept = observer.contradiction().await;
    assert!(kept.contains(&bad.to_string()) && kept.contains(&to_hex(&chain[0])), "both stand in it: {kept}");
    assert_eq!(observer.log.checkpoint(), None, "the operator signed another block of that height");

    assert!(matches!(mint().await, LedgerAnswer::Applied(_)));
    chain.extend(client.blocks(Height(2)).await.expect("answers"));
    let honest = at(&chain, 2).sign(&operator());
    bring(&peer, &observer, &honest).await;
    until_shown(&observer, &honest).await;
    observer.node.stop().await;
    ledger.stop().await;
}

/// Nobody brings a checkpoint after its restart, and nobody answers it: it shows the one that it showed before.
#[tokio::test]
async fn an_observer_that_was_restarted_shows_at_once_what_it_showed_before() {
    let [ours, theirs] = [folder(), folder()];
    let ledger = ledger_node(ours.path()).await;
    let mut observer_before = observer(31, theirs.path(), &[ledger.address()]).await;
    let client = client(32, ledger.address(), operator().public()).await;
    let (peer, mut inbox) = net(33).await;
    tokio::spawn(async move { while inbox.recv().await.is_some() {} });
    peer.dial(observer_before.node.address()).await.expect("answers");
    fund(&client).await;
    observer_before.reach(4).await;
    let blocks = client.blocks(Height(4)).await.expect("answers");
    let block: Block = wire::decode(&blocks[0]).expect("a block");
    let signed = Checkpoint::of_header(&block.header.body).sign(&operator());
    bring(&peer, &observer_before, &signed).await;
    until_shown(&observer_before, &signed).await;
    ledger.stop().await;
    peer.shutdown().await;
    let gone = observer_before.node.address();
    let kept = theirs.path().join("shown");
    let written = async {
        while fs::read_to_string(&kept).ok() != Some(signed.to_string()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, written).await.expect("kept in time");
    observer_before.node.stop().await;

    let again = observer(31, theirs.path(), std::slice::from_ref(&gone)).await;
    until_shown(&again, &signed).await;
    again.node.stop().await;
    let other = Checkpoint { hash: BlockHash([7; 32]), ..*signed.checkpoint() }.sign(&operator());
    fs::write(&kept, other.to_string()).expect("room");
    let mut contradicted = observer(31, theirs.path(), &[gone]).await;
    contradicted.contradiction().await;
    assert_eq!(contradicted.log.checkpoint(), None, "it is looked at like any other");
    contradicted.node.stop().await;
}

async fn until_shown(observer: &Watched, signed: &SignedCheckpoint) {
    let mut news = observer.log.watch();
    while observer.log.checkpoint().as_ref() != Some(signed) {
        assert!(timeout(PATIENCE, news.changed()).await.expect("shown in time"), "the network runs");
    }
}

/// Has `peer` gossip `signed` until the observer has heard of it.
async fn bring(peer: &NetHandle, observer: &Watched, signed: &SignedCheckpoint) {
    let mut seen = observer.node.net.watch_checkpoints();
    let heard = seen.wait_for(|seen| seen.newest.as_ref() == Some(signed));
    let heard = async {
        tokio::pin!(heard);
        loop {
            peer.publish_checkpoint(signed.clone()).await.expect("the network runs");
            // Gossip that nobody has subscribed to yet reaches nobody.
            if let Ok(heard) = timeout(Duration::from_millis(50), &mut heard).await {
                return drop(heard.expect("the network runs"));
            }
        }
    };
    timeout(PATIENCE, heard).await.expect("heard in time");
}
