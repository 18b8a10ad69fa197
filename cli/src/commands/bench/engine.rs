//! `gridhour bench engine`.

use std::{num::NonZeroUsize, sync::Arc, thread, time::Instant};

use gridhour_node::{
    bench::{BenchError, Plan, Report, measure},
    command::BackendKind,
    engine::{Engine, EngineConfig},
    model::assets::work_of,
};
use serde_json::json;

use crate::{
    commands::compute::{Instructions, THREADS_MAX},
    context::Context,
    error::{CommandError, Result},
    models,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour bench engine
  gridhour bench engine --threads 2 --isa avx2 --depth 1024 --repeat 9
  gridhour bench engine --batch 8 --json | jq .decode_tokens

Figures are medians; they depend on what else the machine does. The command reports and never judges:
its exit code says only whether it could measure.";

/// Measure how fast a model is computed here
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: models::ModelOption,

    /// Compute on this device
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    device: BackendKind,

    /// Take this graphics adapter: its number, or a part of its name [default: the best]
    #[arg(long, value_name = "ADAPTER", env = "GRIDHOUR_ADAPTER", hide_env_values = true)]
    adapter: Option<String>,

    /// Compute with T threads [default: one a processor]
    #[arg(long, value_name = "T", env = "GRIDHOUR_THREADS", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,

    /// Compute with these instructions; the result is the same with all
    #[arg(long, value_enum, default_value_t = Instructions::Auto)]
    isa: Instructions,

    /// Decode behind D positions
    #[arg(long, value_name = "D", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=131_072))]
    depth: u32,

    /// Read prompts of P tokens
    #[arg(long, value_name = "P", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=131_072))]
    prefill: u32,

    /// Decode B texts together
    #[arg(long, value_name = "B", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: u16,

    /// Take each figure N times
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
}

/// Tokens of each decoding.
const DECODE: usize = 32;

pub fn run(args: &Args, context: &Context) -> Result {
    let model = models::find(args.model.as_deref(), context)?;
    let start = Instant::now();
    let file = models::open(&model.path)?;
    let engine = Arc::new(models::load(&file, &model.path, engine_config(args, context)?, context)?);
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let work = work_of(engine.manifest()).ok_or_else(|| {
        CommandError::refused("the sizes of this model are beyond what work is counted for")
    })?;
    let plan = Plan {
        depth: args.depth as usize,
        prefill: args.prefill as usize,
        batch: args.batch.into(),
        decode: DECODE,
        repeat: args.repeat.into(),
    };
    let report = measure(&engine, &work, plan).map_err(|error| match error {
        BenchError::Sequence(error) => CommandError::usage(error),
        error => CommandError::refused(error),
    })?;
    tell(context, &engine, args, load_ms, &report)
}

fn engine_config(args: &Args, context: &Context) -> Result<EngineConfig> {
    let asked =
        args.threads.or(context.settings()?.threads).and_then(|threads| NonZeroUsize::new(threads.into()));
    let threads = asked.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    Ok(EngineConfig {
        backend: models::backend(args.device, args.adapter.as_deref(), context)?,
        threads,
        isa: args.isa.into(),
        kv_bytes_max: match args.device {
            BackendKind::Cpu => usize::MAX,
            BackendKind::Gpu => EngineConfig::default().kv_bytes_max,
        },
        ..EngineConfig::default()
    })
}

fn tell(context: &Context, engine: &Engine, args: &Args, load_ms: f64, report: &Report) -> Result {
    let document = json!({
        "device": engine.device().facts().kind,
        "backend": engine.isa_name(),
        "threads": engine.threads(),
        "model_id": engine.model_id().to_string(),
        "weight_bytes": engine.weight_bytes(),
        "dispatches": engine.device().facts().dispatches,
        "depth": args.depth,
        "prefill": args.prefill,
        "batch": args.batch,
        "repeat": args.repeat,
        "load_ms": load_ms,
        "report": report,
    });
    context.out.document(&document)?;
    lines(engine, args, load_ms, report).iter().try_for_each(|line| context.out.line(line))
}

fn lines(engine: &Engine, args: &Args, load_ms: f64, report: &Report) -> Vec<String> {
    let share = 100.0 * report.decode_gigabytes / report.memory_gigabytes;
    let facts = engine.device().facts();
    // A processor has none.
    let dispatches =
        (facts.dispatches > 0).then(|| format!("{} dispatches a decoded token", facts.dispatches));
    let measured = vec![
        format!("model {}", engine.model_id()),
        format!("on the {} ({}, {} threads)", facts.kind, engine.isa_name(), engine.threads()),
        format!("load           {load_ms:8.0} ms, then {:.0} ms to a first token", report.first_token_ms),
        format!(
            "prefill of {:<4}{:8.1} tokens/s, {:.1} billion multiply-accumulates/s",
            args.prefill, report.prefill_tokens, report.prefill_gmacs
        ),
        format!("decode at {:<5}{:8.1} tokens/s", args.depth, report.decode_tokens),
        format!(
            "{:<3} together   {:8.1} tokens/s, {:.2} of the prefill's",
            args.batch, report.batch_tokens, report.batch_over_prefill
        ),
        format!("verify         {:8.2} of the prefill's rate", report.verify_over_prefill),
        format!("score chain    {:8.3} of the time without", report.chain_on_over_off),
        format!(
            "memory         {:8.1} GB/s of weights in decode, {share:.0}% of the {:.1} GB/s of a reading loop",
            report.decode_gigabytes, report.memory_gigabytes
        ),
    ];
    measured.into_iter().chain(dispatches).collect()
}
