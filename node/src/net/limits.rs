//! What peers can make this node hold or do at most. docs/NETWORK.md adds these up.

use std::time::Duration;

use gridhour_contracts_sim::{checkpoint::CHECKPOINT_NOTE_BYTES_MAX, limits::WITNESSES_MAX};
use gridhour_protocol::{
    limits::{GOSSIP_BYTES_MAX, TX_BYTES_MAX},
    note::KEY_NAME_BYTES_MAX,
};

/// Open connections, both directions.
pub const CONNECTIONS_MAX: u32 = 128;
/// Open connections that others dialled; the rest is kept for those that we dial, so that strangers cannot
/// surround us.
pub const CONNECTIONS_IN_MAX: u32 = 96;
/// Open connections to one peer: one for each side that dialled at the same moment, and one that is being
/// replaced.
pub const CONNECTIONS_PER_PEER_MAX: u32 = 3;
/// Handshakes that others began and have not finished.
pub const CONNECTIONS_PENDING_IN_MAX: u32 = 32;
/// Dials that are under way.
pub const CONNECTIONS_PENDING_OUT_MAX: u32 = 32;
/// Questions to peers that wait until there is room for one more dial; further ones are refused.
pub const DIALS_WAITING_MAX: usize = 256;
/// How long a question to a peer may take in all: its turn to dial, the dials, the handshake and the answer. The turn has no
/// limit but this one, and if an answer is lost on the way here, this ends the wait for it.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Addresses of a peer that are tried at once, to reach it without its relay.
pub const UPGRADE_ADDRESSES_MAX: usize = 8;
/// How often that is tried for one connection through a relay: as often as libp2p tries by itself.
pub const UPGRADE_TRIES_MAX: u8 = 3;
/// Streams of one connection.
pub const STREAMS_PER_CONNECTION_MAX: usize = 64;
/// Streams of one connection on which no protocol is agreed yet.
pub const STREAMS_NEGOTIATING_MAX: usize = 16;
/// A handshake that takes longer is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without streams is closed after this time.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Times that a peer may say where it listens, and be believed, in a burst.
pub const IDENTITY_BURST_MAX: u32 = 16;
/// Time until it is believed once more, in the long run; less than libp2p lets pass before it asks again.
pub const IDENTITY_EVERY: Duration = Duration::from_secs(60);

/// Records that are kept for others: none. Kademlia finds peers here, and nothing else.
pub const KADEMLIA_RECORDS_MAX: usize = 0;
/// Peers of one bucket of a table, and peers named in one answer. A table has 256 buckets, of which a network of n
/// peers fills the logarithm of n.
pub const KADEMLIA_BUCKET_PEERS_MAX: usize = 20;
/// Addresses kept of one peer.
pub const KADEMLIA_ADDRESSES_MAX: usize = 8;
/// Bytes of such an address; a way through a relay takes about a hundred.
pub const KADEMLIA_ADDRESS_BYTES_MAX: usize = 160;
/// Bytes of a question or an answer.
pub const KADEMLIA_PACKET_BYTES_MAX: usize = 32 * 1024;
/// Peers that one search asks at a time, each on a path of its own.
pub const KADEMLIA_PARALLEL: usize = 3;
/// A search that takes longer ends with what it found.
pub const KADEMLIA_QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often each table is searched, one search at a time.
pub const SEARCH_EVERY: Duration = Duration::from_secs(60);
/// Peers that were found by searching and to which we stay connected.
pub const OUTBOUND_KEPT: usize = 8;
/// How many of them may be of one group of addresses.
pub const OUTBOUND_PER_GROUP_MAX: usize = 2;
/// Peers dialled in a second to fill those places.
pub const OUTBOUND_DIALS_PER_SECOND: usize = 4;
/// Time until a peer that was dialled for a place is dialled for one again.
pub const OUTBOUND_AGAIN: Duration = Duration::from_secs(60);
/// A peer that only a search dialled, and that got no place, is left after this time.
pub const LINGER: Duration = Duration::from_secs(15);
/// Peers announced on our own network that are kept and dialled.
pub const MDNS_PEERS_MAX: usize = 16;
/// Peers whose addresses are remembered over a restart.
pub const REMEMBERED_MAX: usize = 32;

/// Peers for which a relay keeps a way open.
pub const RELAY_RESERVATIONS_MAX: usize = 64;
/// Ways that one peer may keep open at a relay.
pub const RELAY_RESERVATIONS_PER_PEER_MAX: usize = 2;
/// How long such a way is promised for; it is asked for again before.
pub const RELAY_RESERVATION: Duration = Duration::from_secs(60 * 60);
/// Connections through a relay at a time.
pub const RELAY_CIRCUITS_MAX: usize = 32;
/// Those that one peer may begin at a time.
pub const RELAY_CIRCUITS_PER_PEER_MAX: usize = 4;
/// How long a connection through a relay lasts at most: long enough to become a direct one, or for a job.
pub const RELAY_CIRCUIT: Duration = Duration::from_secs(10 * 60);
/// Bytes that a relay passes on in each direction of a connection.
pub const RELAY_CIRCUIT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Dials that a node does for peers at one address, to try whether they can be dialled, in [`DIAL_BACK_TIME`].
pub const DIAL_BACKS_MAX: u32 = 16;
/// See [`DIAL_BACKS_MAX`].
pub const DIAL_BACK_TIME: Duration = Duration::from_secs(60);
/// Addresses of our own, by what peers say, about which peers are asked whether they can dial them.
pub const REACH_ADDRESSES_MAX: usize = 16;
/// Time until a peer is asked once more about an address that one could not dial.
pub const REACH_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Relays through which a node that cannot be dialled lets itself be reached.
pub const RELAYS_USED_MAX: usize = 2;
/// How often a relay is looked for.
pub const RELAY_AGAIN: Duration = Duration::from_secs(5);

/// Time between two heartbeats of gossip, at which meshes are mended.
pub const GOSSIP_HEARTBEAT: Duration = Duration::from_secs(1);
/// Bytes of one gossip RPC, envelopes and control messages included. A longer one ends the stream unparsed.
pub const GOSSIP_RPC_BYTES_MAX: usize = 4 * GOSSIP_BYTES_MAX;
/// Messages in one gossip RPC.
pub const GOSSIP_RPC_MESSAGES_MAX: usize = 64;
/// RPCs that wait for a slow peer before further ones are dropped.
pub const GOSSIP_QUEUE_MAX: usize = 256;
/// A message that waits longer for a slow peer is dropped: an advert lives for minutes, so a busy processor is no reason
/// to lose it.
pub const GOSSIP_QUEUE_TIME: Duration = Duration::from_secs(10);
/// Adverts that one peer may bring in a burst before each further one costs it points: all that an honest one passes on
/// while its messages wait for us, for [`GOSSIP_QUEUE_TIME`] if this node is too busy to read, and some of its own.
pub const GOSSIP_BURST_MAX: u32 = 2_000;
/// Adverts a second that one peer may bring in the long run.
pub const GOSSIP_PER_SECOND_MAX: u32 = 200;
/// Adverts of known providers that this node passes on in a burst, whoever brought them: so few that no neighbour charges
/// it for what others flooded it with.
pub const PASSED_BURST_MAX: u32 = 200;
/// Such adverts a second that this node passes on in the long run.
pub const PASSED_PER_SECOND_MAX: u32 = 100;
/// Adverts of providers that it did not know, likewise, in a burst.
pub const NEWCOMERS_BURST_MAX: u32 = 100;
/// Such adverts a second in the long run.
pub const NEWCOMERS_PER_SECOND_MAX: u32 = 10;
/// Adverts of one provider that are passed on at once, as it renews them when it begins or ends a job.
pub const PROVIDER_BURST_MAX: u32 = 4;
/// Time until one more is; less than providers take between two renewals.
pub const PROVIDER_EVERY: Duration = Duration::from_secs(5);

/// Posted orders that wait for quotes.
pub const POSTINGS_MAX: usize = 512;
/// Postings of one client among them.
pub const POSTINGS_PER_CLIENT_MAX: usize = 4;
/// Quotes that answer one posting. Of further ones only those have a place that another peer brought than the most.
pub const QUOTES_PER_POSTING_MAX: usize = 64;
/// Postings and quotes a second that this node passes on.
pub const AUCTIONS_PASSED_PER_SECOND_MAX: usize = 50;
/// Those among them that one peer brought.
pub const AUCTIONS_PASSED_BY_ONE_MAX: usize = 20;
/// Postings and quotes that one peer may bring in a burst before each further one costs it points: all that an honest one
/// passes on while its messages wait for us.
pub const AUCTION_BURST_MAX: u32 = 1_200;
/// Postings and quotes a second that one peer may bring in the long run: what it passes on, and as many of its own.
pub const AUCTION_PER_SECOND_MAX: u32 = 100;

/// Providers whose newest advert is kept. Further ones are ignored until one dies.
pub const ADVERTS_MAX: usize = 4096;
/// Adverts in one push to a peer that just subscribed.
pub const PUSH_ADVERTS_MAX: usize = 512;
/// Bytes of one push.
pub const PUSH_BYTES_MAX: usize = 512 * 1024;
/// KiB of pushes that one peer may send, or provoke, in a burst: four of the longest.
pub const PUSH_BURST_KIB: u32 = 2_048;
/// KiB of pushes a second that one peer may send, or provoke, in the long run.
pub const PUSH_KIB_PER_SECOND: u32 = 100;
/// What the shortest push counts, in KiB: whoever runs one command after the other is told every time what is offered.
pub const PUSH_KIB_MIN: u32 = 16;
/// Pushed adverts that wait for their check, all peers together.
pub const BACKLOG_MAX: usize = 2048;
/// Pushed adverts that are checked before other work gets its turn.
pub const BACKLOG_PER_TURN: usize = 16;

/// Checkpoints of the ledger that are kept, those of the highest blocks.
pub const CHECKPOINTS_MAX: usize = 256;
/// Bytes of a checkpoint that all of its witnesses have cosigned: a line is a dash, a name, and 76 bytes in base64.
pub const CHECKPOINT_BYTES_MAX: usize =
    CHECKPOINT_NOTE_BYTES_MAX + WITNESSES_MAX * (KEY_NAME_BYTES_MAX + 104 + 8);
/// How often the newest checkpoint is gossiped again, for peers that came later: less often than gossip forgets what
/// it has seen.
pub const REPEAT_EVERY: Duration = Duration::from_secs(90);

/// Adverts learned from a push that wait to be gossiped on; further ones wait for their provider to
/// republish.
pub const FORWARDS_MAX: usize = 2048;
/// Such adverts that are gossiped on in a second: well under the rate at which peers charge us.
pub const FORWARDS_PER_SECOND: usize = 50;

/// Echoes that one peer may ask for in a burst.
pub const ECHO_BURST_MAX: u32 = 64;
/// Echoes a second that one peer may ask for in the long run.
pub const ECHO_PER_SECOND_MAX: u32 = 32;
/// Echoes on one connection that are unanswered, both directions.
pub const ECHO_STREAMS_MAX: usize = 32;
/// An echo that takes longer has failed.
pub const ECHO_TIMEOUT: Duration = Duration::from_secs(5);
/// Round trips that one call of `measure` may ask for.
pub const MEASURE_MAX: usize = 32;
/// Round trips older than this say nothing any more.
pub const LATENCY_AGE_MAX: Duration = Duration::from_secs(600);
/// Round trips that latency is computed from.
pub const LATENCY_WINDOW: usize = 64;
/// The longest delay that a provider may add to its answers, so that echoes still come in time.
pub const DELAY_MAX: Duration = Duration::from_secs(2);

/// Bytes of a request to the ledger: a transaction and what says that it is one.
pub const LEDGER_REQUEST_BYTES_MAX: usize = TX_BYTES_MAX + 4096;
/// Bytes of an answer of the ledger.
pub const LEDGER_RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a request for a part of a model.
pub const ASSET_REQUEST_BYTES_MAX: usize = 1024;
/// Bytes of a part of a model: a tokenizer, a template.
pub const ASSET_RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the sentence with which a request is refused.
pub const REFUSAL_BYTES_MAX: usize = 512;
/// Requests of one peer to one service that are unanswered.
pub const REQUESTS_IN_MAX: usize = 4;
/// Our unanswered requests to one service of one peer.
pub const REQUESTS_OUT_MAX: usize = 8;

/// Job streams that one peer may hold open with us.
pub const JOBS_PER_PEER_MAX: usize = 16;
/// Job streams that all peers together may hold open with us.
pub const JOBS_MAX: usize = 256;
/// Job streams that wait for a connection, or for their turn on it.
pub const JOBS_PENDING_MAX: usize = 64;

/// Commands that wait for the network task; callers wait beyond it.
pub const COMMANDS_MAX: usize = 256;
/// Jobs and requests that wait for this node's drivers; further ones are refused.
pub const EVENTS_MAX: usize = 256;
/// Peers of which scores, counters and latencies are kept; the one unheard of for longest goes first.
pub const PEERS_TRACKED_MAX: usize = 1024;
/// Peers that are shut out at once; the oldest ban goes first.
pub const BANS_MAX: usize = 1024;
/// How long a peer is shut out.
pub const BAN: Duration = Duration::from_secs(300);
/// Listen addresses, and bootstrap peers.
pub const ADDRESSES_CONFIGURED_MAX: usize = 64;

const _: () = assert!(CONNECTIONS_IN_MAX < CONNECTIONS_MAX, "some connections are ours to choose");
const _: () = assert!(
    OUTBOUND_KEPT < (CONNECTIONS_MAX - CONNECTIONS_IN_MAX) as usize,
    "places that strangers cannot take remain for bootstrap peers and providers"
);
const _: () = assert!(
    KADEMLIA_BUCKET_PEERS_MAX * (64 + KADEMLIA_ADDRESSES_MAX * (KADEMLIA_ADDRESS_BYTES_MAX + 4))
        <= KADEMLIA_PACKET_BYTES_MAX,
    "the longest honest answer fits"
);
const _: () = assert!(CHECKPOINT_BYTES_MAX < GOSSIP_BYTES_MAX, "a checkpoint is no longer than any message");
const _: () = assert!(GOSSIP_BYTES_MAX < GOSSIP_RPC_BYTES_MAX, "a message and its envelope fit an RPC");
const _: () =
    assert!(FORWARDS_PER_SECOND * 2 < GOSSIP_PER_SECOND_MAX as usize, "forwarding is within our rate");
/// Adverts of others a second that this node sends each neighbour in the long run.
const CARRIED_PER_SECOND_MAX: u32 =
    PASSED_PER_SECOND_MAX + NEWCOMERS_PER_SECOND_MAX + FORWARDS_PER_SECOND as u32;
const _: () = assert!(
    CARRIED_PER_SECOND_MAX < GOSSIP_PER_SECOND_MAX,
    "passing on and forwarding together are within our rate"
);
const _: () = assert!(
    PASSED_BURST_MAX + NEWCOMERS_BURST_MAX + CARRIED_PER_SECOND_MAX * (GOSSIP_QUEUE_TIME.as_secs() as u32)
        < GOSSIP_BURST_MAX,
    "a neighbour that was too busy to read charges nobody for what waited for it"
);
const _: () = assert!(
    AUCTIONS_PASSED_PER_SECOND_MAX < AUCTION_PER_SECOND_MAX as usize
        && (2 + GOSSIP_QUEUE_TIME.as_secs() as usize) * AUCTIONS_PASSED_PER_SECOND_MAX
            < AUCTION_BURST_MAX as usize,
    "nobody is charged for the postings and quotes that it passes on"
);
const _: () = assert!(PUSH_ADVERTS_MAX <= BACKLOG_MAX, "one push fits the backlog");
const _: () = assert!(
    JOBS_PER_PEER_MAX + 2 * (REQUESTS_IN_MAX + REQUESTS_OUT_MAX) < STREAMS_PER_CONNECTION_MAX,
    "a busy peer's streams fit one connection"
);
const _: () = assert!(DELAY_MAX.as_millis() * 2 < ECHO_TIMEOUT.as_millis(), "a delayed echo is in time");
