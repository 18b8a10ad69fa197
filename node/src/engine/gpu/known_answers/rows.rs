//! Known answers of the operators that code whole rows.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};

use super::{
    super::{
        super::{
            cpu::{
                a15::A15Rows,
                join_heads::join_heads,
                norm_quant::norm_quant,
                residual::checksum,
                silu_mul::{SiluScratch, silu, silu_mul_quant},
            },
            fixed::{Scale, narrow_shift, round_shift},
            isa::Kernels,
            norm_weights::NormWeights,
        },
        shader::{Kernel, Lanes, RowOp},
    },
    Answer, Case, Filled, Place,
    draw::{Draw, code_words, scale_words, sum_words, words},
};

/// Rows of a case, more than a workgroup of processors takes at once.
const ROWS: usize = 11;
/// Columns: not a multiple of any workgroup.
const COLS: usize = 224;
/// Columns of a head of joined rows.
const HEAD: usize = 32;

/// The operators that code rows.
const OPS: [RowOp; 3] = [RowOp::NormQuant, RowOp::SiluMul, RowOp::JoinHeads];

/// What rows are coded from, and what they become.
pub(super) struct Drawn {
    pub(super) given: Filled,
    pub(super) coded: A15Rows,
    /// What others are told in passing.
    pub(super) told: Option<Answer>,
}

pub(super) fn cases(lanes: Lanes, draw: &mut Draw) -> Vec<Case> {
    OPS.map(|op| case(op, lanes, (ROWS, COLS), draw)).into()
}

/// Cases of a few rows as wide as a model's.
pub(super) fn widest(lanes: Lanes, cols: usize, draw: &mut Draw) -> [Case; 3] {
    OPS.map(|op| case(op, lanes, (3, cols.next_multiple_of(HEAD)), draw))
}

fn case(op: RowOp, lanes: Lanes, size: (usize, usize), draw: &mut Draw) -> Case {
    let (rows, cols) = size;
    let seed = draw.word();
    let Drawn { given, coded, told } = drawn(op, size, &mut Draw::new(seed));
    let results =
        [("codes", code_words(&coded)), ("block sums", sum_words(&coded)), ("scales", scales(&coded))];
    let storage = results.iter().map(|(_, words)| vec![0xdead_beef; words.len()]).collect();
    let results = results.into_iter().enumerate().map(|(at, (what, words))| Answer::own(at, what, words));
    Case {
        kernel: Kernel::Rows(op, lanes),
        input: format!("{rows} rows of {cols} columns drawn from {seed:#x}"),
        pass: [rows as u32, rows as u32, 64, 1],
        own: Filled { params: Vec::new(), storage },
        rows: Some(given),
        grid: (lanes.workgroups(rows as u32), 1),
        results: results.chain(told).collect(),
    }
}

/// The scales of rows, as kernels keep them.
pub(super) fn scales(rows: &A15Rows) -> Vec<u32> {
    scale_words((0..rows.rows()).map(|row| rows.scale(row)))
}

/// Draws what `op` codes so many rows of so many columns from.
pub(super) fn drawn(op: RowOp, size: (usize, usize), draw: &mut Draw) -> Drawn {
    match op {
        RowOp::NormQuant => norm(size, draw),
        RowOp::JoinHeads => join(size, draw),
        RowOp::SiluMul => gated(size, draw),
    }
}

fn coded((rows, cols): (usize, usize), fill: impl Fn(usize, &mut [i16]) -> Scale + Sync) -> A15Rows {
    let mut coded = A15Rows::new(cols);
    coded.resize(rows);
    coded.par_rows_mut().enumerate().for_each(|(at, row)| row.fill_with(|codes| fill(at, codes)));
    coded
}

fn norm(size: (usize, usize), draw: &mut Draw) -> Drawn {
    let (rows, cols) = size;
    let streams: Vec<Vec<i32>> = (0..rows).map(|_| draw.vector(cols)).collect();
    let weights = NormWeights {
        values: (0..cols).map(|_| draw.value(66_568_320, 20)).collect(),
        exponent: draw.below(60) as i32 - 20,
        epsilon: (draw.word() >> (12 + draw.below(40))) as i64,
        matrix_exponent: 0,
    };
    let coded = coded(size, |at, codes| {
        norm_quant(Kernels::PORTABLE, &streams[at], &weights, &mut Vec::new(), codes)
    });
    let epsilon = [weights.epsilon as u32, (weights.epsilon >> 32) as u32];
    let params = vec![cols as u32, weights.exponent as u32, epsilon[0], epsilon[1], 0, 1, 0];
    let batch = vec![0; 5 * rows];
    let storage = vec![batch, words(&streams.concat()), words(&weights.values), vec![0; rows]];
    let expected = streams.iter().map(|stream| checksum(stream)).collect();
    let told = Some(Answer { place: Place::Rows(3), output: "checksums", expected });
    Drawn { given: Filled { params, storage }, coded, told }
}

fn gated(size: (usize, usize), draw: &mut Draw) -> Drawn {
    let (rows, cols) = size;
    let gates: Vec<Vec<i32>> = (0..rows).map(|_| draw.vector(cols)).collect();
    let ups: Vec<Vec<i32>> = (0..rows).map(|_| draw.vector(cols)).collect();
    let scales: Vec<Scale> = (0..rows).map(|_| draw.scale()).collect();
    let [gate_exponent, up_exponent] = [draw.below(60) as i32, draw.below(60) as i32];
    let of_gate = |at: usize| scales[at].exp2(gate_exponent);
    let coded = coded(size, |at, codes| {
        let (gate, up) = ((&gates[at][..], of_gate(at)), (&ups[at][..], scales[at].exp2(up_exponent)));
        silu_mul_quant(Kernels::PORTABLE, gate, up, &mut SiluScratch::default(), codes)
    });
    // The product that made the gates took them through silu.
    let product = gates.iter().zip(&ups).enumerate().flat_map(|(at, (gates, ups))| {
        let mut gates = gates.clone();
        silu(&mut gates, of_gate(at));
        words(&[&gates[..], ups].concat())
    });
    let (width, stride) = (cols as u32, 2 * cols as u32);
    let storage = vec![product.collect(), scale_words(scales.iter().copied())];
    let params = vec![width, gate_exponent as u32, up_exponent as u32, stride, width];
    Drawn { given: Filled { params, storage }, coded, told: None }
}

fn join(size: (usize, usize), draw: &mut Draw) -> Drawn {
    let (rows, cols) = size;
    let heads = cols / HEAD;
    let values: Vec<i64> =
        (0..rows * cols).map(|_| i64::from(draw.value(i32::MAX, 30)) << draw.below(14)).collect();
    let scales: Vec<Scale> = (0..rows * heads).map(|_| draw.scale()).collect();
    let coded = coded(size, |at, codes| {
        let (values, scales) = (&values[at * cols..][..cols], &scales[at * heads..][..heads]);
        join_heads(Kernels::PORTABLE, values, scales, &mut Vec::new(), codes)
    });
    // Attention leaves its sums narrowed, and the shift in the scale.
    let mut narrowed = Vec::new();
    let mut shifted = Vec::new();
    for (values, scale) in values.chunks_exact(HEAD).zip(&scales) {
        let shift = narrow_shift(values.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0));
        narrowed.extend(values.iter().flat_map(|v| [round_shift(*v, shift) as u32, 0]));
        shifted.push(scale.exp2(shift as i32));
    }
    let params = vec![heads as u32, HEAD as u32];
    let storage = vec![narrowed, scale_words(shifted)];
    Drawn { given: Filled { params, storage }, coded, told: None }
}
