//! The coded weights of a model, taken from a file's tensors by their GGUF names.

use super::{ConfigError, LlamaConfig};
use crate::exact::{
    tables::RopeFrequencies,
    weights::{BlockType, CodedMatrix, VectorWeights, WeightsError},
};

/// A tensor of the file: `rows` rows of `columns` weights, as the file stores them.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// How it is stored.
    pub kind: BlockType,
    /// Rows (outputs).
    pub rows: usize,
    /// Columns (inputs).
    pub columns: usize,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Why a model cannot be loaded. The file is at fault; use another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A size is outside the bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor is not there.
    #[error("tensor {name} is missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor does not have the shape that the sizes ask for.
    #[error("tensor {name} has {actual:?} (rows, columns), the model's sizes ask for {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Rows and columns that the sizes ask for.
        expected: (usize, usize),
        /// Rows and columns of the file.
        actual: (usize, usize),
    },
    /// A vector (of norm weights, biases or rope factors) is not stored as F32.
    #[error("tensor {name} is stored as {kind:?}: vectors must be F32")]
    VectorType {
        /// The tensor.
        name: String,
        /// How it is stored.
        kind: BlockType,
    },
    /// A tensor's contents cannot be coded.
    #[error("tensor {name}: {source}")]
    Weights {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        source: WeightsError,
    },
}

/// The weights of one layer, named as in the file.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the file format")]
pub struct LayerWeights {
    pub attn_norm: VectorWeights,
    pub attn_q: CodedMatrix,
    pub attn_k: CodedMatrix,
    pub attn_v: CodedMatrix,
    pub attn_output: CodedMatrix,
    pub ffn_norm: VectorWeights,
    pub ffn_gate: CodedMatrix,
    pub ffn_up: CodedMatrix,
    pub ffn_down: CodedMatrix,
    pub attn_q_bias: Option<VectorWeights>,
    pub attn_k_bias: Option<VectorWeights>,
    pub attn_v_bias: Option<VectorWeights>,
    pub attn_q_norm: Option<VectorWeights>,
    pub attn_k_norm: Option<VectorWeights>,
}

/// A model whose sizes passed [`LlamaConfig::check`] and whose tensors have the shapes they ask for.
#[derive(Clone, Debug)]
pub struct LlamaWeights {
    config: LlamaConfig,
    embedding: CodedMatrix,
    layers: Vec<LayerWeights>,
    output_norm: VectorWeights,
    output: Option<CodedMatrix>,
    frequencies: RopeFrequencies,
}

impl LlamaWeights {
    /// Codes a model. `tensors` finds a tensor of the file by name; `output.weight` may be missing, the
    /// embedding matrix then serves for both.
    ///
    /// # Errors
    /// Sizes outside the bounds, and any tensor that is missing, misshapen or not codable, by name.
    pub fn load<'a>(
        config: LlamaConfig,
        tensors: impl Fn(&str) -> Option<Tensor<'a>>,
    ) -> Result<Self, LoadError> {
        config.check()?;
        let loader = Loader { tensors, config };
        let (vocab, width) = (config.vocab as usize, config.width as usize);
        let tied = (loader.tensors)("output.weight").is_none();
        Ok(Self {
            config,
            embedding: loader.matrix("token_embd.weight", vocab, width)?,
            layers: (0..config.layers).map(|layer| loader.layer(layer)).collect::<Result<_, _>>()?,
            output_norm: loader.vector("output_norm.weight", width)?,
            frequencies: config.rope_frequencies(loader.rope_factors()?.as_deref())?,
            output: if tied { None } else { Some(loader.matrix("output.weight", vocab, width)?) },
        })
    }

    /// The model's sizes.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The embedding matrix: a row per token.
    pub fn embedding(&self) -> &CodedMatrix {
        &self.embedding
    }

    /// The layers in order.
    pub fn layers(&self) -> &[LayerWeights] {
        &self.layers
    }

    /// The last norm.
    pub fn output_norm(&self) -> &VectorWeights {
        &self.output_norm
    }

    /// The frequencies of the rotary embedding.
    pub fn frequencies(&self) -> &RopeFrequencies {
        &self.frequencies
    }

    /// The matrix that gives the logits.
    pub fn output(&self) -> &CodedMatrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }
}

struct Loader<F> {
    tensors: F,
    config: LlamaConfig,
}

impl<'a, F: Fn(&str) -> Option<Tensor<'a>>> Loader<F> {
    fn layer(&self, layer: u32) -> Result<LayerWeights, LoadError> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (width, ffn) = (self.config.width as usize, self.config.ffn as usize);
        let (query, kv) = (self.config.query_width(), self.config.kv_width());
        let LlamaConfig { architecture, head_dim, .. } = self.config;
        let bias = |part: &str, count| {
            let load = || self.vector(&format!("blk.{layer}.{part}.bias"), count);
            architecture.has_biases().then(load).transpose()
        };
        let head_norm = |part: &str| {
            let load = || self.vector(&name(part), head_dim as usize);
            architecture.has_head_norms().then(load).transpose()
        };
        Ok(LayerWeights {
            attn_norm: self.vector(&name("attn_norm"), width)?,
            attn_q: self.matrix(&name("attn_q"), query, width)?,
            attn_k: self.matrix(&name("attn_k"), kv, width)?,
            attn_v: self.matrix(&name("attn_v"), kv, width)?,
            attn_output: self.matrix(&name("attn_output"), width, query)?,
            ffn_norm: self.vector(&name("ffn_norm"), width)?,
            ffn_gate: self.matrix(&name("ffn_gate"), ffn, width)?,
            ffn_up: self.matrix(&name("ffn_up"), ffn, width)?,
            ffn_down: self.matrix(&name("ffn_down"), width, ffn)?,
            attn_q_bias: bias("attn_q", query)?,
            attn_k_bias: bias("attn_k", kv)?,
            attn_v_bias: bias("attn_v", kv)?,
            attn_q_norm: head_norm("attn_q_norm")?,
            attn_k_norm: head_norm("attn_k_norm")?,
        })
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<CodedMatrix, LoadError> {
        let tensor = self.find(name, rows, columns)?;
        CodedMatrix::from_gguf(tensor.kind, rows, columns, tensor.bytes)
            .map_err(|source| LoadError::Weights { name: name.to_owned(), source })
    }

    fn vector(&self, name: &str, count: usize) -> Result<VectorWeights, LoadError> {
        self.f32_row(name, count)?;
        let matrix = self.matrix(name, 1, count)?;
        Ok(VectorWeights::from_row(&matrix.rows[0]))
    }

    /// The bits of the factors that divide the rotary frequencies, where the file has some.
    fn rope_factors(&self) -> Result<Option<Vec<u32>>, LoadError> {
        let name = "rope_freqs.weight";
        if !self.config.architecture.may_have_rope_factors() || (self.tensors)(name).is_none() {
            return Ok(None);
        }
        let bytes = self.f32_row(name, self.config.head_dim as usize / 2)?;
        let words = bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
        Ok(Some(words.collect()))
    }

    /// The bytes of a vector of F32.
    fn f32_row(&self, name: &str, count: usize) -> Result<&'a [u8], LoadError> {
        let tensor = self.find(name, 1, count)?;
        if tensor.kind != BlockType::F32 {
            return Err(LoadError::VectorType { name: name.to_owned(), kind: tensor.kind });
        }
        Ok(tensor.bytes)
    }

    fn find(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor<'a>, LoadError> {
        let missing = || LoadError::Missing { name: name.to_owned() };
        let tensor = (self.tensors)(name).ok_or_else(missing)?;
        let (expected, actual) = ((rows, columns), (tensor.rows, tensor.columns));
        if expected != actual {
            return Err(LoadError::Shape { name: name.to_owned(), expected, actual });
        }
        Ok(tensor)
    }
}
