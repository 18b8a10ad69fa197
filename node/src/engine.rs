//! The inference engine: tokens in, tokens out, the same bits on every machine.
//!
//! It implements `docs/NUMERICS.md`, independently of the definition in `protocol/src/exact`, with which it
//! shares nothing but tables of constants. It knows no network, no disk but the model file, and no text.
//!
//! ```text
//! file -> coding (rows as integers) -> matrix (panels) -> weights        once, at load
//! tokens -> sequence -> forward -> cpu/* (one operator a file) -> scores
//! scores -> sampler (the next token), score_chain (what a receipt holds)
//! jobs -> scheduler (interleaves their tokens) -> events      claims -> verify (one prefill)
//! ```

mod awake;
pub mod coding;
pub mod cpu;
pub mod fixed;
mod forward;
pub mod isa;
pub mod kv_cache;
pub mod matrix;
pub mod norm_weights;
pub mod rates;
mod rope_table;
pub mod sampler;
pub mod scheduler;
pub mod score_chain;
pub mod sequence;
pub mod verify;
pub mod weights;

use std::{num::NonZeroUsize, path::Path};

use gridhour_protocol::{
    exact::NUMERICS_VERSION,
    exact::llama::ConfigError,
    exact::llama::LlamaConfig,
    exact::tables::RopeFrequencies,
    model::{Digest, Facts, Manifest, ManifestError, ModelId, chat_template_digest},
};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use thiserror::Error;

use self::{
    awake::install_awake,
    cpu::attend::HeadLaw,
    forward::Plan,
    isa::Isa,
    kv_cache::{KvBudget, KvShape},
    rope_table::RopeTable,
    weights::{Weights, WeightsError},
};
use crate::model::{
    config::llama_config,
    gguf::{Gguf, GgufError},
    template::{TemplateError, chat_template_source},
    tokenizer::{TokenizerError, tokenizer_asset},
};

/// How an engine computes, and how much it may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineConfig {
    /// Threads of the engine's own pool.
    pub threads: NonZeroUsize,
    /// Instructions to use.
    pub isa: Isa,
    /// Positions of a sequence at most; the model's own limit also holds.
    pub context: usize,
    /// Bytes that keys and values of all sequences may take.
    pub kv_bytes_max: usize,
}

impl Default for EngineConfig {
    /// All processors, the fastest instructions, the model's context, 1 GiB of keys and values.
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            isa: Isa::Auto,
            context: usize::MAX,
            kv_bytes_max: 1 << 30,
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
    #[error("this processor has no AVX2: choose the portable operators")]
    Isa,
    /// The system gave no threads.
    #[error("the engine's threads could not be started: {0}")]
    Threads(#[from] ThreadPoolBuildError),
}

/// A loaded model, ready to compute.
#[derive(Debug)]
pub struct Engine {
    plan: Plan,
    pool: ThreadPool,
    context: usize,
    kv: KvBudget,
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
        let kernels = config.isa.resolve().ok_or(EngineError::Isa)?;
        let threads = ThreadPoolBuilder::new().num_threads(config.threads.get());
        let pool = threads.thread_name(|index| format!("engine-{index}")).build()?;
        let model = llama_config(file)?;
        model.check()?;
        let frequencies = RopeFrequencies::new(model.rope_base()?, model.head_dim as usize);
        let (weights, tensors) = pool.install(|| Weights::load(file, &model))?;
        let rope = pool.install(|| RopeTable::new(&frequencies, model.head_dim as usize, model.context));
        let manifest = Manifest::new(facts(file, model, rope.digest())?, tensors)?;
        let law = HeadLaw::new(model.head_dim as usize);
        Ok(Self {
            plan: Plan { config: model, weights, rope, law, kernels },
            pool,
            context: config.context.min(model.context as usize),
            kv: KvBudget::new(config.kv_bytes_max),
            model_id: manifest.model_id(),
            manifest,
        })
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
        &self.plan.config
    }

    /// Positions that a sequence may have.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The memory for keys and values, and how much of it is taken.
    pub fn kv_budget(&self) -> &KvBudget {
        &self.kv
    }

    /// Sizes of a sequence's keys and values.
    pub fn kv_shape(&self) -> KvShape {
        let LlamaConfig { layers, kv_heads, head_dim, .. } = self.plan.config;
        KvShape { layers: layers as usize, heads: kv_heads as usize, head_dim: head_dim as usize }
    }

    /// Bytes that the matrices take in memory.
    pub fn weight_bytes(&self) -> usize {
        self.plan.weights.bytes()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Name of the instructions in use, for reports.
    pub fn isa_name(&self) -> &'static str {
        self.plan.kernels.name()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        install_awake(&self.pool, work)
    }
}

fn facts(file: &Gguf, config: LlamaConfig, tables: Digest) -> Result<Facts, EngineError> {
    Ok(Facts {
        numerics_version: NUMERICS_VERSION,
        config,
        tables,
        tokenizer: tokenizer_asset(file)?.digest(),
        chat_template: chat_template_digest(chat_template_source(file)?),
    })
}
