//! What can go wrong, and whose fault it is.

use gridhour_protocol::signed::PublicKey;

use crate::net::{auction_table::AuctionRefusal, gossip::Refusal, identity::Address};

/// The network room did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A listen address cannot be used: taken, not ours, or of a kind that is not spoken.
    #[error("cannot listen on {address}: {why}; choose another address or stop what holds it")]
    Listen {
        /// The address.
        address: Address,
        /// What the system said.
        why: String,
    },
    /// A bootstrap address does not say which peer is there.
    #[error("bootstrap address {0} does not end in /p2p/<peer id>; take it as the peer prints it")]
    BootstrapWithoutPeer(Address),
    /// More addresses than a node may have.
    #[error("{count} addresses configured; at most {max} are allowed")]
    TooManyAddresses {
        /// Addresses given.
        count: usize,
        /// Addresses allowed.
        max: usize,
    },
    /// libp2p refused its settings: our fault.
    #[error("the network could not be set up: {0}")]
    Setup(String),
}

/// The network task has ended: the node is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network is shut down")]
pub struct Closed;

/// A peer was not reached by dialling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Nobody answered there, or the handshake failed.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// What was dialled.
        address: Address,
        /// Why it failed.
        why: String,
    },
    /// Another peer answered than the one that was expected.
    #[error("{address} belongs to another peer, {found}")]
    WrongPeer {
        /// What was dialled.
        address: Address,
        /// Who answered.
        found: String,
    },
    /// The peer belongs to another network or speaks another version.
    #[error("peer speaks {theirs:?}, this node speaks {ours:?}: another network or version")]
    OtherNetwork {
        /// What this node speaks.
        ours: String,
        /// What the peer says it speaks.
        theirs: String,
    },
    /// This node refuses the connection: it holds as many as it may, or has shut the peer out.
    #[error("connection denied by this node: {0}; try again later")]
    Denied(String),
    /// The node is shutting down.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// A request got no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No answer in time. The peer may or may not have acted on the request.
    #[error("no answer in time; the peer may have acted on the request")]
    Timeout,
    /// The peer answered that it will not serve the request.
    #[error("refused by the peer: {0}")]
    Refused(String),
    /// There is no connection to the peer.
    #[error("peer not reachable: {0}")]
    Unreachable(String),
    /// The connection broke before an answer came. The peer may or may not have acted on the request.
    #[error("the connection broke before an answer came: {0}")]
    Broken(String),
    /// The peer does not serve this protocol: it runs no such service, or another network or version.
    #[error("peer does not speak {0}")]
    Unsupported(String),
    /// The peer broke the protocol. Its fault.
    #[error("peer broke the protocol: {0}")]
    Misbehaved(String),
    /// The request is too long. The caller's fault.
    #[error("request of {len} bytes is over the limit of {max}")]
    TooLong {
        /// Bytes of the request.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Too many of our requests to this peer are unanswered.
    #[error("{0} requests to this peer are unanswered; wait for some of them")]
    Busy(usize),
    /// The peer is not connected, and too many questions wait for their turn to dial. Nobody was asked.
    #[error("{0} questions to other peers wait until these can be dialled; try again")]
    Crowded(usize),
    /// The key is not that of a peer: its bytes are no curve point.
    #[error("{0} is not the key of a peer")]
    NotAPeer(PublicKey),
    /// The node is shutting down.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// An advert was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Other nodes would refuse it, for the same reason.
    #[error("advert refused: {0}")]
    Refused(#[from] Refusal),
    /// A posting or a quote that other nodes would refuse, for the same reason.
    #[error("posting or quote refused: {0}")]
    Auction(#[from] AuctionRefusal),
    /// A posting or a quote that no connected peer took.
    #[error("posting or quote not sent: {0}")]
    NotSent(String),
    /// It is kept and handed to peers that connect, but the queues to all connected peers are full.
    #[error("every connected peer is too slow to take the advert now; publish the next one as usual")]
    QueuesFull,
    /// The node is shutting down.
    #[error(transparent)]
    Closed(#[from] Closed),
}
