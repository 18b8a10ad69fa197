//! What peers ask each other outside a job's stream: of a ledger node, of a provider's models, of a session's provider.
//! The network moves these as bounded bytes; here they get their meaning.

use gridhour_contracts_sim::{
    limits::DEVICES_MAX,
    network_file::NetworkFile,
    proof::RecordProof,
    state::{Device, Reservation, Session, StateKey, StateValue, Totals},
    tx::Tx,
};
use gridhour_protocol::{
    id::{BlockHash, BudgetId, DeviceId, ModelId, ReservationId, SessionId, TxId},
    limits::{BLOCK_BYTES_MAX, TX_BYTES_MAX},
    market::{
        advert::Advert,
        reservation::{ReservationOffer, ReservationWish},
    },
    signed::{PublicKey, Signed},
    units::{Credits, Height, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

pub mod checkup;

use self::checkup::{Checkup, CheckupRequest, PORTS_MAX};
use crate::limbo::{LIMBO_MAX, Limbo};

/// Holds listed for one account; more are summed by the ledger itself, never lost.
pub const HOLDS_MAX: usize = 1024;
/// Budgets listed for one account.
pub const BUDGETS_MAX: usize = 256;
/// Reservations listed for one account.
pub const RESERVATIONS_MAX: usize = 1024;
/// Blocks of one answer.
pub const BLOCKS_MAX: usize = 1024;
/// Bytes of a sentence that explains a refusal.
pub const DETAIL_BYTES_MAX: usize = 512;

/// `text` cut to [`DETAIL_BYTES_MAX`] bytes, at a character.
#[must_use]
pub fn detail(mut text: String) -> String {
    let end = (0..=text.len().min(DETAIL_BYTES_MAX)).rev().find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or(0));
    text
}
/// Bytes of the longest answer of a ledger node.
pub const LEDGER_ANSWER_BYTES_MAX: usize = 3 * BLOCK_BYTES_MAX;

/// Bytes of the longest answer of a provider: a tokenizer with a large vocabulary.
pub const PROVIDER_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Asked of a ledger node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerRequest {
    /// Height, time and sums.
    Status,
    /// The network file: how a newcomer checks whom it talks to.
    Network,
    /// Balance and holds of an account.
    Account(PublicKey),
    /// What of an account's money is in limbo.
    Limbo(PublicKey),
    /// A session that is open or closing.
    Session(SessionId),
    /// A transaction to be ordered.
    Submit(Box<Signed<Tx>>),
    /// Blocks from this height on, as many as fit one answer.
    Blocks {
        /// The first.
        from: Height,
    },
    /// A record of the state, proven as of the last checkpoint.
    Prove(StateKey),
    /// A record of the state as it is now.
    Record(StateKey),
    /// The registered devices of an account.
    Devices(PublicKey),
    /// The budgets that an account owns or may spend from.
    Budgets(PublicKey),
    /// How another node looks from there.
    Checkup(CheckupRequest),
    /// The reservations that an account has booked or promised.
    Reservations(PublicKey),
}

/// Answered by a ledger node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerAnswer {
    /// To [`LedgerRequest::Status`].
    Status(LedgerStatus),
    /// To [`LedgerRequest::Network`].
    Network(Box<Signed<NetworkFile>>),
    /// To [`LedgerRequest::Account`].
    Account(Account),
    /// To [`LedgerRequest::Limbo`]; at most [`LIMBO_MAX`].
    Limbo(Vec<Limbo>),
    /// To [`LedgerRequest::Session`]: `None` if there is none, or none any more.
    Session(Option<Box<Session>>),
    /// To [`LedgerRequest::Submit`]: applied, and durable.
    Applied(Applied),
    /// To [`LedgerRequest::Submit`]: a rule said no.
    Rejected {
        /// The rule's stable number.
        code: u16,
        /// Its stable name.
        name: String,
        /// The numbers, in a sentence.
        detail: String,
        /// Whether the same transaction may be accepted later.
        transient: bool,
    },
    /// To [`LedgerRequest::Blocks`]: encoded blocks in order; none beyond the tip.
    Blocks(Vec<Vec<u8>>),
    /// To [`LedgerRequest::Prove`]: for the asker to verify. `None` for a few seconds after a restart, while there is no
    /// checkpoint that anything could be proven of.
    Proven(Option<Box<RecordProof>>),
    /// The node could not answer: its fault.
    Fault(String),
    /// To [`LedgerRequest::Record`]: `None` if there is none.
    Record(Option<Box<StateValue>>),
    /// To [`LedgerRequest::Devices`].
    Devices(Vec<Device>),
    /// To [`LedgerRequest::Budgets`]; at most [`BUDGETS_MAX`], the first by their ids.
    Budgets(Vec<BudgetId>),
    /// To [`LedgerRequest::Checkup`].
    Checkup(Checkup),
    /// To [`LedgerRequest::Reservations`]; at most [`RESERVATIONS_MAX`], the first by their ids, which their terms imply.
    Reservations(Vec<Reservation>),
}

/// Where a ledger stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// The last block.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Its time.
    pub time: Timestamp,
    /// Sums after it.
    pub totals: Totals,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What it can spend.
    pub balance: Credits,
    /// What is held for its sessions, at stake for its devices, in the pots of its budgets, and for its reservations.
    pub holds: Vec<Hold>,
    /// Sessions in which it sells.
    pub selling: Selling,
}

/// The open sessions of a provider, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selling {
    /// How many there are.
    pub sessions: u64,
    /// What they hold: the most that is still to be collected.
    pub held: Credits,
    /// What was collected from them.
    pub collected: Credits,
}

/// Money that is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What for.
    pub purpose: Purpose,
    /// How much.
    pub amount: Credits,
    /// After this anyone may release it.
    pub deadline: Timestamp,
}

/// Why money is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// A client's, for a session.
    Session {
        /// The session.
        session: SessionId,
        /// Who may collect from it.
        provider: PublicKey,
    },
    /// A provider's, at stake for a device until it is unbonded.
    Bond {
        /// The device.
        device: DeviceId,
    },
    /// An organisation's: the pot of a budget.
    Budget {
        /// The budget.
        budget: BudgetId,
    },
    /// A provider's, on its way back, and still at stake.
    Unbonding {
        /// The device.
        device: DeviceId,
    },
    /// A client's, prepaid for slots of a device.
    Prepaid {
        /// The reservation.
        reservation: ReservationId,
        /// Who promised them.
        provider: PublicKey,
    },
    /// A provider's, put up for slots that it promised.
    Promised {
        /// The reservation.
        reservation: ReservationId,
        /// To whom.
        client: PublicKey,
    },
}

/// A transaction on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The transaction.
    pub tx: TxId,
    /// The block that holds it.
    pub height: Height,
}

impl Wire for LedgerRequest {
    const BYTES_MAX: usize = TX_BYTES_MAX + 64;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Submit(tx) => tx.check_bounds(),
            Self::Checkup(asked) => at_most("ports", asked.ports.len(), PORTS_MAX),
            _ => Ok(()),
        }
    }
}

impl Wire for LedgerAnswer {
    const BYTES_MAX: usize = LEDGER_ANSWER_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Account(account) => at_most("holds", account.holds.len(), HOLDS_MAX),
            Self::Limbo(limbo) => at_most("limbo", limbo.len(), LIMBO_MAX),
            Self::Network(file) => file.check_bounds(),
            Self::Blocks(blocks) => at_most("blocks", blocks.len(), BLOCKS_MAX),
            Self::Rejected { name, detail, .. } => {
                at_most("name", name.len(), DETAIL_BYTES_MAX)?;
                at_most("detail", detail.len(), DETAIL_BYTES_MAX)
            }
            Self::Proven(proof) => proof.as_ref().map_or(Ok(()), |proof| proof.check_bounds()),
            Self::Fault(detail) => at_most("detail", detail.len(), DETAIL_BYTES_MAX),
            Self::Record(record) => record.as_ref().map_or(Ok(()), |record| record.check_bounds()),
            Self::Devices(devices) => {
                at_most("devices", devices.len(), DEVICES_MAX)?;
                devices.iter().try_for_each(Wire::check_bounds)
            }
            Self::Budgets(budgets) => at_most("budgets", budgets.len(), BUDGETS_MAX),
            Self::Checkup(checkup) => {
                let seen = checkup.offer.as_ref().map_or(0, |offer| offer.ports.len());
                at_most("ports", seen.max(checkup.tried.len()), PORTS_MAX)?;
                let troubles = checkup.tried.iter().filter_map(|tried| tried.outcome.trouble());
                troubles.into_iter().try_for_each(|why| at_most("trouble", why.len(), DETAIL_BYTES_MAX))
            }
            Self::Reservations(reservations) => {
                at_most("reservations", reservations.len(), RESERVATIONS_MAX)?;
                reservations.iter().try_for_each(Wire::check_bounds)
            }
            Self::Status(_) | Self::Session(_) | Self::Applied(_) => Ok(()),
        }
    }
}

/// Which part of a model is asked for. The answer is the bytes themselves; none if the peer does not serve the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AssetPart {
    /// The manifest: what the `ModelId` is computed from.
    Manifest,
    /// The tokenizer, whose digest the manifest holds.
    Tokenizer,
    /// The chat template, whose digest the manifest holds.
    Template,
}

/// Asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderRequest {
    /// Part of a model that it serves.
    Asset {
        /// The model.
        model: ModelId,
        /// The part.
        part: AssetPart,
    },
    /// Settle a session now: pay the newest vouchers, refund the rest. Only its client may ask.
    Settle(SessionId),
    /// What would it take to have this reserved? The answer is for whoever asks.
    Reserve(ReservationWish),
    /// The slot of a reservation that runs now. Only its client may ask.
    Slot(ReservationId),
}

/// Answered by a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderAnswer {
    /// To [`ProviderRequest::Asset`].
    Asset(Vec<u8>),
    /// To [`ProviderRequest::Settle`]: the session is closed on the ledger.
    Settled(Applied),
    /// Not here, or not for you.
    Refused(String),
    /// To [`ProviderRequest::Reserve`]: firm until it says.
    Offered(Box<Signed<ReservationOffer>>),
    /// To [`ProviderRequest::Slot`]: an advert of what is reserved, for a session out of the slot.
    Slot(Box<Signed<Advert>>),
}

impl Wire for ProviderRequest {
    const BYTES_MAX: usize = 96;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Reserve(wish) => wish.check_bounds(),
            Self::Asset { .. } | Self::Settle(_) | Self::Slot(_) => Ok(()),
        }
    }
}

impl Wire for ProviderAnswer {
    const BYTES_MAX: usize = PROVIDER_ANSWER_BYTES_MAX;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Refused(detail) => at_most("detail", detail.len(), DETAIL_BYTES_MAX),
            Self::Offered(offer) => offer.check_bounds(),
            Self::Slot(advert) => advert.check_bounds(),
            Self::Asset(_) | Self::Settled(_) => Ok(()),
        }
    }
}
