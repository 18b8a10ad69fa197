//! The root of the state: one hash over every account, order, session, device, stake and budget, for the checkpoints in block headers.
//!
//! A Merkle tree of the shape of RFC 6962 over BLAKE3, leaves sorted by key. Ids of recent transactions are left out:
//! they follow from the transaction roots of the last blocks.

use gridhour_protocol::{layout::Layout, merkle::Hash};

use super::{Budget, Device, OrderBudget, Session, Stake, State};
use crate::ledger::entry::lay_out_lanes;

impl State {
    /// The root of the state as it is now.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut leaves = Vec::with_capacity(self.accounts.len() + self.orders.len() + self.sessions.len());
        leaves.extend(self.accounts.iter().map(|(key, balance)| {
            leaf(|out| {
                out.u8(b'a').fixed(&key.0).u64(balance.0);
            })
        }));
        for (id, budget) in &self.budgets {
            leaves.push(leaf(|out| lay_out_budget(out.u8(b'b').fixed(&id.0), budget)));
        }
        for (key, device) in &self.devices {
            leaves.push(leaf(|out| {
                lay_out_device(out.u8(b'd').fixed(&key.owner.0).fixed(&key.device.0), device);
            }));
        }
        for (id, stake) in &self.stakes {
            leaves.push(leaf(|out| lay_out_stake(out.u8(b'k').fixed(&id.0), stake)));
        }
        for (id, order) in &self.orders {
            leaves.push(leaf(|out| lay_out_order(out.u8(b'o').fixed(&id.0), order)));
        }
        for (id, session) in &self.sessions {
            leaves.push(leaf(|out| lay_out_session(out.u8(b's').fixed(&id.0), session)));
        }
        fold(&leaves)
    }
}

fn leaf(lay_out: impl FnOnce(&mut Layout)) -> Hash {
    let mut out = Layout::new("gridhour/state-leaf/v1");
    lay_out(&mut out);
    out.hash()
}

fn fold(leaves: &[Hash]) -> Hash {
    let (left, right) = match leaves {
        [] => return Layout::new("gridhour/state-empty/v1").hash(),
        [leaf] => return *leaf,
        _ => leaves.split_at(leaves.len().next_power_of_two() / 2),
    };
    let mut out = Layout::new("gridhour/state-node/v1");
    out.fixed(&fold(left)).fixed(&fold(right));
    out.hash()
}

fn lay_out_order(out: &mut Layout, order: &OrderBudget) {
    out.fixed(&order.client.0).fixed(&order.model.0).u64(order.price_max.0).u64(order.total_max.0);
    out.u64(order.expires_at.0).u64(order.held.0).u64(order.spent.0).u16(order.open);
    out.count(order.sessions.len());
    for session in &order.sessions {
        out.fixed(&session.0);
    }
}

// The key is the hash of the terms, so it stands for them.
fn lay_out_session(out: &mut Layout, session: &Session) {
    out.u64(session.held.0).u64(session.collected.0).u64(session.collect_until.0);
    out.u8(u8::from(session.closing));
    lay_out_lanes(out, &session.lanes);
    match &session.draw {
        None => out.u8(0),
        Some(draw) => out.u8(1).fixed(&draw.budget.0).u16(draw.cap).u64(draw.period).u64(draw.charged.0),
    };
}

fn lay_out_budget(out: &mut Layout, budget: &Budget) {
    out.fixed(&budget.owner.0).u64(budget.pot.0).u64(budget.created_at.0).u64(budget.period.0);
    out.u64(budget.until.0).u8(u8::from(budget.closing)).u32(budget.open).count(budget.caps.len());
    for cap in &budget.caps {
        cap.plan.lay_out(out);
        out.u64(cap.period).u64(cap.used.0);
    }
}

fn lay_out_device(out: &mut Layout, device: &Device) {
    device.registration.lay_out(out);
    match &device.measured {
        None => out.u8(0),
        Some(measured) => {
            out.u8(1).fixed(&measured.challenger.0).fixed(&measured.numerics).u64(measured.memory_bytes);
            measured.rates.lay_out(out);
            out.u64(measured.ended_at.0)
        }
    };
}

fn lay_out_stake(out: &mut Layout, stake: &Stake) {
    out.fixed(&stake.owner.0).u64(stake.bonded.0).u64(stake.until.0).count(stake.unbonding.len());
    for part in &stake.unbonding {
        out.u64(part.amount.0).u64(part.release_at.0);
    }
    match stake.barred_until {
        None => out.u8(0),
        Some(until) => out.u8(1).u64(until.0),
    };
}
