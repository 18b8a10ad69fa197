//! Checking a result without computing it. No network and no model: signatures, digests, work, and the exported ledger.

use std::{path::Path, sync::Arc};

use gridhour_contracts_sim::proof::Bundle;
use gridhour_node::{
    drivers::results::{JobResult, Results},
    model::assets::AssetBytes,
};
use gridhour_protocol::{
    exact::numerics_digest,
    id::ReceiptId,
    job::{
        logprobs::Logprobs,
        request::{OutputChain, Request},
    },
    merkle::{Frontier, leaf_hash},
    model::TokenizerAsset,
    receipt::Receipt,
    session::{terms::Terms, voucher::Voucher},
    signed::Signed,
};
use serde_json::json;

use super::{
    chain,
    proof::{Collected, collected},
    rerun::ends,
};
use crate::{
    commands::proof_file,
    context::Context,
    error::{CommandError, Kind, Result},
};

/// One thing that was checked.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub what: &'static str,
    pub holds: bool,
}

pub fn run(context: &Context, results: &Results, id: ReceiptId, save: Option<&Path>) -> Result {
    let (result, _) = results.load(id)?;
    let mut checks = checks(&result, id);
    let tokenizer = tokenizer(context, &result)?;
    checks.extend(tokenizer.as_ref().map(|tokenizer| Check {
        what: "the output ends where the request says",
        holds: ends(&result, tokenizer),
    }));
    let collected = collected(context, results, &result)?;
    let height = match &collected {
        Collected::Proven(proof) => Some(proof.entry.entry.height.0),
        Collected::Unknown(_) | Collected::No => None,
    };
    let ok = checks.iter().all(|check| check.holds);
    let listed = checks.iter().map(|check| json!({ "check": check.what, "ok": check.holds }));
    context.out.document(&json!({
        "ok": ok, "receipt_id": id.to_string(), "checks": listed.collect::<Vec<_>>(),
        "on_ledger": height.is_some(), "height": height, "proof": save.filter(|_| ok && height.is_some()),
        "parts": chain::document(&result),
    }))?;
    chain::lines(&result).iter().try_for_each(|line| context.out.line(line))?;
    for check in &checks {
        context.out.line(format!("{}  {}", if check.holds { "ok   " } else { "WRONG" }, check.what))?;
    }
    if tokenizer.is_none() {
        context
            .out
            .line("       where the output must end was not checked: the tokenizer is not cached here")?;
    }
    context.out.line(said(&collected))?;
    if !ok {
        return Err(CommandError::silent(Kind::Refused, "the result does not fit its receipt"));
    }
    match (save, collected) {
        (None, _) => Ok(()),
        (Some(path), Collected::Proven(proof)) => proof_file::save(path, &Bundle::Receipt(proof)),
        (Some(_), _) => Err(CommandError::refused("nothing can be proven to others yet")
            .hint("fetch the ledger with `gridhour audit export` after the session was settled")),
    }
}

fn said(collected: &Collected) -> String {
    match collected {
        Collected::Proven(proof) => {
            let (at, header) = (proof.entry.entry.height.0, proof.entry.header.body.height.0);
            format!("ok     the provider was paid for it at height {at}, by the log of block {header}")
        }
        Collected::Unknown(at) => format!(
            "       its lane was collected for at height {at}, with receipts that are not kept here: not proven"
        ),
        Collected::No => "       signed, not yet on the ledger that was exported here".into(),
    }
}

/// What does not hold of a result, by what can be seen without computing it.
pub fn failing(result: &JobResult, id: ReceiptId) -> Vec<&'static str> {
    checks(result, id).into_iter().filter(|check| !check.holds).map(|check| check.what).collect()
}

fn checks(result: &JobResult, id: ReceiptId) -> Vec<Check> {
    let JobResult { terms, request, output, logprobs, receipt, voucher, .. } = result;
    let asked = Check { what: "the receipt is the one asked for", holds: receipt.id() == id };
    let answered = Answered { terms, request, output, logprobs, receipt, voucher };
    [vec![asked], answered.checks(), chain::checks(result)].concat()
}

/// One job with all that was signed about it.
pub struct Answered<'a> {
    pub terms: &'a Terms,
    pub request: &'a Request,
    pub output: &'a [u32],
    pub logprobs: &'a [Logprobs],
    pub receipt: &'a Signed<Receipt>,
    pub voucher: &'a Signed<Voucher>,
}

impl Answered<'_> {
    /// Everything that can be seen without computing it.
    pub fn checks(&self) -> Vec<Check> {
        let Self { terms, request, output, logprobs, receipt: signed, voucher } = self;
        let receipt = &signed.body;
        let count = u32::try_from(output.len()).ok();
        let counts = (request.start(), request.prepaid) == (receipt.prompt_tokens, receipt.prepaid)
            && count == Some(receipt.output_tokens);
        let bill = receipt.bill(terms);
        let work = bill.map(|bill| (bill.prefill, bill.decode));
        let time = bill.map(|bill| bill.reference);
        let mut lane = Frontier::new();
        lane.push(leaf_hash(&signed.id().0));
        let commits = voucher.body.receipts > 1 || voucher.body.receipts_root == lane.root();
        let paid = voucher.body.receipts > 1 || terms.amount(receipt.reference) == Some(voucher.body.amount);
        let list = [
            (
                "the provider signed the receipt",
                (*signed).clone().verify().is_ok() && receipt.provider == terms.provider,
            ),
            (
                "the client signed the voucher",
                (*voucher).clone().verify().is_ok() && voucher.body.client == terms.client,
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
            ("the work follows from the counts", work == Some((receipt.prefill_work, receipt.decode_work))),
            ("the reference time follows from the work", time == Some(receipt.reference)),
            ("the voucher pays exactly that", paid),
            ("the voucher commits to the receipt", commits),
        ];
        list.map(|(what, holds)| Check { what, holds }).into()
    }
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
