//! How the demo ends: the ledger audited, one answer computed again, and what there was to see.

use std::{path::Path, sync::Arc};

use gridhour_contracts_sim::audit::{Report, Trust};
use gridhour_node::{drivers::client::Client, engine::EngineConfig, model::tokenizer::tokenizer_asset};
use gridhour_protocol::{id::ReceiptId, units::Credits};
use serde_json::{Value, json};

use super::{Job, stage::Stage};
use crate::{
    commands::{
        audit::{audit_file, document, write_export},
        market::match_json,
        receipt::rerun::{Rerun, rerun},
        run::json_of,
    },
    context::Context,
    error::{CommandError, Result},
    models,
    output::Table,
};

/// Everything that the demo saw.
pub struct Outcome {
    model_id: String,
    providers: Vec<Value>,
    jobs: Vec<Value>,
    rows: Table,
    audit: Report,
    rerun: Rerun,
    rerun_of: ReceiptId,
}

/// Audits the ledger, runs the first answer again and gathers what is to be told.
pub async fn conclude(
    context: &Context,
    client: &Arc<Client>,
    stage: &Stage,
    jobs: Vec<Job>,
    model: &Path,
) -> Result<Outcome> {
    context.out.line("\n== audit")?;
    let audit = audit(context, client, stage).await?;
    let first = jobs.iter().find_map(|job| match job {
        Job::Delivered(result, _) => Some(result),
        Job::Refused(..) => None,
    });
    let first = first.ok_or_else(|| CommandError::internal("no job was delivered"))?;
    let rerun = tokio::task::block_in_place(|| {
        let file = models::open(model)?;
        let tokenizer = Arc::new(tokenizer_asset(&file).map_err(CommandError::refused)?);
        let engine = models::load(&file, model, EngineConfig::default(), context)?;
        rerun(&Arc::new(engine), &tokenizer, first)
    })?;
    let told = jobs.iter().map(|job| tell(client, job)).collect::<Result<_>>()?;
    Ok(Outcome {
        model_id: stage.model_id.to_string(),
        providers: stage.providers.iter().map(provider_json).collect(),
        rows: table(stage, &jobs),
        jobs: told,
        audit,
        rerun,
        rerun_of: first.receipt.id(),
    })
}

/// Exports the ledger to the data directory, where the other commands find it, and audits the file.
async fn audit(context: &Context, client: &Client, stage: &Stage) -> Result<Report> {
    let path = context.data_dir.ledger_export();
    write_export(client.ledger(), &stage.network, &path, |_, _| ()).await?;
    Ok(audit_file(&path, Trust::Genesis(client.network()))?.0)
}

fn provider_json(ready: &super::stage::Ready) -> Value {
    let cast = &ready.cast;
    json!({
        "id": ready.id.to_string(), "device": ready.backend.split('/').next(), "backend": ready.backend, "name": cast.name, "ask": cast.ask,
        "region": cast.region, "threads": cast.threads, "delay_ms": cast.delay_ms,
        "prefill_macs_per_s": ready.rates.0, "decode_macs_per_s": ready.rates.1,
    })
}

fn tell(client: &Client, job: &Job) -> Result<Value> {
    match job {
        Job::Delivered(result, order) => {
            let (_, text) = client.results().load(result.receipt.id())?;
            let mut document = json_of(result, &text);
            document["order"] = json!(order);
            Ok(document)
        }
        Job::Refused(record, order) => {
            Ok(json!({ "provider": null, "text": null, "match": match_json(record), "order": order }))
        }
    }
}

fn table(stage: &Stage, jobs: &[Job]) -> Table {
    let mut table = Table::new(["order", "provider", "tokens", "credits", "first token", "why"]);
    for job in jobs {
        table.row(match job {
            Job::Delivered(result, order) => {
                let receipt = &result.receipt.body;
                [
                    (*order).to_owned(),
                    stage.name_of(&result.terms.provider).to_owned(),
                    format!("{}+{}", receipt.prompt_tokens, receipt.output_tokens),
                    result.cost.to_string(),
                    format!("{} ms", result.ttft_ms),
                    why(stage, &result.matched),
                ]
            }
            Job::Refused(record, order) => {
                let reasons = record.refused.iter().map(|refusal| {
                    format!("{}: {}", stage.name_of(&refusal.provider), refusal.reason.name())
                });
                let dash = || "-".to_owned();
                [(*order).to_owned(), dash(), dash(), dash(), dash(), reasons.collect::<Vec<_>>().join(", ")]
            }
        });
    }
    table
}

/// Why the chosen one: its score against the next best, or the only one left.
fn why(stage: &Stage, record: &gridhour_protocol::market::matching::MatchRecord) -> String {
    match record.candidates.as_slice() {
        [best, next, ..] => {
            format!("score {} before {} of {}", best.score, next.score, stage.name_of(&next.provider))
        }
        _ => "the only one that fits".into(),
    }
}

impl Outcome {
    /// Whether every order went as it should, the ledger is in order, and the answer was the same again.
    pub fn is_well(&self) -> bool {
        let Report { issued, balances, holds, stakes, .. } = self.audit;
        let conserved = Credits::sum([balances, holds, stakes]) == Some(issued);
        self.audit.ok && conserved && self.rerun.same
    }

    /// The document that scripts read.
    pub fn to_json(&self) -> Value {
        let audit = &self.audit;
        json!({
            "ok": self.is_well(), "model_id": self.model_id, "providers": self.providers, "jobs": self.jobs,
            "ledger": {
                "height": audit.height.0, "root": audit.root.to_string(), "issued": audit.issued.0,
                "balances": audit.balances.0, "holds": audit.holds.0, "stakes": audit.stakes.0,
            },
            "audit": document(audit),
            "rerun": {
                "receipt_id": self.rerun_of.to_string(), "match": self.rerun.same,
                "generate_ms": self.rerun.generate_ms, "verify_ms": self.rerun.verify_ms,
            },
        })
    }

    /// What people read.
    pub fn print(&self, context: &Context) -> Result {
        let (out, audit) = (context.out, &self.audit);
        out.line(format!(
            "{} blocks, {} transactions, {} receipts; {} issued = {} in balances + {} held: {}",
            audit.height.0,
            audit.transactions,
            audit.receipts,
            audit.issued,
            audit.balances,
            audit.holds,
            if audit.ok { "all in order" } else { "NOT in order" }
        ))?;
        let again = if self.rerun.same { "the same, bit for bit" } else { "NOT the same" };
        out.line(format!(
            "the first answer, computed again here: {again} ({})\n",
            self.rerun.output.short()
        ))?;
        self.rows.lines().iter().try_for_each(|line| out.line(line))?;
        let dir = context.data_dir.root().display();
        out.line(format!(
            "\nLook further (nothing is left running):\n  gridhour --data-dir {dir} receipt show {}",
            self.rerun_of
        ))?;
        for command in ["receipt list", "account show", "audit verify"] {
            out.line(format!("  gridhour --data-dir {dir} {command}"))?;
        }
        Ok(())
    }
}
