//! `gridhour bench engine`.

use std::{num::NonZeroUsize, sync::Arc, thread, time::Instant};

use gridhour_node::{
    bench::engine::{BenchError, Plan, Report, measure},
    command::BackendKind,
    engine::{Engine, EngineConfig, device::DeviceFacts, isa::Isa},
    model::assets::work_of,
};
use serde::Serialize;
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
  gridhour bench engine --threads 2 --isa avx2 --prefill 1024 --repeat 9
  gridhour bench engine --batch 8 --json | jq .decode_tokens_per_s

Figures are medians; they depend on what else the machine does. The command reports and never
judges: its exit code says only whether it could measure.";

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

    /// Read prompts of P tokens, and decode behind as many
    #[arg(long, value_name = "P", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=131_072))]
    prefill: u32,

    /// Decode D tokens of each text
    #[arg(long, value_name = "D", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    decode: u32,

    /// Decode behind this many positions instead
    #[arg(long, value_name = "POSITIONS")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=131_072))]
    depth: Option<u32>,

    /// Decode B texts together
    #[arg(long, value_name = "B", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=512))]
    batch: u16,

    /// Take each figure N times, and tell the median
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeat: u16,
}

impl Args {
    /// Positions behind which is decoded.
    fn depth(&self) -> u32 {
        self.depth.unwrap_or(self.prefill)
    }
}

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
        depth: args.depth() as usize,
        prefill: args.prefill as usize,
        batch: args.batch.into(),
        decode: args.decode as usize,
        repeat: args.repeat.into(),
        instructions: Isa::from(args.isa).resolve().filter(|_| args.device == BackendKind::Cpu),
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

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    device: &'static str,
    backend: &'a str,
    adapter: Option<String>,
    threads: usize,
    model_id: String,
    weight_bytes: usize,
    dispatches: usize,
    prefill: u32,
    decode: u32,
    depth: u32,
    batch: u16,
    repeat: u16,
    load_ms: f64,
    #[serde(flatten)]
    report: &'a Report,
}

fn tell(context: &Context, engine: &Engine, args: &Args, load_ms: f64, report: &Report) -> Result {
    let DeviceFacts { kind, adapter, dispatches, .. } = engine.device().facts();
    let document = Document {
        device: kind,
        backend: engine.isa_name(),
        adapter,
        threads: engine.threads(),
        model_id: engine.model_id().to_string(),
        weight_bytes: engine.weight_bytes(),
        dispatches,
        prefill: args.prefill,
        decode: args.decode,
        depth: args.depth(),
        batch: args.batch,
        repeat: args.repeat,
        load_ms,
        report,
    };
    context.out.document(&json!(document))?;
    lines(engine, args, load_ms, report).iter().try_for_each(|line| context.out.line(line))
}

fn lines(engine: &Engine, args: &Args, load_ms: f64, report: &Report) -> Vec<String> {
    let facts = engine.device().facts();
    let on = facts.adapter.unwrap_or_else(|| format!("{} threads", engine.threads()));
    let percent = |share: f64| format!("{:.0}%", 100.0 * share);
    let mut lines = vec![
        format!("model {}", engine.model_id()),
        format!("on the {} ({}, {on})", facts.kind, engine.isa_name()),
        format!("load           {load_ms:8.0} ms, then {:.0} ms to a first token", report.first_token_ms),
        format!(
            "prefill of {:<4}{:8.1} tokens/s, {:.1} billion multiply-accumulates/s",
            args.prefill, report.prefill_tokens_per_s, report.prefill_gmacs_per_s
        ),
        format!("decode at {:<5}{:8.1} tokens/s", args.depth(), report.decode_tokens_per_s),
        format!(
            "{:<3} together   {:8.1} tokens/s, {:.2} of the prefill's",
            args.batch, report.batch_tokens_per_s, report.batch_over_prefill
        ),
        format!("verify         {:8.2} of the prefill's rate", report.verify_over_prefill),
        format!("score chain    {:8.3} of the time without", report.chain_on_over_off),
        format!(
            "memory         {:8.1} GB/s of weights in decode, {} of the {:.1} GB/s of a reading loop",
            report.decode_gbytes_per_s,
            percent(report.decode_over_memory),
            report.memory_gbytes_per_s
        ),
    ];
    lines.extend(report.integer_gproducts_per_s.zip(report.prefill_over_integer).map(|(peak, share)| {
        let products = 2.0 * report.prefill_gmacs_per_s;
        let share = percent(share);
        format!("integers       {products:8.0} billion products/s in prefill, {share} of the {peak:.0} of a loop in registers")
    }));
    lines
}
