//! What a call costs those who check it. Bytes bound what is sent; this bounds what is computed.

use gridhour_protocol::{market::advert::Advert, units::Credits};

use crate::{
    limits::{BLOCK_COST_MAX, DEVICE_RESERVATIONS_MAX},
    tx::{Call, Open, Tx},
};

/// Weight of one signature that is checked, against one record that is looked up, written and hashed into the root of a
/// checkpoint. A weight and not a measurement: it only has to keep the dearest block near a block of transfers.
pub const SIGNATURE_COST: u64 = 4;

/// What `tx` costs at most: its signatures and the records that it touches. It follows from the transaction alone, so
/// that a block can be weighed before anything in it is applied.
#[must_use]
pub fn cost(tx: &Tx) -> u64 {
    // The sender's signature, and the name that makes a retry harmless.
    SIGNATURE_COST * (1 + enclosed_signatures(&tx.call)) + 1 + records(&tx.call)
}

/// Whether transactions of these costs fit one block.
#[must_use]
pub fn fits_block<'t>(txs: impl IntoIterator<Item = &'t Tx>) -> bool {
    txs.into_iter().map(cost).sum::<u64>() <= BLOCK_COST_MAX
}

fn enclosed_signatures(call: &Call) -> u64 {
    match call {
        Call::Open(open) | Call::Draw { open, .. } | Call::DrawSlot { open, .. } => {
            2 + calibrations(&open.advert.body)
        }
        Call::Collect { vouchers, .. } => vouchers.len() as u64,
        Call::Close { vouchers, release, .. } => vouchers.len() as u64 + u64::from(release.is_some()),
        Call::Calibrate(_) | Call::Book(_) | Call::Answer { .. } => 1,
        Call::Slash(_) => 3,
        _ => 0,
    }
}

fn calibrations(advert: &Advert) -> u64 {
    u64::from(advert.device.calibration().is_some())
}

/// The stake that an order insists on is looked up.
fn stakes(open: &Open) -> u64 {
    u64::from(open.order.body.stake_min != Credits::ZERO)
}

/// Accounts, sessions, orders, devices, stakes, budgets and their caps, and reservations that a call reads or writes.
/// Ending a session or topping it up may touch a budget or a reservation as well; booking looks at every reservation of
/// the device.
fn records(call: &Call) -> u64 {
    match call {
        Call::Mint { .. } | Call::Burn { .. } => 1,
        Call::Transfer { .. } => 2,
        Call::Open(open) => 3 + stakes(open),
        Call::Collect { .. } => 3,
        Call::Draw { open, .. } => 4 + stakes(open),
        Call::DrawSlot { open, .. } => 5 + stakes(open),
        Call::TopUp { .. } | Call::Expire { .. } | Call::Close { .. } => 5,
        Call::Register(_) | Call::Calibrate(_) | Call::Deregister { .. } | Call::Unbond { .. } => 1,
        Call::Withdraw { .. } | Call::Slash(_) => 2,
        Call::Bond { .. } => 3,
        Call::Plan { plan, .. } => 2 + plan.caps.len() as u64,
        Call::CloseBudget { .. } => 2,
        Call::Book(_) => 5 + DEVICE_RESERVATIONS_MAX as u64,
        Call::Demand { .. } | Call::Answer { .. } | Call::GiveUp { .. } | Call::Settle { .. } => 3,
    }
}
