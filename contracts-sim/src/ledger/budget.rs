//! Budgets: an organisation pays into a pot once, and its keys open sessions out of it, each under a cap.
//!
//! A hold *is* the budget: what a session holds is charged to its cap and to every one above when it opens, in the same
//! transaction that takes it from the pot. So any number of first calls at once cannot go over a cap. What a session
//! gives back in the period in which it was charged can be held again in that period.

use gridhour_protocol::{
    id::BudgetId,
    signed::PublicKey,
    units::{Credits, Timestamp},
};

use crate::{
    ledger::{
        Effects, Env, Write,
        admit::ensure,
        entry::{Book, Event, Posting},
        open,
        registry::check_lifetime,
        reject::Reject,
    },
    limits::{BUDGET_MIN, BUDGET_MS_MAX},
    state::{
        Draw,
        budget::{Budget, BudgetDraw, Cap},
        changes::Overlay,
    },
    tx::{CapPlan, Open, Plan, Tx},
};

/// Makes a budget, or changes its caps, and pays into its pot.
pub(crate) fn plan(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    plan: &Plan,
    amount: Credits,
) -> Result<Effects, Reject> {
    let id = plan.budget_of(&tx.sender);
    let known = overlay.budget(&id);
    ensure(known.is_some() || amount >= BUDGET_MIN, Reject::TooLittle)?;
    check_lifetime(env.time, plan.until, BUDGET_MS_MAX)?;
    let mut budget = match known {
        Some(known) => replanned(known, plan)?,
        None => fresh(env, &tx.sender, plan),
    };
    budget.pot = budget.pot.checked_add(amount).ok_or(Reject::SupplyOverflow)?;
    let posting = Posting { debit: Book::Account(tx.sender), credit: Book::Budget(id), amount };
    Ok(Effects {
        postings: some_of(posting),
        writes: vec![Write::Budget(id, Some(budget))],
        ..Effects::of(Event::Planned { budget: id, until: plan.until })
    })
}

fn fresh(env: &Env, owner: &PublicKey, plan: &Plan) -> Budget {
    Budget {
        owner: *owner,
        pot: Credits::ZERO,
        created_at: env.time,
        period: plan.period,
        until: plan.until,
        closing: false,
        open: 0,
        caps: plan.caps.iter().map(|plan| unused(*plan)).collect(),
    }
}

fn unused(plan: CapPlan) -> Cap {
    Cap { plan, period: 0, used: Credits::ZERO }
}

/// Sessions name their cap by its place, so caps are added and changed, never moved or removed.
fn replanned(known: &Budget, plan: &Plan) -> Result<Budget, Reject> {
    ensure(!known.closing, Reject::Halted)?;
    let is_same = |(old, new): (&Cap, &CapPlan)| old.plan.parent == new.parent;
    let keeps = plan.caps.len() >= known.caps.len() && known.caps.iter().zip(&plan.caps).all(is_same);
    ensure(keeps && plan.period == known.period, Reject::PlanMismatch)?;
    let mut caps: Vec<Cap> = plan.caps.iter().map(|plan| unused(*plan)).collect();
    for (new, old) in caps.iter_mut().zip(&known.caps) {
        (new.period, new.used) = (old.period, old.used);
    }
    Ok(Budget { until: plan.until, caps, ..known.clone() })
}

/// Opens a session that the pot pays for.
pub(crate) fn draw(
    overlay: &Overlay<'_>,
    env: &Env,
    tx: &Tx,
    id: &BudgetId,
    cap: u16,
    open: &Open,
) -> Result<Effects, Reject> {
    open::check_unreserved(open)?;
    open::check_sides(open)?;
    let mut budget = overlay.budget(id).ok_or(Reject::UnknownBudget)?.clone();
    let known = budget.caps.get(usize::from(cap)).ok_or(Reject::UnknownBudget)?;
    ensure(known.plan.spender == Some(tx.sender), Reject::NotSpender)?;
    let draw = BudgetDraw { budget: *id, cap, period: 0, charged: Credits::ZERO };
    let draw = charge(&mut budget, draw, open.hold, env.time)?;
    budget.open = budget.open.checked_add(1).ok_or(Reject::OverCap)?;
    let effects = open::opened(overlay, env, tx, open, Some(Draw::Budget(draw)))?;
    pay_from(effects, budget, &draw.budget, open.hold)
}

/// Adds to the hold of a session that a budget pays for. The caller has checked the session, and holds `amount` in it.
pub(crate) fn top_up(
    overlay: &Overlay<'_>,
    env: &Env,
    draw: BudgetDraw,
    amount: Credits,
) -> Result<(Budget, BudgetDraw), Reject> {
    let mut budget = budget_of(overlay, &draw);
    let draw = charge(&mut budget, draw, amount, env.time)?;
    Ok((budget, draw))
}

/// Takes `amount` of a hold from the pot.
pub(crate) fn pay_from(
    effects: Effects,
    mut budget: Budget,
    id: &BudgetId,
    amount: Credits,
) -> Result<Effects, Reject> {
    budget.pot = budget.pot.checked_sub(amount).ok_or(Reject::InsufficientBalance)?;
    Ok(effects.with(Write::Budget(*id, Some(budget))))
}

/// Charges a hold to the draw's cap and to every one above.
fn charge(
    budget: &mut Budget,
    draw: BudgetDraw,
    amount: Credits,
    now: Timestamp,
) -> Result<BudgetDraw, Reject> {
    let (period, path) = (budget.period_at(now), budget.path(draw.cap));
    let halted = budget.closing || path.iter().any(|at| budget.caps[*at].plan.halted);
    ensure(!halted, Reject::Halted)?;
    for at in path {
        let cap = &mut budget.caps[at];
        let used = cap.used_in(period).checked_add(amount).filter(|used| *used <= cap.plan.amount);
        (cap.period, cap.used) = (period, used.ok_or(Reject::OverCap)?);
    }
    let before = if draw.period == period { draw.charged } else { Credits::ZERO };
    let charged = before.checked_add(amount).ok_or(Reject::OverCap)?;
    Ok(BudgetDraw { period, charged, ..draw })
}

/// Where what is left of an ended session's hold goes, and the budget afterwards: back into the pot, and in the period
/// of its charge back under the caps. A closed budget passes it on to its owner and is forgotten with its last session.
pub(crate) fn end_draw(overlay: &Overlay<'_>, env: &Env, draw: &BudgetDraw, rest: Credits) -> (Book, Write) {
    let mut budget = budget_of(overlay, draw);
    let period = budget.period_at(env.time);
    if draw.period == period {
        let given = rest.min(draw.charged);
        for at in budget.path(draw.cap) {
            let cap = &mut budget.caps[at];
            cap.used = cap.used_in(period).saturating_sub(given);
        }
    }
    budget.open = budget.open.saturating_sub(1);
    if budget.closing {
        let owner = Book::Account(budget.owner);
        let is_over = budget.open == 0;
        return (owner, Write::Budget(draw.budget, (!is_over).then_some(budget)));
    }
    // The pot had it before, so it fits.
    budget.pot = Credits(budget.pot.0.saturating_add(rest.0));
    (Book::Budget(draw.budget), Write::Budget(draw.budget, Some(budget)))
}

fn budget_of(overlay: &Overlay<'_>, draw: &BudgetDraw) -> Budget {
    overlay.budget(&draw.budget).cloned().expect("a budget is kept while a session is open under it")
}

/// Pays the pot to its owner. Nothing more is held under the budget; what its sessions hold follows as they end.
pub(crate) fn close(overlay: &Overlay<'_>, env: &Env, tx: &Tx, id: &BudgetId) -> Result<Effects, Reject> {
    let mut budget = overlay.budget(id).ok_or(Reject::UnknownBudget)?.clone();
    ensure(tx.sender == budget.owner || env.time > budget.until, Reject::NotSpender)?;
    ensure(!budget.closing, Reject::Halted)?;
    let amount = core::mem::take(&mut budget.pot);
    budget.closing = true;
    let posting = Posting { debit: Book::Budget(*id), credit: Book::Account(budget.owner), amount };
    let is_over = budget.open == 0;
    Ok(Effects {
        postings: some_of(posting),
        writes: vec![Write::Budget(*id, (!is_over).then_some(budget))],
        ..Effects::of(Event::BudgetClosed { budget: *id })
    })
}

fn some_of(posting: Posting) -> Vec<Posting> {
    if posting.amount == Credits::ZERO { Vec::new() } else { vec![posting] }
}
