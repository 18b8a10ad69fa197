//! Known answers of the kernels that see whole rows.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};

use super::{
    super::{
        super::{
            cpu::{
                a15::A15Rows,
                join_heads::join_heads,
                norm_quant::norm_quant,
                residual::checksum,
                silu_mul::{SiluScratch, silu_mul_quant},
            },
            fixed::{Scale, narrow_shift, round_shift},
            isa::Kernels,
            norm_weights::NormWeights,
        },
        shader::{Kernel, Lanes},
    },
    Case,
    draw::{Draw, code_words, scale_words, sum_words, words},
};

/// Rows of a case, more than a workgroup of processors takes at once.
const ROWS: usize = 11;
/// Columns: not a multiple of any workgroup.
const COLS: usize = 224;
/// Heads of joined rows, and their size.
const HEADS: usize = 7;

pub(super) fn cases(lanes: Lanes, draw: &mut Draw) -> Vec<Case> {
    vec![norm(lanes, draw), silu(lanes, draw), join(lanes, draw)]
}

/// Room for what such a kernel gives, and what it must hold.
struct Expected(A15Rows);

impl Expected {
    fn new(cols: usize, fill: impl Fn(usize, &mut [i16]) -> Scale + Sync) -> Self {
        let mut rows = A15Rows::new(cols);
        rows.resize(ROWS);
        rows.par_rows_mut().enumerate().for_each(|(at, row)| row.fill_with(|codes| fill(at, codes)));
        Self(rows)
    }

    fn words(&self) -> [(&'static str, Vec<u32>); 3] {
        let scales = scale_words((0..ROWS).map(|row| self.0.scale(row)));
        [("codes", code_words(&self.0)), ("block sums", sum_words(&self.0)), ("scales", scales)]
    }
}

/// A case of one group a row, whose results are codes from buffer `first` on.
fn case(
    kernel: Kernel,
    lanes: Lanes,
    params: Vec<u32>,
    inputs: Vec<Vec<u32>>,
    expected: &Expected,
    seed: u64,
) -> Case {
    let first = inputs.len();
    let results: Vec<_> = expected
        .words()
        .into_iter()
        .enumerate()
        .map(|(at, (what, words))| (first + at, what, words))
        .collect();
    let room = results.iter().map(|(_, _, words)| vec![0xdead_beef; words.len()]);
    let storage = inputs.into_iter().chain(room).collect();
    let input = format!("{ROWS} rows of {COLS} columns drawn from {seed:#x}");
    let (pass, grid) = ([ROWS as u32, ROWS as u32, 64, 1], (lanes.workgroups(ROWS as u32), 1));
    Case { kernel, input, pass, params, storage, grid, results }
}

fn norm(lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let streams: Vec<Vec<i32>> = (0..ROWS).map(|_| draw.vector(COLS)).collect();
    let weights = NormWeights {
        values: (0..COLS).map(|_| draw.value(66_568_320, 20)).collect(),
        exponent: draw.below(60) as i32 - 20,
        epsilon: (draw.word() >> (12 + draw.below(40))) as i64,
        matrix_exponent: 0,
    };
    let expected = Expected::new(COLS, |at, codes| {
        norm_quant(Kernels::PORTABLE, &streams[at], &weights, &mut Vec::new(), codes)
    });
    let epsilon = [weights.epsilon as u32, (weights.epsilon >> 32) as u32];
    let params = vec![COLS as u32, weights.exponent as u32, epsilon[0], epsilon[1], 0, 1, 0];
    let batch = vec![0; 5 * ROWS];
    let inputs = vec![batch, words(&streams.concat()), words(&weights.values)];
    let mut case = case(Kernel::NormQuant(lanes), lanes, params, inputs, &expected, seed);
    let sums: Vec<u32> = streams.iter().map(|stream| checksum(stream)).collect();
    case.results.push((case.storage.len(), "checksums", sums));
    case.storage.push(vec![0; ROWS]);
    case
}

fn silu(lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let products: Vec<[Vec<i32>; 2]> = (0..ROWS).map(|_| [draw.vector(COLS), draw.vector(COLS)]).collect();
    let scales: Vec<Scale> = (0..ROWS).map(|_| draw.scale()).collect();
    let [gate_exponent, up_exponent] = [draw.below(60) as i32, draw.below(60) as i32];
    let expected = Expected::new(COLS, |at, codes| {
        let [gate, up] = &products[at];
        let gate = (&gate[..], scales[at].exp2(gate_exponent));
        let up = (&up[..], scales[at].exp2(up_exponent));
        silu_mul_quant(Kernels::PORTABLE, gate, up, &mut SiluScratch::default(), codes)
    });
    let (width, stride) = (COLS as u32, 2 * COLS as u32);
    let params = vec![width, gate_exponent as u32, up_exponent as u32, stride, width];
    let inputs = vec![words(&products.concat().concat()), scale_words(scales)];
    case(Kernel::SiluMul(lanes), lanes, params, inputs, &expected, seed)
}

fn join(lanes: Lanes, draw: &mut Draw) -> Case {
    let seed = draw.word();
    let mut draw = Draw::new(seed);
    let head = COLS / HEADS;
    let values: Vec<i64> =
        (0..ROWS * COLS).map(|_| i64::from(draw.value(i32::MAX, 30)) << draw.below(14)).collect();
    let scales: Vec<Scale> = (0..ROWS * HEADS).map(|_| draw.scale()).collect();
    let expected = Expected::new(COLS, |at, codes| {
        let (values, scales) = (&values[at * COLS..][..COLS], &scales[at * HEADS..][..HEADS]);
        join_heads(Kernels::PORTABLE, values, scales, &mut Vec::new(), codes)
    });
    // Attention leaves its sums narrowed, and the shift in the scale.
    let mut narrowed = Vec::new();
    let mut shifted = Vec::new();
    for (values, scale) in values.chunks_exact(head).zip(&scales) {
        let shift = narrow_shift(values.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0));
        narrowed.extend(values.iter().flat_map(|v| [round_shift(*v, shift) as u32, 0]));
        shifted.push(scale.exp2(shift as i32));
    }
    let params = vec![HEADS as u32, head as u32];
    case(Kernel::JoinHeads(lanes), lanes, params, vec![narrowed, scale_words(shifted)], &expected, seed)
}
