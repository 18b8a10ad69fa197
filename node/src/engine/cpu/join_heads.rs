//! The heads of one token brought to one scale, as the input of the output product.

use super::{
    super::{
        fixed::{Scale, mul_wide, narrow_shift, round_shift},
        isa::{Kernels, Work},
    },
    a15::quantize_plain,
};

/// Right shifts beyond this one leave nothing.
const SHIFT_MAX: i32 = 62;

/// Codes all heads of one token: `heads` holds them one after another, `scales` has one entry a head.
pub fn join_heads(
    kernels: Kernels,
    heads: &[i64],
    scales: &[Scale],
    scratch: &mut Vec<i32>,
    codes: &mut [i16],
) -> Scale {
    kernels.widened(JoinHeads { heads, scales, scratch, codes })
}

struct JoinHeads<'a> {
    heads: &'a [i64],
    scales: &'a [Scale],
    scratch: &'a mut Vec<i32>,
    codes: &'a mut [i16],
}

impl Work for JoinHeads<'_> {
    type Result = Scale;

    #[inline(always)]
    fn run(self) -> Scale {
        let Self { heads, scales, scratch, codes } = self;
        let width = heads.len() / scales.len();
        let mut top = i32::MIN;
        for (head, scale) in heads.chunks_exact(width).zip(scales) {
            let scale = narrowed(head, *scale).1;
            top = if scale.is_zero() { top } else { top.max(scale.e) };
        }
        if top == i32::MIN {
            codes.fill(0);
            return Scale::ZERO;
        }
        scratch.resize(heads.len(), 0);
        let heads = heads.chunks_exact(width).zip(scales);
        for ((head, scale), brought) in heads.zip(scratch.chunks_exact_mut(width)) {
            let (shift, scale) = narrowed(head, *scale);
            let down = 31 + top - scale.e;
            let m = if down <= SHIFT_MAX { scale.m as i32 } else { 0 };
            let down = down.clamp(0, SHIFT_MAX) as u32;
            for (brought, o) in brought.iter_mut().zip(head) {
                *brought = round_shift(mul_wide(round_shift(*o, shift) as i32, m), down) as i32;
            }
        }
        quantize_plain(scratch, codes).exp2(31 + top)
    }
}

/// The shift that narrows a head to 31 bits, and the scale behind it.
#[inline(always)]
fn narrowed(head: &[i64], scale: Scale) -> (u32, Scale) {
    let mut largest = 0;
    for o in head {
        largest = o.unsigned_abs().max(largest);
    }
    let shift = narrow_shift(largest);
    (shift, scale.exp2(shift as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(heads: &[i64], scales: &[Scale]) -> (Vec<i16>, Scale) {
        let mut codes = vec![9; heads.len()];
        let scale = join_heads(Kernels::PORTABLE, heads, scales, &mut Vec::new(), &mut codes);
        (codes, scale)
    }

    #[test]
    fn a_head_of_half_the_scale_gets_half_the_codes() {
        let (codes, scale) = joined(&[1 << 40, -(1 << 40)], &[Scale::from(1, -40), Scale::from(1, -41)]);
        assert_eq!(codes, [16_256, -8_128]);
        assert_eq!(scale.apply(16_256, 16), 1 << 16);
    }

    #[test]
    fn heads_that_are_zero_or_far_too_small_leave_zeros() {
        assert_eq!(joined(&[5, 5], &[Scale::ZERO, Scale::ZERO]), (vec![0, 0], Scale::ZERO));
        assert_eq!(joined(&[5, 5], &[Scale::from(1, 0), Scale::from(1, -90)]).0, [16_256, 0]);
        assert_eq!(joined(&[5, 5], &[Scale::from(1, -90), Scale::ZERO]).0, [16_256, 0]);
    }
}
