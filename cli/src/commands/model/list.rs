//! `gridhour model list`.

use std::path::PathBuf;

use gridhour_node::model::catalogue::{CATALOGUE, CatalogueEntry};
use serde_json::{Value, json};

use crate::{context::Context, error::Result, output::Table};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour model list
  gridhour model list --json | jq -r '.models[].path'";

/// List the models known by name, and where their files lie on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

pub fn run(context: &Context) -> Result {
    let cache = context.model_cache()?;
    let mut table = Table::new(["NAME", "BYTES", "LICENSE", "FILE"]);
    let mut models = Vec::new();
    for entry in CATALOGUE {
        let path = cache.cached(entry);
        models.push(record(entry, path.as_ref()));
        let file = path.map_or_else(|| "not pulled".to_owned(), |path| path.display().to_string());
        table.row([entry.name.to_owned(), entry.bytes.to_string(), entry.license.to_owned(), file]);
    }
    context.out.document(&json!({ "models": models, "cache": cache.folder() }))?;
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

fn record(entry: &CatalogueEntry, path: Option<&PathBuf>) -> Value {
    json!({
        "name": entry.name,
        "bytes": entry.bytes,
        "license": entry.license,
        "sha256": entry.sha256,
        "path": path,
    })
}
