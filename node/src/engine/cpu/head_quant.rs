//! The codes of one head's slice of Q, K or V.

use super::{
    super::{fixed::Scale, isa::Kernels},
    a15::quantize,
};

/// Codes each head of `values`; `codes` is as long. `scales` has the scale of each head, which becomes that of
/// its codes.
pub fn head_quant(kernels: Kernels, values: &[i32], codes: &mut [i16], scales: &mut [Scale]) {
    let width = values.len() / scales.len();
    let heads = values.chunks_exact(width).zip(codes.chunks_exact_mut(width));
    for ((values, codes), scale) in heads.zip(scales) {
        *scale = quantize(kernels, values, codes).mul(*scale);
    }
}
