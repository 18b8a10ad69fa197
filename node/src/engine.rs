//! The inference engine: tokens in, tokens out, the same bits on every machine.
//!
//! It implements `docs/NUMERICS.md`, independently of the definition in `protocol/src/exact`, with which it
//! shares nothing but tables of constants. It knows no network, no disk but the model file, and no text.
//!
//! ```text
//! file -> source -> coding (rows as integers) -> matrix (panels) -> weights        once, at load
//! seed -> standard (the model of a calibration) -> source; the same, layer by layer -> standard/recompute
//! rows of texts -> device -> forward -> cpu/* (one operator a file) -> scores
//! scores -> sampler (the next token) -> choice -> score_chain (what a receipt holds)
//! jobs -> scheduler (one pass for all that may go on) -> events      claims -> verify (one prefill)
//! pages: which text has which keys and values, and what two texts share
//! ```

mod awake;
pub mod choice;
pub mod coding;
pub mod cpu;
pub mod device;
pub mod fixed;
mod forward;
pub mod gpu;
pub mod head_form;
pub mod isa;
pub mod matrix;
pub mod norm_weights;
pub mod pages;
pub mod rates;
mod rope_table;
pub mod row_weights;
pub mod sampler;
pub mod scheduler;
pub mod score_chain;
pub mod sequence;
pub mod source;
pub mod standard;
pub mod verify;
pub mod weights;

use std::{num::NonZeroUsize, path::Path};

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    exact::llama::ConfigError,
    exact::llama::LlamaConfig,
    model::{Digest, Facts, Manifest, ManifestError, ModelId, chat_template_digest},
};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use thiserror::Error;

use self::{
    cpu::{attend::HeadLaw, device::CpuDevice},
    device::{Device, DeviceFacts, DeviceFault},
    forward::Plan,
    gpu::{
        device::{GpuDevice, GpuLimits},
        options::{GpuError, GpuOptions},
    },
    isa::Isa,
    pages::table::Pages,
    rope_table::RopeTable,
    sequence::CHUNK,
    source::{TensorSource, Texts},
    weights::{Weights, WeightsError},
};
use crate::model::{
    config::{llama_config, rope_factors},
    gguf::{Gguf, GgufError},
    template::{TemplateError, chat_template_source},
    tokenizer::{TokenizerError, tokenizer_asset},
};

/// What computes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// The processor.
    #[default]
    Cpu,
    /// A graphics processor.
    Gpu(GpuOptions),
}

/// How an engine computes, and how much it may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineConfig {
    /// What computes.
    pub backend: Backend,
    /// Threads of the engine's own pool.
    pub threads: NonZeroUsize,
    /// Instructions to use.
    pub isa: Isa,
    /// Positions of a sequence at most; the model's own limit also holds.
    pub context: usize,
    /// Bytes that keys and values of all sequences may take.
    pub kv_bytes_max: usize,
    /// Rows of a pass at most.
    pub rows_max: NonZeroUsize,
}

impl Default for EngineConfig {
    /// All processors, the fastest instructions, the model's context, 1 GiB of keys and values,
    /// passes of [`CHUNK`] rows.
    fn default() -> Self {
        Self {
            backend: Backend::Cpu,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            isa: Isa::Auto,
            context: usize::MAX,
            kv_bytes_max: 1 << 30,
            rows_max: NonZeroUsize::new(CHUNK).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// Why an engine could not be made.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The file is not a model that can be computed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A size of the model breaks a bound of the arithmetic.
    #[error("this model cannot be computed exactly: {0}")]
    Bounds(#[from] ConfigError),
    /// A tensor was refused.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The file's tokenizer was refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The file's chat template was refused.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The manifest was refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// This machine lacks the instructions asked for.
    #[error("this processor has none of these instructions: choose others, or let the engine choose")]
    Isa,
    /// The graphics processor does not compute the model.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
    /// The system gave no threads.
    #[error("the engine's threads could not be started: {0}")]
    Threads(#[from] ThreadPoolBuildError),
}

/// A loaded model, ready to compute.
#[derive(Debug)]
pub struct Engine {
    device: Box<dyn Device>,
    facts: DeviceFacts,
    config: LlamaConfig,
    context: usize,
    pages: Pages,
    manifest: Manifest,
    model_id: ModelId,
}

impl Engine {
    /// Opens, checks and codes the model file at `path`.
    ///
    /// # Errors
    /// [`EngineError`], naming the tensor, key or size at fault.
    pub fn load(path: &Path, config: EngineConfig) -> Result<Self, EngineError> {
        Self::from_gguf(&Gguf::open(path)?, config)
    }

    /// Codes an open model file.
    ///
    /// # Errors
    /// As [`Engine::load`], but for those of opening.
    pub fn from_gguf(file: &Gguf, config: EngineConfig) -> Result<Self, EngineError> {
        let model = llama_config(file)?;
        let texts = Texts {
            tokenizer: tokenizer_asset(file)?.digest(),
            chat_template: chat_template_digest(chat_template_source(file)?),
        };
        Self::from_source(file, (model, rope_factors(file).as_deref()), texts, config)
    }

    /// Codes a model of these sizes from any source of tensors.
    fn from_source(
        source: &dyn TensorSource,
        (model, rope_factors): (LlamaConfig, Option<&[u32]>),
        texts: Texts,
        config: EngineConfig,
    ) -> Result<Self, EngineError> {
        let kernels = config.isa.resolve().ok_or(EngineError::Isa)?;
        let pool = pool(config.threads)?;
        model.check()?;
        let frequencies = model.rope_frequencies(rope_factors)?;
        let (weights, tensors) = pool.install(|| Weights::load(source, &model))?;
        let rope = pool.install(|| RopeTable::new(&frequencies, model.head_dim as usize, model.context));
        let manifest = Manifest::new(facts(texts, model, rope.digest()), tensors)?;
        let mut context = config.context.min(model.context as usize);
        let (device, kv_bytes) = match &config.backend {
            Backend::Cpu => {
                let law = HeadLaw::new(model.head_dim as usize);
                let plan = Plan { config: model, weights, rope, law, kernels };
                let device = CpuDevice::new(plan, pool, config.rows_max.get());
                (Box::new(device) as Box<dyn Device>, config.kv_bytes_max)
            }
            Backend::Gpu(options) => {
                let limits =
                    GpuLimits { context, rows_max: config.rows_max.get(), kv_bytes_max: config.kv_bytes_max };
                let load = || GpuDevice::load(options, &model, &weights, &rope, &limits);
                let device = pool.install(load)?;
                let kv_bytes = device.kv_bytes();
                context = device.positions();
                (Box::new(device) as Box<dyn Device>, kv_bytes)
            }
        };
        Ok(Self {
            facts: device.facts(),
            pages: Pages::new(kv_bytes, device.page_bytes()),
            device,
            config: model,
            context,
            model_id: manifest.model_id(),
            manifest,
        })
    }

    /// Puts the device that `wrap` makes of this engine's in its place, for whoever watches or disturbs what
    /// is computed.
    #[must_use]
    pub fn with_device(mut self, wrap: impl FnOnce(Box<dyn Device>) -> Box<dyn Device>) -> Self {
        self.device = wrap(self.device);
        self
    }

    /// The model's id: the root of its manifest.
    pub fn model_id(&self) -> ModelId {
        self.model_id
    }

    /// The model's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The model's hyperparameters.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Positions that a sequence may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The memory for keys and values, and how much of it is taken.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// What computes.
    pub fn device(&self) -> &dyn Device {
        &*self.device
    }

    /// Bytes that the matrices take in memory.
    pub fn weight_bytes(&self) -> usize {
        self.facts.weight_bytes
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.facts.threads
    }

    /// Name of the instructions or of the adapter in use, for reports.
    pub fn isa_name(&self) -> &str {
        &self.facts.name
    }
}

/// Threads of an engine's own.
fn pool(threads: NonZeroUsize) -> Result<ThreadPool, ThreadPoolBuildError> {
    let threads = ThreadPoolBuilder::new().num_threads(threads.get());
    threads.thread_name(|index| format!("engine-{index}")).build()
}

fn facts(texts: Texts, config: LlamaConfig, tables: Digest) -> Facts {
    let Texts { tokenizer, chat_template } = texts;
    Facts { numerics_version: NUMERICS_VERSION, config, tables, tokenizer, chat_template }
}
