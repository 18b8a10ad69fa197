//! Every operator against the same mathematics in floats. Tolerances are derived from the resolution of the
//! format (15 bits of activation, 12 of block scale), not from what the code happens to reach.

use gridhour_protocol::exact::{
    a15::{A15, Scaled, a15},
    attend::{attend, join_heads},
    bias::add_bias,
    embed::embed,
    exp2::exp2_neg,
    matvec::matvec,
    norm::{head_norm, norm_epsilon, norm_quant},
    rational::Dyadic,
    rope::{head_quant, rope},
    silu::silu_mul_quant,
    tables::{EXP2, EXPONENTIAL_RATIO, LOG2, RopeFrequencies, RopePairs},
    weights::{BlockType, CodedMatrix, CodedRow, VectorWeights},
};

use crate::support::{Seeded, dequantise, distance, peak, real, reals};

/// Half a step of A15 relative to the vector's peak, with a thousandth for the truncated reciprocal.
const A15_STEP: f64 = 0.5 / 16256.0 * 1.001;

#[test]
fn exp2_neg_is_within_two_parts_in_a_hundred_thousand() {
    for x in (0..=(29 << 16)).step_by(7) {
        let (got, exact) = (exp2_neg(x) as f64 / 2f64.powi(28), (-(x as f64) / 65536.0).exp2());
        // Beside the relative error of the interpolation, a result has half a unit of Q28 of rounding.
        assert!((got - exact).abs() <= 2e-5 * exact + 2f64.powi(-29), "{x}: {got} {exact}");
    }
}

#[test]
fn tables_are_their_functions_rounded() {
    let near = |got: i32, exact: f64, bits: i32| (f64::from(got) - exact * 2f64.powi(bits)).abs() <= 0.5001;
    assert!((0..=64).all(|i| near(EXP2[i], (-(i as f64) / 64.0).exp2(), 28)));
    assert!((0..=256).all(|i| near(LOG2[i], (1.0 + i as f64 / 256.0).log2(), 28)));
    let ratio = |u: f64| -(-u).ln_1p() / u;
    assert!((1..=256).all(|i| near(EXPONENTIAL_RATIO[i], ratio(i as f64 / 512.0), 30)));
}

#[test]
fn rope_table_is_cos_and_sin_at_all_positions() {
    for (base, head_dim) in [(10_000f32, 64), (100_000f32, 64), (500_000f32, 128), (1f32, 2)] {
        let frequencies = RopeFrequencies::new(dyadic(base), head_dim);
        for position in (0..8192).step_by(61).chain([8191, 65_535, 131_071]) {
            for (i, pair) in frequencies.row(position).iter().enumerate() {
                let angle = f64::from(position) * f64::from(base).powf(-2.0 * i as f64 / head_dim as f64);
                // Half a unit of Q30, and what a float angle of this size can be off.
                let tolerance = 0.5 * 2f64.powi(-30) + angle * 1e-15;
                let (c, s) = (f64::from(pair.cos) / 2f64.powi(30), f64::from(pair.sin) / 2f64.powi(30));
                assert!((c - angle.cos()).abs() <= tolerance && (s - angle.sin()).abs() <= tolerance);
            }
        }
    }
}

#[test]
fn a15_is_within_half_a_step() {
    let mut seeded = Seeded::new(1);
    for _ in 0..200 {
        let y = seeded.ints32(50);
        let floats: Vec<f64> = y.iter().map(|&v| v.into()).collect();
        assert!(distance(&reals(&a15(&y)), &floats) <= A15_STEP * peak(&floats));
    }
}

/// What coding and rounding can add up to in one row, derived from the page: each block scale is off by at
/// most one unit, each F32 code by half, each block's product by half a unit of `2^R`, each part of the
/// result by half of `2^X`.
fn matvec_tolerance(w: &CodedMatrix, row: &CodedRow, a: &A15) -> f64 {
    let step = |e: i32| 2f64.powi(e) * real(a.scale);
    let mut error = step(w.x) * 1.01;
    for (b, q) in a.values.chunks_exact(row.block).enumerate() {
        let codes = &row.codes[b * row.block..][..row.block];
        let product: f64 = codes.iter().zip(q).map(|(&c, &q)| f64::from(c) * f64::from(q)).sum();
        let (sum, magnitude): (f64, f64) =
            q.iter().fold((0.0, 0.0), |(s, m), &q| (s + f64::from(q), m + f64::from(q).abs()));
        let coding = if w.kind.is_float() {
            step(-row.kd) * f64::from(row.scales[b]) / 2.0 * magnitude
        } else {
            step(-row.kd) * product.abs() + step(-row.km) * sum.abs()
        };
        error += coding + step(w.rd as i32 - row.kd) + step(w.rm as i32 - row.km);
    }
    error
}

#[test]
fn matvec_is_within_its_derived_error_and_close_in_practice() {
    let mut seeded = Seeded::new(2);
    for kind in BlockType::ALL {
        for columns in [1, 3, 6].map(|groups| groups * kind.group_columns().max(256)) {
            let bytes = seeded.tensor(kind, 24, columns, 0.01);
            let w = CodedMatrix::from_gguf(kind, 24, columns, &bytes).expect("finite weights");
            let a = seeded.a15(columns, -44);
            let (weights, inputs) = (dequantise(kind, &bytes), reals(&a));
            let products = |row: &[f64]| row.iter().zip(&inputs).map(|(w, x)| w * x).sum::<f64>();
            let exact: Vec<f64> = weights.chunks_exact(columns).map(products).collect();
            let got = reals(&matvec(&w, &a));
            for (i, row) in w.rows.iter().enumerate() {
                assert!((got[i] - exact[i]).abs() <= matvec_tolerance(&w, row, &a), "{kind:?} {columns} {i}");
            }
            assert!(distance(&got, &exact) <= 1e-3 * peak(&exact), "{kind:?} {columns}");
        }
    }
}

#[test]
fn embedding_is_the_row_in_q14() {
    let mut seeded = Seeded::new(3);
    for kind in BlockType::ALL {
        let bytes = seeded.tensor(kind, 3, 256, 0.05);
        let w = CodedMatrix::from_gguf(kind, 3, 256, &bytes).expect("finite weights");
        let exact = dequantise(kind, &bytes);
        for token in 0..3 {
            let got: Vec<f64> = embed(&w, token).into_iter().map(|v| f64::from(v) / 16384.0).collect();
            let row = &exact[token * 256..][..256];
            assert!(distance(&got, row) <= 2f64.powi(-14) + 1e-3 * peak(row), "{kind:?}");
        }
    }
}

#[test]
fn norm_is_rms_norm() {
    let mut seeded = Seeded::new(4);
    for (bits, eps) in [(5, 1e-5f32), (14, 1e-5), (20, 1e-6), (31, 0.5), (3, 0.9)] {
        let x: Vec<i32> = seeded.ints(576, bits).into_iter().map(|v| v as i32).collect();
        let bytes = seeded.tensor(BlockType::F32, 1, 576, 1.5);
        let row = CodedRow::from_gguf(BlockType::F32, &bytes).expect("finite weights");
        let got = norm_quant(&x, &VectorWeights::from_row(&row), norm_epsilon(dyadic(eps), 576));
        let floats: Vec<f64> = x.iter().map(|&v| f64::from(v) / 16384.0).collect();
        let mean = floats.iter().map(|v| v * v).sum::<f64>() / 576.0;
        let inverse = 1.0 / (mean + f64::from(eps)).sqrt();
        let weights = dequantise(BlockType::F32, &bytes);
        let exact: Vec<f64> = floats.iter().zip(&weights).map(|(x, w)| x * inverse * w).collect();
        // The squares are of values rounded to 15 bits, which moves the common factor by 2^-15 at most. The
        // coded weights are themselves within half a step of 15 bits of their block's largest.
        let coding = 1.01 * A15_STEP * peak(&weights) * peak(&floats) * inverse;
        let tolerance = coding + (A15_STEP + 2f64.powi(-15) + 1e-6) * peak(&exact);
        assert!(distance(&reals(&got), &exact) <= tolerance, "{bits}");
    }
}

#[test]
fn biases_are_added_to_the_values() {
    let mut seeded = Seeded::new(7);
    // The biases are far below the values, as large, and far above; a value is about 2^(e + 61).
    for e in [-30, -62, -80] {
        let y = Scaled { values: seeded.ints32(64), scale: seeded.scale(e) };
        let bytes = seeded.tensor(BlockType::F32, 1, 64, 3.0);
        let row = CodedRow::from_gguf(BlockType::F32, &bytes).expect("finite weights");
        let biases = VectorWeights::from_row(&row);
        let coded = |(y, &b): (f64, &i32)| y + f64::from(b) * 2f64.powi(-biases.k);
        let exact: Vec<f64> = reals(&y).into_iter().zip(&biases.values).map(coded).collect();
        let got = reals(&add_bias(&y, &biases));
        assert!(distance(&got, &exact) <= 2f64.powi(-29) * peak(&exact), "{e}");
        let of_the_file: Vec<f64> =
            reals(&y).iter().zip(dequantise(BlockType::F32, &bytes)).map(|(y, b)| y + b).collect();
        assert!(distance(&got, &of_the_file) <= A15_STEP * 4.5 + 2f64.powi(-29) * peak(&exact), "{e}");
    }
}

#[test]
fn head_norm_is_rms_norm_whatever_the_head_s_scale() {
    let mut seeded = Seeded::new(8);
    for (e, eps) in [(-60, 1e-6f32), (-20, 1e-6), (-75, 1e-6), (-92, 1e-6), (-61, 0.9), (-40, 0.0)] {
        let y = Scaled { values: seeded.ints32(128), scale: seeded.scale(e) };
        let bytes = seeded.tensor(BlockType::F32, 1, 128, 1.5);
        let row = CodedRow::from_gguf(BlockType::F32, &bytes).expect("finite weights");
        let got = reals(&head_norm(&y, &VectorWeights::from_row(&row), dyadic(eps)));
        let (floats, weights) = (reals(&y), dequantise(BlockType::F32, &bytes));
        let mean = floats.iter().map(|v| v * v).sum::<f64>() / 128.0;
        let inverse = 1.0 / (mean + f64::from(eps)).sqrt();
        let exact: Vec<f64> = floats.iter().zip(&weights).map(|(y, w)| y * inverse * w).collect();
        // The squares are of values rounded to 15 bits; the coded weights are within half a step of 15 bits.
        let coding = 1.01 * A15_STEP * peak(&weights) * peak(&floats) * inverse;
        assert!(distance(&got, &exact) <= coding + (2f64.powi(-15) + 1e-6) * peak(&exact), "{e} {eps}");
    }
}

#[test]
fn rope_turns_every_pair_and_heads_are_quantised_alone() {
    let mut seeded = Seeded::new(5);
    for pairs in [RopePairs::Neighbours, RopePairs::Halves] {
        let y = Scaled { values: seeded.ints32(24), scale: seeded.scale(-50) };
        let angles = RopeFrequencies::new(dyadic(10_000.0), 8).row(37);
        let floats = reals(&y);
        let mut exact = floats.clone();
        for (head, i) in (0..3).flat_map(|head| (0..4).map(move |i| (8 * head, i))) {
            let (a, b) = match pairs {
                RopePairs::Neighbours => (head + 2 * i, head + 2 * i + 1),
                RopePairs::Halves => (head + i, head + i + 4),
            };
            let (s, c) = (37.0 * 10_000f64.powf(-(i as f64) / 4.0)).sin_cos();
            (exact[a], exact[b]) = (floats[a] * c - floats[b] * s, floats[a] * s + floats[b] * c);
        }
        let got = rope(&y, &angles, pairs);
        // Half a unit of the result, and what angles of 30 bits can be off.
        let tolerance = 0.51 * real(got.scale) + 4e-9 * peak(&floats);
        assert!(distance(&reals(&got), &exact) <= tolerance, "{pairs:?}");
        for (head, exact) in head_quant(&got, 8).iter().zip(exact.chunks_exact(8)) {
            assert!(distance(&reals(head), exact) <= 1.001 * A15_STEP * peak(exact) + tolerance);
        }
    }
}

#[test]
fn scaled_frequencies_are_those_of_the_base_divided() {
    let factors = [1.0f32, 1.5, 8.0, 31.9];
    let divided = RopeFrequencies::new(dyadic(500_000.0), 8).divided(&factors.map(dyadic));
    for position in [0, 1, 77, 8191, 131_071] {
        for (i, (pair, by)) in divided.row(position).iter().zip(factors).enumerate() {
            let angle = f64::from(position) * 500_000f64.powf(-(i as f64) / 4.0) / f64::from(by);
            let tolerance = 0.5 * 2f64.powi(-30) + angle * 1e-15;
            let (c, s) = (f64::from(pair.cos) / 2f64.powi(30), f64::from(pair.sin) / 2f64.powi(30));
            assert!((c - angle.cos()).abs() <= tolerance && (s - angle.sin()).abs() <= tolerance);
        }
    }
}

/// Softmax attention in floats.
fn attention(query: &A15, keys: &[A15], values: &[A15]) -> Vec<f64> {
    let q = reals(query);
    let root = (q.len() as f64).sqrt();
    let logit = |k: &A15| reals(k).iter().zip(&q).map(|(k, q)| k * q).sum::<f64>() / root;
    let logits: Vec<f64> = keys.iter().map(logit).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|l| (l - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; q.len()];
    for (w, v) in weights.iter().zip(values) {
        out.iter_mut().zip(reals(v)).for_each(|(o, v)| *o += w / total * v);
    }
    out
}

#[test]
fn attention_is_softmax_attention_also_over_long_contexts() {
    let mut seeded = Seeded::new(6);
    // The query's exponent spreads the logits from nearly equal to one position taking all.
    for (positions, query_exponent) in [(1, -44), (7, -44), (300, -45), (5000, -50), (5000, -44), (300, -38)]
    {
        let query = seeded.a15(64, query_exponent);
        let keys: Vec<A15> = (0..positions).map(|_| seeded.a15(64, -44)).collect();
        let values: Vec<A15> = (0..positions)
            .map(|_| {
                let e = seeded.range(-47, -44) as i32;
                seeded.a15(64, e)
            })
            .collect();
        let exact = attention(&query, &keys, &values);
        let got = attend(&query, &keys, &values);
        let largest_value = values.iter().map(|v| peak(&reals(v))).fold(0.0, f64::max);
        // Logits in Q16 after 31 bits, exp2 to 2e-5, weights to half a step of the largest.
        let tolerance = 1.5e-4 * largest_value;
        assert!(distance(&reals(&got), &exact) <= tolerance, "{positions} {query_exponent}");
        let joined = reals(&join_heads(&[got.clone(), got.clone()]));
        assert!(
            distance(&joined, &[reals(&got), reals(&got)].concat()) <= A15_STEP * 1.001 * peak(&reals(&got))
        );
    }
}

#[test]
fn silu_is_silu() {
    let mut seeded = Seeded::new(7);
    for e in [-75, -61, -59, -57, -45] {
        let g = Scaled { values: seeded.ints32(200), scale: seeded.scale(e) };
        let u = Scaled { values: seeded.ints32(200), scale: seeded.scale(-60) };
        let gated = |(g, u): (&f64, &f64)| g / (1.0 + (-g).exp()) * u;
        let exact: Vec<f64> = reals(&g).iter().zip(&reals(&u)).map(gated).collect();
        let got = silu_mul_quant(&g, &u);
        assert!(distance(&reals(&got), &exact) <= (A15_STEP + 5e-5) * peak(&exact), "{e}");
    }
}

fn dyadic(v: f32) -> Dyadic {
    Dyadic::from_f32_bits(v.to_bits()).expect("a finite number")
}
