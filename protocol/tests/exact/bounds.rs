//! The bounds of NUMERICS.md, section 8, at their extremes. Overflow checks are on, and every narrowing in
//! the definition is checked, so a bound that is wrong panics here.

use gridhour_protocol::exact::{
    a15::{A15, Scaled},
    attend::{attend, join_heads},
    bias::add_bias,
    matvec::matvec,
    norm::{head_norm, norm_epsilon, norm_quant},
    rational::Dyadic,
    rope::{head_quant, rope},
    round::round_shift,
    scale::Scale,
    silu::silu_mul_quant,
    tables::{RopePair, RopePairs},
    weights::{BLOCKS_MAX, BlockType, CodedMatrix, SCALE_CODE_MAX, VectorWeights},
};

use crate::support::Seeded;

/// The bound of a row's sums and of its result: 2^31 - 2^18.
const OUTPUT_MAX: i64 = (1 << 31) - (1 << 18);

#[test]
fn no_sum_of_a_row_of_any_length_leaves_32_bits() {
    for kind in BlockType::ALL {
        let largest = SCALE_CODE_MAX * kind.block() as i64 * i64::from(kind.code_max()) * 16256;
        for blocks in 1..=BLOCKS_MAX as i64 {
            let (rd, rm) = CodedMatrix::shifts(kind, blocks as usize * kind.block());
            let scaled = [round_shift(largest, rd), -round_shift(-largest, rd)];
            let minima = round_shift(SCALE_CODE_MAX * 32 * 16256, if kind.has_minima() { rm } else { 63 });
            for block in scaled.into_iter().chain([minima]) {
                assert!(blocks * block < OUTPUT_MAX, "{kind:?} {blocks}");
            }
        }
    }
}

/// A group of columns in which every code, scale and minimum has its largest magnitude, or the one below:
/// F16 65504 is 4094 of 4095.
fn extreme_group(kind: BlockType) -> Vec<u8> {
    let half = &0x7bffu16.to_le_bytes()[..];
    match kind {
        BlockType::Q4_1 => [half, half, &[0xff; 16]].concat(),
        BlockType::Q8_0 => [half, &[0x80; 32]].concat(),
        BlockType::F32 => f32::MAX.to_le_bytes().repeat(32),
        BlockType::F16 => half.repeat(32),
        BlockType::Bf16 => [0x7f, 0x7f].repeat(32),
        BlockType::Q4_0 => [half, &[0; 16]].concat(),
        BlockType::Q5_0 => [half, &[0; 20]].concat(),
        BlockType::Q5_1 => [half, half, &[0xff; 20]].concat(),
        BlockType::Q4K => [half, &0xfbffu16.to_le_bytes(), &[0xff; 140]].concat(),
        BlockType::Q6K => [&[0; 192][..], &[0x80; 16], half].concat(),
    }
}

#[test]
fn the_longest_rows_of_the_largest_weights_fit() {
    for kind in BlockType::ALL {
        let columns = BLOCKS_MAX * kind.block();
        let bytes = extreme_group(kind).repeat(columns / kind.group_columns());
        let w = CodedMatrix::from_gguf(kind, 1, columns, &bytes).expect("the weights are finite");
        let mut outputs = [16256i16, -16256].map(|q| {
            let a = Scaled { values: vec![q; columns], scale: Scale::from_int(1, 0) };
            i64::from(matvec(&w, &a).values[0])
        });
        outputs.sort_unstable();
        assert!(outputs[0] >= -OUTPUT_MAX && outputs[1] <= OUTPUT_MAX, "{kind:?} {outputs:?}");
        assert!(outputs[0] < -(1 << 28) && outputs[1] > 1 << 28, "{kind:?} {outputs:?}: no extreme at all");
    }
}

#[test]
fn norms_of_the_largest_residuals_fit() {
    let n = 1 << 20;
    let below_one = Dyadic::from_f32_bits(0x3f7f_ffff).expect("finite");
    for weight in [1, -66_568_320, 66_568_320] {
        for k in [-103, 174] {
            let w = VectorWeights { values: vec![weight; n], k };
            let got = norm_quant(&vec![-i32::MAX; n], &w, norm_epsilon(below_one, 1 << 24));
            assert_eq!(i64::from(got.values[0]), -16256 * i64::from(weight.signum()));
        }
    }
}

/// Scales at both ends of what a product can have (section 8), and of moderate size.
const PRODUCT_SCALES: [i32; 5] = [-420, -390, -60, -30, 267];

#[test]
fn heads_with_the_largest_values_and_biases_fit() {
    let (most, bias) = (OUTPUT_MAX as i32, 66_568_320);
    for e in PRODUCT_SCALES {
        for k in [-103, -20, 0, 25, 174] {
            for (y, b) in [(most, bias), (-most, -bias), (most, -bias), (most, 0), (0, bias)] {
                let head = Scaled { values: vec![y, -y, 0], scale: Scale::from_int(u32::MAX.into(), e) };
                let sum = add_bias(&head, &VectorWeights { values: vec![b, -b, 0], k });
                assert!(sum.values.iter().all(|v| v.abs() <= 1 << 30));
                assert!((-419..=300).contains(&(sum.scale.exponent() + 30)), "{e} {k} {:?}", sum.scale);
            }
        }
    }
}

#[test]
fn norms_of_the_largest_heads_fit() {
    for e in PRODUCT_SCALES {
        for (eps, k) in [(1, -103), (1, 174), (0x3f7f_ffff, -103), (0x3f7f_ffff, 174), (0, 0)] {
            for (y, w, d) in [(OUTPUT_MAX as i32, -66_568_320, 256), (1, 1, 2), (0, 66_568_320, 32)] {
                let eps = Dyadic::from_f32_bits(eps).expect("finite");
                let head = Scaled { values: vec![y; d], scale: Scale::from_int(u32::MAX.into(), e) };
                let normed = head_norm(&head, &VectorWeights { values: vec![w; d], k }, eps);
                assert!(normed.values.iter().all(|v| v.abs() <= 1 << 30));
                let lg = normed.scale.exponent() + 31;
                assert!((-570..=480).contains(&lg) && (y == 0 || lg <= 135), "{e} {k} {lg}");
            }
        }
    }
}

#[test]
fn rope_of_the_largest_values_fits() {
    let most = OUTPUT_MAX as i32;
    let diagonal = 759_250_125; // 2^30 / sqrt 2, rounded
    for (cos, sin) in [(1 << 30, 0), (0, -(1 << 30)), (diagonal, diagonal), (-diagonal, diagonal)] {
        for (a, b) in [(most, most), (most, -most), (-most, -most)] {
            let y = Scaled { values: vec![a, b], scale: Scale::from_int(1, 0) };
            let turned = rope(&y, &[RopePair { cos, sin }], RopePairs::Halves);
            assert!(turned.values.iter().any(|v| v.abs() > 1 << 29));
            assert_eq!(head_quant(&turned, 2).len(), 1);
        }
    }
}

#[test]
fn attention_over_the_longest_context_fits() {
    for (d, positions) in [(2, 1 << 17), (256, 64)] {
        for (sign, e) in [(1, -30), (-1, -30), (1, 300), (-1, -434)] {
            let key = A15 { values: vec![16256 * sign; d], scale: Scale::from_int(u64::MAX, e) };
            let query = A15 { values: vec![16256; d], scale: Scale::from_int(u64::MAX, e) };
            let head = attend(&query, &vec![key.clone(); positions], &vec![key; positions]);
            assert_eq!(head.values, vec![16256 * 16256 * i64::from(sign) * positions as i64; d]);
            assert_eq!(join_heads(&[head.clone(), head]).values, vec![16256 * sign; 2 * d]);
        }
    }
}

#[test]
fn heads_of_far_apart_scales_join_without_overflow() {
    let head = |v: i64, e: i32| Scaled { values: vec![v, -v], scale: Scale::from_int(u64::MAX, e) };
    let joined = join_heads(&[head(1 << 45, 270), head(1 << 45, -500), head(1, 250), head(0, 0)]);
    assert_eq!(joined.values[..4], [16256, -16256, 0, 0]);
}

#[test]
fn silu_of_the_largest_values_fits() {
    let most = OUTPUT_MAX as i32;
    for (g, u, e) in [(most, most, 250), (-most, most, -420), (-most, -most, -31), (most, -most, -46)] {
        let [g, u] = [g, u].map(|v| Scaled { values: vec![v, 0, 1], scale: Scale::from_int(u64::MAX, e) });
        assert_eq!(i64::from(silu_mul_quant(&g, &u).values[0]).abs() % 16256, 0);
    }
}

#[test]
fn scales_of_any_pair_of_half_floats_code_without_overflow() {
    let mut seeded = Seeded::new(31);
    for _ in 0..2000 {
        let mut bytes = seeded.bytes(4 * 20);
        (0..4).for_each(|b| [1, 3].iter().for_each(|at| bytes[20 * b + at] &= 0xbf)); // no exponent of 31
        let w = CodedMatrix::from_gguf(BlockType::Q4_1, 2, 64, &bytes).expect("the scales are finite");
        let y = matvec(&w, &seeded.a15(64, -44));
        assert!(y.values.iter().all(|v| i64::from(*v).abs() <= OUTPUT_MAX));
    }
}
