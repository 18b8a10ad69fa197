//! The rules: what the ledger says to a transaction, and what changes if it says yes.
//!
//! ```text
//!  Signed<Tx> ── admit (no state: limits, signatures) ──> Admitted ── judge (state, read only) ──> Effects ── write
//!                          └─────────────── Reject ───────────────────────┘
//! ```
//!
//! Judging only reads, and writing cannot fail: so a refused transaction changes nothing.

use gridhour_protocol::{
    id::{BudgetId, DeviceId, OrderId, ReservationId, SessionId},
    units::{Credits, Height, Timestamp},
};

use crate::{
    ledger::{
        admit::{Admitted, ensure},
        entry::{Book, Entry, Event, Posting},
        reject::Reject,
    },
    limits::VALID_BLOCKS_MAX,
    state::{
        Applied, Budget, Device, DeviceKey, OrderBudget, Reservation, Session, Stake, State, TxKey,
        changes::Overlay,
    },
    tx::{Call, Tx},
};

pub mod admit;
mod budget;
pub mod cost;
mod draw;
pub mod entry;
mod open;
pub(crate) mod postings;
mod registry;
pub mod reject;
mod reservation;
mod session;
pub mod slash;
mod stake;

/// The block that a transaction is applied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// Its height.
    pub height: Height,
    /// Its time: the only one that rules know.
    pub time: Timestamp,
}

/// What a transaction does.
#[derive(Debug)]
pub(crate) struct Effects {
    /// Where money moves.
    pub(crate) postings: Vec<Posting>,
    /// What else changes.
    pub(crate) writes: Vec<Write>,
    /// Receipts that were not counted before.
    pub(crate) receipts: u64,
    /// What the log says.
    pub(crate) event: Event,
}

/// A record as it is after a transaction.
#[derive(Debug)]
pub(crate) enum Write {
    /// A session; `None` once it ended.
    Session(SessionId, Option<Session>),
    /// What an order has used.
    Order(OrderId, OrderBudget),
    /// A device; `None` once it is removed.
    Device(DeviceKey, Option<Device>),
    /// What is at stake for a device.
    Stake(DeviceId, Stake),
    /// A budget; `None` once it is over.
    Budget(BudgetId, Option<Budget>),
    /// A reservation; `None` once it is over.
    Reservation(ReservationId, Option<Reservation>),
}

impl Effects {
    /// Nothing but what the log says.
    fn of(event: Event) -> Self {
        Self { postings: Vec::new(), writes: Vec::new(), receipts: 0, event }
    }

    /// Money moves between accounts, and nothing else happens.
    fn of_money(posting: Posting, event: Event) -> Self {
        Self { postings: vec![posting], ..Self::of(event) }
    }

    /// With one more record changed.
    fn with(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }
}

/// What the ledger would answer to `tx` in its next block, if that has this time and nothing comes in between.
///
/// # Errors
/// With the first rule that says no.
pub fn preview(state: &State, time: Timestamp, tx: &Admitted) -> Result<Entry, Reject> {
    let tip = state.tip();
    let height = Height(tip.height.0.saturating_add(1));
    let mut overlay = Overlay::start(state, height, time);
    apply(&mut overlay, &Env { height, time }, tip.log.size(), tx)
}

/// Applies `tx`, whose entry will be that leaf of the log, or refuses it and changes nothing.
pub(crate) fn apply(overlay: &mut Overlay<'_>, env: &Env, leaf: u64, tx: &Admitted) -> Result<Entry, Reject> {
    check_identity(overlay, env, tx)?;
    let effects = judge(overlay, env, tx.tx())?;
    let issued = postings::issued_after(overlay.totals().issued, &effects.postings)?;
    let balances = postings::balances_after(overlay, &effects.postings, tx.is_known())?;

    for moved in balances {
        overlay.set_balance(&moved);
    }
    overlay.set_issued(issued);
    for write in effects.writes {
        match write {
            Write::Session(id, session) => overlay.set_session(id, session),
            Write::Order(id, order) => overlay.set_order(id, order),
            Write::Device(key, device) => overlay.set_device(key, device),
            Write::Stake(device, stake) => overlay.set_stake(device, stake),
            Write::Budget(id, budget) => overlay.set_budget(id, budget),
            Write::Reservation(id, reservation) => overlay.set_reservation(id, reservation),
        }
    }
    overlay.add_receipts(effects.receipts);
    let valid_until = tx.tx().valid_until;
    let applied = Applied { id: tx.id(), height: env.height, leaf, valid_until };
    overlay.set_applied(key_of(tx.tx()), applied);
    Ok(Entry { height: env.height, tx: tx.id(), postings: effects.postings, event: effects.event })
}

fn key_of(tx: &Tx) -> TxKey {
    TxKey { sender: tx.sender, nonce: tx.nonce }
}

/// Whether the transaction is for this ledger, now, once.
fn check_identity(overlay: &Overlay<'_>, env: &Env, tx: &Admitted) -> Result<(), Reject> {
    let Tx { network, valid_until, .. } = tx.tx();
    ensure(*network == overlay.base().network(), Reject::WrongNetwork)?;
    if let Some(applied) = overlay.applied(&key_of(tx.tx())) {
        return Err(if applied.id == tx.id() { Reject::Duplicate } else { Reject::NonceReused });
    }
    ensure(env.height <= *valid_until, Reject::ValidityOver)?;
    ensure(valid_until.0 - env.height.0 <= VALID_BLOCKS_MAX, Reject::ValidityTooLong)
}

fn judge(overlay: &Overlay<'_>, env: &Env, tx: &Tx) -> Result<Effects, Reject> {
    let sender = Book::Account(tx.sender);
    match &tx.call {
        Call::Mint { to, amount } => {
            check_issuer(overlay, tx, *amount)?;
            let posting = Posting { debit: Book::Issuance, credit: Book::Account(*to), amount: *amount };
            Ok(Effects::of_money(posting, Event::Minted))
        }
        Call::Burn { amount } => {
            check_issuer(overlay, tx, *amount)?;
            let posting = Posting { debit: sender, credit: Book::Issuance, amount: *amount };
            Ok(Effects::of_money(posting, Event::Burned))
        }
        Call::Transfer { to, amount } => {
            ensure(*amount != Credits::ZERO, Reject::ZeroAmount)?;
            ensure(*to != tx.sender, Reject::SameAccount)?;
            let posting = Posting { debit: sender, credit: Book::Account(*to), amount: *amount };
            Ok(Effects::of_money(posting, Event::Transferred))
        }
        Call::Open(open) => open::open(overlay, env, tx, open),
        Call::TopUp { session, amount } => session::top_up(overlay, env, tx, session, *amount),
        Call::Collect { session, vouchers } => session::collect(overlay, env, tx, session, vouchers),
        Call::Close { session, vouchers, release } => {
            session::close(overlay, env, tx, session, vouchers, release.as_deref())
        }
        Call::Expire { session } => session::expire(overlay, env, session),
        Call::Register(registration) => registry::register(overlay, env, tx, registration),
        Call::Calibrate(calibration) => registry::calibrate(overlay, env, tx, &calibration.body),
        Call::Deregister { device } => registry::deregister(overlay, tx, device),
        Call::Bond { device, amount, until } => stake::bond(overlay, env, tx, device, *amount, *until),
        Call::Unbond { device, amount } => stake::unbond(overlay, env, tx, device, *amount),
        Call::Withdraw { device } => stake::withdraw(overlay, env, device),
        Call::Slash(accusation) => slash::slash(overlay, env, tx, accusation),
        Call::Plan { plan, amount } => budget::plan(overlay, env, tx, plan, *amount),
        Call::Draw { budget, cap, open } => budget::draw(overlay, env, tx, budget, *cap, open),
        Call::CloseBudget { budget } => budget::close(overlay, env, tx, budget),
        Call::Book(offer) => reservation::book(overlay, env, tx, offer),
        Call::Demand { reservation } => reservation::demand(overlay, env, tx, reservation),
        Call::Answer { reservation, advert } => reservation::answer(overlay, env, tx, reservation, advert),
        Call::DrawSlot { reservation, open } => reservation::draw(overlay, env, tx, reservation, open),
        Call::GiveUp { reservation } => reservation::give_up(overlay, env, tx, reservation),
        Call::Settle { reservation } => reservation::settle(overlay, env, reservation),
    }
}

fn check_issuer(overlay: &Overlay<'_>, tx: &Tx, amount: Credits) -> Result<(), Reject> {
    ensure(amount != Credits::ZERO, Reject::ZeroAmount)?;
    ensure(tx.sender == overlay.base().genesis().issuer, Reject::NotIssuer)
}
