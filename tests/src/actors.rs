//! Who acts in the world. Honest parties drive the protocol's own state machines; every other actor is an
//! honest one with one twist, in a file named after the misdeed.

use std::rc::Rc;

use gridhour_contracts_sim::tx::{Call, Tx};
use gridhour_protocol::{
    id::{NetworkId, SessionId},
    session::{book::SessionBook, lane::LaneLedger, terms::Terms},
    signed::{SecretKey, Signed},
    units::{Credits, Height},
    wire,
};

use crate::sim::{
    context::Context,
    durable::{Change, Durable, PowerCut},
    fact::Frame,
    ledger_node::{Answer, Request},
    mesh::{Packet, Whisper},
    net::{NodeId, StreamId},
};

pub mod advert_flooder;
pub mod advert_forger;
pub mod advert_pourer;
pub mod client;
pub mod double_spender;
pub mod ghost_advertiser;
pub mod goods;
pub mod honest_client;
pub mod honest_provider;
pub mod keeper;
pub mod lying_provider;
pub mod misplaced_provider;
pub mod observer;
pub mod provider;
pub mod replaying_provider;
pub mod silent_provider;
pub mod uncollecting_provider;

/// One node's program. It is built anew after a crash, and finds what it wrote in [`Context::saved`].
pub trait Actor {
    /// Called first, at the beginning and after every crash.
    ///
    /// # Errors
    /// If the power goes while it writes; the actor is then dropped.
    fn start(&mut self, cx: &mut Context<'_>) -> Result<(), PowerCut>;

    /// Called for everything that happens to the node.
    ///
    /// # Errors
    /// If the power goes while it writes; the actor is then dropped.
    fn hear(&mut self, input: Input, cx: &mut Context<'_>) -> Result<(), PowerCut>;

    /// How much it remembers: table by table, with the most that may be.
    fn sizes(&self) -> Vec<(&'static str, usize, usize)> {
        Vec::new()
    }
}

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// An alarm that it set.
    Wake(Alarm),
    /// A frame of a job's stream. The first one of an unknown stream opens it.
    Frame {
        /// Which stream.
        stream: StreamId,
        /// Who sent it.
        from: NodeId,
        /// What.
        frame: Frame,
    },
    /// A stream broke, or the other end ended it.
    Closed {
        /// Which stream.
        stream: StreamId,
    },
    /// An advert came by, and was kept.
    Gossip(Rc<Packet>),
    /// A neighbour gossips. The node itself hears only what its network room lets through.
    Whisper {
        /// Who.
        from: NodeId,
        /// What.
        whisper: Whisper,
    },
    /// Someone asks the ledger.
    Request {
        /// Who.
        from: NodeId,
        /// The asker's number for it.
        id: u64,
        /// What.
        request: Request,
    },
    /// The ledger's answer.
    Answer {
        /// The number of the request.
        id: u64,
        /// The answer.
        answer: Answer,
    },
}

impl Input {
    /// Its name, for the trace.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Wake(_) => "wake",
            Self::Frame { frame, .. } => frame.name(),
            Self::Closed { .. } => "closed",
            Self::Gossip(_) => "advert",
            Self::Whisper { .. } => "whisper",
            Self::Request { .. } => "request",
            Self::Answer { .. } => "answer",
        }
    }
}

/// What a node wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The next advert.
    Advertise,
    /// A look at all sessions.
    Sweep,
    /// The state machine of a stream.
    Machine(StreamId),
    /// The engine of a stream.
    Engine(StreamId),
    /// The ledger has not answered this request.
    Unanswered(u64),
}

/// Records under keys that begin so hold a lane, at providers and at clients.
pub const LANE_RECORDS: &[u8] = b"lane";
/// Records under keys that begin so hold the terms of a session.
pub const TERMS_RECORDS: &[u8] = b"terms";

/// The key of a session's terms.
#[must_use]
pub fn terms_key(session: &SessionId) -> Vec<u8> {
    [TERMS_RECORDS, &session.0].concat()
}

/// The key of a lane.
#[must_use]
pub fn lane_key(session: &SessionId, lane: u16) -> Vec<u8> {
    [LANE_RECORDS, &session.0, &lane.to_be_bytes()].concat()
}

/// The sessions that a node has written, with their lanes. What they hold, only the ledger knows.
///
/// # Panics
/// If a record cannot be read: nothing but whole records are ever written.
#[must_use]
pub fn saved_sessions(saved: &Durable) -> Vec<SessionBook> {
    let read_lane = |bytes| wire::decode::<LaneLedger>(bytes).expect("written whole");
    let lanes: Vec<LaneLedger> = saved.under(LANE_RECORDS).map(|(_, bytes)| read_lane(bytes)).collect();
    let all =
        saved.under(TERMS_RECORDS).map(|(_, bytes)| wire::decode::<Terms>(bytes).expect("written whole"));
    all.map(|terms| SessionBook::new(terms, Credits::ZERO, lanes.iter().cloned())).collect()
}

/// What removes a session and its lanes from the records.
#[must_use]
pub fn forget_session(saved: &Durable, session: &SessionId) -> Vec<Change> {
    let of_session = [LANE_RECORDS, &session.0].concat();
    let lanes = saved.under(&of_session).map(|(key, _)| (key.to_vec(), None));
    lanes.chain([(terms_key(session), None)]).collect()
}

/// Blocks for which a transaction stays valid: longer than any message takes.
const VALID_BLOCKS: u64 = 400;

/// A transaction that stays valid for a while. The nonce is the node's own random number.
pub fn sign_tx(cx: &mut Context<'_>, key: &SecretKey, network: NetworkId, call: Call) -> Box<Signed<Tx>> {
    let (nonce, height) = (cx.rng().bits(), cx.published() as u64);
    Box::new(key.sign(Tx {
        network,
        sender: key.public(),
        nonce,
        valid_until: Height(height + VALID_BLOCKS),
        call,
    }))
}
