//! Adding the biases of a matrix to one head of its product (page, section 3).

use super::{
    a15::Scaled,
    round::{narrow, round_shift},
    scale::Scale,
    weights::VectorWeights,
};

/// Bits by which a bias is widened, so that it has as many as a value times the mantissa of its scale.
const BIAS_BITS: i32 = 35;

/// Shifts beyond this leave nothing.
const SHIFT_MAX: i32 = 62;

/// `add_bias(Y, s, B, k)`: the values of one head and their biases, in a common power of two as unit.
///
/// # Panics
/// If there is not one bias per value.
pub fn add_bias(y: &Scaled<i32>, b: &VectorWeights) -> Scaled<i32> {
    assert_eq!(y.values.len(), b.values.len(), "a bias per value");
    let value_unit = (!y.scale.is_zero()).then_some(y.scale.exponent());
    let bias_unit = b.values.iter().any(|&b| b != 0).then_some(-b.k - BIAS_BITS);
    let Some(unit) = value_unit.max(bias_unit).map(|largest| largest + 1) else {
        return Scaled { values: vec![0; y.values.len()], scale: Scale::ZERO };
    };
    let part = |v: i64, from: Option<i32>| from.map_or(0, |from| shifted(v, unit - from));
    let sum = |(&y_i, &b_i): (&i32, &i32)| {
        let value = part(i64::from(y_i) * i64::from(y.scale.mantissa()), value_unit);
        value + part(i64::from(b_i) << BIAS_BITS, bias_unit)
    };
    let (values, j) = narrow(&y.values.iter().zip(&b.values).map(sum).collect::<Vec<_>>());
    Scaled { values, scale: Scale::from_int(1, unit + j) }
}

fn shifted(v: i64, n: i32) -> i64 {
    if n > SHIFT_MAX { 0 } else { round_shift(v, n as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(values: [i32; 3], scale: Scale) -> Scaled<i32> {
        Scaled { values: values.to_vec(), scale }
    }

    fn biases(values: [i32; 3], k: i32) -> VectorWeights {
        VectorWeights { values: values.to_vec(), k }
    }

    #[test]
    fn small_integers_add_up_exactly() {
        let sum =
            add_bias(&head([5, -3, 0], Scale::from_int(1, 0)), &biases([2 << 20, 3 << 20, -1 << 20], 20));
        assert_eq!(sum.values.iter().map(|&v| sum.scale.apply(v, 0)).collect::<Vec<_>>(), [7, 0, -1]);
    }

    #[test]
    fn an_absent_part_has_no_say() {
        let one = Scale::from_int(1, -200);
        let alone = add_bias(&head([1 << 29, 1, -1], one), &biases([0; 3], 0));
        assert_eq!(
            alone.values.iter().map(|&v| alone.scale.apply(v, 200)).collect::<Vec<_>>(),
            [1 << 29, 1, -1]
        );
        let bias = add_bias(&head([9, 9, 9], Scale::ZERO), &biases([1, 0, -1], -20));
        assert_eq!(
            bias.values.iter().map(|&v| bias.scale.apply(v, 0)).collect::<Vec<_>>(),
            [1 << 20, 0, -1 << 20]
        );
        assert_eq!(add_bias(&head([9; 3], Scale::ZERO), &biases([0; 3], 0)), head([0; 3], Scale::ZERO));
    }

    #[test]
    fn parts_far_apart_leave_the_larger() {
        let tiny = add_bias(&head([1 << 30, 0, 0], Scale::from_int(1, -300)), &biases([0, 1 << 25, 0], 25));
        assert_eq!((tiny.values[0], tiny.scale.apply(tiny.values[1], 10)), (0, 1 << 10));
        let huge = add_bias(&head([1 << 30, 0, 0], Scale::from_int(1, 200)), &biases([0, 1 << 25, 0], 25));
        assert_eq!((huge.scale.apply(huge.values[0], -210), huge.values[1]), (1 << 20, 0));
    }
}
