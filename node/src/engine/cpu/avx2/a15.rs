//! A15 codes with AVX2: the plain body, compiled for wider registers.
#![allow(unsafe_code)]

use super::super::{
    super::{fixed::Scale, isa::Avx2},
    a15::quantize_plain,
};

/// See [`quantize`](super::super::a15::quantize).
pub(crate) fn quantize(_: Avx2, values: &[i32], codes: &mut [i16]) -> Scale {
    // SAFETY: the proof says that this machine executes AVX2 instructions.
    unsafe { quantize_avx2(values, codes) }
}

#[target_feature(enable = "avx2")]
fn quantize_avx2(values: &[i32], codes: &mut [i16]) -> Scale {
    quantize_plain(values, codes)
}
