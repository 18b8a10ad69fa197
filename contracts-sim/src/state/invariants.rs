//! What holds at every height, as functions of the state alone.

use gridhour_protocol::{
    id::{OrderId, SessionId},
    limits::LANES_MAX,
    units::Credits,
};

use super::{OrderBudget, Session, State};
use crate::limits::{ORDER_SESSIONS_MAX, VALID_BLOCKS_MAX};

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
    check_ids(state)
}

fn hold(rule: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

fn check_money(state: &State) -> Result<(), Violation> {
    let totals = state.tip().totals;
    let balances = Credits::sum(state.accounts().map(|(_, balance)| *balance));
    let holds = Credits::sum(state.sessions().map(|(_, session)| session.held));
    hold("sums", balances == Some(totals.balances) && holds == Some(totals.holds), || {
        format!("balances {balances:?} and holds {holds:?}, but the totals say {totals:?}")
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
    hold("session-has-order", listed, || format!("{id} is not under {}", terms.order))
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

fn check_ids(state: &State) -> Result<(), Violation> {
    let tip = state.tip();
    hold("log", tip.log.is_sane(), || format!("{:?}", tip.log))?;
    for (key, applied) in state.recent_ids.iter() {
        let window = applied.height.0.saturating_add(VALID_BLOCKS_MAX);
        let kept = applied.valid_until >= tip.height && applied.valid_until.0 <= window;
        let logged = applied.leaf < tip.log.size() && applied.height <= tip.height;
        hold("recent-ids", kept && logged, || format!("{key:?}: {applied:?}"))?;
    }
    let indexed = state.recent_ids.are_whole();
    let idle = state.orders.values().filter(|order| order.open == 0).count();
    hold("expiry-index", indexed && idle == state.idle_orders.len(), || "an index misses an entry".into())
}
