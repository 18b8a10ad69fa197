//! Variants of an architecture: those that are computed, and those that are refused by the key that says so.

use super::{Keys, bad_key};
use crate::model::gguf::{GgufError, Value};

/// Metadata that changes the forward pass in ways that are not computed, with the values that change nothing.
const REFUSED_UNLESS: [(&str, &[&str]); 18] = [
    ("rope.scaling.type", &["none", "linear"]),
    ("rope.scaling.attn_factor", &["1"]),
    ("rope.scaling.yarn_log_multiplier", &["0"]),
    ("rope.scaling.yarn_ext_factor", &["0"]),
    ("rope.dimension_sections", &[]),
    ("expert_count", &["0"]),
    ("expert_used_count", &["0"]),
    ("attention.sliding_window", &["0"]),
    ("attention.causal", &["true"]),
    ("attention.scale", &["0"]),
    ("attention.clamp_kqv", &["0"]),
    ("attention.max_alibi_bias", &["0"]),
    ("attn_logit_softcapping", &["0"]),
    ("final_logit_softcapping", &["0"]),
    ("embedding_scale", &["0", "1"]),
    ("residual_scale", &["0", "1"]),
    ("logit_scale", &["0", "1"]),
    ("use_parallel_residual", &["false"]),
];

/// Refuses a file with a variant that is not computed.
pub(super) fn refuse_variants(keys: &Keys<'_>) -> Result<(), GgufError> {
    for (end, harmless) in REFUSED_UNLESS {
        let key = keys.key(end);
        let Some(value) = keys.file.meta(&key) else { continue };
        let found = shown(value);
        if !harmless.contains(&found.as_str()) {
            let reason = format!("is {found}, a variant of the architecture that is not supported");
            return Err(bad_key(&key, &reason));
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Uint(number) => number.to_string(),
        Value::Int(number) => number.to_string(),
        Value::F32(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => "of an unexpected type".to_owned(),
    }
}

/// What the frequencies of the rotary embedding are divided by: 1, but for linear scaling. A factor of 0 says
/// nothing, and one without a type is linear, as files have it.
pub(super) fn rope_scaling(keys: &Keys<'_>) -> Result<f32, GgufError> {
    if keys.has("rope.scaling.type") && keys.file.text(&keys.key("rope.scaling.type"))? == "none" {
        return Ok(1.0);
    }
    let named = ["rope.scaling.factor", "rope.scale_linear"].into_iter().find(|end| keys.has(end));
    let factor = named.map(|end| keys.float(end)).transpose()?;
    Ok(factor.filter(|factor| *factor != 0.0).unwrap_or(1.0))
}
