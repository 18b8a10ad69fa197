//! The state of the ledger: a fold of its blocks, and nothing else.
//!
//! Everything is walked in the order of its keys, so that two replicas walk it alike. What grows with use is bounded by
//! money and time: accounts without a balance, sessions that ended, orders and devices that expired, empty stakes and
//! ids that can no longer repeat are dropped, and live on in the log alone.

use std::collections::{BTreeMap, BTreeSet};

use gridhour_protocol::{
    id::{BlockHash, BudgetId, DeviceId, ModelId, NetworkId, OrderId, ReservationId, SessionId, TxId},
    merkle::{Frontier, Hash},
    session::terms::Terms,
    signed::PublicKey,
    units::{Credits, Height, PricePerHour, Timestamp},
    wire::Wire,
};
use serde::{Deserialize, Serialize};

use self::{committed::Committed, pending::Pending, recent_ids::RecentIds, table::Table};
use crate::{genesis::Genesis, ledger::entry::Lane};

pub mod budget;
pub mod changes;
mod committed;
pub mod device;
pub mod draw;
mod fresh;
pub mod invariants;
pub(crate) mod pending;
mod point;
mod recent_ids;
mod records;
pub mod reservation;
pub mod stake;
mod table;
pub mod tree;

pub use budget::Budget;
pub use changes::Changes;
pub use committed::{Shown, StateKey, StateValue};
pub use device::{Device, DeviceKey};
pub use draw::Draw;
pub use invariants::{Violation, check_invariants};
pub use pending::PendingCheckpoint;
pub use recent_ids::IdPage;
pub use records::{CURSOR_KEY, Cursor, LoadError, Record};
pub use reservation::Reservation;
pub use stake::Stake;

/// Accounts, sessions, orders, devices, stakes, budgets, reservations, recent ids, and the last block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    genesis: Genesis,
    network: NetworkId,
    accounts: Table<PublicKey, Credits>,
    sessions: BTreeMap<SessionId, Session>,
    orders: BTreeMap<OrderId, OrderBudget>,
    devices: BTreeMap<DeviceKey, Device>,
    stakes: BTreeMap<DeviceId, Stake>,
    budgets: BTreeMap<BudgetId, Budget>,
    reservations: BTreeMap<ReservationId, Reservation>,
    recent_ids: RecentIds,
    tip: Tip,
    pending: Option<Pending>,
    // Derived: what to drop when its time comes.
    idle_orders: BTreeSet<(Timestamp, OrderId)>,
    expiring_devices: BTreeSet<(Timestamp, DeviceKey)>,
    barred: BTreeSet<(Timestamp, DeviceId)>,
    // Derived: what is reserved of a device.
    reserved: BTreeSet<(DeviceId, ReservationId)>,
    committed: Committed,
}

/// A session that is open or closing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// What both sides signed.
    pub terms: Terms,
    /// Still held: neither paid nor refunded.
    pub held: Credits,
    /// Paid so far: the sum over the lanes.
    pub collected: Credits,
    /// Deadline of the hold: the provider collects until then, and anyone may refund afterwards.
    pub collect_until: Timestamp,
    /// Whether the client asked to end it.
    pub closing: bool,
    /// Lanes that were collected on, rising.
    pub lanes: Vec<Lane>,
    /// What pays for it, if not the client's account does.
    pub draw: Option<Draw>,
}

impl Session {
    /// The lane's last collected voucher, if there was one.
    #[must_use]
    pub fn lane(&self, lane: u16) -> Option<&Lane> {
        self.lanes.iter().find(|known| known.lane == lane)
    }
}

impl Wire for Session {
    const BYTES_MAX: usize = 2 * 1024;
}

/// What one order has used of its limits. Kept until the order has expired and its sessions have ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBudget {
    /// Who pays.
    pub client: PublicKey,
    /// The model that it is for.
    pub model: ModelId,
    /// The most that its sessions may pay for a GPU-hour.
    pub price_max: PricePerHour,
    /// The most that its sessions may cost together.
    pub total_max: Credits,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Held by its open sessions.
    pub held: Credits,
    /// Paid by all its sessions.
    pub spent: Credits,
    /// Sessions that are open or closing.
    pub open: u16,
    /// Every session that ever opened under it, in the order of opening: none of them opens again.
    pub sessions: Vec<SessionId>,
}

impl OrderBudget {
    /// Whether the order's limit covers what is held and spent.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.held.checked_add(self.spent).is_some_and(|used| used <= self.total_max)
    }
}

impl OrderBudget {
    /// Whether these terms stay within what the order allows.
    #[must_use]
    pub fn allows(&self, terms: &Terms) -> bool {
        terms.client == self.client && terms.model == self.model && terms.price <= self.price_max
    }
}

impl Wire for OrderBudget {
    const BYTES_MAX: usize = 4 * 1024;
}

/// How a sender names a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxKey {
    /// Who sent it.
    pub sender: PublicKey,
    /// The number that the sender chose.
    pub nonce: u64,
}

/// Where an applied transaction went. Kept until it could not be applied again anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its id.
    pub id: TxId,
    /// Its block.
    pub height: Height,
    /// Its leaf in the log.
    pub leaf: u64,
    /// The last block in which it was valid.
    pub valid_until: Height,
}

/// Sums over the whole ledger. At every height, balances, holds and stakes together are what was issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Minted and allocated, less what was burned.
    pub issued: Credits,
    /// Sum of all balances.
    pub balances: Credits,
    /// Sum of all holds: of sessions, the pots of budgets, and what is prepaid and put up for reservations.
    pub holds: Credits,
    /// Sum of all that is at stake, bonded or on its way back.
    pub stakes: Credits,
    /// Receipts that clients accepted, over all lanes ever collected on.
    pub receipts: u64,
}

impl Totals {
    /// Whether balances, holds and stakes are exactly what was issued.
    #[must_use]
    pub fn are_conserved(&self) -> bool {
        Credits::sum([self.balances, self.holds, self.stakes]) == Some(self.issued)
    }
}

/// The state's root at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRoot {
    /// The block after which it was taken.
    pub height: Height,
    /// The time of that block.
    pub time: Timestamp,
    /// The root.
    pub root: Hash,
}

/// What the next block builds on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Height of the last block.
    pub height: Height,
    /// Hash of its header; of the genesis at height 0.
    pub hash: BlockHash,
    /// Its time.
    pub time: Timestamp,
    /// The log of entries.
    pub log: Frontier,
    /// Sums.
    pub totals: Totals,
    /// The last checkpoint that the block, or one before it, names; that of the genesis at first.
    pub checkpoint: StateRoot,
}

impl Wire for Tip {
    const BYTES_MAX: usize = 4 * 1024;
}

impl State {
    /// The state at height 0.
    ///
    /// # Errors
    /// With a sentence, if the genesis breaks its own rules.
    pub fn new(genesis: Genesis) -> Result<Self, String> {
        genesis.check_bounds()?;
        let issued = genesis.issued().ok_or("the allocations overflow 64 bits")?;
        let network = genesis.id();
        let checkpoint = StateRoot { height: Height(0), time: genesis.created_at, root: [0; 32] };
        let tip = Tip {
            height: Height(0),
            hash: BlockHash(network.0),
            time: genesis.created_at,
            log: Frontier::new(),
            totals: Totals { issued, balances: issued, ..Totals::default() },
            checkpoint,
        };
        let accounts = genesis.allocations.iter().map(|item| (item.account, item.amount)).collect();
        let mut state = Self::with_tip(genesis, network, tip);
        state.accounts = accounts;
        state.plant_tree();
        state.tip.checkpoint.root = state.root();
        Ok(state)
    }

    fn with_tip(genesis: Genesis, network: NetworkId, tip: Tip) -> Self {
        Self {
            genesis,
            network,
            accounts: Table::default(),
            sessions: BTreeMap::new(),
            orders: BTreeMap::new(),
            devices: BTreeMap::new(),
            stakes: BTreeMap::new(),
            budgets: BTreeMap::new(),
            reservations: BTreeMap::new(),
            recent_ids: RecentIds::default(),
            tip,
            pending: None,
            idle_orders: BTreeSet::new(),
            expiring_devices: BTreeSet::new(),
            barred: BTreeSet::new(),
            reserved: BTreeSet::new(),
            committed: Committed::default(),
        }
    }

    /// The network's beginning.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The network's id.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// The last block, the log and the sums.
    #[must_use]
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Hands out the log, which is empty here until it is put back: for whoever goes on with it elsewhere.
    pub(crate) fn take_log(&mut self) -> Frontier {
        std::mem::take(&mut self.tip.log)
    }

    /// Puts the log where it belongs.
    pub(crate) fn put_log(&mut self, log: Frontier) {
        self.tip.log = log;
    }

    /// What `account` can spend.
    #[must_use]
    pub fn balance(&self, account: &PublicKey) -> Credits {
        self.accounts.get(account).copied().unwrap_or(Credits::ZERO)
    }

    /// All accounts with a balance.
    pub fn accounts(&self) -> impl Iterator<Item = (&PublicKey, &Credits)> {
        self.accounts.iter()
    }

    /// A session that is open or closing.
    #[must_use]
    pub fn session(&self, session: &SessionId) -> Option<&Session> {
        self.sessions.get(session)
    }

    /// All sessions that are open or closing.
    pub fn sessions(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.sessions.iter()
    }

    /// What an order has used, while the ledger remembers it.
    #[must_use]
    pub fn order(&self, order: &OrderId) -> Option<&OrderBudget> {
        self.orders.get(order)
    }

    /// All orders that the ledger remembers.
    pub fn orders(&self) -> impl Iterator<Item = (&OrderId, &OrderBudget)> {
        self.orders.iter()
    }

    /// Where a transaction went, while the ledger remembers it.
    #[must_use]
    pub fn applied(&self, key: &TxKey) -> Option<Applied> {
        self.recent_ids.get(key)
    }
}
