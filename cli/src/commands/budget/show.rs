//! `gridhour budget show`: the tree of caps, and what is used of each.

use gridhour_contracts_sim::{
    limits::CAP_DEPTH_MAX,
    state::{Budget, StateKey, StateValue},
};
use gridhour_node::{clock, drivers::ledger_client::LedgerClient};
use gridhour_protocol::{id::BudgetId, units::Timestamp};
use serde_json::{Value, json};

use super::{chosen, names_of};
use crate::{
    context::Context,
    error::{CommandError, Result},
    human_time::{span, when},
    joined::with_ledger,
    output::Table,
};

/// A budget as its ledger node says it is.
struct Seen {
    id: BudgetId,
    budget: Budget,
    proven: bool,
    names: Vec<String>,
}

pub fn run(context: &Context, named: Option<&str>) -> Result {
    with_ledger(context, async |ledger, key| {
        let ids = match named {
            Some(named) => vec![chosen(ledger, key.public(), named).await?],
            None => ledger.budgets(key.public()).await?,
        };
        let mut seen = Vec::with_capacity(ids.len());
        for id in ids {
            seen.push(look(context, ledger, id).await?);
        }
        let now = clock::now();
        let documents: Vec<Value> = seen.iter().map(|seen| document(seen, now)).collect();
        context.out.document(&json!({ "budgets": documents }))?;
        if seen.is_empty() {
            return context.out.line(format!("{} owns no budget, and may spend from none", key.public()));
        }
        seen.iter().flat_map(|seen| lines(seen, now)).try_for_each(|line| context.out.line(line))
    })
}

async fn look(context: &Context, ledger: &LedgerClient, id: BudgetId) -> Result<Seen> {
    let checked = ledger.checked_record(StateKey::Budget(id)).await?;
    let proven = checked.is_proven();
    match checked.said {
        Some(StateValue::Budget(budget)) => {
            Ok(Seen { id, budget: *budget, proven, names: names_of(context, id) })
        }
        _ => Err(CommandError::refused(format!("there is no budget {id}: it was closed, or never made"))),
    }
}

/// When the period at `now` ends.
pub fn period_end(budget: &Budget, now: Timestamp) -> Timestamp {
    let periods = budget.period_at(now).saturating_add(1);
    Timestamp(budget.created_at.0.saturating_add(budget.period.0.saturating_mul(periods)))
}

fn document(seen: &Seen, now: Timestamp) -> Value {
    let Seen { id, budget, proven, names } = seen;
    let period = budget.period_at(now);
    let caps = budget.caps.iter().enumerate().map(|(place, cap)| {
        json!({
            "index": place, "name": names.get(place), "parent": cap.plan.parent,
            "spender": cap.plan.spender.map(|spender| spender.to_string()), "amount": cap.plan.amount.0,
            "used": cap.used_in(period).0, "halted": cap.plan.halted,
        })
    });
    json!({
        "id": id.to_string(), "owner": budget.owner.to_string(), "pot": budget.pot.0,
        "period": budget.period.0, "period_ends": period_end(budget, now).0, "until": budget.until.0,
        "closing": budget.closing, "open": budget.open, "proven": proven, "caps": caps.collect::<Vec<_>>(),
    })
}

fn lines(seen: &Seen, now: Timestamp) -> Vec<String> {
    let Seen { id, budget, proven, names } = seen;
    let proven = if *proven { "proven" } else { "the ledger node's word, not proven yet" };
    let (length, end) = (span(budget.period), when(period_end(budget, now), now));
    let mut lines = vec![
        format!("budget   {id} ({proven})"),
        format!("owner    {}", budget.owner),
        format!("pot      {} credits; {} sessions are open under it", budget.pot, budget.open),
        format!("period   {length}; caps are whole again {end}"),
        format!(
            "{}     {}",
            if budget.closing { "CLOSED; would have ended" } else { "ends" },
            when(budget.until, now)
        ),
    ];
    let mut table = Table::new(["cap", "name", "used", "of", "spender", ""]);
    for (place, cap) in budget.caps.iter().enumerate() {
        let depth = budget.path(u16::try_from(place).unwrap_or(u16::MAX)).len().min(CAP_DEPTH_MAX);
        table.row([
            place.to_string(),
            format!(
                "{}{}",
                "  ".repeat(depth.saturating_sub(1)),
                names.get(place).map_or("-", String::as_str)
            ),
            cap.used_in(budget.period_at(now)).to_string(),
            cap.plan.amount.to_string(),
            cap.plan.spender.map_or_else(|| "-".into(), |spender| spender.short()),
            if cap.plan.halted { "halted" } else { "" }.to_owned(),
        ]);
    }
    lines.extend(table.lines());
    lines
}
