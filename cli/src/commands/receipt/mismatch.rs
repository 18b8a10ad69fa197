//! Checking what several providers signed to one order and did not all answer alike. No model: who is right is found by
//! computing any of the answers again.

use std::path::Path;

use gridhour_node::drivers::mismatch::{Answer, Mismatch};
use gridhour_protocol::{job::agreement::Tally, signed::PublicKey};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
};

pub fn run(context: &Context, file: &Path) -> Result {
    let mismatch = Mismatch::load(file)?;
    let tally = match mismatch.tally() {
        Ok(tally) => tally,
        Err(fault) => return refuse(context, &fault.to_string()),
    };
    let answers: Vec<Value> = mismatch.answers.iter().map(|answer| answer_json(answer, &tally)).collect();
    context.out.document(&json!({
        "ok": true, "order": mismatch.asked.order.id().to_string(), "verdict": tally.verdict.name(),
        "answers": answers, "silent": tally.silent.iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))?;
    context.out.line(format!("order    {}", mismatch.asked.order.id()))?;
    context.out.line(format!("verdict  {}", tally.verdict.name()))?;
    for answer in &mismatch.answers {
        let (who, receipt) = (answer.terms.provider, answer.receipt.id());
        let (said, tokens) = (side(&tally, &who), answer.output.len());
        context.out.line(format!("{said:<8} {} wrote {tokens} tokens, receipt {receipt}", who.short()))?;
    }
    let signed = |who: &PublicKey| mismatch.answers.iter().any(|answer| answer.terms.provider == *who);
    for silent in tally.silent.iter().filter(|who| !signed(who)) {
        context.out.line(format!("silent   {}", silent.short()))?;
    }
    context.out.line("Who is right: gridhour receipt rerun RECEIPT, on a machine with the model")
}

/// Where a provider stands.
fn side(tally: &Tally, who: &PublicKey) -> &'static str {
    match (tally.agreed.contains(who), tally.dissent.contains(who)) {
        (true, _) => "agreed",
        (_, true) => "differs",
        // It signed for the beginning of an answer, which is no vote.
        _ => "stopped",
    }
}

fn answer_json(answer: &Answer, tally: &Tally) -> Value {
    let provider = answer.terms.provider;
    json!({
        "provider": provider.to_string(), "side": side(tally, &provider),
        "receipt_id": answer.receipt.id().to_string(), "session": answer.terms.id().to_string(),
        "cause": answer.receipt.body.cause.name(), "token_ids": answer.output,
    })
}

fn refuse(context: &Context, why: &str) -> Result {
    context.out.document(&json!({ "ok": false, "why": why }))?;
    context.out.line(format!("NOT proven: {why}"))?;
    Err(CommandError::silent(Kind::Refused, why))
}
