//! Finding and opening the model that a user means.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use gridhour_node::{
    command::{BackendKind, ComputeArgs},
    engine::{Backend, Engine, EngineConfig, EngineError},
    model::{
        catalogue::{CATALOGUE, CatalogueEntry, ModelCache, Resolved},
        gguf::{Gguf, GgufError},
        pull::pull,
    },
};

use gridhour_protocol::id::ModelId;

use crate::{
    context::Context,
    error::{CommandError, Result, kind_of_io},
};

/// The option that names a model.
#[derive(Debug, Args)]
pub struct ModelOption {
    /// Use this model: a catalogue name, an id or a path [default: the catalogue's first]
    #[arg(long, env = "GRIDHOUR_MODEL", hide_env_values = true)]
    model: Option<String>,
}

impl ModelOption {
    /// What the user wrote.
    pub fn as_deref(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

/// A model file on this machine.
#[derive(Debug)]
pub struct Model {
    /// Its name in the catalogue.
    pub name: Option<&'static str>,
    /// The file.
    pub path: PathBuf,
}

/// The file of the model called `asked`, or of the one in the settings, or of the default. Nothing is
/// downloaded.
///
/// # Errors
/// If there is no such model, or if it has to be pulled first.
pub fn find(asked: Option<&str>, context: &Context) -> Result<Model> {
    let entry = match resolve(asked, context)? {
        Resolved::File(path) => return Ok(Model { name: None, path }),
        Resolved::Catalogue(entry) => entry,
    };
    match context.model_cache()?.cached(entry) {
        Some(path) => Ok(Model { name: Some(entry.name), path }),
        None => Err(CommandError::refused(format!("model {} is not on this machine", entry.name))
            .hint(format!("fetch it with `gridhour model pull {}`", entry.name))),
    }
}

/// What the user means by `asked`, or by the model of the settings; else the default.
///
/// # Errors
/// If that is no model.
pub fn resolve(asked: Option<&str>, context: &Context) -> Result<Resolved> {
    let configured = if asked.is_none() { context.settings()?.model } else { None };
    match asked.or(configured.as_deref()) {
        Some(name) => Ok(context.model_cache()?.resolve(name)?),
        None => Ok(Resolved::Catalogue(&CATALOGUE[0])),
    }
}

/// The id of the model called `asked`, or of the one in the settings, or of the default. A model of the catalogue need
/// not be here; a file is read for it.
///
/// # Errors
/// If there is no such model.
pub fn id_of(asked: Option<&str>, context: &Context) -> Result<ModelId> {
    match resolve(asked, context)? {
        Resolved::Catalogue(entry) => Ok(entry.model_id()),
        Resolved::File(path) => {
            let engine = load(&open(&path)?, &path, EngineConfig::default(), context)?;
            Ok(engine.model_id())
        }
    }
}

/// Makes sure that the file of `entry` is on this machine, with a progress bar.
///
/// # Errors
/// If no source gives it.
pub fn fetch(entry: &CatalogueEntry, context: &Context) -> Result<PathBuf> {
    let cache = context.model_cache()?;
    let bar = context.out.byte_bar(entry.name, entry.bytes);
    let shown = bar.clone();
    let fetched = pull(entry, &cache, Arc::new(move |done, _| shown.set_position(done)));
    bar.finish_and_clear();
    Ok(fetched?)
}

/// Maps the file at `path` and checks its structure.
pub fn open(path: &Path) -> Result<Gguf> {
    Gguf::open(path).map_err(|error| match &error {
        GgufError::Io { source, .. } => CommandError::new(kind_of_io(source), &error),
        _ => refuse(path)(error),
    })
}

/// What computes, as a user's flags say: the processor, or a graphics adapter.
pub fn backend(kind: BackendKind, adapter: Option<&str>, context: &Context) -> Result<Backend> {
    let args = ComputeArgs { backend: Some(kind), adapter: adapter.map(str::to_owned) };
    Ok(args.backend(&context.settings()?, &context.model_cache()?))
}

/// Loads an open model file for computing, and notes its id, so that it can be named by that.
pub fn load(file: &Gguf, path: &Path, config: EngineConfig, context: &Context) -> Result<Engine> {
    let engine = Engine::from_gguf(file, config).map_err(|error| match error {
        EngineError::Isa => CommandError::usage(error),
        EngineError::Gpu(_) => CommandError::refused(error)
            .hint("compute on the processor: results do not depend on what computes, to the last bit"),
        EngineError::Threads(_) => CommandError::internal(error),
        error => refuse(path)(error),
    })?;
    let note = |cache: ModelCache| Ok(cache.remember(engine.model_id(), path)?);
    if let Err(error) = context.model_cache().and_then(note) {
        // A cache that cannot be written spoils no computation.
        tracing::warn!(error = error.message, "the model's id will not be known by itself");
    }
    Ok(engine)
}

/// The error of a model file that was refused for what it says.
pub fn refuse<E: Display>(path: &Path) -> impl FnOnce(E) -> CommandError {
    move |error| CommandError::refused(format!("{}: {error}", path.display()))
}
