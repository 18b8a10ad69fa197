//! Hyperparameters of architecture `llama`, read from a file and checked against its tensors.

use gridhour_protocol::exact::llama::{CONTEXT_MAX, HEAD_DIM_MAX, HEADS_MAX, LAYERS_MAX, LlamaConfig};

use super::gguf::{DIM_MAX, Gguf, GgufError, Tensor, TensorFault, TensorType, Value};

/// The one architecture that is served.
const ARCHITECTURE: &str = "llama";
/// Rotary base where the file gives none.
const ROPE_BASE_DEFAULT: f32 = 10_000.0;
/// Metadata that changes the forward pass in ways that are not computed, with the values that change nothing.
const REFUSED_UNLESS: [(&str, &[&str]); 5] = [
    ("llama.rope.scaling.type", &["none"]),
    ("llama.rope.scaling.factor", &["1"]),
    ("llama.rope.scale_linear", &["1"]),
    ("llama.expert_count", &["0"]),
    ("llama.attention.sliding_window", &["0"]),
];

/// Reads the hyperparameters and checks that the file has exactly the tensors that they ask for.
///
/// # Errors
/// [`GgufError`] naming the key or the tensor that is missing, wrong or of no use here.
pub fn llama_config(file: &Gguf) -> Result<LlamaConfig, GgufError> {
    let architecture = file.text("general.architecture")?;
    if architecture != ARCHITECTURE {
        return Err(bad_key("general.architecture", &format!("is {architecture:?}; supported is \"llama\"")));
    }
    refuse_variants(file)?;
    let config = read_numbers(file)?;
    check_tensors(file, &config)?;
    Ok(config)
}

/// Whether logits come from the token embedding, the file having no output matrix.
pub fn is_tied(file: &Gguf) -> bool {
    file.tensor("output.weight").is_err()
}

fn bad_key(key: &str, reason: &str) -> GgufError {
    GgufError::Key { key: key.to_owned(), reason: reason.to_owned() }
}

fn refuse_variants(file: &Gguf) -> Result<(), GgufError> {
    for (key, harmless) in REFUSED_UNLESS {
        let Some(value) = file.meta(key) else { continue };
        let found = match value {
            Value::Text(text) => text.clone(),
            Value::Uint(number) => number.to_string(),
            Value::F32(number) => number.to_string(),
            _ => "of an unexpected type".to_owned(),
        };
        if !harmless.contains(&found.as_str()) {
            let reason = format!("is {found}, a variant of the architecture that is not supported");
            return Err(bad_key(key, &reason));
        }
    }
    Ok(())
}

/// An integer of `1..=max`, or `default` where the key is absent.
fn number(file: &Gguf, key: &str, max: u32, default: Option<u32>) -> Result<u32, GgufError> {
    let found = match (file.meta(key), default) {
        (None, Some(default)) => default.into(),
        _ => file.uint(key)?,
    };
    match u32::try_from(found) {
        Ok(found @ 1..) if found <= max => Ok(found),
        _ => Err(bad_key(key, &format!("is {found}; 1 to {max} are supported"))),
    }
}

fn read_numbers(file: &Gguf) -> Result<LlamaConfig, GgufError> {
    let width = number(file, "llama.embedding_length", DIM_MAX as u32, None)?;
    let heads = number(file, "llama.attention.head_count", HEADS_MAX, None)?;
    let kv_heads = number(file, "llama.attention.head_count_kv", heads, Some(heads))?;
    let rope_base = match file.meta("llama.rope.freq_base") {
        Some(_) => file.float("llama.rope.freq_base")?,
        None => ROPE_BASE_DEFAULT,
    };
    let config = LlamaConfig {
        layers: number(file, "llama.block_count", LAYERS_MAX, None)?,
        width,
        heads,
        kv_heads,
        head_dim: number(file, "llama.attention.key_length", HEAD_DIM_MAX, Some(width / heads))?,
        ffn: number(file, "llama.feed_forward_length", DIM_MAX as u32, None)?,
        vocab: vocabulary(file)?,
        context: number(file, "llama.context_length", CONTEXT_MAX, None)?,
        rope_base: rope_base.to_bits(),
        epsilon: file.float("llama.attention.layer_norm_rms_epsilon")?.to_bits(),
    };
    check_numbers(file, &config)?;
    Ok(config)
}

/// Tokens of the vocabulary: the rows of the embedding, which metadata may only confirm.
fn vocabulary(file: &Gguf) -> Result<u32, GgufError> {
    let rows = file.tensor("token_embd.weight")?.rows;
    match file.meta("llama.vocab_size").map(|_| file.uint("llama.vocab_size")).transpose()? {
        Some(found) if found != rows as u64 => {
            let reason = format!("is {found}, but tensor \"token_embd.weight\" has {rows} rows");
            Err(bad_key("llama.vocab_size", &reason))
        }
        // A tensor's dimensions are at most 2^24.
        _ => Ok(rows as u32),
    }
}

fn check_numbers(file: &Gguf, config: &LlamaConfig) -> Result<(), GgufError> {
    let rotated = number(file, "llama.rope.dimension_count", HEAD_DIM_MAX, Some(config.head_dim))?;
    let values = number(file, "llama.attention.value_length", HEAD_DIM_MAX, Some(config.head_dim))?;
    let rules = [(rotated, "llama.rope.dimension_count"), (values, "llama.attention.value_length")];
    match rules.iter().find(|(width, _)| *width != config.head_dim) {
        Some((_, key)) => Err(bad_key(key, &format!("is not {}, the width of a head", config.head_dim))),
        None => Ok(config.check()?),
    }
}

/// A tensor that the architecture asks for.
struct Expected {
    name: String,
    rows: u32,
    cols: u32,
    is_norm: bool,
}

fn matrix(name: String, rows: u32, cols: u32) -> Expected {
    Expected { name, rows, cols, is_norm: false }
}

fn norm(name: String, cols: u32) -> Expected {
    Expected { name, rows: 1, cols, is_norm: true }
}

fn layer_tensors(layer: u32, c: &LlamaConfig) -> [Expected; 9] {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    [
        norm(name("attn_norm"), c.width),
        matrix(name("attn_q"), c.heads * c.head_dim, c.width),
        matrix(name("attn_k"), c.kv_heads * c.head_dim, c.width),
        matrix(name("attn_v"), c.kv_heads * c.head_dim, c.width),
        matrix(name("attn_output"), c.width, c.heads * c.head_dim),
        norm(name("ffn_norm"), c.width),
        matrix(name("ffn_gate"), c.ffn, c.width),
        matrix(name("ffn_up"), c.ffn, c.width),
        matrix(name("ffn_down"), c.width, c.ffn),
    ]
}

fn expected_tensors(c: &LlamaConfig, tied: bool) -> Vec<Expected> {
    let mut expected = vec![
        matrix("token_embd.weight".to_owned(), c.vocab, c.width),
        norm("output_norm.weight".to_owned(), c.width),
    ];
    if !tied {
        expected.push(matrix("output.weight".to_owned(), c.vocab, c.width));
    }
    expected.extend((0..c.layers).flat_map(|layer| layer_tensors(layer, c)));
    expected
}

fn check_tensors(file: &Gguf, config: &LlamaConfig) -> Result<(), GgufError> {
    let mut expected = expected_tensors(config, is_tied(file));
    expected.iter().try_for_each(|wanted| check_tensor(&file.tensor(&wanted.name)?, wanted))?;
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    let known = |name: &str| expected.binary_search_by(|wanted| wanted.name.as_str().cmp(name)).is_ok();
    match file.tensors().find(|tensor| !known(tensor.name)) {
        Some(extra) => Err(fault(&extra, TensorFault::Unknown)),
        None => Ok(()),
    }
}

fn fault(tensor: &Tensor<'_>, reason: TensorFault) -> GgufError {
    GgufError::Tensor { name: tensor.name.to_owned(), reason }
}

fn check_tensor(tensor: &Tensor<'_>, wanted: &Expected) -> Result<(), GgufError> {
    let (rows, cols) = (wanted.rows as usize, wanted.cols as usize);
    let Tensor { rows: found_rows, cols: found_cols, ty: found, .. } = *tensor;
    if (found_rows, found_cols) != (rows, cols) {
        return Err(fault(tensor, TensorFault::Shape { found_rows, found_cols, rows, cols }));
    }
    if wanted.is_norm && found != TensorType::F32 {
        return Err(fault(tensor, TensorFault::Type { found, expected: TensorType::F32 }));
    }
    Ok(())
}
