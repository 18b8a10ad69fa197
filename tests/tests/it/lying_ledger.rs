//! A ledger node that lies: it passes questions on to the honest one, and answers as it likes.

use std::{sync::Arc, time::Duration};

use gridhour_contracts_sim::{
    network_file::NetworkFile,
    proof::{ProofError, RecordProof},
    state::{StateKey, StateValue},
    tx::Call,
};
use gridhour_node::{
    clock,
    drivers::{
        client::RunEvent,
        ledger_client::{LedgerClient, LedgerError},
        provider::ProviderEvent,
    },
    net::{InboundRequest, Net, NetEvent, NetHandle, Service},
    rpc::{LedgerAnswer, LedgerRequest},
};
use gridhour_protocol::{
    signed::{PublicKey, Verified},
    units::{Credits, Timestamp},
    wire,
};
use tokio::sync::{mpsc, watch};

use crate::job_streams::{funded_client, key, ledger_node_since, listening, provider_asking, served, spec};

/// The liar's key.
const LIAR: u8 = 8;
/// Whose money the lies are about.
const VICTIM: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    Nothing,
    /// Another balance under an honest proof.
    Richer,
    /// A balance is not there.
    Gone,
    /// An honest proof of another account.
    AnotherAccount,
    /// Another state root under its own signature.
    OwnHeader,
    /// Sessions have ended.
    Ended,
    /// Whether a transaction was applied is told to nobody.
    Mute,
}

/// A network that began a minute ago, so that its first block is a checkpoint; its honest ledger node, and the liar.
struct Town {
    network: Verified<NetworkFile>,
    liar: NetHandle,
    lie: watch::Sender<Lie>,
    stop: watch::Sender<bool>,
    folder: tempfile::TempDir,
}

impl Town {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, stopped) = watch::channel(false);
        let created_at = Timestamp(clock::now().0 - 60_000);
        let network = ledger_node_since(created_at, folder.path(), stopped).await;
        let (liar, inbox) = joined(&network, LIAR).await;
        let lie = watch::Sender::new(Lie::Nothing);
        tokio::spawn(answer_all(liar.clone(), inbox, lie.subscribe()));
        Self { network, liar, lie, stop, folder }
    }

    /// Makes `net` know the liar, and asks it.
    async fn client(&self, net: NetHandle) -> LedgerClient {
        meet(&net, &self.liar).await;
        LedgerClient::new(net, (&self.network.genesis).into(), key(LIAR).public())
    }
}

/// Someone who has reached the honest ledger node.
pub(crate) async fn joined(network: &NetworkFile, n: u8) -> (NetHandle, mpsc::Receiver<NetEvent>) {
    let config = listening(network, n);
    let bootstrap = config.bootstrap.clone();
    let (net, inbox) = Net::start(config).await.expect("loopback listens");
    for address in bootstrap {
        net.dial(address).await.expect("the ledger node is there");
    }
    (net, inbox)
}

pub(crate) async fn meet(net: &NetHandle, other: &NetHandle) {
    for address in other.listen_addrs() {
        net.dial(address).await.expect("it is there");
    }
}

async fn answer_all(net: NetHandle, mut inbox: mpsc::Receiver<NetEvent>, lie: watch::Receiver<Lie>) {
    let net = Arc::new(net);
    while let Some(event) = inbox.recv().await {
        if let NetEvent::Request(request) = event {
            tokio::spawn(answer(net.clone(), request, *lie.borrow()));
        }
    }
}

async fn answer(net: Arc<NetHandle>, request: InboundRequest, lie: Lie) {
    let mut asked: LedgerRequest = wire::decode(&request.bytes).expect("the asker is honest");
    if let (Lie::AnotherAccount, LedgerRequest::Prove(key_of)) = (lie, &mut asked) {
        *key_of = StateKey::Account(key(2).public());
    }
    let honest = net.request(key(1).public(), Service::Ledger, wire::encode(&asked)).await;
    let honest = wire::decode(&honest.expect("the honest node answers")).expect("it speaks well");
    if lie == Lie::Mute && matches!(asked, LedgerRequest::Submit(_)) {
        // Dropped unanswered: to whoever asked as if nobody were there.
        return;
    }
    let told = told(lie, honest);
    request.responder.respond(wire::encode(&told)).await.expect("the network goes on");
}

fn told(lie: Lie, honest: LedgerAnswer) -> LedgerAnswer {
    match (lie, honest) {
        (Lie::Richer, LedgerAnswer::Account(mut account)) => {
            account.balance.0 += 7;
            LedgerAnswer::Account(account)
        }
        (Lie::Ended, LedgerAnswer::Session(_)) => LedgerAnswer::Session(None),
        (_, LedgerAnswer::Proven(Some(proof))) => LedgerAnswer::Proven(Some(Box::new(forged(lie, *proof)))),
        (_, honest) => honest,
    }
}

fn forged(lie: Lie, proof: RecordProof) -> RecordProof {
    match lie {
        Lie::Richer => RecordProof { value: Some(StateValue::Balance(Credits(1_000_007))), ..proof },
        Lie::Gone => RecordProof { value: None, ..proof },
        Lie::OwnHeader => {
            let mut header = proof.header.body.clone();
            header.checkpoint.root = [7; 32];
            RecordProof { header: key(LIAR).sign(header), ..proof }
        }
        Lie::Nothing | Lie::AnotherAccount | Lie::Ended | Lie::Mute => proof,
    }
}

fn found(error: LedgerError) -> (PublicKey, ProofError) {
    match error {
        LedgerError::Lie { node, source } => (node, source),
        other => panic!("not seen to be a lie: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_catches_a_ledger_node_that_lies() {
    let town = Town::new().await;
    let (net, _inbox) = joined(&town.network, 5).await;
    let honest = LedgerClient::new(net.clone(), (&town.network.genesis).into(), key(1).public());
    let to = key(VICTIM).public();
    let mint = Call::Mint { to, amount: Credits(1_000_000) };
    honest.submit(&key(2), mint).await.expect("the issuer mints");
    let asking = town.client(net.clone()).await;
    let checked = asking.checked_account(to).await.expect("nothing but the truth");
    assert!(checked.is_proven() && checked.said.balance == Credits(1_000_000));
    let lies = [
        (Lie::Richer, ProofError::Root("state root")),
        (Lie::Gone, ProofError::Root("state root")),
        (Lie::OwnHeader, ProofError::Signature("block header")),
        (Lie::AnotherAccount, ProofError::Contradiction("it is about another record than was asked for")),
    ];
    for (lie, why) in lies {
        town.lie.send_replace(lie);
        let error = asking.checked_account(to).await.expect_err("it is a lie");
        assert_eq!(found(error), (key(LIAR).public(), why), "{lie:?}");
    }
    town.stop.send_replace(true);
    net.shutdown().await;
}

/// A transaction whose answer is lost is named, and not called failed: whoever repeated it would pay twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_whose_answer_is_lost_is_not_told_to_have_failed() {
    let town = Town::new().await;
    let (net, _inbox) = joined(&town.network, 5).await;
    let honest = LedgerClient::new(net.clone(), (&town.network.genesis).into(), key(1).public());
    let asking = town.client(net.clone()).await;
    town.lie.send_replace(Lie::Mute);
    let mint = Call::Mint { to: key(VICTIM).public(), amount: Credits(5) };
    let error = asking.submit(&key(2), mint).await.expect_err("no answer comes");
    let LedgerError::Unknown { valid_until, .. } = &error else { panic!("told to have failed: {error}") };
    assert!(error.to_string().contains("whether it is applied is not known"), "{error}");
    let (status, account) = (honest.status().await, honest.account(key(VICTIM).public()).await);
    assert_eq!(account.expect("it answers").balance, Credits(5), "it was applied");
    assert!(status.expect("it answers").height < *valid_until);
    // Where nobody can be reached at all, nothing was sent.
    let nobody = honest.at(key(77).public()).submit(&key(2), Call::Burn { amount: Credits(1) }).await;
    assert!(matches!(nobody, Err(LedgerError::Unreachable { .. })), "{nobody:?}");
    town.stop.send_replace(true);
    net.shutdown().await;
}

/// What changed since the last checkpoint is a ledger node's word, which nothing proves yet, and is told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_newer_than_the_last_checkpoint_is_not_taken_for_proven() {
    let town = Town::new().await;
    let (net, _inbox) = joined(&town.network, 5).await;
    let honest = LedgerClient::new(net.clone(), (&town.network.genesis).into(), key(1).public());
    let to = key(VICTIM).public();
    let mint = |amount| Call::Mint { to, amount: Credits(amount) };
    let first = honest.submit(&key(2), mint(5)).await.expect("the issuer mints");
    honest.submit(&key(2), mint(6)).await.expect("the issuer mints");
    let checked = honest.checked_account(to).await.expect("it answers");
    let evidence = checked.evidence.as_ref().expect("the first block is a checkpoint");
    assert_eq!((checked.said.balance, evidence.balance()), (Credits(11), Credits(5)));
    assert!(!checked.is_proven());
    assert_eq!(evidence.proven.at, first.height);
    town.stop.send_replace(true);
    net.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_provider_keeps_its_vouchers_when_a_ledger_node_says_that_the_session_ended() {
    let town = Town::new().await;
    let (network, stop) = (town.network.clone(), town.stop.clone());
    let (liar, home) = (key(LIAR).public(), town.folder.path());
    let mut market = provider_asking(liar, home, network, Duration::ZERO, served(), stop).await;
    meet(&market.provider_net, &town.liar).await;
    let client = funded_client(&market, &home.join("client")).await;
    let offers = client.offers(1, crate::job_streams::PATIENCE).await;
    let (_keep, cancel) = watch::channel(false);
    let mut refusal = None;
    let mut on_event = |event: RunEvent<'_>| match event {
        RunEvent::Tokens(_) => drop(town.lie.send_replace(Lie::Ended)),
        RunEvent::SettleLater { why } => refusal = Some(why),
        _ => {}
    };
    let result =
        client.run(&spec(market.offer), &offers, cancel, &mut on_event).await.expect("it is delivered");
    let refusal = refusal.expect("the provider does not settle on the liar's word");
    assert!(refusal.contains("does not prove it"), "{refusal}");
    town.lie.send_replace(Lie::Nothing);
    let closed = |event| matches!(event, ProviderEvent::Closed { .. }).then_some(());
    market.hear(closed).await;
    let paid = client.ledger().account(market.provider).await.expect("the ledger answers").balance;
    assert_eq!(paid, result.cost);
    town.stop.send_replace(true);
    client.net().shutdown().await;
}
