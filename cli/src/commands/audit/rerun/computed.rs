//! Computing results again, one model in memory at a time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use gridhour_node::{
    drivers::results::JobResult,
    engine::{Engine, EngineConfig},
    model::tokenizer::tokenizer_asset,
};
use gridhour_protocol::{id::ModelId, model::TokenizerAsset};

use crate::{
    commands::receipt::rerun::{Judged, judge, name_of},
    context::Context,
    error::{CommandError, Result},
    models,
};

/// What computing a result gave.
pub(super) struct Verdict {
    /// Whether it is the receipt's.
    pub(super) same: bool,
    /// What is wrong, if anything.
    pub(super) why: Option<String>,
    /// The first output token that the model would not have chosen.
    pub(super) first_difference: Option<usize>,
    /// Milliseconds that it took.
    pub(super) took_ms: u64,
}

/// The models of this machine, or the one that was asked for.
pub(super) struct Models<'c> {
    context: &'c Context,
    config: EngineConfig,
    only: Option<(ModelId, PathBuf)>,
    loaded: Option<Loaded>,
}

struct Loaded {
    engine: Arc<Engine>,
    tokenizer: Arc<TokenizerAsset>,
}

impl<'c> Models<'c> {
    /// All that are here, or `only` one.
    pub(super) fn new(only: Option<&str>, config: EngineConfig, context: &'c Context) -> Result<Self> {
        let mut models = Self { context, config, only: None, loaded: None };
        if let Some(name) = only {
            let path = models::find(Some(name), context)?.path;
            let loaded = models.load(&path)?;
            models.only = Some((loaded.engine.model_id(), path));
            models.loaded = Some(loaded);
        }
        Ok(models)
    }

    fn load(&self, path: &Path) -> Result<Loaded> {
        let file = models::open(path)?;
        let tokenizer = Arc::new(tokenizer_asset(&file).map_err(CommandError::refused)?);
        let engine = Arc::new(models::load(&file, path, self.config.clone(), self.context)?);
        Ok(Loaded { engine, tokenizer })
    }

    /// Whether a model can be computed with.
    pub(super) fn has(&self, model: ModelId) -> bool {
        self.path(model).is_ok()
    }

    fn path(&self, model: ModelId) -> Result<PathBuf> {
        match &self.only {
            Some((id, path)) if *id == model => Ok(path.clone()),
            Some(_) => Err(CommandError::refused("another model was asked for")),
            None => Ok(models::find(Some(&name_of(model)), self.context)?.path),
        }
    }

    /// Computes a result again. What this machine cannot judge is an error, never a verdict.
    pub(super) fn judge(&mut self, result: &JobResult) -> Result<Verdict> {
        let model = result.terms.model;
        if self.loaded.as_ref().is_none_or(|loaded| loaded.engine.model_id() != model) {
            // The one before goes first: memory may hold one alone.
            self.loaded = None;
            self.loaded = Some(self.load(&self.path(model)?)?);
        }
        let Some(Loaded { engine, tokenizer }) = &self.loaded else {
            return Err(CommandError::internal("a model was just loaded"));
        };
        let begin = Instant::now();
        let judged = judge(engine, tokenizer, result).map_err(|error| CommandError {
            message: format!("receipt {} cannot be judged here: {}", result.receipt.id(), error.message),
            ..error
        })?;
        Ok(verdict(&judged, u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)))
    }
}

fn verdict(judged: &Judged, took_ms: u64) -> Verdict {
    let first_difference = judged.difference.map(|difference| difference.index);
    let why = match (judged.difference, judged.false_logprobs, judged.ends) {
        _ if judged.same => None,
        (Some(found), _, _) => Some(format!(
            "output token {} is {}, the model gives {}",
            found.index, found.claimed, found.chosen
        )),
        (None, Some(index), _) => {
            Some(format!("the log probabilities of output token {index} are not the model's"))
        }
        (None, None, false) => Some("the output does not end where the request says".into()),
        (None, None, true) => Some("the digests or the score chain are not the receipt's".into()),
    };
    Verdict { same: judged.same, why, first_difference, took_ms }
}
