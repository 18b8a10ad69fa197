//! Proving to others that one receipt was collected for, and checking such a proof.

use std::path::Path;

use gridhour_contracts_sim::{
    audit::{Auditor, Trust},
    ledger::entry::Lane,
    proof::{Bundle, ReceiptProof, Sought},
};
use gridhour_node::drivers::results::{JobResult, Results};
use gridhour_protocol::merkle::{Hash, inclusion_proof, leaf_hash};
use serde_json::json;

use crate::{
    commands::{
        audit::push_file,
        proof_file::{RESTS_ON, anchor, block_json, load, refuse},
    },
    context::Context,
    error::{CommandError, Result},
    joined::network,
};

/// What the exported ledger says of a receipt.
pub enum Collected {
    /// Nobody collected for it, or nothing was exported.
    No,
    /// It was, and this proves it.
    Proven(Box<ReceiptProof>),
    /// The lane was, at this height, for receipts of which some are not kept here: the ledger does not tell which.
    Unknown(u64),
}

/// Looks the receipt up in the ledger that was last exported here. An export that is not in order is an error.
pub fn collected(context: &Context, results: &Results, result: &JobResult) -> Result<Collected> {
    let path = context.data_dir.ledger_export();
    if !path.exists() {
        return Ok(Collected::No);
    }
    let network = network(context, None)?;
    let mut auditor = Auditor::new(Trust::Genesis(network.id())).seeking(Sought::of(&result.receipt.body));
    push_file(&path, &mut auditor)?;
    let (report, found) = auditor.finish_seeking();
    if !report.ok {
        return Err(CommandError::refused(format!("the ledger in {} is not in order", path.display()))
            .hint("see `gridhour audit verify` for what is wrong"));
    }
    let Some(entry) = found else { return Ok(Collected::No) };
    let lane = entry.entry.event.lanes().iter().find(|lane| lane.lane == result.receipt.body.lane);
    let Some(path) = lane.map(|lane| lane_path(results, result, lane)).transpose()?.flatten() else {
        return Ok(Collected::Unknown(entry.entry.height.0));
    };
    let proof = ReceiptProof { receipt: result.receipt.clone(), path, entry };
    proof.verify(&(&network.genesis).into()).map_err(CommandError::refused)?;
    Ok(Collected::Proven(Box::new(proof)))
}

/// The receipt's place among those of its lane, from the results kept here. `None` if some of them are missing.
fn lane_path(results: &Results, result: &JobResult, lane: &Lane) -> Result<Option<Vec<Hash>>> {
    let own = &result.receipt.body;
    let mut receipts: Vec<_> = results.list()?.into_iter().map(|(result, _)| result.receipt).collect();
    receipts.retain(|receipt| {
        let body = &receipt.body;
        (body.session, body.lane) == (own.session, own.lane) && body.index < lane.receipts
    });
    receipts.sort_by_key(|receipt| receipt.body.index);
    let whole = (0..lane.receipts).eq(receipts.iter().map(|receipt| receipt.body.index));
    let leaves: Vec<Hash> = receipts.iter().map(|receipt| leaf_hash(&receipt.id().0)).collect();
    Ok(usize::try_from(own.index).ok().filter(|_| whole).and_then(|index| inclusion_proof(&leaves, index)))
}

/// Checks a proof that someone else handed over, with nothing but the network file.
pub fn verify(context: &Context, file: &Path, network: Option<&Path>) -> Result {
    let anchor = anchor(context, network)?;
    let Bundle::Receipt(proof) = load(file)? else {
        return refuse(context, "the file proves no receipt; see `gridhour audit verify-balance`");
    };
    let proven = match proof.verify(&anchor) {
        Ok(proven) => proven,
        Err(error) => return refuse(context, error),
    };
    let (receipt, lane) = (&proven.receipt, &proven.lane);
    context.out.document(&json!({
        "ok": true, "receipt_id": proven.id.to_string(), "provider": receipt.provider.to_string(),
        "session": receipt.session.to_string(), "model_id": receipt.model.to_string(),
        "prompt_tokens": receipt.prompt_tokens, "output_tokens": receipt.output_tokens,
        "lane": lane.lane, "lane_receipts": lane.receipts, "lane_amount": lane.amount.0,
        "height": proven.at.0, "block": block_json(&proven.header), "trust": "genesis",
    }))?;
    let out = context.out;
    out.line(format!("receipt   {}", proven.id))?;
    out.line(format!("provider  {} signed it", receipt.provider))?;
    out.line(format!("job       {} + {} tokens", receipt.prompt_tokens, receipt.output_tokens))?;
    out.line(format!(
        "session   {}, lane {}, receipt {} of {}",
        receipt.session,
        lane.lane,
        receipt.index + 1,
        lane.receipts
    ))?;
    out.line(format!(
        "paid      {} credits for the lane's {} receipts, at height {}",
        lane.amount, lane.receipts, proven.at.0
    ))?;
    out.line(format!("named by  block {}", proven.header.height.0))?;
    out.line(format!("rests on  {RESTS_ON}"))?;
    out.line("proven: the client accepted it, and the provider was paid for it")
}
