//! Biases and norms of single heads, between a product and the rotary embedding.

use super::super::{
    fixed::{Scale, bit_len, max_magnitude, narrow_shift, round_shift},
    head_form::HeadForm,
    norm_weights::HeadNorm,
};

/// Bits by which biases are widened: about as many as the mantissa of a scale adds to a value.
const BIAS_BITS: u32 = 35;

/// Applies `form` to every head of a product in place. `scales` has one entry a head, the product's scale on
/// entry, and gets each head's own; `wide` is scratch.
pub fn form_heads(form: &HeadForm, values: &mut [i32], scales: &mut [Scale], wide: &mut Vec<i64>) {
    let width = values.len() / scales.len();
    let heads = values.chunks_exact_mut(width).zip(scales);
    match form {
        HeadForm::Plain => {}
        HeadForm::Biased(biases) => {
            for ((head, scale), biases_of) in heads.zip(biases.values.chunks_exact(width)) {
                *scale = add_bias(head, *scale, biases_of, biases.exponent, wide);
            }
        }
        HeadForm::Normed(norm) => {
            for (head, scale) in heads {
                *scale = head_norm(head, *scale, norm, wide);
            }
        }
    }
}

/// Adds the biases `biases * 2^-exponent` to one head; gives the scale of the sums.
fn add_bias(head: &mut [i32], scale: Scale, biases: &[i32], exponent: i32, wide: &mut Vec<i64>) -> Scale {
    let has_biases = biases.iter().any(|bias| *bias != 0);
    let bias_unit = -exponent - BIAS_BITS as i32;
    // Both parts lose at least one bit, so that their sum cannot overflow; an absent part has no say.
    let unit = match (scale.is_zero(), has_biases) {
        (true, false) => {
            head.fill(0);
            return Scale::ZERO;
        }
        (true, true) => bias_unit + 1,
        (false, false) => scale.e + 1,
        (false, true) => scale.e.max(bias_unit) + 1,
    };
    let lower = |v: i64, from: i32| if unit - from > 62 { 0 } else { round_shift(v, (unit - from) as u32) };
    wide.clear();
    wide.extend(head.iter().zip(biases).map(|(value, bias)| {
        let value = if scale.is_zero() { 0 } else { lower(i64::from(*value) * i64::from(scale.m), scale.e) };
        let bias = if has_biases { lower(i64::from(*bias) << BIAS_BITS, bias_unit) } else { 0 };
        value + bias
    }));
    let shift = narrow(wide, head);
    Scale::from(1, unit + shift)
}

/// Norms one head and multiplies it by the weights; gives the scale of the result.
fn head_norm(head: &mut [i32], scale: Scale, norm: &HeadNorm, wide: &mut Vec<i64>) -> Scale {
    let Some(inverse) = inverse_root(head, scale, norm.epsilon) else {
        head.fill(0);
        return Scale::ZERO;
    };
    wide.clear();
    wide.extend(head.iter().zip(&norm.weights.values).map(|(v, w)| i64::from(*v) * i64::from(*w)));
    let shift = narrow(wide, head);
    inverse.exp2(shift - norm.weights.exponent)
}

/// One over the root mean square of a head's integers; none where the head has no scale, or that would be zero.
fn inverse_root(head: &[i32], scale: Scale, epsilon: Scale) -> Option<Scale> {
    if scale.is_zero() {
        return None;
    }
    // Sixteen bits of each value: the sum of 256 squares fits 40.
    let shift = bit_len(u64::from(max_magnitude(head))).saturating_sub(15);
    let squares: i64 = head.iter().map(|v| round_shift(i64::from(*v), shift).pow(2)).sum();
    let reciprocal = scale.recip();
    let total =
        Scale::from(squares.unsigned_abs(), 2 * shift as i32).add(epsilon.mul(reciprocal).mul(reciprocal));
    (!total.is_zero())
        .then(|| Scale::sqrt(head.len() as u64, 0).mul(Scale::sqrt(total.m.into(), total.e).recip()))
}

/// Brings `wide` to 31 bits; gives the shift.
fn narrow(wide: &[i64], out: &mut [i32]) -> i32 {
    let shift = narrow_shift(wide.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0));
    out.iter_mut().zip(wide).for_each(|(out, v)| *out = round_shift(*v, shift) as i32);
    shift as i32
}
