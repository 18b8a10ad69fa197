//! The standard model of a calibration: generated from a seed, loaded as any model is.

mod recompute;
mod run;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gridhour_protocol::calibration::{
    shape::StandardShape,
    tensor::{StandardTensor, TensorForm},
};
use rayon::prelude::*;

pub use self::{recompute::recompute, run::StandardRun};
use super::{
    Engine, EngineConfig, EngineError,
    coding::Kind,
    source::{SourceTensor, TensorSource, Texts},
    weights::WeightsError,
};
use crate::model::gguf::GgufError;

/// A model that follows from a seed.
#[derive(Clone, Debug)]
pub struct StandardModel {
    shape: StandardShape,
    seed: [u8; 32],
    given_up: Arc<AtomicBool>,
}

impl StandardModel {
    /// The model of this shape and seed. Nothing is made before it is needed.
    pub fn new(shape: StandardShape, seed: [u8; 32]) -> Self {
        Self { shape, seed, given_up: Arc::default() }
    }

    /// Its sizes.
    pub fn shape(&self) -> &StandardShape {
        &self.shape
    }

    /// What it follows from.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// Set to true, the flag ends what is being made of this model, at the next tensor or token.
    pub fn given_up(&self) -> &Arc<AtomicBool> {
        &self.given_up
    }

    /// Loads it: exactly the keys and values of its job fit beside it.
    ///
    /// # Errors
    /// [`EngineError`], above all if there is no memory for it.
    pub fn load(&self, config: EngineConfig) -> Result<Engine, EngineError> {
        let (context, kv_bytes_max) = (usize::MAX, self.shape.kv_bytes() as usize);
        // It has no words.
        let texts = Texts { tokenizer: [0; 32], chat_template: [0; 32] };
        let config = EngineConfig { context, kv_bytes_max, ..config };
        Engine::from_source(self, (*self.shape.config(), None), texts, config)
    }

    /// Bytes of main memory that loading takes at its height beyond the model itself: the largest tensor as
    /// it is generated, coded and laid out.
    pub fn bytes_beside(&self) -> u64 {
        let config = self.shape.config();
        let (width, ffn, vocab) = (u64::from(config.width), config.ffn.into(), config.vocab.into());
        // 34 bytes of 32 weights, their codes of two bytes each, and once more 36.
        width * u64::max(ffn, vocab) * (34 + 64 + 36) / 32
    }

    /// Bytes of main memory that [`recompute`] takes at its height: the weights before and behind the layers,
    /// one layer, and what lies beside them while it is made. The numbers of the job's few hundred tokens are
    /// in the margin of an eighth.
    pub fn recompute_bytes(&self) -> u64 {
        let config = self.shape.config();
        let layer = self.shape.work().layers / u64::from(config.layers);
        let weights = layer + u64::from(config.vocab) * u64::from(config.width);
        let (held, kept) = (weights / 8 * 9, self.shape.kv_bytes() / u64::from(config.layers));
        (held + kept + self.bytes_beside()) / 8 * 9
    }

    fn check(&self) -> Result<(), WeightsError> {
        if self.given_up.load(Ordering::Relaxed) { Err(WeightsError::GivenUp) } else { Ok(()) }
    }
}

impl TensorSource for StandardModel {
    fn tensor(&self, name: &str) -> Result<SourceTensor<'_>, WeightsError> {
        self.check()?;
        let missing = || GgufError::MissingTensor { name: name.to_owned() };
        let tensor = StandardTensor::named(&self.shape, &self.seed, name).ok_or_else(missing)?;
        let mut bytes = Vec::new();
        let (rows, row_bytes) = (tensor.rows(), tensor.row_bytes());
        let no_memory = |_| WeightsError::NoMemory { name: name.to_owned(), bytes: rows * row_bytes };
        bytes.try_reserve_exact(rows * row_bytes).map_err(no_memory)?;
        bytes.resize(rows * row_bytes, 0);
        bytes.par_chunks_mut(row_bytes).enumerate().for_each(|(row, bytes)| tensor.fill(row, bytes));
        let kind = match tensor.form() {
            TensorForm::Matrix => Kind::Q8_0,
            TensorForm::Norm => Kind::F32,
        };
        Ok(SourceTensor { kind, rows, cols: tensor.cols(), bytes: Cow::from(bytes) })
    }

    fn is_tied(&self) -> bool {
        true
    }
}
