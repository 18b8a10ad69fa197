//! `gridhour audit rerun`: a sample of the results kept here, computed again.

mod computed;
mod ledger;
mod said;

use std::{num::NonZeroUsize, path::PathBuf};

use gridhour_contracts_sim::audit::{
    Report,
    sample::{SampleSize, Share, draw, hidden_most},
};
use gridhour_node::{
    drivers::results::{JobResult, Results},
    engine::EngineConfig,
    keys::random32,
};
use gridhour_protocol::{
    id::{ReceiptId, from_hex32},
    units::Credits,
};

use self::{
    computed::{Models, Verdict},
    ledger::{Lanes, OnLedger, read_ledger},
};
use super::export::Source;
use crate::{
    commands::receipt::check::failing,
    context::Context,
    error::{CommandError, Kind, Result},
};

#[derive(Debug, clap::Args)]
pub(super) struct RerunArgs {
    /// The exported ledger to check against [default: fetched from the ledger node; if nobody answers, the one in the
    /// data directory]
    file: Option<PathBuf>,

    /// Draw Q: a share of the results such as 0.05, rounded up, or a number of them
    #[arg(long, value_name = "Q")]
    sample: SampleSize,

    /// Draw by this seed of 64 hexadecimal digits [default: random, and told]
    #[arg(long, value_name = "HEX", value_parser = |text: &str| from_hex32(text))]
    seed: Option<[u8; 32]>,

    /// Say how much could be false without being seen, with this confidence
    #[arg(long, value_name = "C", default_value = "0.95")]
    confidence: Share,

    /// Compute with this model alone: a catalogue name, an id or a path [default: all that are on this machine]
    #[arg(long)]
    model: Option<String>,

    /// Compute with this many threads [default: all processors]
    #[arg(long)]
    threads: Option<NonZeroUsize>,

    /// Pin the network in this file [default: the data directory's, if it has one]
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
}

/// One result, and what is known of it.
struct Item {
    id: ReceiptId,
    result: JobResult,
    /// What does not hold, seen without computing it.
    failing: Vec<&'static str>,
    on_ledger: OnLedger,
    /// What computing it gave, if it was drawn.
    verdict: Option<Verdict>,
}

impl Item {
    fn is_false(&self) -> bool {
        !self.failing.is_empty()
            || self.on_ledger == OnLedger::Contradicts
            || self.verdict.as_ref().is_some_and(|verdict| !verdict.same)
    }
}

/// What could be false without being seen.
struct Hidden {
    results: u64,
    credits: Credits,
}

/// What came out.
struct Outcome {
    source: Source,
    ledger: Report,
    /// Results that this machine can compute again.
    items: Vec<Item>,
    /// Results of models that are not here.
    beyond: Vec<ReceiptId>,
    seed: [u8; 32],
    drawn: u64,
    hidden: Option<Hidden>,
    took_ms: u64,
}

pub(super) fn run(args: &RerunArgs, context: &Context) -> Result {
    let risk = args.confidence.rest();
    if risk.millionths() == 0 {
        return Err(CommandError::usage("--confidence must be below 1: no sample but all shows everything"));
    }
    let seed = args.seed.map_or_else(random32, Ok)?;
    let kept = kept(context)?;
    let source = Source::find(args.file.as_deref(), context)?;
    let (ledger, lanes) = read_ledger(&source.path, args.network.as_deref(), &kept, context)?;
    let config = EngineConfig {
        threads: args.threads.unwrap_or(EngineConfig::default().threads),
        ..EngineConfig::default()
    };
    let mut models = Models::new(args.model.as_deref(), config, context)?;
    let (reached, beyond): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|result| models.has(result.terms.model));
    let mut items = items(reached, &lanes);
    if items.is_empty() {
        return Err(CommandError::refused("none of the results kept here is of a model on this machine")
            .hint("name the model's file with --model PATH, or fetch it with `gridhour model pull`"));
    }
    let (drawn, took_ms) = compute(&mut items, args.sample, &seed, &mut models, context)?;
    let hidden = hidden(&items, drawn, risk);
    let beyond = beyond.iter().map(|result| result.receipt.id()).collect();
    let outcome = Outcome { source, ledger, items, beyond, seed, drawn, hidden, took_ms };
    said::say(context, &outcome, args.confidence)?;
    match outcome.items.iter().filter(|item| item.is_false()).count() {
        0 => Ok(()),
        count => Err(CommandError::silent(Kind::Refused, format!("{count} results are false"))),
    }
}

fn kept(context: &Context) -> Result<Vec<JobResult>> {
    let all = Results::new(context.data_dir.results()).list()?;
    if all.is_empty() {
        return Err(CommandError::refused("no results are kept in this data directory")
            .hint("`gridhour run` keeps one for every job"));
    }
    Ok(all.into_iter().map(|(result, _)| result).collect())
}

fn items(results: Vec<JobResult>, lanes: &Lanes) -> Vec<Item> {
    let item = |result: JobResult| {
        let id = result.receipt.id();
        let (failing, on_ledger) = (failing(&result, id), lanes.of(&result));
        Item { id, result, failing, on_ledger, verdict: None }
    };
    results.into_iter().map(item).collect()
}

/// Draws the sample and computes it again. Returns its size and the time it took.
fn compute(
    items: &mut [Item],
    size: SampleSize,
    seed: &[u8; 32],
    models: &mut Models<'_>,
    context: &Context,
) -> Result<(u64, u64)> {
    let ids: Vec<ReceiptId> = items.iter().map(|item| item.id).collect();
    let mut drawn = draw(seed, &ids, size.of(ids.len() as u64));
    // One model is in memory at a time.
    drawn.sort_by_key(|place| items[*place].result.terms.model);
    let bar = context.out.item_bar("computing again", drawn.len() as u64);
    let mut took_ms = 0;
    for place in &drawn {
        let verdict = models.judge(&items[*place].result)?;
        took_ms += verdict.took_ms;
        items[*place].verdict = Some(verdict);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((drawn.len() as u64, took_ms))
}

/// What could be false of those that were not drawn, if nothing false was found: so many, and the dearest of them.
fn hidden(items: &[Item], drawn: u64, risk: Share) -> Option<Hidden> {
    if items.iter().any(Item::is_false) {
        return None;
    }
    let results = hidden_most(items.len() as u64, drawn, risk);
    let undrawn = items.iter().filter(|item| item.verdict.is_none());
    let mut costs: Vec<Credits> = undrawn.map(|item| item.result.cost).collect();
    costs.sort_unstable_by(|a, b| b.cmp(a));
    costs.truncate(usize::try_from(results).unwrap_or(usize::MAX));
    Some(Hidden { results, credits: Credits::sum(costs).unwrap_or(Credits(u64::MAX)) })
}
