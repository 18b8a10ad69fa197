//! The tensors that an architecture asks for.

use gridhour_protocol::exact::llama::LlamaConfig;

use crate::model::gguf::{Gguf, GgufError, Tensor, TensorFault, TensorType};

/// Factors that divide the frequencies of the rotary embedding, one a pair, in files that have them.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Whether logits come from the token embedding, the file having no output matrix.
pub fn is_tied(file: &Gguf) -> bool {
    file.tensor("output.weight").is_err()
}

/// The bits of the factors that divide the frequencies of the rotary embedding, where a checked file has some.
pub fn rope_factors(file: &Gguf) -> Option<Vec<u32>> {
    let words = file.tensor(ROPE_FACTORS).ok()?.bytes.as_chunks().0;
    Some(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

/// A tensor that the architecture asks for.
struct Expected {
    name: String,
    rows: u32,
    cols: u32,
    is_vector: bool,
}

fn matrix(name: String, rows: u32, cols: u32) -> Expected {
    Expected { name, rows, cols, is_vector: false }
}

fn vector(name: String, cols: u32) -> Expected {
    Expected { name, rows: 1, cols, is_vector: true }
}

fn layer_tensors(layer: u32, c: &LlamaConfig) -> Vec<Expected> {
    let name = |part: &str| format!("blk.{layer}.{part}");
    let (query, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let mut expected = vec![
        vector(name("attn_norm.weight"), c.width),
        matrix(name("attn_q.weight"), query, c.width),
        matrix(name("attn_k.weight"), kv, c.width),
        matrix(name("attn_v.weight"), kv, c.width),
        matrix(name("attn_output.weight"), c.width, query),
        vector(name("ffn_norm.weight"), c.width),
        matrix(name("ffn_gate.weight"), c.ffn, c.width),
        matrix(name("ffn_up.weight"), c.ffn, c.width),
        matrix(name("ffn_down.weight"), c.width, c.ffn),
    ];
    if c.architecture.has_biases() {
        let biases = [("attn_q.bias", query), ("attn_k.bias", kv), ("attn_v.bias", kv)];
        expected.extend(biases.map(|(part, count)| vector(name(part), count)));
    }
    if c.architecture.has_head_norms() {
        let norms = ["attn_q_norm.weight", "attn_k_norm.weight"];
        expected.extend(norms.map(|part| vector(name(part), c.head_dim)));
    }
    expected
}

fn expected_tensors(file: &Gguf, c: &LlamaConfig) -> Vec<Expected> {
    let mut expected = vec![
        matrix("token_embd.weight".to_owned(), c.vocab, c.width),
        vector("output_norm.weight".to_owned(), c.width),
    ];
    if !is_tied(file) {
        expected.push(matrix("output.weight".to_owned(), c.vocab, c.width));
    }
    if c.architecture.may_have_rope_factors() && file.tensor(ROPE_FACTORS).is_ok() {
        expected.push(vector(ROPE_FACTORS.to_owned(), c.head_dim / 2));
    }
    expected.extend((0..c.layers).flat_map(|layer| layer_tensors(layer, c)));
    expected
}

/// Checks that the file has the tensors of the architecture and no others.
pub(super) fn check_tensors(file: &Gguf, config: &LlamaConfig) -> Result<(), GgufError> {
    let mut expected = expected_tensors(file, config);
    expected.iter().try_for_each(|wanted| check_tensor(&file.tensor(&wanted.name)?, wanted))?;
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    let known = |name: &str| expected.binary_search_by(|wanted| wanted.name.as_str().cmp(name)).is_ok();
    if let Some(extra) = file.tensors().find(|tensor| !known(tensor.name)) {
        return Err(fault(&extra, TensorFault::Unknown));
    }
    // Whether the factors are numbers in their range.
    config.rope_frequencies(rope_factors(file).as_deref())?;
    Ok(())
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
    if wanted.is_vector && found != TensorType::F32 {
        return Err(fault(tensor, TensorFault::Type { found, expected: TensorType::F32 }));
    }
    Ok(())
}
