//! Checking a result without computing it. No network and no model: signatures, digests, work, and the exported ledger.

use std::{fs, path::Path, sync::Arc};

use gridhour_contracts_sim::{
    audit::Trust,
    block::Block,
    export::{Decoder, FrameKind},
    tx::Call,
};
use gridhour_node::{
    drivers::results::{JobResult, Results},
    model::assets::AssetBytes,
};
use gridhour_protocol::{
    exact::numerics_digest,
    id::ReceiptId,
    job::request::OutputChain,
    merkle::{Frontier, leaf_hash},
    model::TokenizerAsset,
    units::Height,
    wire,
};
use serde_json::json;

use super::rerun::ends;
use crate::{
    commands::audit::audit_file,
    context::Context,
    error::{CommandError, Kind, Result},
    joined::network,
};

/// One thing that was checked.
struct Check {
    what: &'static str,
    holds: bool,
}

pub fn run(context: &Context, results: &Results, id: ReceiptId) -> Result {
    let (result, _) = results.load(id)?;
    let mut checks = checks(&result, id);
    let tokenizer = tokenizer(context, &result)?;
    checks.extend(tokenizer.as_ref().map(|tokenizer| Check {
        what: "the output ends where the request says",
        holds: ends(&result, tokenizer),
    }));
    let height = on_ledger(context, &result)?;
    let ok = checks.iter().all(|check| check.holds);
    let listed = checks.iter().map(|check| json!({ "check": check.what, "ok": check.holds }));
    context.out.document(&json!({
        "ok": ok, "receipt_id": id.to_string(), "checks": listed.collect::<Vec<_>>(),
        "on_ledger": height.is_some(), "height": height.map(|height| height.0),
    }))?;
    for check in &checks {
        context.out.line(format!("{}  {}", if check.holds { "ok   " } else { "WRONG" }, check.what))?;
    }
    if tokenizer.is_none() {
        context
            .out
            .line("       where the output must end was not checked: the tokenizer is not cached here")?;
    }
    context.out.line(match height {
        Some(height) => format!("ok     its voucher was collected at height {}", height.0),
        None => "       signed, not yet on the ledger that was exported here".into(),
    })?;
    if ok { Ok(()) } else { Err(CommandError::silent(Kind::Refused, "the result does not fit its receipt")) }
}

fn checks(result: &JobResult, id: ReceiptId) -> Vec<Check> {
    let JobResult { terms, request, output, logprobs, receipt: signed, voucher, .. } = result;
    let receipt = &signed.body;
    let (prompt, count) = (u32::try_from(request.prompt.len()).ok(), u32::try_from(output.len()).ok());
    let counts = prompt == Some(receipt.prompt_tokens) && count == Some(receipt.output_tokens);
    let work = terms.work.prefill(receipt.prompt_tokens) == Some(receipt.prefill_work)
        && terms.work.decode(receipt.prompt_tokens, receipt.output_tokens) == Some(receipt.decode_work);
    let time = terms.job_time(receipt.prompt_tokens, receipt.output_tokens);
    let mut lane = Frontier::new();
    lane.push(leaf_hash(&id.0));
    let commits = voucher.body.receipts > 1 || voucher.body.receipts_root == lane.root();
    let paid = voucher.body.receipts > 1 || terms.amount(receipt.reference) == Some(voucher.body.amount);
    let list = [
        ("the receipt is the one asked for", signed.id() == id),
        (
            "the provider signed the receipt",
            signed.clone().verify().is_ok() && receipt.provider == terms.provider,
        ),
        (
            "the client signed the voucher",
            voucher.clone().verify().is_ok() && voucher.body.client == terms.client,
        ),
        (
            "receipt and voucher are of this session",
            receipt.session == terms.id() && voucher.body.session == terms.id(),
        ),
        ("the arithmetic is the one of this program", receipt.numerics == numerics_digest()),
        ("the model is the session's", receipt.model == terms.model),
        ("the request has the receipt's digest", request.digest() == receipt.request),
        (
            "the output has the receipt's digest",
            OutputChain::of(&receipt.request, output, logprobs) == receipt.output,
        ),
        ("the token counts are right", counts),
        ("the work follows from the counts", work),
        ("the reference time follows from the work", time == Some(receipt.reference)),
        ("the voucher pays exactly that", paid),
        ("the voucher commits to the receipt", commits),
    ];
    list.map(|(what, holds)| Check { what, holds }).into()
}

/// The model's tokenizer, if the client kept it, as it does with every order.
fn tokenizer(context: &Context, result: &JobResult) -> Result<Option<Arc<TokenizerAsset>>> {
    let model = result.terms.model;
    let Some(bytes) = AssetBytes::load(&context.data_dir.assets(), model).map_err(CommandError::refused)?
    else {
        return Ok(None);
    };
    let assets = bytes.check(model).map_err(CommandError::refused)?;
    Ok(Some(assets.tokenizer().shared_asset()))
}

/// The height at which the result's voucher was collected, by the ledger that was last exported here; `None` if it was
/// not, or nothing was exported. An export that is not in order is an error.
fn on_ledger(context: &Context, result: &JobResult) -> Result<Option<Height>> {
    let path = context.data_dir.ledger_export();
    if !path.exists() {
        return Ok(None);
    }
    let (report, _) = audit_file(&path, Trust::Genesis(network(context, None)?.id()))?;
    if !report.ok {
        return Err(CommandError::refused(format!("the ledger in {} is not in order", path.display()))
            .hint("see `gridhour audit verify` for what is wrong"));
    }
    Ok(blocks(&path)?.iter().find(|block| collects(block, result)).map(Block::height))
}

fn collects(block: &Block, result: &JobResult) -> bool {
    let vouchers = block.txs.iter().flat_map(|tx| match &tx.body.call {
        Call::Collect { vouchers, .. } | Call::Close { vouchers, .. } => vouchers.as_slice(),
        _ => &[],
    });
    vouchers.into_iter().any(|voucher| *voucher == result.voucher)
}

/// The blocks of an export that was audited.
fn blocks(path: &Path) -> Result<Vec<Block>> {
    let bytes = fs::read(path).map_err(|error| CommandError::file(path, &error))?;
    let mut decoder = Decoder::default();
    decoder.push(&bytes);
    let mut blocks = Vec::new();
    while let Some((kind, payload)) = decoder.next_frame().map_err(CommandError::refused)? {
        if kind == FrameKind::Block {
            blocks.push(wire::decode(&payload).map_err(CommandError::refused)?);
        }
    }
    Ok(blocks)
}
