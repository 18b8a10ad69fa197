//! Money that nobody looks after but the provider's own driver, which hears nothing: no request, no gossip and no news of
//! a closing reaches it, it loses its power at random moments, and the way to its ledger node is bad, or gone for a while.
//! What it does then it does from its records and the ledger's state alone.

use std::{sync::Arc, time::Duration};

use gridhour_contracts_sim::{
    genesis::Genesis,
    harness::{Chain, Deal},
    network_file::NetworkFile,
    tx::Call,
};
use gridhour_node::{
    clock,
    consensus::LedgerView,
    drivers::{
        ledger_client::{LedgerClient, LedgerError},
        memory::Memory,
        provider::{Parts, Provider, ProviderConfig, ProviderEvent},
    },
    limbo::{COLLECT_ADVICE, Cause},
    net::{InboundRequest, Net, NetEvent, NetHandle, Service},
    rpc::{LedgerRequest, ProviderAnswer, ProviderRequest},
    store::records::Records,
};
use gridhour_protocol::{
    calibration::provider::Hospitality,
    id::SessionId,
    session::lane::LaneLedger,
    signed::Verified,
    units::{Credits, Millis, Timestamp},
    wire,
};
use testkit::sim::{disk::SimDisk, rng::Rng};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    job_streams::{ASK, PATIENCE, genesis_at, key, ledger_node_of, listening, served},
    lying_ledger::{joined, meet},
};

const PROVIDER: u8 = 3;
const CLIENT: u8 = 4;
/// Between the provider and its ledger node.
const WIRE: u8 = 8;
const FUNDS: u64 = 1_000_000;
const SLOTS: u16 = 2;
/// Time to collect after the use of a session.
const GRACE_MS: u64 = 16_000;
/// The same, where it is looked at: half of it passes before anyone cries, half is left for a slow machine.
const WATCHED_GRACE_MS: u64 = 40_000;
/// A session is opened anew this often if it could not be in time.
const OPENINGS_MAX: usize = 20;
/// Lives of a provider until its work is done.
const LIVES_MAX: usize = 100;
/// More of it than all power cuts and lost answers of a story take, on a machine that does much else: nothing waits for
/// its end.
const LONG_GRACE_MS: u64 = 240_000;

/// How the way to the ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Good,
    /// One answer in three is lost, after what was asked has been done.
    Bad,
    /// Every answer to a transaction is lost, after it has been applied.
    Mute,
    Gone,
}

/// A ledger, a client with money on it, and the way between the ledger and the provider.
struct Town {
    network: Verified<NetworkFile>,
    view: LedgerView,
    client: LedgerClient,
    client_net: NetHandle,
    wire: NetHandle,
    way: watch::Sender<Way>,
    stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Town {
    async fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (stop, stopped) = watch::channel(false);
        // It began a minute ago, so that its first block is a checkpoint. All clocks are one machine's.
        let created_at = Timestamp(clock::now().0 - 60_000);
        let genesis = Genesis { clock_skew: Millis(500), ..genesis_at(created_at) };
        let (network, view) = ledger_node_of(genesis, folder.path(), stopped).await;
        let (wire, inbox) = joined(&network, WIRE).await;
        let way = watch::Sender::new(Way::Good);
        tokio::spawn(pass_on(wire.clone(), inbox, way.subscribe(), Rng::new(seed)));
        let (client_net, _) = joined(&network, CLIENT).await;
        let client = LedgerClient::new(client_net.clone(), (&network.genesis).into(), key(1).public());
        let mint = Call::Mint { to: key(CLIENT).public(), amount: Credits(FUNDS) };
        client.submit(&key(2), mint).await.expect("the issuer mints");
        Self { network, view, client, client_net, wire, way, stop, _folder: folder }
    }

    /// A session that is open on the ledger and may be used for `use_ms` more, of which the provider has never heard.
    async fn open(&self, number: u64, use_ms: u64, grace_ms: u64) -> Deal {
        for _ in 0..OPENINGS_MAX {
            let deal = self.deal(number, use_ms, grace_ms);
            match self.client.submit(&key(CLIENT), deal.open()).await {
                Ok(_) => return deal,
                // A busy machine took longer than the session was to be used for.
                Err(LedgerError::Rejected { name, .. }) if name == "use-window" => {}
                Err(error) => panic!("the client has the money: {error}"),
            }
        }
        panic!("no session opens within {use_ms} ms");
    }

    fn deal(&self, number: u64, use_ms: u64, grace_ms: u64) -> Deal {
        let mut deal = Deal::new(&Chain::new(), &key(CLIENT), &key(PROVIDER));
        let (network, now) = (self.network.id(), clock::now());
        let later = |ms: u64| Timestamp(now.0 + ms);
        (deal.order.network, deal.advert.network, deal.terms.network) = (network, network, network);
        (deal.order.nonce, deal.order.issued_at, deal.order.expires_at) = (number, now, later(600_000));
        (deal.advert.issued_at, deal.advert.expires_at) = (now, later(60_000));
        (deal.terms.use_until, deal.terms.collect_until) = (later(use_ms), later(use_ms + grace_ms));
        deal
    }

    /// Ready when the ledger is as `look` wants it.
    async fn wait(&self, look: impl Fn(&gridhour_contracts_sim::state::State) -> bool) {
        let mut tip = self.view.tip();
        while !self.view.read(&look) {
            tip.changed().await.expect("the ledger goes on");
        }
    }

    fn balance(&self, who: u8) -> u64 {
        self.view.read(|state| state.balance(&key(who).public()).0)
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.client_net.shutdown().await;
        self.wire.shutdown().await;
    }
}

/// Passes questions on to the ledger node, and answers back, as well as the way allows.
async fn pass_on(
    net: NetHandle,
    mut inbox: mpsc::Receiver<NetEvent>,
    way: watch::Receiver<Way>,
    mut rng: Rng,
) {
    while let Some(event) = inbox.recv().await {
        let NetEvent::Request(InboundRequest { bytes, responder, .. }) = event else { continue };
        let way = *way.borrow();
        let lost = match way {
            Way::Bad => rng.one_in(3),
            Way::Mute => matches!(wire::decode(&bytes), Ok(LedgerRequest::Submit(_))),
            Way::Good | Way::Gone => false,
        };
        // What is dropped unanswered is to whoever asked as if nobody were there.
        if way == Way::Gone {
            continue;
        }
        let net = net.clone();
        tokio::spawn(async move {
            let answer = net.request(key(1).public(), Service::Ledger, bytes).await;
            if let (Ok(answer), false) = (answer, lost) {
                // The provider may have lost its power meanwhile.
                let _ = responder.respond(answer).await;
            }
        });
    }
}

/// What the provider has in its records: sessions, with the newest voucher of each of their lanes.
fn remember(memory: &Memory, deal: &Deal, lanes: &[u64]) {
    memory.keep_session(&deal.sign().terms).expect("room");
    for (lane, amount) in lanes.iter().enumerate() {
        let mut ledger = LaneLedger::new(deal.session(), lane as u16);
        ledger.settle(deal.voucher(lane as u16, 1, Credits(*amount)));
        memory.keep_lane(&ledger, None).expect("room");
    }
}

fn memory_on(disk: &SimDisk) -> Memory {
    let (records, _) =
        Records::open(Arc::new(disk.clone()), key(PROVIDER).public().0).expect("whole records");
    Memory::on(records)
}

/// One life of the provider.
struct Life {
    events: mpsc::Receiver<ProviderEvent>,
    net: NetHandle,
    task: JoinHandle<()>,
    /// What reaches it, if it is to be reached.
    inbox: mpsc::Receiver<NetEvent>,
    door: mpsc::Sender<NetEvent>,
    _stop: watch::Sender<bool>,
}

impl Life {
    /// Starts the real driver on these records, behind a closed door.
    async fn start(town: &Town, disk: &SimDisk) -> Self {
        let (net, inbox) = Net::start(listening(&town.network, PROVIDER)).await.expect("loopback listens");
        meet(&net, &town.wire).await;
        let (told, events) = mpsc::channel(1_024);
        let ledger = LedgerClient::new(net.clone(), (&town.network.genesis).into(), key(WIRE).public());
        let hospitality = Hospitality::open(Millis(3_600_000));
        let provider = Provider::new(Parts {
            key: key(PROVIDER),
            network: town.network.id(),
            clock_skew: town.network.genesis.clock_skew,
            net: net.clone(),
            ledger,
            memory: memory_on(disk),
            served: served(),
            config: ProviderConfig {
                ask: ASK,
                spot: None,
                queue: Millis(0),
                region: None,
                jurisdiction: None,
                slots: SLOTS,
                hospitality,
                quotes: None,
                stake: Credits::ZERO,
                drain: Millis(500),
                reserve: None,
            },
            events: told,
        });
        let (door, behind) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(provider.expect("whole records").run(behind, stopped));
        Self { events, net, task, inbox, door, _stop: stop }
    }

    /// The power goes: what was not synced may be lost, and so is all that was under way.
    async fn crash(self, disk: &SimDisk) -> SimDisk {
        self.task.abort();
        self.net.shutdown().await;
        disk.after_power_cut()
    }

    /// From now on the provider is reached by whoever asks it.
    fn open_door(&mut self) {
        let (door, mut inbox) = (self.door.clone(), std::mem::replace(&mut self.inbox, mpsc::channel(1).1));
        tokio::spawn(async move {
            while let Some(event) = inbox.recv().await {
                if door.send(event).await.is_err() {
                    break;
                }
            }
        });
    }

    /// The next thing that the provider tells for which `look` finds something.
    async fn hear<T>(&mut self, look: impl Fn(&ProviderEvent) -> Option<T>) -> T {
        let next = async {
            loop {
                if let Some(found) = look(&self.events.recv().await.expect("the provider runs")) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("the provider tells in time")
    }
}

/// Starts the provider, lets it lose its power at random moments, and returns its records when `done`.
async fn restarted_until(town: &Town, mut disk: SimDisk, rng: &mut Rng, done: impl AsyncFn()) -> SimDisk {
    for life in 0..LIVES_MAX {
        let provider = Life::start(town, &disk).await;
        let over = timeout(Duration::from_millis(500 + rng.below(4_000)), done()).await.is_ok();
        disk = provider.crash(&disk).await;
        if over {
            println!("{life} power cuts");
            return disk;
        }
    }
    panic!("it never came to an end");
}

/// A dozen sessions end in their own time or by their client alone, of which the provider is never told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn earned_money_is_always_collected() {
    let mut rng = Rng::new(7);
    let town = Town::new(7).await;
    let disk = SimDisk::new(7);
    let (memory, mut earned, mut deals) = (memory_on(&disk), 0, Vec::new());
    for number in 0..12 {
        let deal = town.open(number, 2_000 + rng.below(4_000), LONG_GRACE_MS).await;
        let lanes: Vec<u64> = (0..1 + rng.below(3)).map(|_| 1 + rng.below(130)).collect();
        earned += lanes.iter().sum::<u64>();
        remember(&memory, &deal, &lanes);
        deals.push(deal);
    }
    for deal in deals.iter().step_by(3) {
        let alone = Call::Close { session: deal.session(), vouchers: Vec::new(), release: None };
        town.client.submit(&key(CLIENT), alone).await.expect("a client may close alone");
    }
    town.way.send_replace(Way::Gone);
    let outage = async {
        let near = Timestamp(clock::now().0 + 3_000);
        // The ledger node is away until some sessions are over.
        let _ =
            timeout(Duration::from_millis(near.since(clock::now()).0), std::future::pending::<()>()).await;
        town.way.send_replace(Way::Bad);
    };
    let none_open = async || town.wait(|state| state.sessions().next().is_none()).await;
    let (disk, ()) = tokio::join!(restarted_until(&town, disk, &mut rng, none_open), outage);
    assert_eq!(town.balance(PROVIDER), earned, "before every deadline");
    assert_eq!(town.balance(CLIENT), FUNDS - earned);
    assert!(memory_on(&disk).sessions().is_ok(), "its records are whole");
    town.end().await;
}

/// Records that take nothing more are no reason to lose what was earned: to collect it needs no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn money_is_collected_though_the_disk_is_full() {
    let (town, disk) = (Town::new(13).await, SimDisk::new(13));
    let deal = town.open(1, 1_000, LONG_GRACE_MS).await;
    remember(&memory_on(&disk), &deal, &[30, 12]);
    disk.set_capacity(Some(disk.used()));
    let mut life = Life::start(&town, &disk).await;
    let not_kept = |event: &ProviderEvent| match event {
        ProviderEvent::Trouble { what } => what.contains("is not kept").then_some(()),
        _ => None,
    };
    life.hear(not_kept).await;
    let closed = |event: &ProviderEvent| match event {
        ProviderEvent::Closed { session } => Some(*session),
        ProviderEvent::Trouble { what } if what.contains("not collected") => panic!("it is: {what}"),
        _ => None,
    };
    assert_eq!(life.hear(closed).await, deal.session());
    assert_eq!(town.balance(PROVIDER), 42);
    let _ = life.crash(&disk).await;
    town.end().await;
}

/// Sessions that others ended while the provider was away, that it closed itself without hearing so, or that never
/// opened: it finds out by itself, and forgets them, with all that was reserved for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn capacity_never_stays_reserved_after_the_money_is_gone_though_every_event_was_lost() {
    let (town, disk, mut rng) = (Town::new(9).await, SimDisk::new(9), Rng::new(9));
    let memory = memory_on(&disk);
    let mut gone = Vec::new();
    for number in 0..6 {
        let closed_before = number % 3 == 0;
        let never_opens = number % 3 == 1;
        // It lost its power between these two.
        let signed_and_not_handed_in = number >= 3;
        let deal = match never_opens {
            true => town.deal(number, 1_000, GRACE_MS),
            false => town.open(number, 1_000, GRACE_MS).await,
        };
        remember(&memory, &deal, &[5 + number]);
        let vouchers = vec![deal.voucher(0, 1, Credits(5 + number))];
        let close = Call::Close { session: deal.session(), vouchers, release: None };
        if signed_and_not_handed_in {
            let signed = town.client.sign(&key(PROVIDER), close.clone()).await.expect("it answers");
            memory.keep_close(deal.session(), &signed).expect("room");
        }
        if closed_before {
            town.client.submit(&key(PROVIDER), close).await.expect("closed, and the answer lost");
        }
        gone.push(deal.session());
    }
    town.way.send_replace(Way::Bad);
    let none_open = async || town.wait(|state| state.sessions().next().is_none()).await;
    let disk = restarted_until(&town, disk, &mut rng, none_open).await;
    let known = memory_on(&disk).sessions().expect("whole records").len();
    // On a bad way bad luck could go on for longer than anyone waits.
    town.way.send_replace(Way::Good);
    let mut life = Life::start(&town, &disk).await;
    for _ in 0..known {
        let gone_session = |event: &ProviderEvent| match event {
            // The second where the answer to its own close was lost, which it then hears.
            ProviderEvent::Forgotten { session } | ProviderEvent::Closed { session } => Some(*session),
            _ => None,
        };
        assert!(gone.contains(&life.hear(gone_session).await));
    }
    let disk = life.crash(&disk).await;
    let memory = memory_on(&disk);
    assert_eq!(memory.sessions().expect("whole records"), []);
    assert!(gone.iter().all(|session| memory.lanes(*session).expect("whole records").is_empty()));
    let mut life = Life::start(&town, &disk).await;
    let free = life.hear(|event| match event {
        ProviderEvent::Advertised { slots_free, .. } => Some(*slots_free),
        _ => None,
    });
    assert_eq!(free.await, SLOTS, "all of it is offered");
    let _ = life.crash(&disk).await;
    town.end().await;
}

/// Neither the provider's restarts nor a ledger node that is away close a session that its client still uses; afterwards
/// it is settled when the client wants it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_or_a_blip_never_closes_live_sessions() {
    let (town, mut disk, mut rng) = (Town::new(5).await, SimDisk::new(5), Rng::new(5));
    let memory = memory_on(&disk);
    let mut sessions: Vec<SessionId> = Vec::new();
    for number in 0..4 {
        let deal = town.open(number, 120_000, GRACE_MS).await;
        remember(&memory, &deal, &[10 + number, 20]);
        sessions.push(deal.session());
    }
    for way in [Way::Good, Way::Gone, Way::Bad, Way::Gone, Way::Good] {
        town.way.send_replace(way);
        let mut life = Life::start(&town, &disk).await;
        life.hear(|event| matches!(event, ProviderEvent::Advertised { .. }).then_some(())).await;
        // Some lives are long enough for a sweep, and some are not.
        let lives_on = std::future::pending::<()>();
        let _ = timeout(Duration::from_millis(rng.below(1_500)), lives_on).await;
        disk = life.crash(&disk).await;
        let open = town.view.read(|state| {
            let is_open = |id| state.session(id).is_some_and(|session| !session.closing);
            sessions.iter().filter(|id| is_open(id)).count()
        });
        assert_eq!(open, sessions.len(), "{way:?} closed some");
    }
    let mut life = Life::start(&town, &disk).await;
    life.open_door();
    meet(&town.client_net, &life.net).await;
    for session in &sessions {
        let settle = wire::encode(&ProviderRequest::Settle(*session));
        let asked = town.client_net.request(key(PROVIDER).public(), Service::Asset, settle).await;
        let answer = wire::decode(&asked.expect("it answers")).expect("it speaks well");
        assert!(matches!(answer, ProviderAnswer::Settled(_)), "{answer:?}");
    }
    assert_eq!(town.balance(PROVIDER), 10 + 11 + 12 + 13 + 4 * 20, "what the newest vouchers say");
    let _ = life.crash(&disk).await;
    town.end().await;
}

/// Nothing else happens on the ledger, so no checkpoint comes that could prove what became of the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_close_whose_answer_was_lost_is_no_unclaimed_money_though_the_ledger_is_quiet() {
    let (town, mut disk) = (Town::new(11).await, SimDisk::new(11));
    let mut earned = 0;
    for loses_power in [false, true] {
        let deal = town.open(earned, 1_000, WATCHED_GRACE_MS).await;
        remember(&memory_on(&disk), &deal, &[30, 12]);
        earned += 42;
        town.way.send_replace(Way::Mute);
        let mut life = Life::start(&town, &disk).await;
        let unheard = |event: &ProviderEvent| match event {
            ProviderEvent::Trouble { what } => what.contains("not collected yet").then_some(()),
            _ => None,
        };
        life.hear(unheard).await;
        assert_eq!(town.balance(PROVIDER), earned, "what it heard nothing of was done");
        if loses_power {
            disk = life.crash(&disk).await;
            town.way.send_replace(Way::Good);
            life = Life::start(&town, &disk).await;
        } else {
            town.way.send_replace(Way::Good);
        }
        let closed = |event: &ProviderEvent| match event {
            ProviderEvent::Closed { session } => Some(*session),
            event => unclaimed(event).map(|cry| panic!("it was claimed: {cry:?}")),
        };
        assert_eq!(life.hear(closed).await, deal.session());
        disk = life.crash(&disk).await;
        assert_eq!(memory_on(&disk).sessions().expect("whole records"), []);
        assert_eq!(memory_on(&disk).kept_close(deal.session()).expect("whole records"), None);
    }
    town.end().await;
}

fn unclaimed(event: &ProviderEvent) -> Option<(SessionId, Credits, Timestamp, String)> {
    match event {
        ProviderEvent::Unclaimed { session, amount, deadline, what } => {
            Some((*session, *amount, *deadline, what.clone()))
        }
        _ => None,
    }
}

/// The provider cries before it is too late, and the ledger tells everyone who asks; when all is well, neither does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn unclaimed_money_is_cried_about_near_its_deadline_and_not_when_all_is_well() {
    let (town, disk) = (Town::new(3).await, SimDisk::new(3));
    let memory = memory_on(&disk);
    let calm = town.open(1, 1_000, WATCHED_GRACE_MS).await;
    remember(&memory, &calm, &[40]);
    let mut life = Life::start(&town, &disk).await;
    let closed = |event: &ProviderEvent| match event {
        ProviderEvent::Closed { session } => Some(*session),
        event => unclaimed(event).map(|cry| panic!("all was well: {cry:?}")),
    };
    assert_eq!(life.hear(closed).await, calm.session());
    assert_eq!(town.client.limbo(key(PROVIDER).public()).await.expect("it answers"), []);
    let disk = life.crash(&disk).await;
    let deal = town.open(2, 1_000, WATCHED_GRACE_MS).await;
    remember(&memory_on(&disk), &deal, &[30, 12]);
    town.way.send_replace(Way::Gone);
    let mut life = Life::start(&town, &disk).await;
    let deadline = deal.terms.collect_until;
    let cry = life.hear(unclaimed).await;
    assert_eq!(cry, (deal.session(), Credits(42), deadline, COLLECT_ADVICE.to_owned()));
    let left = deadline.since(clock::now()).0;
    assert!(left > 0 && left < WATCHED_GRACE_MS / 2, "{left} ms before the deadline");
    let limbo = town.client.limbo(key(PROVIDER).public()).await.expect("it answers");
    let found: Vec<_> = limbo.iter().map(|piece| (piece.cause, piece.amount, piece.deadline)).collect();
    assert_eq!(found, [(Cause::Uncollected(deal.session()), deal.hold, deadline)]);
    town.way.send_replace(Way::Good);
    life.hear(|event| matches!(event, ProviderEvent::Closed { .. }).then_some(())).await;
    assert_eq!(town.balance(PROVIDER), 40 + 42, "it was tried again in time");
    assert_eq!(town.client.limbo(key(PROVIDER).public()).await.expect("it answers"), []);
    let _ = life.crash(&disk).await;
    town.end().await;
}
