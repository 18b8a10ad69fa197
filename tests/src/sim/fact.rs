//! What the world saw happen, as against what anyone says about it. Checkers judge by facts alone.

use gridhour_contracts_sim::ledger::reject::Reject;
use gridhour_protocol::{
    job::message::{ClientMessage, ProviderMessage},
    merkle::Hash,
    session::lane::LaneLedger,
    signed::PublicKey,
    units::{Height, Timestamp},
    wire,
};

use super::net::{NodeId, StreamId};

/// A frame of a job's stream: whoever opened the stream is the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The client's.
    Client(ClientMessage),
    /// The provider's.
    Provider(ProviderMessage),
}

impl Frame {
    /// Its bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Client(message) => wire::encode(message),
            Self::Provider(message) => wire::encode(message),
        }
    }

    /// What the other end reads from those bytes.
    ///
    /// # Errors
    /// If the bytes are no frame of that side.
    pub fn decode(bytes: &[u8], by_client: bool) -> Result<Self, wire::WireError> {
        if by_client {
            wire::decode(bytes).map(Self::Client)
        } else {
            wire::decode(bytes).map(Self::Provider)
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Client(message) => message.name(),
            Self::Provider(message) => message.name(),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A frame left its sender.
    Said {
        /// On which stream.
        stream: StreamId,
        /// Who sent it.
        by: NodeId,
        /// To whom.
        to: NodeId,
        /// What.
        frame: Frame,
    },
    /// The engine of a job failed.
    EngineFailed {
        /// The job's stream.
        stream: StreamId,
    },
    /// A node wrote a lane, durably.
    Saved {
        /// Which node.
        by: NodeId,
        /// The lane.
        lane: Box<LaneLedger>,
    },
    /// A frame reached a node that was up.
    Heard {
        /// On which stream.
        stream: StreamId,
        /// Who received it.
        by: NodeId,
        /// What.
        frame: Frame,
    },
    /// The ledger took a block in, or had read all its blocks after a start.
    Root {
        /// The last block.
        height: Height,
        /// The state's root.
        root: Hash,
    },
    /// An observer took a block in, or had read all of its copy after a start.
    Copied {
        /// Which observer.
        by: NodeId,
        /// The last block that it has.
        height: Height,
        /// Its state's root.
        root: Hash,
    },
    /// A journal ended in what an interrupted write had left; that was cut off.
    Torn {
        /// Whose.
        node: NodeId,
    },
    /// A journal was found damaged, and was refused by name.
    Damaged {
        /// Whose.
        node: NodeId,
    },
    /// A power cut took writes that were not synced.
    LostWrite {
        /// Whose.
        node: NodeId,
    },
    /// A node laid a misdeed to another.
    Accused {
        /// Who says so.
        by: NodeId,
        /// Of whom.
        whom: PublicKey,
        /// The misdeed's stable name.
        misdeed: &'static str,
    },
    /// The ledger refused a transaction.
    Refused {
        /// Who sent it.
        sender: PublicKey,
        /// What was asked.
        call: &'static str,
        /// Why not.
        why: Reject,
    },
    /// A client holds the whole output of one errand, and what it costs on the lane is settled.
    Delivered {
        /// Which client.
        by: NodeId,
        /// Which of its errands.
        errand: usize,
    },
    /// A client has nothing left to do, and no session.
    Finished {
        /// Which client.
        by: NodeId,
    },
    /// A user wants something, and until when.
    Wanted {
        /// Which client.
        by: NodeId,
        /// Which of its errands.
        errand: usize,
        /// By the world's time.
        until: Timestamp,
    },
    /// A client has chosen an offer, and opens a session there.
    Chose {
        /// Which client.
        by: NodeId,
        /// The provider.
        provider: PublicKey,
        /// When the chosen advert dies, by the provider's clock.
        expires_at: Timestamp,
    },
    /// A client has learned how a job went.
    Learned {
        /// Which client.
        by: NodeId,
        /// On which stream.
        stream: StreamId,
        /// Of whom.
        provider: PublicKey,
        /// Whether it counts against that provider.
        failed: bool,
    },
    /// A node shut out another.
    Banned {
        /// Who.
        by: NodeId,
        /// Whom.
        whom: PublicKey,
        /// What for.
        why: &'static str,
    },
    /// How much a node remembers in one of its tables.
    Size {
        /// Which node.
        node: NodeId,
        /// The table.
        table: &'static str,
        /// What it holds.
        entries: usize,
        /// What it may hold.
        most: usize,
    },
    /// All sizes of this moment were told.
    Sampled,
    /// A node started.
    Started {
        /// Which.
        node: NodeId,
    },
    /// A node lost its memory.
    Crashed {
        /// Which.
        node: NodeId,
    },
}
