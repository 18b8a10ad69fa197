//! What a sample showed, for scripts and for people.

use gridhour_contracts_sim::audit::sample::Share;
use gridhour_protocol::id::to_hex;
use serde_json::{Value, json};

use super::{Item, OnLedger, Outcome};
use crate::{commands::audit::document, context::Context, error::Result};

pub(super) fn say(context: &Context, outcome: &Outcome, confidence: Share) -> Result {
    context.out.document(&answer(outcome, confidence))?;
    let (out, count) = (context.out, outcome.items.len());
    out.line(format!("results    {count} kept here, {} of models that are not here", outcome.beyond.len()))?;
    out.line(format!("against    {}", outcome.source.text()))?;
    let [paid, open, unknown, _] = on_ledger(&outcome.items);
    out.line(format!(
        "ledger     {paid} paid for, {open} not yet, {unknown} in lanes with receipts that are not kept here; it is in \
         order up to block {}",
        outcome.ledger.height.0
    ))?;
    let seed = to_hex(&outcome.seed);
    out.line(format!(
        "sample     {} computed again in {} ms; --seed {seed}",
        outcome.drawn, outcome.took_ms
    ))?;
    for item in outcome.items.iter().filter(|item| item.is_false()) {
        out.line(format!(
            "FALSE      {} of {}: {}",
            item.id,
            item.result.terms.provider,
            reasons(item).join("; ")
        ))?;
    }
    match &outcome.hidden {
        None => out.line("NOT in order"),
        Some(hidden) => {
            let share = share_of(hidden.results, count);
            out.line(format!(
                "hidden     up to {} of the {count} ({:.1} %), worth {} credits, may be false all the same: were it more, \
                 one would have been drawn with a chance above {confidence}",
                hidden.results, 100.0 * share, hidden.credits
            ))?;
            out.line("all that was computed again is the same, bit for bit")
        }
    }
}

fn answer(outcome: &Outcome, confidence: Share) -> Value {
    let Outcome { items, hidden, .. } = outcome;
    let [paid, open, unknown, contradicts] = on_ledger(items);
    let found = items.iter().filter(|item| item.is_false()).map(|item| {
        json!({
            "receipt_id": item.id.to_string(), "provider": item.result.terms.provider.to_string(),
            "reasons": reasons(item),
            "first_difference": item.verdict.as_ref().and_then(|verdict| verdict.first_difference),
        })
    });
    let drawn = items.iter().filter(|item| item.verdict.is_some()).map(|item| item.id.to_string());
    let hidden = hidden.as_ref().map(|hidden| {
        json!({
            "results": hidden.results, "share": share_of(hidden.results, items.len()),
            "credits": hidden.credits.0, "confidence": f64::from(confidence.millionths()) / 1e6,
        })
    });
    json!({
        "ok": !items.iter().any(Item::is_false), "results": items.len(), "sampled": outcome.drawn,
        "seed": to_hex(&outcome.seed), "sample": drawn.collect::<Vec<_>>(), "false": found.collect::<Vec<_>>(),
        "hidden": hidden, "beyond": outcome.beyond.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "paid": paid, "open": open, "unknown": unknown, "contradicts": contradicts,
        "verify_ms": outcome.took_ms, "ledger": document(&outcome.ledger),
        "source": outcome.source.document(),
    })
}

fn share_of(part: u64, count: usize) -> f64 {
    part as f64 / count.max(1) as f64
}

/// How many are paid, open, unknown, contradicted.
fn on_ledger(items: &[Item]) -> [usize; 4] {
    [OnLedger::Paid, OnLedger::Open, OnLedger::Unknown, OnLedger::Contradicts]
        .map(|kind| items.iter().filter(|item| item.on_ledger == kind).count())
}

/// All that is wrong with a result.
fn reasons(item: &Item) -> Vec<String> {
    let seen = item.failing.iter().map(|what| format!("this does not hold: {what}"));
    let contradicts = (item.on_ledger == OnLedger::Contradicts)
        .then(|| "its provider was paid for other receipts on this lane".to_owned());
    let computed = item.verdict.as_ref().and_then(|verdict| verdict.why.clone());
    seen.chain(contradicts).chain(computed).collect()
}
