//! `gridhour model eval`.

mod watch;

use std::{
    fs::File,
    io::Read,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use gridhour_node::{
    command::BackendKind,
    engine::{Engine, EngineConfig},
    evaluate::{Score, Windows, evaluate},
    model::{
        gguf::Gguf,
        tokenizer::{TEXT_BYTES_MAX, Tokenizer, tokenizer_asset},
    },
};
use serde_json::json;

use self::watch::Watcher;
use crate::{
    commands::compute::{Instructions, THREADS_MAX},
    context::Context,
    error::{CommandError, Result},
    models,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour model eval --text wiki.txt --window 512 --tokens 4096
  gridhour model eval --text wiki.txt --window 4096 --tokens 4096 --dump-logprobs p.npy --last 512

The .npy file holds 32-bit natural-log probabilities, one row a prediction: row j of a window
predicts its token j+1 from its tokens 0 to j, so a window of W tokens has W-1 rows.";

/// Print the perplexity of a text
///
/// The text is cut into windows that do not overlap, nothing is put before them, and the second half of each
/// is scored. A rest that does not fill a window is left out.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: models::ModelOption,

    /// Read the text from FILE, UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,

    /// Cut windows of W tokens
    #[arg(long, value_name = "W", default_value_t = 512)]
    window: usize,

    /// Use the first N tokens of the text, rounded down to whole windows [default: all]
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,

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

    /// Write the log probabilities of all tokens at all positions to F
    #[arg(long, value_name = "F.npy")]
    dump_logprobs: Option<PathBuf>,

    /// Write only the last K rows of each window
    #[arg(long, value_name = "K", requires = "dump_logprobs")]
    last: Option<usize>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let text = read_text(&args.text)?;
    let model = models::find(args.model.as_deref(), context)?;
    let file = models::open(&model.path)?;
    let mut tokens = tokenize(&file, &text, &model.path)?;
    tokens.truncate(args.tokens.unwrap_or(usize::MAX));
    let engine = Arc::new(models::load(&file, &model.path, engine_config(args, context)?, context)?);
    let windows = windows(args, &tokens, engine.context())?;

    let started = Instant::now();
    let mut watcher =
        Watcher::new(context.out, &windows, args.dump_logprobs.as_deref(), engine.config().vocab)?;
    let score = evaluate(&engine, &windows, &mut watcher)?;
    watcher.finish()?;
    report(context, &engine, &windows, score, started.elapsed())
}

/// The text at `path`, which may be a pipe.
fn read_text(path: &Path) -> Result<String> {
    let file_error = |error| CommandError::file(path, &error);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(file_error)?;
    file.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(file_error)?;
    let name = path.display();
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(CommandError::usage(format!("{name} has more than {TEXT_BYTES_MAX} bytes"))
            .hint("cut a piece of it, for instance with `head -c`"));
    }
    String::from_utf8(bytes).map_err(|_| CommandError::usage(format!("{name} is not UTF-8 text")))
}

fn tokenize(file: &Gguf, text: &str, path: &Path) -> Result<Vec<u32>> {
    let tokenizer = tokenizer_asset(file).and_then(Tokenizer::new);
    tokenizer.and_then(|tokenizer| tokenizer.encode_bare(text)).map_err(models::refuse(path))
}

fn engine_config(args: &Args, context: &Context) -> Result<EngineConfig> {
    let asked = args.threads.or(context.settings()?.threads);
    let threads = match asked.map(|threads| NonZeroUsize::new(threads.into())) {
        Some(None) => return Err(CommandError::usage("`threads` in the settings file is 0")),
        Some(Some(threads)) => threads,
        None => thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    // One window at a time, at most the model's context, on the user's own machine: no budget to share. An adapter
    // takes all of its budget at once.
    let kv_bytes_max = match args.device {
        BackendKind::Cpu => usize::MAX,
        BackendKind::Gpu => EngineConfig::default().kv_bytes_max,
    };
    let backend = models::backend(args.device, args.adapter.as_deref(), context)?;
    let isa = args.isa.into();
    Ok(EngineConfig { backend, threads, isa, kv_bytes_max, ..EngineConfig::default() })
}

fn windows<'a>(args: &Args, tokens: &'a [u32], context: usize) -> Result<Windows<'a>> {
    let windows = Windows::cut(tokens, args.window, context);
    let windows = match args.dump_logprobs {
        Some(_) => windows.and_then(|windows| windows.with_rows(args.last)),
        None => windows,
    };
    windows.map_err(CommandError::usage)
}

fn report(context: &Context, engine: &Engine, windows: &Windows<'_>, score: Score, took: Duration) -> Result {
    let (perplexity, facts) = (score.perplexity(), engine.device().facts());
    context.out.document(&json!({
        "tokens": windows.tokens(),
        "perplexity": perplexity,
        "device": facts.kind,
        "backend": facts.name,
        "adapter": facts.adapter,
        "dispatches": facts.dispatches,
        "model_id": engine.model_id().to_string(),
        "windows": windows.count(),
        "predictions": score.predictions,
        "threads": engine.threads(),
        "total_ms": took.as_millis() as u64,
    }))?;
    let (scored, count) = (score.predictions, windows.count());
    context.out.line(format!("perplexity {perplexity:.4} over {scored} predictions in {count} windows"))?;
    let speed = windows.tokens() as f64 / took.as_secs_f64();
    context.out.line(format!("model {}", engine.model_id()))?;
    let threads = facts.threads;
    let on = match facts.adapter {
        Some(adapter) => format!("{adapter} by {}", facts.name),
        None => format!("the processor ({}, {threads} threads)", facts.name),
    };
    context.out.line(format!("on {on}, {speed:.0} tokens/s"))
}
