//! The codes of one head's slice of Q, K or V.

use super::{
    super::{fixed::Scale, isa::Kernels},
    a15::quantize,
};

/// Codes each head of `values`, all of which have the scale `scale`; `codes` is as long as `values`, `scales`
/// has one entry a head.
pub fn head_quant(kernels: Kernels, values: &[i32], scale: Scale, codes: &mut [i16], scales: &mut [Scale]) {
    let width = values.len() / scales.len();
    let heads = values.chunks_exact(width).zip(codes.chunks_exact_mut(width));
    for ((values, codes), out) in heads.zip(scales) {
        *out = quantize(kernels, values, codes).mul(scale);
    }
}
