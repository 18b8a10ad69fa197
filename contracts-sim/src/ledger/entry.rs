//! What an applied transaction leaves in the log: where money moved, and what happened to a session or a device.

use gridhour_protocol::{
    id::{AdvertId, BudgetId, DeviceId, OrderId, ReservationId, SessionId, TxId},
    layout::Layout,
    limits::LANES_MAX,
    merkle::{self, Hash},
    session::voucher::Voucher,
    signed::PublicKey,
    units::{Credits, Height, Timestamp},
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

/// A side of a posting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Book {
    /// Where issued credits come from and burned ones go.
    Issuance,
    /// Someone's balance.
    Account(PublicKey),
    /// What a session holds: a transfer that is pending until it is collected or refunded.
    Hold(SessionId),
    /// What is at stake for a device, bonded or on its way back.
    Stake(DeviceId),
    /// The pot of a budget.
    Budget(BudgetId),
    /// What is prepaid and put up for a reservation.
    Reservation(ReservationId),
}

impl Book {
    fn lay_out(&self, out: &mut Layout) {
        match self {
            Self::Issuance => out.u8(0),
            Self::Account(key) => out.u8(1).fixed(&key.0),
            Self::Hold(session) => out.u8(2).fixed(&session.0),
            Self::Stake(device) => out.u8(3).fixed(&device.0),
            Self::Budget(budget) => out.u8(4).fixed(&budget.0),
            Self::Reservation(reservation) => out.u8(5).fixed(&reservation.0),
        };
    }
}

/// One movement of money: as much leaves one side as reaches the other, so the postings of an entry sum to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Posting {
    /// What gives.
    pub debit: Book,
    /// What receives.
    pub credit: Book,
    /// How much.
    pub amount: Credits,
}

/// The newest voucher collected on a lane, without its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lane {
    /// The lane.
    pub lane: u16,
    /// Sequence of the voucher.
    pub sequence: u32,
    /// Collected on this lane in all.
    pub amount: Credits,
    /// Receipts that the client has accepted on this lane.
    pub receipts: u32,
    /// RFC 6962 root over them.
    pub receipts_root: Hash,
}

impl Lane {
    /// What `voucher` says.
    #[must_use]
    pub fn of(voucher: &Voucher) -> Self {
        let Voucher { lane, sequence, amount, receipts, receipts_root, .. } = *voucher;
        Self { lane, sequence, amount, receipts, receipts_root }
    }

    pub(crate) fn lay_out(&self, out: &mut Layout) {
        out.u16(self.lane).u32(self.sequence).u64(self.amount.0);
        out.u32(self.receipts).fixed(&self.receipts_root);
    }
}

pub(crate) fn lay_out_lanes(out: &mut Layout, lanes: &[Lane]) {
    out.count(lanes.len());
    lanes.iter().for_each(|lane| lane.lay_out(out));
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Credits came into being.
    Minted,
    /// Credits went out of being.
    Burned,
    /// Credits moved between accounts.
    Transferred,
    /// A session opened.
    Opened {
        /// The session.
        session: SessionId,
        /// The order that allows it.
        order: OrderId,
        /// The advert that it accepts.
        advert: AdvertId,
    },
    /// A session holds more.
    ToppedUp {
        /// The session.
        session: SessionId,
    },
    /// A provider collected.
    Collected {
        /// The session.
        session: SessionId,
        /// The lanes that it collected on, as they are now.
        lanes: Vec<Lane>,
    },
    /// The client asked to end the session; the provider may collect until then.
    Closing {
        /// The session.
        session: SessionId,
        /// The new deadline.
        collect_until: Timestamp,
    },
    /// The session ended, everything in it is paid or refunded.
    Closed {
        /// The session.
        session: SessionId,
        /// All its lanes, as they were at the end.
        lanes: Vec<Lane>,
    },
    /// The session's deadline passed, what it still held is refunded.
    Expired {
        /// The session.
        session: SessionId,
        /// All its lanes, as they were at the end.
        lanes: Vec<Lane>,
    },
    /// A provider said what a device of its is.
    Registered {
        /// The device.
        device: DeviceId,
    },
    /// A provider entered what a challenger measured.
    Calibrated {
        /// The device.
        device: DeviceId,
        /// Whose word it is.
        challenger: PublicKey,
    },
    /// A provider removed a device's entry.
    Deregistered {
        /// The device.
        device: DeviceId,
    },
    /// More is at stake for a device.
    Bonded {
        /// The device.
        device: DeviceId,
        /// After this anyone may unbond all of it.
        until: Timestamp,
    },
    /// A part of a stake is on its way back.
    Unbonding {
        /// The device.
        device: DeviceId,
        /// How much.
        amount: Credits,
        /// When anyone may have it paid out.
        release_at: Timestamp,
    },
    /// What was due of a stake went back to its owner.
    Withdrawn {
        /// The device.
        device: DeviceId,
    },
    /// A stake was lost.
    Slashed {
        /// The device.
        device: DeviceId,
        /// Until then nothing can be bonded for it.
        barred_until: Timestamp,
    },
    /// A budget was made or changed.
    Planned {
        /// The budget.
        budget: BudgetId,
        /// After this anyone may close it.
        until: Timestamp,
    },
    /// A budget was closed.
    BudgetClosed {
        /// The budget.
        budget: BudgetId,
    },
    /// Slots of a device were reserved.
    Booked {
        /// The reservation.
        reservation: ReservationId,
        /// The device.
        device: DeviceId,
        /// When the last slot ends.
        until: Timestamp,
    },
    /// A client called for a slot.
    Demanded {
        /// The reservation.
        reservation: ReservationId,
        /// The slot.
        slot: u16,
        /// The last moment for an answer.
        answer_by: Timestamp,
    },
    /// The provider answered.
    Answered {
        /// The reservation.
        reservation: ReservationId,
        /// The slot.
        slot: u16,
        /// The advert under which a session can open.
        advert: AdvertId,
    },
    /// A client gave up slots.
    GivenUp {
        /// The reservation.
        reservation: ReservationId,
        /// How many slots it still has, the settled ones among them.
        slots: u16,
    },
    /// Slots were settled.
    Settled {
        /// The reservation.
        reservation: ReservationId,
        /// How many are settled in all.
        slots: u16,
        /// How many of them were missed.
        missed: u16,
    },
}

impl Event {
    /// Its stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Minted => "minted",
            Self::Burned => "burned",
            Self::Transferred => "transferred",
            Self::Opened { .. } => "opened",
            Self::ToppedUp { .. } => "topped-up",
            Self::Collected { .. } => "collected",
            Self::Closing { .. } => "closing",
            Self::Closed { .. } => "closed",
            Self::Expired { .. } => "expired",
            Self::Registered { .. } => "registered",
            Self::Calibrated { .. } => "calibrated",
            Self::Deregistered { .. } => "deregistered",
            Self::Bonded { .. } => "bonded",
            Self::Unbonding { .. } => "unbonding",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Slashed { .. } => "slashed",
            Self::Planned { .. } => "planned",
            Self::BudgetClosed { .. } => "budget-closed",
            Self::Booked { .. } => "booked",
            Self::Demanded { .. } => "demanded",
            Self::Answered { .. } => "answered",
            Self::GivenUp { .. } => "given-up",
            Self::Settled { .. } => "settled",
        }
    }

    /// The session that it is about.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Opened { session, .. }
            | Self::ToppedUp { session }
            | Self::Collected { session, .. }
            | Self::Closing { session, .. }
            | Self::Closed { session, .. }
            | Self::Expired { session, .. } => Some(*session),
            _ => None,
        }
    }

    /// The lanes that it states.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        match self {
            Self::Collected { lanes, .. } | Self::Closed { lanes, .. } | Self::Expired { lanes, .. } => lanes,
            _ => &[],
        }
    }

    fn lay_out(&self, out: &mut Layout) {
        match self {
            Self::Minted => out.u8(0),
            Self::Burned => out.u8(1),
            Self::Transferred => out.u8(2),
            Self::Opened { session, order, advert } => {
                out.u8(3).fixed(&session.0).fixed(&order.0).fixed(&advert.0)
            }
            Self::ToppedUp { session } => out.u8(4).fixed(&session.0),
            Self::Collected { session, .. } => out.u8(5).fixed(&session.0),
            Self::Closing { session, collect_until } => out.u8(6).fixed(&session.0).u64(collect_until.0),
            Self::Closed { session, .. } => out.u8(7).fixed(&session.0),
            Self::Expired { session, .. } => out.u8(8).fixed(&session.0),
            Self::Registered { device } => out.u8(9).fixed(&device.0),
            Self::Calibrated { device, challenger } => out.u8(10).fixed(&device.0).fixed(&challenger.0),
            Self::Deregistered { device } => out.u8(11).fixed(&device.0),
            Self::Bonded { device, until } => out.u8(12).fixed(&device.0).u64(until.0),
            Self::Unbonding { device, amount, release_at } => {
                out.u8(13).fixed(&device.0).u64(amount.0).u64(release_at.0)
            }
            Self::Withdrawn { device } => out.u8(14).fixed(&device.0),
            Self::Slashed { device, barred_until } => out.u8(15).fixed(&device.0).u64(barred_until.0),
            Self::Planned { budget, until } => out.u8(16).fixed(&budget.0).u64(until.0),
            Self::BudgetClosed { budget } => out.u8(17).fixed(&budget.0),
            Self::Booked { reservation, device, until } => {
                out.u8(18).fixed(&reservation.0).fixed(&device.0).u64(until.0)
            }
            Self::Demanded { reservation, slot, answer_by } => {
                out.u8(19).fixed(&reservation.0).u16(*slot).u64(answer_by.0)
            }
            Self::Answered { reservation, slot, advert } => {
                out.u8(20).fixed(&reservation.0).u16(*slot).fixed(&advert.0)
            }
            Self::GivenUp { reservation, slots } => out.u8(21).fixed(&reservation.0).u16(*slots),
            Self::Settled { reservation, slots, missed } => {
                out.u8(22).fixed(&reservation.0).u16(*slots).u16(*missed)
            }
        };
        lay_out_lanes(out, self.lanes());
    }
}

/// One leaf of the log: the answer to one applied transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The block.
    pub height: Height,
    /// The transaction.
    pub tx: TxId,
    /// Where money moved; at most [`POSTINGS_MAX`] postings.
    pub postings: Vec<Posting>,
    /// What happened.
    pub event: Event,
}

impl Entry {
    /// The bytes of the leaf.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let mut out = Layout::new("gridhour/entry/v1");
        out.u64(self.height.0).fixed(&self.tx.0).count(self.postings.len());
        for posting in &self.postings {
            posting.debit.lay_out(&mut out);
            posting.credit.lay_out(&mut out);
            out.u64(posting.amount.0);
        }
        self.event.lay_out(&mut out);
        out
    }

    /// The leaf's hash in the log.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        merkle::leaf_hash(self.layout().as_bytes())
    }
}

impl Wire for Entry {
    const BYTES_MAX: usize = 2 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("postings", self.postings.len(), POSTINGS_MAX)?;
        at_most("lanes", self.event.lanes().len(), LANES_MAX)
    }
}

/// Postings of one entry: what is due of a reservation's slots to its provider, to its client and as a penalty, and a
/// hold out of the slot that runs.
pub const POSTINGS_MAX: usize = 4;
