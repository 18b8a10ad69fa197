//! What a block changes, kept beside the state until the block is known to be good.

use std::collections::BTreeMap;

use gridhour_protocol::{
    id::{BudgetId, DeviceId, OrderId, ReservationId, SessionId},
    signed::PublicKey,
    units::{Credits, Height, Timestamp},
};

use super::{
    Applied, Budget, Device, DeviceKey, OrderBudget, Reservation, Session, Stake, State, StateKey,
    StateValue, Tip, Totals, TxKey,
    committed::{Replaced, Replacement},
    fresh::Fresh,
    recent_ids::IdGroup,
};
use crate::ledger::postings::Moved;

mod budgets;
mod providers;
mod reservations;

/// New values by key; `None` where a value is dropped. Names of transactions are added, and forgotten in groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub(super) accounts: Fresh<PublicKey, Option<Credits>>,
    pub(super) sessions: BTreeMap<SessionId, Option<Session>>,
    pub(super) orders: BTreeMap<OrderId, Option<OrderBudget>>,
    pub(super) devices: BTreeMap<DeviceKey, Option<Device>>,
    pub(super) stakes: BTreeMap<DeviceId, Option<Stake>>,
    pub(super) budgets: BTreeMap<BudgetId, Option<Budget>>,
    pub(super) reservations: BTreeMap<ReservationId, Option<Reservation>>,
    pub(super) applied: Fresh<TxKey, Applied>,
    pub(super) forgotten: Vec<(IdGroup, usize)>,
}

/// A state as it would be after some changes. The state below stays as it is, so a block that turns out bad leaves
/// nothing behind.
#[derive(Debug)]
pub(crate) struct Overlay<'s> {
    base: &'s State,
    changes: Changes,
    totals: Totals,
    height: Height,
    time: Timestamp,
}

impl<'s> Overlay<'s> {
    /// Starts the block at `height` and `time`: drops ids that can no longer repeat, and what has expired.
    pub(crate) fn start(base: &'s State, height: Height, time: Timestamp) -> Self {
        let mut overlay = Self { base, changes: Changes::default(), totals: base.tip.totals, height, time };
        overlay.changes.forgotten = base.recent_ids.over(height).collect();
        for (expires_at, order) in &base.idle_orders {
            if *expires_at > time {
                break;
            }
            overlay.changes.orders.insert(*order, None);
        }
        overlay.drop_expired();
        overlay
    }

    /// Makes room for what so many transactions change.
    pub(crate) fn reserve(&mut self, txs: usize) {
        // Most move money from one account to another.
        self.changes.accounts.reserve(2 * txs);
        self.changes.applied.reserve(txs);
    }

    pub(crate) fn base(&self) -> &'s State {
        self.base
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    pub(crate) fn balance(&self, account: &PublicKey) -> Credits {
        match self.changes.accounts.get(account) {
            Some(changed) => changed.unwrap_or(Credits::ZERO),
            None => self.base.balance(account),
        }
    }

    pub(crate) fn session(&self, session: &SessionId) -> Option<&Session> {
        match self.changes.sessions.get(session) {
            Some(changed) => changed.as_ref(),
            None => self.base.session(session),
        }
    }

    pub(crate) fn order(&self, order: &OrderId) -> Option<&OrderBudget> {
        match self.changes.orders.get(order) {
            Some(changed) => changed.as_ref(),
            None => self.base.order(order),
        }
    }

    pub(crate) fn applied(&self, key: &TxKey) -> Option<Applied> {
        let before = || self.base.applied(key).filter(|applied| applied.valid_until >= self.height);
        self.changes.applied.get(key).copied().or_else(before)
    }

    /// Sets a balance. The sums follow from what actually changed, never from what a rule meant to change, so that
    /// comparing them with what was issued says something.
    pub(crate) fn set_balance(&mut self, Moved { account, before, after }: &Moved) {
        self.changes.accounts.insert(*account, (*after != Credits::ZERO).then_some(*after));
        replace(&mut self.totals.balances, *before, *after);
    }

    pub(crate) fn set_session(&mut self, id: SessionId, session: Option<Session>) {
        let held = |session: Option<&Session>| session.map_or(Credits::ZERO, |session| session.held);
        let (before, after) = (held(self.session(&id)), held(session.as_ref()));
        replace(&mut self.totals.holds, before, after);
        self.changes.sessions.insert(id, session);
    }

    /// Sets an order's use; forgets it where it has expired and nothing is open under it.
    pub(crate) fn set_order(&mut self, id: OrderId, order: OrderBudget) {
        let is_over = order.open == 0 && order.expires_at <= self.time;
        self.changes.orders.insert(id, (!is_over).then_some(order));
    }

    pub(crate) fn set_applied(&mut self, key: TxKey, applied: Applied) {
        self.changes.applied.insert(key, applied);
    }

    pub(crate) fn set_issued(&mut self, issued: Credits) {
        self.totals.issued = issued;
    }

    pub(crate) fn add_receipts(&mut self, receipts: u64) {
        self.totals.receipts = self.totals.receipts.saturating_add(receipts);
    }
}

// Each part of a sum is at most the sum, and no sum exceeds what was issued unless a rule is broken; then the wrapped
// sum differs from what was issued, which is what the caller checks.
fn replace(sum: &mut Credits, before: Credits, after: Credits) {
    sum.0 = sum.0.wrapping_sub(before.0).wrapping_add(after.0);
}

impl State {
    /// Makes a block's changes part of the state.
    pub(crate) fn absorb(&mut self, changes: &Changes, tip: Tip) {
        let mut replaced = self.committed.notes().then(Replaced::new);
        self.absorb_records(changes, &mut replaced);
        self.recent_ids.absorb(changes);
        self.committed.note(replaced.unwrap_or_default());
        self.tip = tip;
    }

    fn absorb_records(&mut self, changes: &Changes, replaced: &mut Option<Replaced>) {
        merge(
            changes.accounts.iter(),
            StateKey::Account,
            StateValue::Balance,
            replaced,
            |account, balance| match balance {
                Some(balance) => self.accounts.insert(account, balance),
                None => self.accounts.remove(&account),
            },
        );
        let order = |order| StateValue::Order(Box::new(order));
        merge(changes.orders.iter(), StateKey::Order, order, replaced, |id, order| self.put_order(id, order));
        let session = |session| StateValue::Session(Box::new(session));
        merge(changes.sessions.iter(), StateKey::Session, session, replaced, |id, session| {
            put(&mut self.sessions, id, session)
        });
        let budget = |budget| StateValue::Budget(Box::new(budget));
        merge(changes.budgets.iter(), StateKey::Budget, budget, replaced, |id, budget| {
            put(&mut self.budgets, id, budget)
        });
        let device = |device| StateValue::Device(Box::new(device));
        merge(changes.devices.iter(), StateKey::Device, device, replaced, |key, device| {
            self.put_device(key, device)
        });
        let stake = |stake| StateValue::Stake(Box::new(stake));
        merge(changes.stakes.iter(), StateKey::Stake, stake, replaced, |id, stake| self.put_stake(id, stake));
        let reservation = |reservation| StateValue::Reservation(Box::new(reservation));
        merge(
            changes.reservations.iter(),
            StateKey::Reservation,
            reservation,
            replaced,
            |id, reservation| self.put_reservation(id, reservation),
        );
    }

    /// Sets an order's use, or forgets it. Returns what it was.
    pub(super) fn put_order(&mut self, id: OrderId, order: Option<OrderBudget>) -> Option<OrderBudget> {
        let before = self.orders.remove(&id);
        if let Some(before) = &before {
            self.idle_orders.remove(&(before.expires_at, id));
        }
        if let Some(order) = order {
            if order.open == 0 {
                self.idle_orders.insert((order.expires_at, id));
            }
            self.orders.insert(id, order);
        }
        before
    }
}

/// Puts every new value of one kind in its place, and notes what was there where that is wanted.
fn merge<'c, K: Copy + 'c, V: Clone + 'c>(
    changes: impl Iterator<Item = (&'c K, &'c Option<V>)>,
    key: impl Fn(K) -> StateKey,
    value: impl Fn(V) -> StateValue,
    replaced: &mut Option<Replaced>,
    mut put: impl FnMut(K, Option<V>) -> Option<V>,
) {
    for (id, after) in changes {
        let before = put(*id, after.clone());
        if let Some(replaced) = replaced {
            let (before, after) = (before.map(&value), after.clone().map(&value));
            replaced.push(Replacement { key: key(*id), before, after });
        }
    }
}

fn put<K: Ord, V>(table: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => table.insert(key, value),
        None => table.remove(&key),
    }
}
