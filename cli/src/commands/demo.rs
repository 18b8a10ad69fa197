//! `gridhour demo`: the whole market on one machine, in one command, on a real model.
//!
//! Every number that is printed comes from a process that did the work: the nodes are child processes of this same
//! program, each with its own key and data directory, and what the client does here any client does.

mod process;
mod providers;
mod report;
mod stage;

use std::{path::PathBuf, sync::Arc, time::Duration};

use gridhour_contracts_sim::tx::Call;
use gridhour_node::{
    command::BackendKind,
    data_dir::DataDir,
    drivers::{
        client::{Client, RunSpec},
        results::JobResult,
    },
    keys,
    model::template::{Message, Role},
};
use gridhour_protocol::{
    market::matching::MatchRecord,
    units::{Credits, PricePerHour},
};

use self::{report::Outcome, stage::Stage};
use super::{
    market::explain_text,
    run::{DataOptions, HedgeKind, OrderOptions, Prefer, SamplingOptions, TierKind, stream, summary},
};
use crate::{
    context::Context,
    error::{CommandError, Kind, Result},
    joined::{Stop, connect, runtime},
    models,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour demo
  gridhour demo --data-dir ./market          Keep everything in ./market, for the other commands
  gridhour demo --backend gpu                Let the providers compute on a graphics adapter
  gridhour demo --json | jq .audit.ok";

/// How long to wait until every provider's advert has come.
const ADVERTS_TIME: Duration = Duration::from_secs(30);
/// What the client gets to spend.
const FUNDS: Credits = Credits(10_000_000);

/// See the whole market work on this machine
///
/// Makes a network, starts a ledger node and three providers as separate processes, orders, streams, settles, audits,
/// and runs one answer again. Needs no GPU. Leaves nothing running.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Use this model: a catalogue name or a path [default: the catalogue's first, pulled if it is not here]
    #[arg(long, env = "GRIDHOUR_MODEL", hide_env_values = true)]
    model: Option<String>,

    /// Let the providers compute on the processor or on a graphics adapter
    #[arg(long, value_enum, default_value = "cpu", env = "GRIDHOUR_BACKEND", hide_env_values = true)]
    backend: BackendKind,

    /// Write at most this many tokens a job
    #[arg(long, default_value_t = 48)]
    max_tokens: u32,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let context = context.in_folder(folder(context)?);
    let path = model_file(args, &context)?;
    let outcome = runtime()?.block_on(async {
        let stop = Stop::at_ctrl_c();
        // Whatever happens, the stage is dropped before this returns, and its processes with it.
        tokio::select! {
            outcome = play(args, &context, path, &stop) => outcome,
            () = stop.wished() => Err(CommandError::interrupted()),
        }
    })?;
    context.out.document(&outcome.to_json())?;
    if outcome.is_well() {
        Ok(())
    } else {
        Err(CommandError::silent(Kind::Refused, "the demo did not go well"))
    }
}

/// The data directory that was asked for, which must be empty; else a new one in the system's temporary folder.
fn folder(context: &Context) -> Result<PathBuf> {
    let Some(asked) = context.data_dir_asked.clone() else {
        let name = format!("gridhour-demo-{}", gridhour_node::clock::now().0);
        return Ok(std::env::temp_dir().join(name));
    };
    let is_empty = std::fs::read_dir(&asked).map_or(true, |mut entries| entries.next().is_none());
    if is_empty {
        return Ok(asked);
    }
    Err(CommandError::refused(format!("{} is not empty", asked.display()))
        .hint("the demo makes a network of its own: give it a new or empty directory"))
}

fn model_file(args: &Args, context: &Context) -> Result<PathBuf> {
    match models::resolve(args.model.as_deref(), context)? {
        gridhour_node::model::catalogue::Resolved::File(path) => Ok(path),
        gridhour_node::model::catalogue::Resolved::Catalogue(entry) => {
            context.out.line(format!("Model {} ({}); its digest is checked", entry.name, entry.license))?;
            models::fetch(entry, context)
        }
    }
}

async fn play(args: &Args, context: &Context, model: PathBuf, stop: &Stop) -> Result<Outcome> {
    let mut stage = Stage::set(context, &model, args.backend).await?;
    let outcome = act(args, context, &mut stage, &model, stop).await;
    stage.clear().await?;
    let outcome = outcome?;
    outcome.print(context)?;
    Ok(outcome)
}

async fn act(
    args: &Args,
    context: &Context,
    stage: &mut Stage,
    model: &std::path::Path,
    stop: &Stop,
) -> Result<Outcome> {
    let client = Arc::new(connect(context).await?);
    fund(context, &client).await?;
    let adverts = client.offers(stage.providers.len(), ADVERTS_TIME).await;
    if adverts.len() < stage.providers.len() {
        return Err(CommandError::network(format!(
            "only {} of {} adverts came",
            adverts.len(),
            stage.providers.len()
        )));
    }
    context.out.line(format!("The client sees {} signed adverts by gossip.", adverts.len()))?;
    let mut jobs = Vec::new();
    for scene in scenes(args, stage) {
        context.out.line(format!("\n== {}", scene.title))?;
        jobs.push(order(context, &client, &scene, stop).await?);
    }
    let outcome = report::conclude(context, &client, stage, jobs, model).await;
    client.net().shutdown().await;
    outcome
}

async fn fund(context: &Context, client: &Client) -> Result {
    let issuer = keys::load(&context.data_dir.issuer_key())?;
    let mint = Call::Mint { to: client.id(), amount: FUNDS };
    let applied = client.ledger().submit(&issuer, mint).await?;
    context
        .out
        .line(format!("The issuer minted {FUNDS} credits for the client, at height {}.", applied.height.0))
}

/// One order of the demo.
struct Scene {
    title: &'static str,
    prompt: &'static str,
    options: OrderOptions,
}

/// An order that was delivered, or refused with reasons.
pub enum Job {
    /// Delivered.
    Delivered(Box<JobResult>, &'static str),
    /// No offer met it.
    Refused(Box<MatchRecord>, &'static str),
}

fn scenes(args: &Args, stage: &Stage) -> Vec<Scene> {
    let plain = |price: PricePerHour| OrderOptions {
        model: Some(stage.model_id.to_string()),
        max_tokens: args.max_tokens,
        max_price: price,
        max_total: Credits(1_000_000),
        max_ttft_ms: None,
        max_total_ms: None,
        region: Vec::new(),
        jurisdiction: Vec::new(),
        calibrated_by: Vec::new(),
        min_stake: Credits::ZERO,
        tier: TierKind::OnDemand,
        home: None,
        egress_per_gib: Credits::ZERO,
        retry_cost: Credits::ZERO,
        prefer: Prefer::Cheapest,
        tag: None,
        use_secs: 600,
        no_failover: false,
        hedge: HedgeKind::Tight,
        post: false,
        quote_wait_ms: 0,
        redundant: None,
        data: DataOptions::default(),
        sampling: SamplingOptions::greedy(),
    };
    let usual = plain(PricePerHour(10_000_000));
    let scene = |title, prompt, options| Scene { title, prompt, options };
    vec![
        scene("the cheapest", "What is the capital of France?", OrderOptions { ..plain(usual.max_price) }),
        scene(
            "the soonest first token",
            "Name three animals that live in the sea.",
            OrderOptions { prefer: Prefer::Fastest, ..plain(usual.max_price) },
        ),
        scene(
            "only in region us-va",
            "Write one sentence about the moon.",
            OrderOptions { region: vec!["us-va".into()], ..plain(usual.max_price) },
        ),
        scene(
            "a price that nobody asks: refused, with reasons",
            "This is never sent.",
            OrderOptions { ..plain(PricePerHour(1_000)) },
        ),
    ]
}

async fn order(context: &Context, client: &Arc<Client>, scene: &Scene, stop: &Stop) -> Result<Job> {
    let messages = vec![Message { role: Role::User, content: scene.prompt.to_owned() }];
    let spec: RunSpec = scene.options.spec(context, messages)?;
    let adverts = client.offers(1, ADVERTS_TIME).await;
    if let Some(record) = refusal(client, &spec, &adverts).await? {
        explain_text(context, &record)?;
        return Ok(Job::Refused(Box::new(record), scene.title));
    }
    context.out.line(format!("> {}", scene.prompt))?;
    let result = stream(context, client, &spec, &adverts, stop, true, None).await?;
    context.out.line(format!("  {}", summary(&result)))?;
    Ok(Job::Delivered(Box::new(result), scene.title))
}

/// The match record of an order that no offer meets.
async fn refusal(
    client: &Client,
    spec: &RunSpec,
    adverts: &[gridhour_protocol::signed::Verified<gridhour_protocol::market::advert::Advert>],
) -> Result<Option<MatchRecord>> {
    let prompt =
        client.assets(spec.model, adverts).await?.prompt(&spec.messages).map_err(CommandError::usage)?;
    let order = client.order(spec, prompt.len())?;
    let record = client.match_order(&order, adverts, spec).await?;
    Ok(record.chosen.is_none().then_some(record))
}

/// The data directory of the demo's node called `name`.
fn node_dir(data_dir: &DataDir, name: &str) -> DataDir {
    data_dir.node(name)
}
