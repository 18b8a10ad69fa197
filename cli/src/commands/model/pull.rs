//! `gridhour model pull`.

use std::path::Path;

use gridhour_node::{
    engine::EngineConfig,
    model::{
        catalogue::{CatalogueEntry, Resolved},
        pull::sha256_of,
    },
};
use serde_json::json;

use crate::{
    context::Context,
    error::{CommandError, Result},
    models,
};

const EXAMPLES: &str = "\
EXAMPLES:
  gridhour model pull
  gridhour model pull SmolLM2-135M-Instruct --json";

/// Fetch a model of the catalogue, and check its digest
///
/// All of its sources are tried at once; the first that gives the right file wins. A file that is there
/// already is checked again, and not fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Fetch this entry [default: the catalogue's first]
    name: Option<String>,
}

pub fn run(args: &Args, context: &Context) -> Result {
    let entry = match models::resolve(args.name.as_deref(), context)? {
        Resolved::Catalogue(entry) => entry,
        Resolved::File(path) => {
            return Err(CommandError::usage(format!("{} is a file on this machine already", path.display()))
                .hint("`gridhour model list` names the models that can be fetched"));
        }
    };
    let path = models::fetch(entry, context)?;
    let sha256 = checked(entry, &path)?;
    let file = models::open(&path)?;
    let id = models::load(&file, &path, EngineConfig::default(), context)?.model_id();
    context.out.document(&json!({
        "name": entry.name,
        "path": path,
        "bytes": entry.bytes,
        "sha256": sha256,
        "id": id.to_string(),
    }))?;
    context.out.line(format!("{} is in {}", entry.name, path.display()))?;
    context.out.line(format!("sha256  {sha256}, as pinned"))?;
    context.out.line(format!("id      {id}"))
}

/// The digest of the file, which may have changed since it was fetched.
fn checked(entry: &CatalogueEntry, path: &Path) -> Result<String> {
    let found = sha256_of(path).map_err(|error| CommandError::file(path, &error))?;
    if found == entry.sha256 {
        return Ok(found);
    }
    let expected = entry.sha256;
    let message = format!("{} has SHA-256 {found}, but {expected} is pinned: it was changed", path.display());
    Err(CommandError::refused(message).hint("remove the file and pull again"))
}
