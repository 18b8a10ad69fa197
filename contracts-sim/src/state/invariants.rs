//! What holds at every height, as functions of the state alone.

use gridhour_protocol::{
    id::{BudgetId, DeviceId, OrderId, SessionId},
    limits::LANES_MAX,
    units::Credits,
};

use self::{drawn::check_drawn, reservations::check_reservation};
use super::{
    Budget, Device, DeviceKey, Draw, OrderBudget, Reservation, Session, Stake, State, pending::Pending,
};
use crate::limits::{
    ACCUSATION_MS_MAX, BOND_MS_MAX, BUDGET_MS_MAX, DEVICES_MAX, ORDER_SESSIONS_MAX, REGISTRATION_MS_MAX,
    UNBOND_DELAY, UNBONDINGS_MAX, VALID_BLOCKS_MAX,
};

mod drawn;
mod reservations;

/// A rule that the state breaks: a defect of the ledger, never a user's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    /// The rule's stable name.
    pub rule: &'static str,
    /// What breaks it.
    pub detail: String,
}

/// Checks every invariant.
///
/// # Errors
/// With the first that does not hold.
pub fn check_invariants(state: &State) -> Result<(), Violation> {
    check_money(state)?;
    state.sessions().try_for_each(|(id, session)| check_session(state, id, session))?;
    state.orders().try_for_each(|(id, order)| check_order(state, id, order))?;
    state.devices().try_for_each(|(key, device)| check_device(state, key, device))?;
    state.stakes().try_for_each(|(id, stake)| check_stake(state, id, stake))?;
    state.budgets().try_for_each(|(id, budget)| check_budget(state, id, budget))?;
    state.reservations().try_for_each(|(id, reservation)| check_reservation(state, id, reservation))?;
    check_drawn(state)?;
    check_ids(state)
}

fn hold(rule: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

fn check_money(state: &State) -> Result<(), Violation> {
    let totals = state.tip().totals;
    let balances = Credits::sum(state.accounts().map(|(_, balance)| *balance));
    let sessions = state.sessions().map(|(_, session)| session.held);
    let pots = state.budgets().map(|(_, budget)| budget.pot);
    let reserved: Option<Vec<Credits>> =
        state.reservations().map(|(_, item)| Reservation::total(item)).collect();
    let holds = reserved.and_then(|reserved| Credits::sum(sessions.chain(pots).chain(reserved)));
    let stakes: Option<Vec<Credits>> = state.stakes().map(|(_, stake)| stake.total()).collect();
    let stakes = stakes.and_then(Credits::sum);
    let sums = [balances, holds, stakes];
    hold("sums", sums == [totals.balances, totals.holds, totals.stakes].map(Some), || {
        format!("balances, holds and stakes are {sums:?}, but the totals say {totals:?}")
    })?;
    hold("conservation", totals.are_conserved(), || format!("{totals:?}"))?;
    let empty = state.accounts().find(|(_, balance)| **balance == Credits::ZERO);
    hold("no-empty-accounts", empty.is_none(), || format!("{empty:?}"))
}

fn check_session(state: &State, id: &SessionId, session: &Session) -> Result<(), Violation> {
    let terms = &session.terms;
    hold("session-id", *id == terms.id(), || format!("{id} is not the hash of its terms"))?;
    let has_deadline = session.collect_until.0 > 0 && session.collect_until <= terms.collect_until;
    hold("hold-deadline", has_deadline, || format!("{id}: {:?}", session.collect_until))?;
    let paid = Credits::sum(session.lanes.iter().map(|lane| lane.amount));
    hold("lanes-sum", paid == Some(session.collected), || format!("{id}: {paid:?}"))?;
    let rising = session.lanes.is_sorted_by(|a, b| a.lane < b.lane);
    let known = session.lanes.iter().all(|lane| usize::from(lane.lane) < LANES_MAX);
    hold("lanes-rising", rising && known, || format!("{id}: {:?}", session.lanes))?;
    let listed = state.order(&terms.order).is_some_and(|order| order.sessions.contains(id));
    hold("session-has-order", listed, || format!("{id} is not under {}", terms.order))?;
    let drawn = match session.draw {
        None => true,
        Some(Draw::Budget(draw)) => {
            state.budget(&draw.budget).is_some_and(|budget| usize::from(draw.cap) < budget.caps.len())
        }
        Some(Draw::Slot(draw)) => state.reservation(&draw.reservation).is_some(),
    };
    hold("session-has-payer", drawn, || format!("{id}: {:?}", session.draw))
}

fn check_order(state: &State, id: &OrderId, order: &OrderBudget) -> Result<(), Violation> {
    hold("order-limit", order.is_within(), || format!("{id}: {order:?}"))?;
    let count = order.sessions.len();
    hold("order-sessions", (1..=ORDER_SESSIONS_MAX).contains(&count), || format!("{id}: {count}"))?;
    let open: Vec<_> = order.sessions.iter().filter_map(|session| state.session(session)).collect();
    hold("order-open", open.len() == usize::from(order.open), || format!("{id}: {}", open.len()))?;
    let held = Credits::sum(open.iter().map(|session| session.held));
    hold("order-held", held == Some(order.held), || format!("{id}: {held:?}"))?;
    let paid = Credits::sum(open.iter().map(|session| session.collected));
    hold("order-spent", paid.is_some_and(|paid| paid <= order.spent), || format!("{id}: {paid:?}"))?;
    let fits = open.iter().all(|session| order.allows(&session.terms));
    hold("order-terms", fits, || format!("{id}: a session is outside its order"))
}

fn check_device(state: &State, key: &DeviceKey, device: &Device) -> Result<(), Violation> {
    let registration = &device.registration;
    let named = registration.device_of(&key.owner) == key.device && key.owner.is_usable();
    hold("device-id", named, || format!("{key:?} is not the id of its owner's device"))?;
    let (now, expires_at) = (state.tip().time, registration.expires_at);
    let lives = now < expires_at && expires_at.since(now).0 <= REGISTRATION_MS_MAX;
    hold("device-expiry", lives, || format!("{key:?}: {expires_at:?}"))?;
    let count = state.devices_of(&key.owner).count();
    hold("devices-bounded", count <= DEVICES_MAX, || format!("{:?} has {count}", key.owner))
}

/// Whatever is at stake has a deadline, after which anyone can send it home.
fn check_stake(state: &State, id: &DeviceId, stake: &Stake) -> Result<(), Violation> {
    let now = state.tip().time;
    let parts = &stake.unbonding;
    let sound = parts.len() <= UNBONDINGS_MAX && parts.iter().all(|part| part.amount != Credits::ZERO);
    hold("unbondings", sound, || format!("{id}: {parts:?}"))?;
    let rising = parts.is_sorted_by(|a, b| a.release_at <= b.release_at);
    let soon = parts.iter().all(|part| part.release_at.since(now) <= UNBOND_DELAY);
    hold("unbonding-deadline", rising && soon, || format!("{id}: {parts:?}"))?;
    hold("bond-deadline", stake.until.since(now).0 <= BOND_MS_MAX, || format!("{id}: {:?}", stake.until))?;
    let barred = stake.barred_until.is_none_or(|until| until.since(now).0 <= ACCUSATION_MS_MAX);
    let kept = stake.holds_any() != stake.barred_until.is_some();
    hold("stake-kept", barred && kept, || format!("{id}: {stake:?}"))
}

fn check_budget(state: &State, id: &BudgetId, budget: &Budget) -> Result<(), Violation> {
    let has_end = budget.until.since(state.tip().time).0 <= BUDGET_MS_MAX;
    hold("budget-deadline", has_end, || format!("{id}: {:?}", budget.until))?;
    let over = budget.closing && (budget.open == 0 || budget.pot != Credits::ZERO);
    hold("budget-closed", !over, || format!("{id}: {budget:?}"))?;
    let covered = (0..budget.caps.len()).all(|at| covers_those_below(budget, at));
    hold("budget-tree", covered, || format!("{id}: {:?}", budget.caps))
}

/// Whatever is charged to a cap is charged to those above it.
fn covers_those_below(budget: &Budget, at: usize) -> bool {
    let cap = &budget.caps[at];
    let below = budget.caps.iter().filter(|below| below.plan.parent.map(usize::from) == Some(at));
    let used = Credits::sum(below.map(|below| below.used_in(cap.period)));
    used.is_some_and(|used| used <= cap.used)
}

fn check_ids(state: &State) -> Result<(), Violation> {
    let tip = state.tip();
    hold("log", tip.log.is_sane(), || format!("{:?}", tip.log))?;
    let past = tip.checkpoint.height <= tip.height && tip.checkpoint.time <= tip.time;
    hold("checkpoint", past, || format!("{:?}", tip.checkpoint))?;
    let pending = state.pending().map(Pending::height);
    let next = pending.is_none_or(|begun| tip.checkpoint.height < begun && begun <= tip.height);
    hold("pending-checkpoint", next, || format!("{pending:?}"))?;
    for (key, applied) in state.recent_ids.iter() {
        let window = applied.height.0.saturating_add(VALID_BLOCKS_MAX);
        let kept = applied.valid_until >= tip.height && applied.valid_until.0 <= window;
        let logged = applied.leaf < tip.log.size() && applied.height <= tip.height;
        hold("recent-ids", kept && logged, || format!("{key:?}: {applied:?}"))?;
    }
    let indexed = state.recent_ids.are_whole();
    let idle = state.orders.values().filter(|order| order.open == 0).count();
    let barred = state.stakes.values().filter(|stake| stake.barred_until.is_some()).count();
    let of_providers = state.devices.len() == state.expiring_devices.len() && barred == state.barred.len();
    let reserved = state.reservations.len() == state.reserved.len();
    let all = indexed && idle == state.idle_orders.len() && of_providers && reserved;
    hold("expiry-index", all, || "an index misses an entry".into())
}
