//! The one task that owns the swarm. Everything that a peer can cause comes through here, one event at a
//! time.

mod adverts;
mod auctions;
mod checkpoints;
mod connections;
mod dials;
mod discovery;
mod echoes;
mod relaying;
mod requests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use futures::StreamExt;
use gridhour_protocol::{id::NetworkId, market::coordinate::Vivaldi, signed::PublicKey, units::Timestamp};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::transport::ListenerId,
    request_response::OutboundRequestId,
    swarm::{ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};

use self::discovery::Search;
use crate::net::{
    advert_table::AdvertTable,
    auction_table::AuctionTable,
    behaviour::{Behaviour, BehaviourEvent},
    bootstrap::Bootstrap,
    checkpoint_table::CheckpointTable,
    codec::Nonce,
    config::NetConfig,
    error::{DialError, RequestError},
    event::NetEvent,
    handle::{Command, Shown},
    identity::{Address, ip_of, peer_of},
    job_protocol::{InboundJob, OpenReply},
    job_stream::{JobStream, StreamKind},
    latency::LatencyWindow,
    leaving::Leaving,
    limits::{BACKLOG_PER_TURN, FORWARDS_PER_SECOND},
    outbound::Outbound,
    passing_on::PassingOn,
    peer_score::{Offence, PeerScores},
    peers::Peers,
    protocols::Protocols,
    reach::may_follow,
    relays::Relays,
    scoped::Scope,
    service::Service,
};

/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Adverts gossiped on at each of them.
const FORWARDS_PER_TICK: usize = FORWARDS_PER_SECOND * TICK.as_millis() as usize / 1000;

type DialReply = oneshot::Sender<Result<PublicKey, DialError>>;

/// A dial, until the peer has named its network.
struct Dialing {
    address: Address,
    /// Who waits for it; nobody, if it is a bootstrap peer's.
    replies: Vec<DialReply>,
    /// Its own connection was one too many; another one to the same peer will tell.
    held: bool,
}

/// A request whose caller waits for the answer.
struct Asking {
    peer: PeerId,
    reply: oneshot::Sender<Result<Vec<u8>, RequestError>>,
}

/// An advert of a push, and who brought it.
struct Pushed {
    from: PublicKey,
    scope: Scope,
    bytes: Vec<u8>,
}

/// An echo that is on its way, and who waits for it, if anyone does.
struct Echoing {
    peer: PublicKey,
    nonce: Nonce,
    reply: Option<oneshot::Sender<Result<Duration, RequestError>>>,
}

/// The state of the network task.
pub(crate) struct Task {
    swarm: Swarm<Behaviour>,
    listeners: Vec<ListenerId>,
    commands: mpsc::Receiver<Command>,
    /// For responders, which answer through the same queue; weak, so that the last handle's end is noticed.
    commands_sender: mpsc::WeakSender<Command>,
    events: mpsc::Sender<NetEvent>,
    shown: Shown,
    network: NetworkId,
    names: Protocols,
    clock: fn() -> Timestamp,
    delay: Duration,
    region: Option<String>,
    vivaldi: Vivaldi,
    bootstrap: Bootstrap,
    outbound: Outbound,
    is_near: fn(&Address) -> bool,
    finds_peers: bool,
    /// Peers of an earlier run.
    remembered: Vec<Address>,
    measure_every: Duration,
    state: State,
}

/// What the task keeps; all of it bounded.
#[derive(Default)]
struct State {
    peers: Peers,
    scores: PeerScores,
    passing_on: PassingOn,
    /// Until when peers are shut out.
    bans: BTreeMap<PeerId, Instant>,
    adverts: AdvertTable,
    auctions: AuctionTable,
    checkpoints: CheckpointTable,
    /// When checkpoints are gossiped again.
    repeat_at: Option<Instant>,
    /// Pushed adverts to be judged.
    backlog: VecDeque<Pushed>,
    /// Good ones among them, to be gossiped on.
    forwards: VecDeque<Vec<u8>>,
    latencies: BTreeMap<PublicKey, LatencyWindow>,
    next_measure: Option<Instant>,
    /// Where the other ends of connections are.
    remotes: HashMap<ConnectionId, IpAddr>,
    search: Search,
    relays: Relays,
    /// Connections to peers of other networks.
    foreign: Leaving,
    dialing: HashMap<ConnectionId, Dialing>,
    asking: HashMap<(Service, OutboundRequestId), Asking>,
    echoing: HashMap<OutboundRequestId, Echoing>,
    /// What is asked of peers that wait for their turn to be dialled.
    waiting: VecDeque<Command>,
    nonce: u128,
}

/// What [`Task::new`] needs beside the swarm.
pub(crate) struct Parts {
    pub(crate) listeners: Vec<ListenerId>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) commands_sender: mpsc::WeakSender<Command>,
    pub(crate) events: mpsc::Sender<NetEvent>,
    pub(crate) shown: Shown,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) outbound: Outbound,
}

impl Task {
    pub(crate) fn new(swarm: Swarm<Behaviour>, config: &NetConfig, parts: Parts) -> Self {
        let Parts { listeners, commands, commands_sender, events, shown, bootstrap, outbound } = parts;
        Self {
            swarm,
            listeners,
            commands,
            commands_sender,
            events,
            shown,
            network: config.network,
            names: Protocols::new(&config.network),
            clock: config.clock,
            delay: config.delay_bounded(),
            region: config.region.clone(),
            vivaldi: Vivaldi::new(config.coordinate, config.seed()),
            bootstrap,
            outbound,
            is_near: config.is_near,
            finds_peers: config.find_peers,
            remembered: config.remembered.clone(),
            measure_every: config.measure_every,
            state: State {
                checkpoints: CheckpointTable::new(config.log_keys.clone()),
                relays: Relays::new(config.relayed),
                ..State::default()
            },
        }
    }

    /// Runs until it is told to stop, or nobody is left who could.
    pub(crate) async fn run(mut self) {
        let listening = self.shown.listening.borrow().clone();
        for address in listening {
            self.show_if_public(&address.nameless());
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let news = self.state.adverts.has_undelivered() && !self.events.is_closed();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.take(command),
                },
                _ = tick.tick() => self.on_tick(Instant::now()),
                true = has_room(&self.events), if news => self.deliver_advert(),
                () = std::future::ready(()), if !self.state.backlog.is_empty() => {
                    self.judge_pushed(BACKLOG_PER_TURN);
                }
            }
        }
        let relayed: Vec<_> = self.state.relays.listeners().collect();
        for listener in std::mem::take(&mut self.listeners).into_iter().chain(relayed) {
            self.swarm.remove_listener(listener);
        }
    }

    fn deliver_advert(&mut self) {
        if let Ok(room) = self.events.try_reserve()
            && let Some(advert) = self.state.adverts.next_undelivered()
        {
            room.send(NetEvent::Advert(advert));
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                if let Some(ip) = ip_of(endpoint.get_remote_address()) {
                    self.state.remotes.insert(connection_id, ip);
                }
                self.on_connected(peer_id, connection_id, &endpoint);
                self.give_turns();
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.state.remotes.remove(&connection_id);
                self.on_disconnected(&peer_id, connection_id, num_established);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failure(connection_id, error);
                self.give_turns();
            }
            SwarmEvent::IncomingConnectionError { error, .. } => self.on_incoming_failure(&error),
            SwarmEvent::ExternalAddrConfirmed { address } => self.on_public(&address),
            SwarmEvent::ExternalAddrExpired { .. } => self.show_public(),
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ListenerClosed { listener_id, .. } => self.state.relays.lost(listener_id),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_not_listening(address),
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::NearIdentify(event) | BehaviourEvent::FarIdentify(event) => {
                self.on_identify(event)
            }
            BehaviourEvent::NearPeers(event) => self.on_kademlia(Scope::Near, event),
            BehaviourEvent::FarPeers(event) => self.on_kademlia(Scope::Far, event),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Echo(event) => self.on_echo(event),
            BehaviourEvent::Adverts(event) => self.on_push(event),
            BehaviourEvent::Ledger(event) => self.on_service(Service::Ledger, event),
            BehaviourEvent::Asset(event) => self.on_service(Service::Asset, event),
            BehaviourEvent::Jobs(job) => self.on_stream(job, NetEvent::Job),
            BehaviourEvent::Calibrations(stream) => self.on_stream(stream, NetEvent::Calibration),
            BehaviourEvent::Mdns(event) => self.on_mdns(event),
            BehaviourEvent::Reachability(event) => self.on_reachability(event),
            BehaviourEvent::Dcutr(event) => self.on_upgrade(event),
            BehaviourEvent::RelayClient(_)
            | BehaviourEvent::Relay(_)
            | BehaviourEvent::ReachabilityOfOthers(_) => {}
            BehaviourEvent::Limits(never) | BehaviourEvent::Banned(never) => match never {},
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { address, reply } => self.dial(address, reply),
            Command::Publish { advert, reply } => {
                // A caller that no longer waits needs no answer, here and below.
                let _ = reply.send(self.publish(&advert));
            }
            Command::PublishPosting { posting, reply } => {
                let _ = reply.send(self.publish_posting(&posting));
            }
            Command::PublishQuote { quote, reply } => {
                let _ = reply.send(self.publish_quote(&quote));
            }
            Command::PublishCheckpoint(checkpoint) => self.publish_checkpoint(&checkpoint),
            Command::Advert { provider, reply } => {
                let _ = reply.send(self.state.adverts.get(&provider).cloned());
            }
            Command::Echo { peer, reply } => self.echo(peer, Some(reply)),
            Command::Request { peer, service, bytes, reply } => self.request(peer, service, bytes, reply),
            Command::Respond { service, channel, answer } => {
                let _ = self.swarm.behaviour_mut().service(service).send_response(channel, answer);
            }
            Command::OpenStream { kind, peer, reply } => self.open_stream(kind, &peer, reply),
            Command::Shutdown => {}
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.redial(now);
        self.give_turns();
        self.leave_foreign(now);
        self.look_for_peers(now);
        self.look_for_relays(now);
        self.forward_pushed(FORWARDS_PER_TICK);
        self.lift_bans(now);
        self.ban_gossip_vandals(now);
        self.measure_all(now);
        self.repeat_checkpoints(now);
        self.state.adverts.forget((self.clock)());
        self.state.auctions.forget((self.clock)());
    }

    fn open_stream(&mut self, kind: StreamKind, peer: &PublicKey, reply: OpenReply) {
        let Some(id) = peer_of(peer) else {
            let _ = reply.send(Err(RequestError::NotAPeer(*peer)));
            return;
        };
        self.state.peers.want(&id);
        let addresses = self.addresses_of(peer);
        self.swarm.behaviour_mut().streams(kind).open(id, addresses, reply);
    }

    fn on_stream(&mut self, InboundJob { peer, stream }: InboundJob, event: fn(JobStream) -> NetEvent) {
        let taken = self.state.peers.take_job(&peer).is_some_and(|(key, place)| {
            let job = JobStream::new(key, stream, self.delay, place);
            self.events.try_send(event(job)).is_ok()
        });
        if !taken {
            self.shown.metrics.send_modify(|metrics| metrics.jobs_refused_total += 1);
        }
    }

    /// Where a peer's advert says that it listens, as far as whoever brought the advert is followed there.
    fn addresses_of(&self, peer: &PublicKey) -> Vec<Multiaddr> {
        let (teller, texts) = self.state.adverts.addresses(peer);
        let mut addresses = advertised(texts);
        addresses.retain(|address| may_follow(address, teller, self.is_near));
        addresses
    }

    /// Of which reach a connected peer is; one that is gone counts as far.
    fn scope_of(&self, peer: &PublicKey) -> Scope {
        peer_of(peer).map_or(Scope::Far, |peer| self.state.peers.scope(&peer, self.is_near))
    }

    /// Charges a peer, and shuts it out once it is over its budget.
    fn charge(&mut self, peer: PublicKey, offence: Offence) {
        let now = Instant::now();
        if self.state.scores.charge(peer, offence, now) {
            self.ban(peer, now);
        }
    }
}

/// Waits until the node takes events again; `false` if it never will.
async fn has_room(events: &mpsc::Sender<NetEvent>) -> bool {
    events.reserve().await.is_ok()
}

/// The addresses that are well-formed; an advert may hold any text.
fn advertised(texts: &[String]) -> Vec<Multiaddr> {
    texts.iter().filter_map(|text| text.parse::<Address>().ok()).map(|address| address.0).collect()
}
