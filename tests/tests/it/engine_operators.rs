//! Every operator of the engine, portable, AVX2 and AVX-512, against the definition in `protocol/src/exact`.

use gridhour_node::engine::{
    coding::Kind,
    cpu::{
        a15::{A15Rows, quantize},
        attend::{AttendScratch, HeadLaw, Queries, attend},
        embed::embed,
        exp2_neg::exp2_neg,
        head_form::form_heads,
        head_quant::head_quant,
        join_heads::join_heads,
        kv_store::{KvEntry, KvPlace, KvShape, KvStore},
        logits::logits,
        matmul::{Product, matmul},
        norm_quant::norm_quant,
        residual::{add, checksum},
        rope::{SCALE_SHIFT, rotate},
        silu_mul::{SiluScratch, silu_mul_quant},
    },
    device::{PAGE, PageId},
    fixed::Scale,
    head_form::HeadForm,
    isa::{Isa, Kernels},
    matrix::Matrix,
    norm_weights::{HeadNorm, NormWeights},
    row_weights::RowWeights,
    score_chain::{ScoreChain, Scores},
};
use gridhour_protocol::exact::{
    self,
    a15::{A15, Scaled},
    rational::Dyadic,
    tables::{RopeFrequencies, RopePairs},
    weights::{BlockType, CodedMatrix, VectorWeights},
};
use proptest::{collection::vec, prelude::*};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use testkit::definition::block_type;

/// The forms that this machine can run.
fn forms() -> impl Iterator<Item = Kernels> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter_map(Isa::resolve)
}

#[test]
fn forms_that_this_machine_lacks_are_named() {
    for isa in [Isa::Avx2, Isa::Avx512] {
        if isa.resolve().is_none() {
            eprintln!("skipped: this machine has no {isa:?}, so its forms are not compared");
        }
    }
    assert_eq!(forms().next().map(Kernels::name), Some("portable"));
    let names: std::collections::BTreeSet<_> = forms().map(Kernels::name).collect();
    assert_eq!(names.len(), forms().count(), "every form says which it is");
}

fn ours(scale: exact::scale::Scale) -> Scale {
    Scale { m: scale.mantissa(), e: scale.exponent() }
}

fn theirs(scale: Scale) -> exact::scale::Scale {
    exact::scale::Scale::from_int(scale.m.into(), scale.e)
}

/// A scale of usual size, or zero.
fn scale() -> impl Strategy<Value = exact::scale::Scale> {
    let some = (1u64..1 << 40, -90..-10i32).prop_map(|(v, e)| exact::scale::Scale::from_int(v, e));
    prop_oneof![20 => some, 1 => Just(exact::scale::Scale::ZERO)]
}

/// A code, often one of the extremes.
fn code() -> impl Strategy<Value = i16> {
    prop_oneof![6 => -16_256..=16_256i16, 1 => Just(16_256), 1 => Just(-16_256), 1 => Just(0)]
}

/// A value as products have them, of any size up to their bound.
fn value() -> impl Strategy<Value = i32> {
    const MOST: i32 = i32::MAX - (1 << 18);
    let any_size = (-MOST..=MOST, 0..31u32).prop_map(|(v, down)| v >> down);
    prop_oneof![12 => any_size, 1 => Just(MOST), 1 => Just(-MOST), 1 => Just(0)]
}

fn a15(len: usize) -> impl Strategy<Value = A15> {
    (vec(code(), len), scale()).prop_map(|(values, scale)| A15 { values, scale })
}

fn scaled(len: usize) -> impl Strategy<Value = Scaled<i32>> {
    (vec(value(), len), scale()).prop_map(|(values, scale)| Scaled { values, scale })
}

/// A finite half float of usual size, an extreme one, or a subnormal.
fn half() -> impl Strategy<Value = u16> {
    let usual = (0..2u16, 9..15u16, 0..1024u16).prop_map(|(s, e, f)| s << 15 | e << 10 | f);
    let edges = prop::sample::select(vec![0x7bff, 0xfbff, 1, 0, 0x8000]);
    prop_oneof![3 => usual, 1 => edges]
}

fn single() -> impl Strategy<Value = f32> {
    let usual = (-1.0f32..1.0, -6..4i32).prop_map(|(v, e)| v * (e as f32).exp2());
    prop_oneof![16 => usual, 1 => Just(f32::MAX), 1 => Just(-0.0), 1 => Just(f32::from_bits(1))]
}

/// The bytes of one block, or of one super-block.
fn block(kind: Kind) -> BoxedStrategy<Vec<u8>> {
    let with_halves = |halves: usize, codes: usize| {
        (vec(half(), halves), vec(prop_oneof![any::<u8>(), Just(0xff), Just(0x80)], codes))
            .prop_map(|(halves, codes)| {
                [halves.into_iter().flat_map(u16::to_le_bytes).collect(), codes].concat()
            })
            .boxed()
    };
    match kind {
        Kind::Q4_0 => with_halves(1, 16),
        Kind::Q4_1 => with_halves(2, 16),
        Kind::Q5_0 => with_halves(1, 20),
        Kind::Q5_1 => with_halves(2, 20),
        Kind::Q8_0 => with_halves(1, 32),
        Kind::Q4K => with_halves(2, 140),
        // The unit stands last.
        Kind::Q6K => with_halves(1, 208).prop_map(|bytes| [&bytes[2..], &bytes[..2]].concat()).boxed(),
        Kind::F16 => vec(half(), 32).prop_map(|v| v.into_iter().flat_map(u16::to_le_bytes).collect()).boxed(),
        Kind::F32 => {
            vec(single(), 32).prop_map(|v| v.into_iter().flat_map(f32::to_le_bytes).collect()).boxed()
        }
        Kind::Bf16 => vec(single(), 32)
            .prop_map(|v| v.into_iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect())
            .boxed(),
    }
}

/// Columns that a kind stores together, 32 at least.
fn group(kind: Kind) -> usize {
    kind.group_cols().max(32)
}

/// Columns of a row at most in the matrices that are tried.
const COLS_MAX: usize = 512;

/// A matrix of any kind, as the engine and as the definition have it.
fn matrices() -> impl Strategy<Value = (Matrix, CodedMatrix)> {
    let kinds = prop::sample::select(Kind::ALL.to_vec());
    (kinds, 1..20usize, 1..8usize).prop_flat_map(|(kind, rows, blocks)| {
        let blocks = blocks.min(COLS_MAX / group(kind));
        vec(block(kind), rows * blocks).prop_map(move |bytes| {
            let (bytes, cols) = (bytes.concat(), blocks * group(kind));
            let (matrix, _) = Matrix::build(kind, rows, cols, &bytes, |_| ()).expect("finite weights");
            let coded = CodedMatrix::from_gguf(block_type(kind), rows, cols, &bytes).expect("finite weights");
            (matrix, coded)
        })
    })
}

fn rows(vectors: &[A15]) -> A15Rows {
    let mut rows = A15Rows::new(vectors[0].values.len());
    rows.resize(vectors.len());
    rows.par_rows_mut().enumerate().for_each(|(at, row)| {
        row.fill_with(|codes| {
            codes.copy_from_slice(&vectors[at].values);
            ours(vectors[at].scale)
        });
    });
    rows
}

fn compare_products(matrix: &Matrix, coded: &CodedMatrix, vectors: &[A15]) -> Result<(), TestCaseError> {
    let expected: Vec<_> = vectors.iter().map(|v| exact::matvec::matvec(coded, v)).collect();
    for kernels in forms() {
        let (input, mut product, mut found) = (rows(vectors), Product::default(), Vec::new());
        matmul(kernels, &input, &mut [(matrix, &mut product)]);
        for (at, expected) in expected.iter().enumerate() {
            product.copy_to(at, &mut found);
            prop_assert_eq!(&found, &expected.values, "{:?}, vector {}", kernels, at);
            prop_assert_eq!(input.scale(at).exp2(matrix.exponent()), ours(expected.scale));
        }
    }
    Ok(())
}

/// Attention with several queries over keys and values in pages of memory, in an order of their own.
fn compare_attention(queries: &[A15], keys: &[A15], values: &[A15]) -> Result<(), TestCaseError> {
    let head_dim = queries[0].values.len();
    let mut store = KvStore::new(KvShape { layers: 2, heads: 2, head_dim });
    let table: Vec<PageId> = (0..keys.len().div_ceil(PAGE) as u32).rev().map(PageId).collect();
    // What a page held before counts for nothing: it is full of large codes.
    let (old, scale) = (vec![16_256; head_dim], Scale::from(1, 0));
    for (page, slot) in table.iter().flat_map(|page| (0..PAGE).map(move |slot| (*page, slot))) {
        store.back(page).expect("a little memory");
        let entry = KvEntry { key: (&old, scale), value: (&old, scale) };
        store.write(KvPlace { layer: 1, head: 1, page, slot }, entry);
    }
    for (at, (key, value)) in keys.iter().zip(values).enumerate() {
        let entry =
            KvEntry { key: (&key.values, ours(key.scale)), value: (&value.values, ours(value.scale)) };
        store.write(KvPlace { layer: 1, head: 1, page: table[at / PAGE], slot: at % PAGE }, entry);
    }
    let expected: Vec<_> = queries.iter().map(|query| exact::attend::attend(query, keys, values)).collect();
    let codes: Vec<i16> = queries.iter().flat_map(|query| query.values.clone()).collect();
    let scales: Vec<Scale> = queries.iter().map(|query| ours(query.scale)).collect();
    for kernels in forms() {
        let (mut sums, mut sum_scales) = (vec![1; codes.len()], vec![Scale::from(1, 0); scales.len()]);
        let queries =
            Queries { codes: &codes, scales: &scales, sums: &mut sums, sum_scales: &mut sum_scales };
        let pages = store.head((1, 1), &table, keys.len());
        attend(kernels, &HeadLaw::new(head_dim), queries, pages, &mut AttendScratch::default());
        for (at, expected) in expected.iter().enumerate() {
            let found = (&sums[at * head_dim..][..head_dim], sum_scales[at]);
            prop_assert_eq!(
                found,
                (&expected.values[..], ours(expected.scale)),
                "{:?}, query {}",
                kernels,
                at
            );
        }
    }
    Ok(())
}

/// A row of biases or norm weights, often with heads of zeros, as the engine and as the definition have it.
fn vector_weights(len: usize) -> impl Strategy<Value = (RowWeights, VectorWeights)> {
    let head = prop_oneof![4 => vec(single(), 32), 1 => Just(vec![0.0; 32])];
    (vec(head, len / 32), -60..60i32).prop_map(|(heads, size)| {
        let sized = |v: f32| if v == f32::MAX { v } else { v * (size as f32).exp2() };
        let bytes: Vec<u8> = heads.concat().into_iter().flat_map(|v| sized(v).to_le_bytes()).collect();
        let (row, ()) = RowWeights::build(bytes.len() / 4, &bytes, |_| ()).expect("finite weights");
        let coded =
            CodedMatrix::from_gguf(BlockType::F32, 1, bytes.len() / 4, &bytes).expect("finite weights");
        (row, VectorWeights::from_row(&coded.rows[0]))
    })
}

/// Compares the heads of 32 that `form` makes of a product.
fn compare_heads(
    form: &HeadForm,
    product: &Scaled<i32>,
    expected: impl Iterator<Item = Scaled<i32>>,
) -> Result<(), TestCaseError> {
    let mut values = product.values.clone();
    let mut scales = vec![ours(product.scale); values.len() / 32];
    form_heads(form, &mut values, &mut scales, &mut Vec::new());
    for (at, expected) in expected.enumerate() {
        prop_assert_eq!(&values[32 * at..][..32], &expected.values, "head {}", at);
        prop_assert_eq!(scales[at], ours(expected.scale), "head {}", at);
    }
    Ok(())
}

/// A vector of one code.
fn uniform(code: i16, len: usize) -> A15 {
    A15 { values: vec![code; len], scale: exact::scale::Scale::from_int(1, -14) }
}

#[test]
fn products_of_the_largest_codes_and_scales_do_not_overflow() {
    // Half floats of the largest magnitude, then codes that are all ones (15), or all 0x80 (-128).
    let extremes = [
        (Kind::Q4_1, [&[0xff, 0x7b, 0xff, 0x7b][..], &[0xff; 16]].concat()),
        (Kind::Q4_1, [&[0xff, 0x7b, 0xff, 0xfb][..], &[0xff; 16]].concat()),
        (Kind::Q8_0, [&[0xff, 0x7b][..], &[0x80; 32]].concat()),
        (Kind::F32, f32::MAX.to_le_bytes().repeat(32)),
        (Kind::F32, f32::MIN.to_le_bytes().repeat(32)),
        (Kind::F16, [0xff, 0x7b].repeat(32)),
        (Kind::Bf16, [0x7f, 0xff].repeat(32)),
        (Kind::Q4_0, [&[0xff, 0x7b][..], &[0; 16]].concat()),
        (Kind::Q5_0, [&[0xff, 0x7b][..], &[0; 20]].concat()),
        (Kind::Q5_1, [&[0xff, 0x7b, 0xff, 0xfb][..], &[0xff; 20]].concat()),
        (Kind::Q4K, [&[0xff, 0x7b, 0xff, 0xfb][..], &[0xff; 140]].concat()),
        (Kind::Q6K, [&[0; 192][..], &[0x80; 16], &[0xff, 0x7b]].concat()),
    ];
    for (kind, block) in extremes {
        for blocks in [1, 2, 48] {
            let (bytes, cols) = (block.repeat(9 * blocks), group(kind) * blocks);
            let (matrix, _) = Matrix::build(kind, 9, cols, &bytes, |_| ()).expect("finite weights");
            let coded = CodedMatrix::from_gguf(block_type(kind), 9, cols, &bytes).expect("finite weights");
            let vectors = [16_256, -16_256, 16_256, -16_256, 16_256].map(|code| uniform(code, cols));
            compare_products(&matrix, &coded, &vectors).expect("the same bits");
        }
    }
}

#[test]
fn attention_over_the_largest_codes_does_not_overflow() {
    for (size, code) in [(16, 16_256), (128, 16_256), (128, -16_256), (256, 16_256)] {
        // Twenty positions share the whole weight; the others show whether a dot product kept its sign.
        let keys = [vec![uniform(code, size); 20], vec![uniform(-code, size); 13]].concat();
        let values = vec![uniform(code, size); 33];
        compare_attention(&[uniform(code, size), uniform(-code, size)], &keys, &values)
            .expect("the same bits");
    }
}

proptest! {
    #[test]
    fn products_of_any_number_of_vectors(
        (matrix, coded) in matrices(),
        mut vectors in vec(a15(COLS_MAX), 1..11),
    ) {
        vectors.iter_mut().for_each(|v| v.values.truncate(matrix.cols()));
        compare_products(&matrix, &coded, &vectors)?;
    }

    #[test]
    fn embeddings((matrix, coded) in matrices()) {
        for token in 0..matrix.rows() {
            let mut stream = vec![0; matrix.cols()];
            embed(&matrix, token, &mut stream);
            prop_assert_eq!(stream, exact::embed::embed(&coded, token));
        }
    }

    #[test]
    fn a15_codes(values in vec(prop_oneof![value(), Just(i32::MAX), Just(-i32::MAX)], 0..80)) {
        let expected = exact::a15::a15(&values);
        for kernels in forms() {
            let mut codes = vec![1; values.len()];
            let scale = quantize(kernels, &values, &mut codes);
            prop_assert_eq!((&codes, scale), (&expected.values, ours(expected.scale)), "{:?}", kernels);
        }
    }

    #[test]
    fn norms(
        stream in (1..4usize).prop_flat_map(|blocks| vec(prop_oneof![value(), Just(-i32::MAX)], blocks * 32)),
        weights in vec(single(), 96),
        eps in prop_oneof![Just(0.0), Just(1e-5f32), Just(1e-12f32), 0.0..1.0f32],
        silent in prop::bool::weighted(0.05),
    ) {
        let stream = if silent { vec![0; stream.len()] } else { stream };
        let bytes: Vec<u8> = weights[..stream.len()].iter().flat_map(|w| w.to_le_bytes()).collect();
        let (norm, ()) = NormWeights::build(stream.len(), &bytes, eps, |_| ()).expect("finite weights");
        let coded = CodedMatrix::from_gguf(BlockType::F32, 1, stream.len(), &bytes).expect("finite weights");
        let eps = Dyadic::from_f32_bits(eps.to_bits()).expect("finite");
        let epsilon = exact::norm::norm_epsilon(eps, stream.len());
        prop_assert_eq!((norm.matrix_exponent, norm.epsilon), (coded.x, epsilon));
        let weights = VectorWeights::from_row(&coded.rows[0]);
        let expected = exact::norm::norm_quant(&stream, &weights, epsilon);
        for kernels in forms() {
            let mut codes = vec![1; stream.len()];
            let scale = norm_quant(kernels, &stream, &norm, &mut Vec::new(), &mut codes);
            prop_assert_eq!((&codes, scale), (&expected.values, ours(expected.scale)), "{:?}", kernels);
        }
    }

    #[test]
    fn turned_heads(
        y in scaled(48),
        position in 0..131_072u32,
        pairs in prop::sample::select(vec![RopePairs::Neighbours, RopePairs::Halves]),
    ) {
        let base = Dyadic::from_f32_bits(10_000f32.to_bits()).expect("finite");
        let row = RopeFrequencies::new(base, 16).row(position);
        let turned = exact::rope::rope(&y, &row, pairs);
        prop_assert_eq!(ours(y.scale).exp2(SCALE_SHIFT), ours(turned.scale));
        for kernels in forms() {
            let mut values = y.values.clone();
            rotate(kernels, &mut values, &row, pairs);
            prop_assert_eq!(&values, &turned.values, "{:?}", kernels);
            let (mut codes, mut scales) = (vec![0; 48], [ours(turned.scale); 3]);
            head_quant(kernels, &values, &mut codes, &mut scales);
            for (at, expected) in exact::rope::head_quant(&turned, 16).into_iter().enumerate() {
                prop_assert_eq!(&codes[at * 16..(at + 1) * 16], &expected.values);
                prop_assert_eq!(scales[at], ours(expected.scale));
            }
        }
    }

    #[test]
    fn heads_with_biases(y in scaled(96), weights in vector_weights(96)) {
        let (row, coded) = weights;
        let expected = y.values.chunks(32).enumerate().map(|(at, head)| {
            let head = Scaled { values: head.to_vec(), scale: y.scale };
            exact::bias::add_bias(&head, &coded.head(at, 32))
        });
        compare_heads(&HeadForm::Biased(row), &y, expected)?;
    }

    #[test]
    fn heads_with_norms(
        y in scaled(96),
        weights in vector_weights(32),
        eps in prop_oneof![Just(0.0), Just(1e-6f32), Just(1e-12f32), Just(f32::from_bits(1)), 0.0..1.0f32],
    ) {
        let (row, coded) = weights;
        let dyadic = Dyadic::from_f32_bits(eps.to_bits()).expect("finite");
        let expected = y.values.chunks(32).map(|head| {
            let head = Scaled { values: head.to_vec(), scale: y.scale };
            exact::norm::head_norm(&head, &coded, dyadic)
        });
        compare_heads(&HeadForm::Normed(HeadNorm::new(row, eps)), &y, expected)?;
    }

    #[test]
    fn sums_of_scales(a in scale(), b in scale(), down in 0..80i32) {
        prop_assert_eq!(ours(a).plus(ours(b)), ours(a.plus(b)));
        prop_assert_eq!(ours(a).plus(ours(a.exp2(-down))), ours(a.plus(a.exp2(-down))));
    }

    #[test]
    fn attention(
        (queries, keys, values) in (prop::sample::select(vec![2usize, 8, 16, 48, 64, 128, 256]), 1..200usize)
            .prop_flat_map(|(d, n)| (vec(a15(d), 1..5), vec(a15(d), n), vec(a15(d), n))),
    ) {
        compare_attention(&queries, &keys, &values)?;
    }

    #[test]
    fn joined_heads(heads in vec((vec(-(1i64 << 45)..1 << 45, 32), scale()), 1..6)) {
        let heads: Vec<_> = heads.into_iter().map(|(values, scale)| Scaled { values, scale }).collect();
        let expected = exact::attend::join_heads(&heads);
        let values: Vec<i64> = heads.iter().flat_map(|h| h.values.clone()).collect();
        let scales: Vec<Scale> = heads.iter().map(|h| ours(h.scale)).collect();
        for kernels in forms() {
            let mut codes = vec![1; values.len()];
            let scale = join_heads(kernels, &values, &scales, &mut Vec::new(), &mut codes);
            prop_assert_eq!((&codes, scale), (&expected.values, ours(expected.scale)), "{:?}", kernels);
        }
    }

    #[test]
    fn gates((gate, up) in (1..80usize).prop_flat_map(|n| (scaled(n), scaled(n)))) {
        let expected = exact::silu::silu_mul_quant(&gate, &up);
        for kernels in forms() {
            let mut codes = vec![1; gate.values.len()];
            let (gate, up) = ((&gate.values[..], ours(gate.scale)), (&up.values[..], ours(up.scale)));
            let scale = silu_mul_quant(kernels, gate, up, &mut SiluScratch::default(), &mut codes);
            prop_assert_eq!((&codes, scale), (&expected.values, ours(expected.scale)), "{:?}", kernels);
        }
    }

    #[test]
    fn sums_logits_and_checksums(stream in vec(value(), 24), product in scaled(24)) {
        let mut expected = stream.clone();
        exact::embed::add(&mut expected, &product);
        prop_assert_eq!(checksum(&expected), exact::score_chain::layer_checksum(&expected));
        let expected_logits: Vec<_> = product.values.iter().map(|y| product.scale.apply(*y, 16)).collect();
        for kernels in forms() {
            let (mut sum, mut found) = (stream.clone(), product.values.clone());
            add(kernels, &mut sum, &product.values, ours(product.scale));
            prop_assert_eq!(&sum, &expected, "{:?}", kernels);
            logits(kernels, &mut found, ours(product.scale));
            prop_assert_eq!(&found, &expected_logits, "{:?}", kernels);
        }
    }

    #[test]
    fn powers_of_two(x in prop_oneof![0..1i64 << 21, 0..1i64 << 32]) {
        prop_assert_eq!(i64::from(exp2_neg(x as u32)), exact::exp2::exp2_neg(x));
    }

    #[test]
    fn scales(v in 1u64.., w in 1u64.., e in -200..200i32, f in -200..200i32, y in value()) {
        let (a, b) = (Scale::from(v, e), Scale::from(w, f));
        let (c, d) = (exact::scale::Scale::from_int(v, e), exact::scale::Scale::from_int(w, f));
        prop_assert_eq!((a, theirs(a)), (ours(c), c));
        prop_assert_eq!(a.mul(b), ours(c.times(d)));
        prop_assert_eq!(a.recip(), ours(c.recip()));
        prop_assert_eq!(Scale::sqrt(v, e), ours(exact::scale::Scale::sqrt(v, e)));
        prop_assert_eq!(a.apply(y, 16), c.apply(y, 16));
    }

    #[test]
    fn score_chains(
        steps in vec((vec(-5..5i32, 6), 0..6u32, vec(any::<u32>(), 3)), 1..5),
        request: [u8; 32],
        start: u32,
    ) {
        let mut found = ScoreChain::new(&request, start);
        let mut expected = exact::score_chain::ScoreChain::start(&request, start);
        for (logits, token, checksums) in &steps {
            found.push(*token, Scores { logits, checksums });
            expected = expected.extend(&exact::score_chain::Score::new(logits, *token, checksums));
            prop_assert_eq!(found.digest(), expected.digest());
        }
    }
}
