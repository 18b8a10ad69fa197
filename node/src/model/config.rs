//! Hyperparameters of a model, read from a file and checked against its tensors.

mod tensors;
mod variants;

use gridhour_protocol::exact::llama::{
    Architecture, CONTEXT_MAX, HEAD_DIM_MAX, HEADS_MAX, LAYERS_MAX, LlamaConfig,
};

pub use self::tensors::{is_tied, rope_factors};
use self::{
    tensors::check_tensors,
    variants::{refuse_variants, rope_scaling},
};
use super::gguf::{DIM_MAX, Gguf, GgufError};

/// Rotary base where the file gives none.
const ROPE_BASE_DEFAULT: f32 = 10_000.0;
/// Reads the hyperparameters and checks that the file has exactly the tensors that they ask for.
///
/// # Errors
/// [`GgufError`] naming the key or the tensor that is missing, wrong or of no use here.
pub fn llama_config(file: &Gguf) -> Result<LlamaConfig, GgufError> {
    let keys = Keys { file, architecture: architecture(file)? };
    refuse_variants(&keys)?;
    let config = read_numbers(&keys)?;
    check_tensors(file, &config)?;
    Ok(config)
}

fn architecture(file: &Gguf) -> Result<Architecture, GgufError> {
    let name = file.text("general.architecture")?;
    let supported = Architecture::ALL.map(Architecture::name).join(", ");
    let unsupported = || bad_key("general.architecture", &format!("is {name:?}; supported are {supported}"));
    Architecture::named(name).ok_or_else(unsupported)
}

fn bad_key(key: &str, reason: &str) -> GgufError {
    GgufError::Key { key: key.to_owned(), reason: reason.to_owned() }
}

/// The keys of a file that begin with the name of its architecture.
#[derive(Clone, Copy)]
struct Keys<'a> {
    file: &'a Gguf,
    architecture: Architecture,
}

impl Keys<'_> {
    /// The whole key that ends in `end`.
    fn key(&self, end: &str) -> String {
        format!("{}.{end}", self.architecture.name())
    }

    /// Whether the file has the key.
    fn has(&self, end: &str) -> bool {
        self.file.meta(&self.key(end)).is_some()
    }

    fn float(&self, end: &str) -> Result<f32, GgufError> {
        self.file.float(&self.key(end))
    }

    /// An integer of `1..=max`, or `default` where the key is absent.
    fn number(&self, end: &str, max: u32, default: Option<u32>) -> Result<u32, GgufError> {
        let key = self.key(end);
        let found = match (self.file.meta(&key), default) {
            (None, Some(default)) => default.into(),
            _ => self.file.uint(&key)?,
        };
        match u32::try_from(found) {
            Ok(found @ 1..) if found <= max => Ok(found),
            _ => Err(bad_key(&key, &format!("is {found}; 1 to {max} are supported"))),
        }
    }
}

fn read_numbers(keys: &Keys<'_>) -> Result<LlamaConfig, GgufError> {
    let width = keys.number("embedding_length", DIM_MAX as u32, None)?;
    let heads = keys.number("attention.head_count", HEADS_MAX, None)?;
    let rope_base =
        if keys.has("rope.freq_base") { keys.float("rope.freq_base")? } else { ROPE_BASE_DEFAULT };
    let config = LlamaConfig {
        architecture: keys.architecture,
        layers: keys.number("block_count", LAYERS_MAX, None)?,
        width,
        heads,
        kv_heads: keys.number("attention.head_count_kv", heads, Some(heads))?,
        head_dim: keys.number("attention.key_length", HEAD_DIM_MAX, Some(width / heads))?,
        ffn: keys.number("feed_forward_length", DIM_MAX as u32, None)?,
        vocab: vocabulary(keys)?,
        context: keys.number("context_length", CONTEXT_MAX, None)?,
        rope_base: rope_base.to_bits(),
        rope_scaling: rope_scaling(keys)?.to_bits(),
        epsilon: keys.float("attention.layer_norm_rms_epsilon")?.to_bits(),
    };
    check_numbers(keys, &config)?;
    Ok(config)
}

/// Tokens of the vocabulary: the rows of the embedding, which metadata may only confirm.
fn vocabulary(keys: &Keys<'_>) -> Result<u32, GgufError> {
    let rows = keys.file.tensor("token_embd.weight")?.rows;
    let key = keys.key("vocab_size");
    match keys.has("vocab_size").then(|| keys.file.uint(&key)).transpose()? {
        Some(found) if found != rows as u64 => {
            Err(bad_key(&key, &format!("is {found}, but tensor \"token_embd.weight\" has {rows} rows")))
        }
        // A tensor's dimensions are at most 2^24.
        _ => Ok(rows as u32),
    }
}

fn check_numbers(keys: &Keys<'_>, config: &LlamaConfig) -> Result<(), GgufError> {
    for end in ["rope.dimension_count", "attention.value_length"] {
        if keys.number(end, HEAD_DIM_MAX, Some(config.head_dim))? != config.head_dim {
            return Err(bad_key(&keys.key(end), &format!("is not {}, the width of a head", config.head_dim)));
        }
    }
    Ok(config.check()?)
}
