//! Known answers of the products, in every form and with every use of the result, and of the embedding.

use super::{
    super::{
        super::{
            coding::{BLOCK, Kind},
            cpu::{
                a15::A15Rows,
                embed::embed,
                logits::logits,
                matmul::{Product, matmul},
                residual::add,
                silu_mul::silu,
            },
            isa::Kernels,
            matrix::Matrix,
        },
        matrix::{Laid, exponent_words},
        shader::{Input, Keep, Kernel, Lanes, PANEL, RowOp, Tile},
    },
    Answer, Case, Filled,
    draw::{Draw, code_words, sum_words, words},
    rows::{Drawn, drawn, scales},
};

/// One kind a form.
const KINDS: [Kind; 7] = [Kind::Q4_0, Kind::Q4_1, Kind::Q8_0, Kind::Q5_1, Kind::Q4K, Kind::Q6K, Kind::F32];
/// Rows of a matrix, which leave the last panel partly empty.
const ROWS: usize = 40;
/// Rows of them that are gates, where some are.
const GATES: usize = PANEL as usize;
/// Columns, which every kind takes.
const COLS: usize = 256;
/// Tokens, more than a tile and no multiple of one.
const TOKENS: usize = 9;

/// What is done with products of stored inputs.
const KEEPS: [Keep; 4] = [Keep::Store, Keep::Gates, Keep::Residual, Keep::Logits];
/// What makes inputs where they are taken, and what is done with the products.
const MADE: [(RowOp, Keep); 5] = [
    (RowOp::NormQuant, Keep::Store),
    (RowOp::NormQuant, Keep::Gates),
    (RowOp::NormQuant, Keep::Logits),
    (RowOp::JoinHeads, Keep::Residual),
    (RowOp::SiluMul, Keep::Residual),
];

pub(super) fn cases(tile: Tile, draw: &mut Draw) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        let seed = draw.word();
        cases.extend(KEEPS.map(|keep| stored(kind, keep, tile, seed)));
        cases.push(embedding(kind, seed));
    }
    cases
}

/// Products whose workgroups make their inputs for themselves: every form, and every way to make an input, but not
/// every pair of them, which is drawn.
pub(super) fn made(rows: Lanes, tile: Tile, draw: &mut Draw) -> Vec<Case> {
    let first = draw.below(MADE.len() as u64) as usize;
    let ways = MADE.into_iter().cycle().skip(first);
    let case = |(kind, (op, keep))| made_and_multiplied(kind, (op, rows), keep, tile, draw.word());
    KINDS.into_iter().zip(ways).map(case).collect()
}

fn matrix(kind: Kind, draw: &mut Draw) -> Matrix {
    let bytes = draw.matrix(kind, ROWS, COLS);
    Matrix::build(kind, ROWS, COLS, &bytes, |_| ()).expect("its floats are finite").0
}

fn described(kind: Kind, seed: u64) -> String {
    format!("{ROWS} x {COLS} weights of type {kind:?} and {TOKENS} tokens drawn from {seed:#x}")
}

fn stored(kind: Kind, keep: Keep, tile: Tile, seed: u64) -> Case {
    let mut draw = Draw::new(seed);
    let matrix = matrix(kind, &mut draw);
    let input = draw.vectors(TOKENS, COLS);
    let vectors = [code_words(&input), sum_words(&input), scales(&input)];
    product((kind, &matrix), &input, vectors, (keep, tile, Input::Stored), &mut draw, seed)
}

fn made_and_multiplied(kind: Kind, (op, rows): (RowOp, Lanes), keep: Keep, tile: Tile, seed: u64) -> Case {
    let mut draw = Draw::new(seed);
    let matrix = matrix(kind, &mut draw);
    let Drawn { given, coded, told } = drawn(op, (TOKENS, COLS), &mut draw);
    let input = Input::made(op, rows, tile, (COLS / BLOCK) as u32);
    let vectors = [Vec::new(), Vec::new(), vec![0xdead_beef; 2 * TOKENS]];
    let mut case = product((kind, &matrix), &coded, vectors, (keep, tile, input), &mut draw, seed);
    case.results.push(Answer::own(5, "scales", scales(&coded)));
    case.results.extend(told);
    case.rows = Some(given);
    case
}

/// The product of `matrix` with `input`, which the kernel finds in `vectors`, or makes.
fn product(
    (kind, matrix): (Kind, &Matrix),
    input: &A15Rows,
    vectors: [Vec<u32>; 3],
    (keep, tile, way): (Keep, Tile, Input),
    draw: &mut Draw,
    seed: u64,
) -> Case {
    let before: Vec<i32> = (0..TOKENS * ROWS).map(|_| draw.value(i32::MAX, 12)).collect();
    let expected = kept(matrix, input, keep, &before);
    let laid = Laid::whole(matrix);
    let padded = matches!(keep, Keep::Store | Keep::Gates);
    let stride = if padded { ROWS.next_multiple_of(PANEL as usize) } else { ROWS } as u32;
    let (data, minimum) = (matrix.block_shift(), matrix.minimum_shift());
    let gates = if keep == Keep::Gates { GATES as u32 } else { 0 };
    let params = vec![laid.blocks, stride, stride, 0, data, minimum, matrix.exponent() as u32, 0, gates];
    let result = if keep == Keep::Residual { words(&before) } else { vec![0xdead_beef; expected.len()] };
    let [codes, sums, scales] = vectors;
    Case {
        kernel: Kernel::Matmul(laid.form, keep, tile, way),
        input: described(kind, seed),
        pass: [TOKENS as u32, TOKENS as u32, 64, 1],
        own: Filled {
            params,
            storage: vec![laid.codes, laid.scales, laid.shifts, codes, sums, scales, result],
        },
        rows: None,
        grid: (laid.panels, (TOKENS as u32).div_ceil(tile.tokens)),
        results: vec![Answer::own(6, "the product", expected)],
    }
}

/// What is kept of the product of each token.
fn kept(matrix: &Matrix, input: &A15Rows, keep: Keep, before: &[i32]) -> Vec<u32> {
    let mut product = Product::default();
    matmul(Kernels::PORTABLE, input, &mut [(matrix, &mut product)]);
    let padded = ROWS.next_multiple_of(PANEL as usize);
    let mut expected = Vec::new();
    for token in 0..TOKENS {
        let mut sums = Vec::new();
        product.copy_to(token, &mut sums);
        let scale = input.scale(token).exp2(matrix.exponent());
        match keep {
            Keep::Store => sums.resize(padded, 0),
            Keep::Gates => {
                silu(&mut sums[..GATES], scale);
                sums.resize(padded, 0);
            }
            Keep::Logits => logits(Kernels::PORTABLE, &mut sums, scale),
            Keep::Residual => {
                let mut stream = before[token * ROWS..][..ROWS].to_vec();
                add(Kernels::PORTABLE, &mut stream, &sums, scale);
                sums = stream;
            }
        }
        expected.extend(words(&sums));
    }
    expected
}

fn embedding(kind: Kind, seed: u64) -> Case {
    let mut draw = Draw::new(seed);
    let matrix = matrix(kind, &mut draw);
    let tokens: Vec<usize> = (0..TOKENS).map(|_| draw.below(ROWS as u64) as usize).collect();
    let mut expected = vec![0; TOKENS * COLS];
    expected.chunks_exact_mut(COLS).zip(&tokens).for_each(|(stream, token)| embed(&matrix, *token, stream));
    let laid = Laid::whole(&matrix);
    let batch = tokens.iter().flat_map(|token| [*token as u32, 0, 0, 0]).collect();
    let exponents = exponent_words(&matrix, 0..laid.panels as usize);
    let kernel = Kernel::Embed(laid.form);
    let grid = ((COLS as u32).div_ceil(kernel.workgroup()), TOKENS as u32);
    Case {
        kernel,
        input: described(kind, seed),
        pass: [TOKENS as u32, TOKENS as u32, 64, 1],
        own: Filled {
            params: vec![laid.blocks, 0, laid.panels],
            storage: vec![laid.codes, laid.scales, exponents, batch, vec![0; expected.len()]],
        },
        rows: None,
        grid,
        results: vec![Answer::own(4, "the residual stream", words(&expected))],
    }
}
