//! Loads and stores of the panel products: eight rows of one panel in the lower half of a register, eight of
//! another in the upper. Arrays are taken whole, as values: loads through pointers are slow in builds that check them.
#![allow(unsafe_code)]

use std::{arch::x86_64::*, mem::transmute};

use super::super::super::matrix::PANEL;

/// Rows of two panels.
pub(crate) const ROWS: usize = 2 * PANEL;

/// One 32-bit number a row of two panels.
pub(crate) type Wide = [i32; ROWS];

/// Eight 16-bit numbers of each panel, widened to 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn widen(low: &[i16; PANEL], high: &[i16; PANEL]) -> __m512i {
    // SAFETY: eight numbers of 16 bits are the lanes of a register.
    let wide = |eight: &[i16; PANEL]| unsafe { transmute::<[i16; PANEL], __m128i>(*eight) };
    let (low, high) = (wide(low), wide(high));
    _mm512_cvtepi16_epi32(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high))
}

/// Eight 32-bit numbers of each panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn join(low: &[i32; PANEL], high: &[i32; PANEL]) -> __m512i {
    // SAFETY: eight numbers of 32 bits are the lanes of a register.
    unsafe { halves(transmute::<[i32; PANEL], __m256i>(*low), transmute::<[i32; PANEL], __m256i>(*high)) }
}

/// Sixteen unsigned 16-bit words of each panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn join_unsigned(low: &[u16; ROWS], high: &[u16; ROWS]) -> __m512i {
    // SAFETY: sixteen numbers of 16 bits are the lanes of a register.
    unsafe { halves(transmute::<[u16; ROWS], __m256i>(*low), transmute::<[u16; ROWS], __m256i>(*high)) }
}

/// Sixteen signed 16-bit words of each panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn join_signed(low: &[i16; ROWS], high: &[i16; ROWS]) -> __m512i {
    // SAFETY: sixteen numbers of 16 bits are the lanes of a register.
    unsafe { halves(transmute::<[i16; ROWS], __m256i>(*low), transmute::<[i16; ROWS], __m256i>(*high)) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn halves(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// Sixty-four unsigned bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn load_unsigned_bytes(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are the lanes of a register.
    unsafe { transmute(*bytes) }
}

/// Sixty-four signed bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn load_bytes(bytes: &[i8; 64]) -> __m512i {
    // SAFETY: 64 bytes are the lanes of a register.
    unsafe { transmute(*bytes) }
}

/// Thirty-two 16-bit words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn load_words(words: &[i16; 32]) -> __m512i {
    // SAFETY: 32 numbers of 16 bits are the lanes of a register.
    unsafe { transmute(*words) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn load(values: &Wide) -> __m512i {
    // SAFETY: sixteen numbers of 32 bits are the lanes of a register.
    unsafe { transmute(*values) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn store(values: &mut Wide, lanes: __m512i) {
    // SAFETY: the lanes of a register are sixteen numbers of 32 bits.
    *values = unsafe { transmute::<__m512i, Wide>(lanes) };
}

/// Thirty-two bytes, as eight 32-bit numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn quads(bytes: __m256i) -> [i32; PANEL] {
    // SAFETY: the lanes of a register are eight numbers of 32 bits.
    unsafe { transmute(bytes) }
}

/// `round_shift` by lane, shifts 0 to 31: the floor, plus the highest bit that it lost.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn round_lanes(values: __m512i, shifts: __m512i) -> __m512i {
    let one = _mm512_set1_epi32(1);
    // A count of -1, for a shift of 0, gives zero: nothing was lost.
    let lost = _mm512_and_si512(_mm512_srlv_epi32(values, _mm512_sub_epi32(shifts, one)), one);
    _mm512_add_epi32(_mm512_srav_epi32(values, shifts), lost)
}

/// Asks for the cache lines of what lies `bytes` behind `values`, which may be beyond its end: nothing is
/// read that the program sees, and no place is at fault.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn prefetch<T, const N: usize>(values: &[T; N], bytes: usize) {
    for line in (0..size_of::<[T; N]>()).step_by(64) {
        let place = values.as_ptr().cast::<i8>().wrapping_add(bytes + line);
        _mm_prefetch::<_MM_HINT_T0>(place);
    }
}
