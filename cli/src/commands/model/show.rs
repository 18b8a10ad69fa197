//! `gridhour model show`.

use std::{collections::BTreeMap, path::PathBuf};

use gridhour_node::{
    engine::{Engine, EngineConfig},
    model::{assets::work_of, gguf::Gguf},
};
use gridhour_protocol::{id::to_hex, work::WorkModel};
use serde::Serialize;

use crate::{
    context::Context,
    error::{CommandError, Result},
    models::{self, Model},
    output::Table,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour model show
  gridhour model show ~/models/tiny.gguf --json";

/// Print what a model is: its id, sizes, tensors and digests
///
/// The id is computed from the file: every weight, table and token goes into it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Show this model: a catalogue name, an id or a path [default: the catalogue's first]
    #[arg(env = "GRIDHOUR_MODEL", hide_env_values = true)]
    model: Option<String>,
}

/// What is printed; field names are for scripts.
#[derive(Debug, Serialize)]
struct Description {
    id: String,
    name: Option<&'static str>,
    path: PathBuf,
    bytes: usize,
    architecture: &'static str,
    layers: u32,
    width: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    ffn: u32,
    vocabulary: u32,
    context: u32,
    tensors: Vec<Group>,
    numerics_version: u16,
    tokenizer_digest: String,
    template_digest: String,
    work: WorkModel,
    memory_bytes: usize,
}

/// Tensors of one type.
#[derive(Debug, Default, Serialize)]
struct Group {
    #[serde(rename = "type")]
    ty: String,
    count: usize,
    weights: usize,
    bytes: usize,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let model = models::find(args.model.as_deref(), context)?;
    let file = models::open(&model.path)?;
    let engine = models::load(&file, &model.path, EngineConfig::default(), context)?;
    let description = describe(model, &file, &engine)?;
    context.out.document(&serde_json::to_value(&description).map_err(CommandError::internal)?)?;
    lines(&description).iter().try_for_each(|line| context.out.line(line))
}

fn describe(model: Model, file: &Gguf, engine: &Engine) -> Result<Description> {
    let (config, facts) = (engine.config(), engine.manifest().facts());
    let absurd = || CommandError::refused("the model's sizes are beyond what can be billed");
    Ok(Description {
        id: engine.model_id().to_string(),
        name: model.name,
        path: model.path,
        bytes: file.bytes(),
        architecture: "llama",
        layers: config.layers,
        width: config.width,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        ffn: config.ffn,
        vocabulary: config.vocab,
        context: config.context,
        tensors: groups(file),
        numerics_version: facts.numerics_version,
        tokenizer_digest: to_hex(&facts.tokenizer),
        template_digest: to_hex(&facts.chat_template),
        work: work_of(engine.manifest()).ok_or_else(absurd)?,
        memory_bytes: engine.weight_bytes(),
    })
}

fn groups(file: &Gguf) -> Vec<Group> {
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for tensor in file.tensors() {
        let group = groups.entry(tensor.ty).or_default();
        group.ty = tensor.ty.to_string();
        group.count += 1;
        group.weights += tensor.rows * tensor.cols;
        group.bytes += tensor.bytes.len();
    }
    groups.into_values().collect()
}

fn lines(model: &Description) -> Vec<String> {
    let mut table = Table::new(["id", &model.id]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    if let Some(name) = model.name {
        row("name", name.to_owned());
    }
    row("file", format!("{}, {} bytes", model.path.display(), model.bytes));
    row(
        "sizes",
        format!(
            "{}, {} layers, {} wide, feed-forward {}",
            model.architecture, model.layers, model.width, model.ffn
        ),
    );
    row("heads", format!("{} of {}, {} for keys and values", model.heads, model.head_dim, model.kv_heads));
    row("tokens", format!("{} in the vocabulary, context of {}", model.vocabulary, model.context));
    for group in &model.tensors {
        row(
            "tensors",
            format!("{} of {}: {} weights in {} bytes", group.count, group.ty, group.weights, group.bytes),
        );
    }
    row("memory", format!("{} bytes when loaded", model.memory_bytes));
    row(
        "work",
        format!("{} MACs a prompt token, {} more an output token", model.work.layers, model.work.head),
    );
    row("", format!("{} more for each token that a token attends to", model.work.attention));
    row("numerics", format!("version {}", model.numerics_version));
    row("tokenizer", model.tokenizer_digest.clone());
    row("template", model.template_digest.clone());
    table.lines()
}
