//! After the deadline nothing is held. Anyone may release a hold, what is due of a stake, and a budget, and settle the
//! slots of a reservation; a ledger node that wants none forgotten does it itself, with what is here.

use gridhour_contracts_sim::{
    limits::UNBONDINGS_MAX,
    state::{Reservation, Stake, State},
    tx::{Call, Tx},
};
use gridhour_protocol::{
    id::{BudgetId, DeviceId, ReservationId, SessionId},
    signed::{SecretKey, Signed},
    units::{Credits, Height, Timestamp},
};

/// Deadlines dealt with in one go, so that a crowd of them leaves room in the blocks.
pub const EXPIRE_MAX: usize = 256;
/// Blocks for which a release is valid.
const VALID_BLOCKS: u64 = 1_024;

/// Money whose deadline has passed, so that anyone may move it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// What a session holds goes back to its client.
    Hold(SessionId),
    /// The time of a bond is over: it is unbonded.
    Bond {
        /// The device.
        device: DeviceId,
        /// All that is bonded.
        amount: Credits,
        /// When the bond ended.
        until: Timestamp,
    },
    /// The time of a budget is over: its pot goes back to its owner.
    Budget(BudgetId),
    /// An unbonding is paid to its provider.
    Unbonding {
        /// The device.
        device: DeviceId,
        /// Since when.
        release_at: Timestamp,
    },
    /// Slots of a reservation have ended, or one was missed: they are paid for.
    Slots {
        /// The reservation.
        reservation: ReservationId,
        /// The first of them.
        first: u16,
    },
}

impl Due {
    fn of_stake(device: DeviceId, stake: &Stake, now: Timestamp) -> Option<Self> {
        let first = stake.unbonding.first().filter(|part| part.release_at <= now);
        if let Some(part) = first {
            return Some(Self::Unbonding { device, release_at: part.release_at });
        }
        let (amount, until) = (stake.bonded, stake.until);
        // While as many unbondings wait as may, the ledger refuses one more: the bond is due after the first of them.
        let has_room = stake.unbonding.len() < UNBONDINGS_MAX;
        (now > until && amount != Credits::ZERO && has_room).then_some(Self::Bond { device, amount, until })
    }

    fn of_reservation(id: ReservationId, reservation: &Reservation, now: Timestamp) -> Option<Self> {
        let first = reservation.settled;
        reservation.is_due(now).then_some(Self::Slots { reservation: id, first })
    }

    fn call(self) -> Call {
        match self {
            Self::Hold(session) => Call::Expire { session },
            Self::Budget(budget) => Call::CloseBudget { budget },
            Self::Bond { device, amount, .. } => Call::Unbond { device, amount },
            Self::Unbonding { device, .. } => Call::Withdraw { device },
            Self::Slots { reservation, .. } => Call::Settle { reservation },
        }
    }

    /// Follows from what is due, so that doing it twice does no more than doing it once.
    fn nonce(self) -> u64 {
        let word = |id: &[u8; 32], at: usize| u64::from_le_bytes(core::array::from_fn(|i| id[at + i]));
        match self {
            Self::Hold(session) => word(&session.0, 0),
            Self::Budget(budget) => word(&budget.0, 0),
            Self::Bond { device, until, .. } => word(&device.0, 0) ^ until.0,
            Self::Unbonding { device, release_at } => word(&device.0, 8) ^ release_at.0,
            Self::Slots { reservation, first } => word(&reservation.0, 0) ^ u64::from(first),
        }
    }
}

/// What is due at `now`; at most [`EXPIRE_MAX`], one for each session, device, budget and reservation.
#[must_use]
pub fn expired(state: &State, now: Timestamp) -> Vec<Due> {
    let over = state.sessions().filter(|(_, session)| now > session.collect_until);
    let holds = over.map(|(id, _)| Due::Hold(*id));
    let stakes = state.stakes().filter_map(|(device, stake)| Due::of_stake(*device, stake, now));
    let ended = state.budgets().filter(|(_, budget)| now > budget.until && !budget.closing);
    let budgets = ended.map(|(id, _)| Due::Budget(*id));
    let reserved = state.reservations();
    let slots = reserved.filter_map(|(id, reservation)| Due::of_reservation(*id, reservation, now));
    holds.chain(stakes).chain(budgets).chain(slots).take(EXPIRE_MAX).collect()
}

/// The transaction by which `sender` moves on what is due.
#[must_use]
pub fn expire_tx(state: &State, sender: &SecretKey, due: Due) -> Signed<Tx> {
    sender.sign(Tx {
        network: state.network(),
        sender: sender.public(),
        nonce: due.nonce(),
        valid_until: Height(state.tip().height.0.saturating_add(VALID_BLOCKS)),
        call: due.call(),
    })
}
