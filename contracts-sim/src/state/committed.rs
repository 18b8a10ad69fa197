//! What the root of the state covers: accounts, orders, sessions, budgets, devices, stakes and reservations, each a leaf
//! of a [`Tree`].
//!
//! The tree is that of the last checkpoint, which block headers name; what blocks replaced since is kept as it was, so
//! that anything can be shown as of the checkpoint while the ledger goes on. For the next checkpoint only that is hashed
//! again, and while it is, blocks go on naming the one before. Names of recent transactions are left out: they follow from the transaction roots of the last blocks.
//!
//! A new kind of record is a variant of [`StateKey`] and of [`StateValue`], and a line wherever those are told apart.

use std::sync::Arc;

use gridhour_protocol::{
    id::{BudgetId, DeviceId, OrderId, ReservationId, SessionId},
    layout::Layout,
    merkle::Hash,
    signed::PublicKey,
    units::{Credits, Height},
    wire::Wire,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Budget, Device, DeviceKey, Draw, OrderBudget, PendingCheckpoint, Reservation, Session, Stake, State, Tip,
    pending::Pending,
    tree::{Change, Proof, Tree},
};
use crate::ledger::entry::lay_out_lanes;

/// Records that a thread hashes at a time; fewer are not worth handing over.
const TASK_RECORDS: usize = 64;

/// Names one record of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateKey {
    /// The balance of an account; absent where it is nothing.
    Account(PublicKey),
    /// What an order has used of its limits, while the ledger remembers it.
    Order(OrderId),
    /// A session that is open or closing.
    Session(SessionId),
    /// A budget that is not over.
    Budget(BudgetId),
    /// A registered device.
    Device(DeviceKey),
    /// What is at stake for a device.
    Stake(DeviceId),
    /// A reservation that is not over.
    Reservation(ReservationId),
}

/// One record of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateValue {
    /// Of an account.
    Balance(Credits),
    /// Of an order.
    Order(Box<OrderBudget>),
    /// Of a session.
    Session(Box<Session>),
    /// Of a budget.
    Budget(Box<Budget>),
    /// Of a device.
    Device(Box<Device>),
    /// Of a stake.
    Stake(Box<Stake>),
    /// Of a reservation.
    Reservation(Box<Reservation>),
}

impl StateKey {
    /// Where the record stands in the tree: a hash, so that nobody chooses it.
    #[must_use]
    pub fn path(&self) -> Hash {
        let mut out = Layout::new("gridhour/state-key/v1");
        match self {
            Self::Account(account) => out.u8(b'a').fixed(&account.0),
            Self::Order(order) => out.u8(b'o').fixed(&order.0),
            Self::Session(session) => out.u8(b's').fixed(&session.0),
            Self::Budget(budget) => out.u8(b'b').fixed(&budget.0),
            Self::Device(key) => out.u8(b'd').fixed(&key.owner.0).fixed(&key.device.0),
            Self::Stake(device) => out.u8(b'k').fixed(&device.0),
            Self::Reservation(reservation) => out.u8(b'r').fixed(&reservation.0),
        };
        out.hash()
    }
}

impl StateValue {
    /// The hash that stands for it in the tree.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut out = Layout::new("gridhour/state-value/v1");
        match self {
            Self::Balance(balance) => {
                out.u8(b'a').u64(balance.0);
            }
            Self::Order(order) => lay_out_order(out.u8(b'o'), order),
            Self::Session(session) => lay_out_session(out.u8(b's'), session),
            Self::Budget(budget) => lay_out_budget(out.u8(b'b'), budget),
            Self::Device(device) => lay_out_device(out.u8(b'd'), device),
            Self::Stake(stake) => lay_out_stake(out.u8(b'k'), stake),
            Self::Reservation(reservation) => lay_out_reservation(out.u8(b'r'), reservation),
        }
        out.hash()
    }

    /// Whether the value can be of this key. The tree holds only such; what came from a stranger has to be asked.
    #[must_use]
    pub fn fits(&self, key: &StateKey) -> bool {
        match (self, key) {
            // A session's terms are not in its hash: its key, the hash of the terms, stands for them.
            (Self::Session(session), StateKey::Session(id)) => session.terms.id() == *id,
            // Nor are a reservation's.
            (Self::Reservation(reservation), StateKey::Reservation(id)) => reservation.terms.id() == *id,
            (Self::Balance(balance), StateKey::Account(_)) => *balance != Credits::ZERO,
            (Self::Order(_), StateKey::Order(_)) => true,
            (Self::Budget(_), StateKey::Budget(_)) | (Self::Stake(_), StateKey::Stake(_)) => true,
            (Self::Device(device), StateKey::Device(key)) => {
                device.registration.device_of(&key.owner) == key.device
            }
            _ => false,
        }
    }
}

impl Wire for StateValue {
    const BYTES_MAX: usize = Budget::BYTES_MAX + 64;

    fn check_bounds(&self) -> Result<(), String> {
        match self {
            Self::Balance(_) => Ok(()),
            Self::Order(order) => order.check_bounds(),
            Self::Session(session) => session.check_bounds(),
            Self::Budget(budget) => budget.check_bounds(),
            Self::Device(device) => device.check_bounds(),
            Self::Stake(stake) => stake.check_bounds(),
            Self::Reservation(reservation) => reservation.check_bounds(),
        }
    }
}

fn lay_out_order(out: &mut Layout, order: &OrderBudget) {
    out.fixed(&order.client.0).fixed(&order.model.0).u64(order.price_max.0).u64(order.total_max.0);
    out.u64(order.expires_at.0).u64(order.held.0).u64(order.spent.0).u16(order.open);
    out.count(order.sessions.len());
    for session in &order.sessions {
        out.fixed(&session.0);
    }
}

fn lay_out_session(out: &mut Layout, session: &Session) {
    out.u64(session.held.0).u64(session.collected.0).u64(session.collect_until.0);
    out.u8(u8::from(session.closing));
    lay_out_lanes(out, &session.lanes);
    match &session.draw {
        None => out.u8(0),
        Some(Draw::Budget(draw)) => {
            out.u8(1).fixed(&draw.budget.0).u16(draw.cap).u64(draw.period).u64(draw.charged.0)
        }
        Some(Draw::Slot(draw)) => out.u8(2).fixed(&draw.reservation.0).u16(draw.slot),
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

fn lay_out_reservation(out: &mut Layout, reservation: &Reservation) {
    out.u16(reservation.slots).u16(reservation.settled).u64(reservation.drawn.0);
    match reservation.demand {
        None => out.u8(0),
        Some(demand) => out.u8(1).u64(demand.answer_by.0).u8(u8::from(demand.answered)),
    };
    out.count(reservation.missed.len());
    for slot in &reservation.missed {
        out.u16(*slot);
    }
    out.u32(reservation.open);
}

/// Records that a block replaced, keys rising.
pub(super) type Replaced = Vec<Replacement>;

/// A record as it was before a block, and as it is after it; `None` where there is none.
#[derive(Clone, Debug)]
pub(super) struct Replacement {
    pub(super) key: StateKey,
    pub(super) before: Option<StateValue>,
    pub(super) after: Option<StateValue>,
}

/// The tree of the last checkpoint that a block names, and what every block since then replaced, which is at most as many
/// as there are blocks between two checkpoints, and those before the second is named. Looked through only for a proof and
/// at a checkpoint, so that a block pays next to nothing for it. All of it follows from the blocks and from where the
/// state was loaded, so it makes no state differ from another.
#[derive(Clone, Debug, Default)]
pub(super) struct Committed {
    tree: Tree,
    height: Height,
    since: Vec<Arc<Replaced>>,
    /// Nothing is noted before this block.
    trusted_until: Option<Height>,
}

impl Committed {
    /// Whether anybody will ask what blocks replaced.
    pub(super) fn notes(&self) -> bool {
        self.trusted_until.is_none()
    }

    /// Notes what a block replaced, each record once.
    pub(super) fn note(&mut self, mut replaced: Replaced) {
        if !replaced.is_empty() {
            replaced.sort_unstable_by_key(|one| one.key);
            self.since.push(Arc::new(replaced));
        }
    }

    /// A record as it was, if it was replaced since.
    fn before(&self, key: &StateKey) -> Option<&Option<StateValue>> {
        let find = |block: &Replaced| block.binary_search_by(|one| one.key.cmp(key)).ok();
        self.since.iter().find_map(|block| Some(&block[find(block)?].before))
    }

    /// Goes on from a checkpoint that is now named.
    fn go_on(&mut self, checkpoint: &PendingCheckpoint) {
        if let Some((tree, blocks)) = checkpoint.tree() {
            self.since.drain(..blocks);
            (self.tree, self.height) = (tree.clone(), checkpoint.height());
        }
    }
}

/// The tree after what blocks replaced, the oldest first: of each record the newest value counts.
pub(super) fn tree_after(base: &Tree, since: &[Arc<Replaced>]) -> Tree {
    let newest_first = since.iter().rev().flat_map(|block| block.iter());
    let mut newest: Vec<&Replacement> = newest_first.collect();
    newest.sort_by_key(|one| one.key);
    newest.dedup_by_key(|one| one.key);
    let change =
        |one: &&Replacement| Change { path: one.key.path(), value: one.after.as_ref().map(StateValue::hash) };
    base.with(newest.par_iter().with_min_len(TASK_RECORDS).map(change).collect())
}

impl PartialEq for Committed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Committed {}

/// A record as of the last checkpoint, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The record; `None` if there was none.
    pub value: Option<StateValue>,
    /// Why to believe it.
    pub proof: Proof,
}

impl State {
    /// A record as it is now.
    #[must_use]
    pub fn value(&self, key: &StateKey) -> Option<StateValue> {
        match key {
            StateKey::Account(account) => self.accounts.get(account).copied().map(StateValue::Balance),
            StateKey::Order(order) => self.order(order).cloned().map(Box::new).map(StateValue::Order),
            StateKey::Session(id) => self.session(id).cloned().map(Box::new).map(StateValue::Session),
            StateKey::Budget(id) => self.budget(id).cloned().map(Box::new).map(StateValue::Budget),
            StateKey::Device(key) => self.device(key).cloned().map(Box::new).map(StateValue::Device),
            StateKey::Stake(id) => self.stake(id).cloned().map(Box::new).map(StateValue::Stake),
            StateKey::Reservation(id) => {
                self.reservation(id).cloned().map(Box::new).map(StateValue::Reservation)
            }
        }
    }

    /// The root of the state as it is now.
    #[must_use]
    pub fn root(&self) -> Hash {
        tree_after(&self.committed.tree, &self.committed.since).root()
    }

    /// Shows a record as of the last checkpoint. `None` if the state was loaded after that checkpoint: then there is
    /// nothing to show before the next one.
    #[must_use]
    pub fn show(&self, key: &StateKey) -> Option<Shown> {
        let trusts = self.committed.trusted_until.is_some();
        if trusts || self.committed.height != self.tip.checkpoint.height {
            return None;
        }
        let value = self.committed.before(key).cloned().unwrap_or_else(|| self.value(key));
        Some(Shown { value, proof: self.committed.tree.prove(&key.path()) })
    }

    /// Whether any record of the tree changed since the last checkpoint.
    #[must_use]
    pub fn is_ahead_of_checkpoint(&self) -> bool {
        self.committed.height != self.tip.checkpoint.height || !self.committed.since.is_empty()
    }

    /// A checkpoint that was begun and that no block names yet.
    #[must_use]
    pub fn pending_checkpoint(&self) -> Option<&PendingCheckpoint> {
        match &self.pending {
            Some(Pending::Hashed(checkpoint)) => Some(checkpoint),
            Some(Pending::Trusted { .. }) | None => None,
        }
    }

    pub(crate) fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// Takes the roots of checkpoints before that at `height` as blocks name them: for whoever replays blocks that he
    /// checked before, up to one that names the checkpoint at `height`. That one is hashed again, and covers everything.
    /// Until then nothing can be shown, and [`State::root`] means nothing.
    pub fn trust_checkpoints_until(&mut self, height: Height) {
        if height > self.tip.height {
            self.committed = Committed { trusted_until: Some(height), ..Committed::default() };
        }
    }

    /// Has a pending checkpoint hashed while whoever replays goes on. Nothing happens where the last block
    /// began none.
    pub fn hash_checkpoint_aside(&self) {
        let begun = |pending: &&PendingCheckpoint| pending.height() == self.tip.height;
        if let Some(pending) = self.pending_checkpoint().filter(begun) {
            pending.hash_aside();
        }
    }

    /// Begins a checkpoint of the state as it is now.
    pub(crate) fn begin_checkpoint(&mut self) {
        let Tip { height, time, .. } = self.tip;
        match self.committed.trusted_until {
            Some(until) if height < until => {
                self.pending = Some(Pending::Trusted { height, time });
                return;
            }
            Some(_) => self.plant_tree(),
            None => {}
        }
        let Committed { tree, since, .. } = &self.committed;
        let checkpoint = PendingCheckpoint::begin(height, time, tree.clone(), since.clone());
        self.pending = Some(Pending::Hashed(checkpoint));
    }

    /// Takes note that a block named the checkpoint that was begun: from now on records are shown as of it.
    pub(crate) fn end_checkpoint(&mut self) {
        if let Some(Pending::Hashed(checkpoint)) = self.pending.take() {
            self.committed.go_on(&checkpoint);
        }
    }

    /// Makes the tree that of a state whose records were all just put in.
    pub(super) fn plant_tree(&mut self) {
        let accounts = self.accounts.iter().map(|(account, _)| StateKey::Account(*account));
        let orders = self.orders.keys().copied().map(StateKey::Order);
        let sessions = self.sessions.keys().copied().map(StateKey::Session);
        let budgets = self.budgets.keys().copied().map(StateKey::Budget);
        let devices = self.devices.keys().copied().map(StateKey::Device);
        let stakes = self.stakes.keys().copied().map(StateKey::Stake);
        let reservations = self.reservations.keys().copied().map(StateKey::Reservation);
        let all = accounts.chain(orders).chain(sessions).chain(budgets).chain(devices).chain(stakes);
        let all: Vec<StateKey> = all.chain(reservations).collect();
        let plant = |key: &StateKey| Change {
            path: key.path(),
            value: self.value(key).as_ref().map(StateValue::hash),
        };
        let changes = all.par_iter().with_min_len(TASK_RECORDS).map(plant).collect();
        let (tree, height) = (Tree::default().with(changes), self.tip.height);
        self.committed = Committed { tree, height, ..Committed::default() };
    }
}
