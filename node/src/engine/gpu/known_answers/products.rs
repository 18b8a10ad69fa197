//! Known answers of the products, in every form and with every use of the result, and of the embedding.

use super::{
    super::{
        super::{
            coding::Kind,
            cpu::{
                embed::embed,
                logits::logits,
                matmul::{Product, matmul},
                residual::add,
            },
            isa::Kernels,
            matrix::Matrix,
        },
        matrix::{Laid, exponent_words},
        shader::{Keep, Kernel, PANEL, Tile},
    },
    Case,
    draw::{Draw, code_words, scale_words, sum_words, words},
};

/// One kind a form.
const KINDS: [Kind; 7] = [Kind::Q4_0, Kind::Q4_1, Kind::Q8_0, Kind::Q5_1, Kind::Q4K, Kind::Q6K, Kind::F32];
/// Rows of a matrix, which leave the last panel partly empty.
const ROWS: usize = 40;
/// Columns, which every kind takes.
const COLS: usize = 256;
/// Tokens, more than a tile and no multiple of one.
const TOKENS: usize = 9;

pub(super) fn cases(tile: Tile, draw: &mut Draw) -> Vec<Case> {
    let keeps = [Keep::Store, Keep::Residual, Keep::Logits];
    let mut cases = Vec::new();
    for kind in KINDS {
        let seed = draw.word();
        cases.extend(keeps.map(|keep| product(kind, keep, tile, seed)));
        cases.push(embedding(kind, seed));
    }
    cases
}

fn matrix(kind: Kind, draw: &mut Draw) -> Matrix {
    let bytes = draw.matrix(kind, ROWS, COLS);
    Matrix::build(kind, ROWS, COLS, &bytes, |_| ()).expect("its floats are finite").0
}

fn described(kind: Kind, seed: u64) -> String {
    format!("{ROWS} x {COLS} weights of type {kind:?} and {TOKENS} tokens drawn from {seed:#x}")
}

fn product(kind: Kind, keep: Keep, tile: Tile, seed: u64) -> Case {
    let mut draw = Draw::new(seed);
    let matrix = matrix(kind, &mut draw);
    let input = draw.vectors(TOKENS, COLS);
    let mut product = Product::default();
    matmul(Kernels::PORTABLE, &input, &mut [(&matrix, &mut product)]);
    let before: Vec<i32> = (0..TOKENS * ROWS).map(|_| draw.value(i32::MAX, 12)).collect();
    let mut expected = Vec::new();
    let padded = ROWS.next_multiple_of(PANEL as usize);
    for token in 0..TOKENS {
        let mut sums = Vec::new();
        product.copy_to(token, &mut sums);
        let scale = input.scale(token).exp2(matrix.exponent());
        match keep {
            Keep::Store => sums.resize(padded, 0),
            Keep::Logits => logits(Kernels::PORTABLE, &mut sums, scale),
            Keep::Residual => {
                let mut stream = before[token * ROWS..][..ROWS].to_vec();
                add(Kernels::PORTABLE, &mut stream, &sums, scale);
                sums = stream;
            }
        }
        expected.extend(words(&sums));
    }
    let laid = Laid::whole(&matrix);
    let stride = if keep == Keep::Store { padded } else { ROWS } as u32;
    let (data, minimum) = (matrix.block_shift(), matrix.minimum_shift());
    let params = vec![laid.blocks, stride, stride, 0, data, minimum, matrix.exponent() as u32, 0];
    let result = if keep == Keep::Residual { words(&before) } else { vec![0xdead_beef; expected.len()] };
    let scales = scale_words((0..TOKENS).map(|token| input.scale(token)));
    let (codes, sums) = (code_words(&input), sum_words(&input));
    let kernel = Kernel::Matmul(laid.form, keep, tile);
    let grid = (laid.panels, (TOKENS as u32).div_ceil(tile.tokens));
    Case {
        kernel,
        input: described(kind, seed),
        pass: [TOKENS as u32, TOKENS as u32, 64, 1],
        params,
        storage: vec![laid.codes, laid.scales, laid.shifts, codes, sums, scales, result],
        grid,
        results: vec![(6, "the product", expected)],
    }
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
        params: vec![laid.blocks, 0, laid.panels],
        storage: vec![laid.codes, laid.scales, exponents, batch, vec![0; expected.len()]],
        grid,
        results: vec![(4, "the residual stream", words(&expected))],
    }
}
