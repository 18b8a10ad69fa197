//! Matrix products of A15 vectors: one vector when decoding, a chunk of them in prefill, by the same code.
//!
//! Work is cut into runs of panels. A panel visits its blocks in order, and each block is unpacked once for
//! all the vectors, so prefill reads the weights once a chunk.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::{
    super::{
        coding::BLOCK,
        fixed::round_shift,
        isa::Kernels,
        matrix::{Matrix, PANEL, PANEL_BLOCK, Panel, PanelCodes},
    },
    a15::A15Rows,
};

/// Products of a code and an activation that one task of the pool holds at most, where there is work for many, and at
/// least: a fraction of a microsecond, a few times what handing a task over takes.
const TASK_PRODUCTS: [usize; 2] = [1 << 15, 1 << 20];
/// Tasks that a thread gets of a product between these bounds, so that a thread that was held up gives some away.
const TASKS_PER_THREAD: usize = 4;

/// Sums of one panel for each vector.
pub(crate) type PanelSums = [[i32; PANEL]];

/// The result of a product, panel by panel: for each panel, each vector's eight sums.
#[derive(Clone, Debug, Default)]
pub struct Product {
    vectors: usize,
    rows: usize,
    sums: Vec<[i32; PANEL]>,
}

impl Product {
    fn reset(&mut self, matrix: &Matrix, vectors: usize) {
        (self.vectors, self.rows) = (vectors, matrix.rows());
        self.sums.resize(matrix.panels() * vectors, [0; PANEL]);
    }

    /// The result for vector `vector`, as long as the matrix has rows, copied to `out`.
    pub fn copy_to(&self, vector: usize, out: &mut Vec<i32>) {
        out.resize(self.rows, 0);
        self.copy_part(vector, 0, out);
    }

    /// The result for vector `vector` and some rows from `first` on, which begins a panel, copied to `out`.
    pub fn copy_part(&self, vector: usize, first: usize, out: &mut [i32]) {
        let sums = self.sums[first / PANEL * self.vectors + vector..].iter().step_by(self.vectors);
        for (eight, out) in sums.zip(out.chunks_mut(PANEL)) {
            out.copy_from_slice(&eight[..out.len()]);
        }
    }
}

/// The vectors of a product, block by block: for each block, each vector's codes and their sum.
pub(crate) struct Columns {
    vectors: usize,
    codes: Vec<[i16; BLOCK]>,
    sums: Vec<i32>,
}

impl Columns {
    fn of(input: &A15Rows) -> Self {
        let vectors = input.rows();
        let mut codes = Vec::with_capacity(vectors * input.blocks());
        let mut sums = Vec::with_capacity(vectors * input.blocks());
        for block in 0..input.blocks() {
            codes.extend((0..vectors).map(|row| input.codes(row)[block]));
            sums.extend((0..vectors).map(|row| input.sums(row)[block]));
        }
        Self { vectors, codes, sums }
    }

    /// Vectors held.
    pub(crate) fn vectors(&self) -> usize {
        self.vectors
    }

    /// Codes of every vector in one block.
    #[inline(always)]
    pub(crate) fn codes(&self, block: usize) -> &[[i16; BLOCK]] {
        &self.codes[block * self.vectors..(block + 1) * self.vectors]
    }

    /// Sums of the codes of every vector in one block.
    #[inline(always)]
    pub(crate) fn sums(&self, block: usize) -> &[i32] {
        &self.sums[block * self.vectors..(block + 1) * self.vectors]
    }
}

/// The vectors of a product in the forms that the machine's instructions take.
struct Input<'a> {
    rows: &'a A15Rows,
    /// Made for the first panel that needs them.
    columns: OnceLock<Columns>,
    #[cfg(target_arch = "x86_64")]
    limbs: Option<super::avx512::limbs::Limbs>,
}

impl<'a> Input<'a> {
    fn of(kernels: Kernels, rows: &'a A15Rows) -> Self {
        let _ = kernels;
        Self {
            rows,
            columns: OnceLock::new(),
            #[cfg(target_arch = "x86_64")]
            limbs: kernels.avx512().map(|proof| super::avx512::limbs::Limbs::of(proof, rows)),
        }
    }

    fn columns(&self) -> &Columns {
        self.columns.get_or_init(|| Columns::of(self.rows))
    }
}

/// Buffers of a task.
#[derive(Default)]
struct Scratch {
    minima: Vec<[i32; PANEL]>,
    #[cfg(target_arch = "x86_64")]
    wide: super::avx512::matmul::WideSums,
}

/// A run of panels of one matrix, with the place of their sums.
struct Task<'a> {
    matrix: &'a Matrix,
    first: usize,
    sums: &'a mut PanelSums,
}

/// Multiplies every vector of `input` by each matrix; the matrices share one pass over the pool.
///
/// The scale of a result is that of its vector times two to the matrix's [`exponent`](Matrix::exponent).
///
/// # Panics
/// If a matrix has another number of columns than the vectors.
pub fn matmul(kernels: Kernels, input: &A15Rows, products: &mut [(&Matrix, &mut Product)]) {
    let vectors = input.rows();
    if vectors == 0 {
        return;
    }
    let panel_products = input.blocks() * BLOCK * PANEL * vectors;
    let total = products.iter().map(|(matrix, _)| matrix.panels() * panel_products).sum::<usize>();
    let panels = task_panels(total, panel_products, rayon::current_num_threads());
    let mut tasks = Vec::with_capacity(total / (panels * panel_products) + products.len());
    for (matrix, product) in products.iter_mut() {
        assert_eq!(matrix.cols(), input.blocks() * BLOCK, "vectors are as long as the rows of the matrix");
        product.reset(matrix, vectors);
        let runs = product.sums.chunks_mut(panels * vectors).enumerate();
        tasks.extend(runs.map(|(run, sums)| Task { matrix, first: run * panels, sums }));
    }
    let input = Input::of(kernels, input);
    tasks.into_par_iter().for_each_init(Scratch::default, |scratch, task| task.run(kernels, &input, scratch));
}

/// Panels of a task, an even number: panels are multiplied in pairs where registers are wide enough.
fn task_panels(total: usize, panel_products: usize, threads: usize) -> usize {
    let [least, most] = TASK_PRODUCTS;
    let products = (total / (threads * TASKS_PER_THREAD)).clamp(least, most);
    products.div_ceil(panel_products).next_multiple_of(2)
}

impl Task<'_> {
    fn run(self, kernels: Kernels, input: &Input<'_>, scratch: &mut Scratch) {
        let vectors = input.rows.rows();
        for (pair, sums) in self.sums.chunks_mut(2 * vectors).enumerate() {
            let panel = |at| self.matrix.panel(self.first + 2 * pair + at);
            let (first, rest) = sums.split_at_mut(vectors);
            if rest.is_empty() {
                panel_product(kernels, &panel(0), input.columns(), first, scratch);
            } else if !pair_product(kernels, [&panel(0), &panel(1)], input, [first, rest], scratch) {
                panel_product(kernels, &panel(0), input.columns(), first, scratch);
                panel_product(kernels, &panel(1), input.columns(), rest, scratch);
            }
        }
    }
}

/// The products of two panels with every vector, where some form takes two at once.
fn pair_product(
    kernels: Kernels,
    panels: [&Panel<'_>; 2],
    input: &Input<'_>,
    sums: [&mut PanelSums; 2],
    scratch: &mut Scratch,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let (Some(proof), Some(limbs)) = (kernels.avx512(), &input.limbs) {
        let wide = &mut scratch.wide;
        let done = match panels[0].codes {
            PanelCodes::Words(_) => {
                super::avx512::words::panels_product(proof, panels, input.columns(), wide)
            }
            _ => super::avx512::matmul::panels_product(proof, panels, limbs, wide),
        };
        if done {
            let [first, second] = sums;
            for (vector, sums) in first.iter_mut().zip(second).enumerate() {
                [*sums.0, *sums.1] = scratch.wide.finished(vector);
            }
        }
        return done;
    }
    let _ = (kernels, panels, input, sums, scratch);
    false
}

/// The product of one panel with every vector.
fn panel_product(
    kernels: Kernels,
    panel: &Panel<'_>,
    input: &Columns,
    sums: &mut PanelSums,
    scratch: &mut Scratch,
) {
    let minima = &mut scratch.minima;
    minima.clear();
    minima.resize(input.vectors, [0; PANEL]);
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = kernels.avx2()
        && (super::avx2::matmul::panel_product(proof, panel, input, sums, minima)
            || super::avx2::words::panel_product(proof, panel, input, sums))
    {
        return;
    }
    let _ = kernels;
    panel_product_plain(panel, input, sums, minima);
}

fn panel_product_plain(panel: &Panel<'_>, input: &Columns, sums: &mut PanelSums, minima: &mut PanelSums) {
    sums.fill([0; PANEL]);
    let mut weights = [0; PANEL_BLOCK];
    for (block, scales) in panel.scales.chunks_exact(panel.scales_each()).enumerate() {
        panel.codes.unpack(block, panel.coding.offset, &mut weights);
        for (sums, codes) in sums.iter_mut().zip(input.codes(block)) {
            let parts =
                weights.chunks_exact(panel.coding.block * PANEL).zip(codes.chunks(panel.coding.block));
            for (scales, (weights, codes)) in scales.iter().zip(parts) {
                match panel.codes {
                    PanelCodes::Words(_) => {
                        add_scaled(sums, scales, wide_dots(weights, codes), panel.block_shift)
                    }
                    _ => add_scaled(sums, scales, dots(weights, codes).map(i64::from), panel.block_shift),
                }
            }
        }
        if let Some(scales) = panel.minima.get(block) {
            for (minima, sum) in minima.iter_mut().zip(input.sums(block)) {
                add_scaled(minima, scales, [i64::from(*sum); PANEL], panel.minimum_shift);
            }
        }
    }
    for (sums, minima) in sums.iter_mut().zip(minima) {
        finish(panel, sums, minima);
    }
}

/// Adds the rounded products of scales and block sums; any partial sum stays below `2^31`.
#[inline(always)]
fn add_scaled(sums: &mut [i32; PANEL], scales: &[i16; PANEL], dots: [i64; PANEL], shift: u32) {
    for ((sum, scale), dot) in sums.iter_mut().zip(scales).zip(dots) {
        *sum = sum.wrapping_add(round_shift(i64::from(*scale).wrapping_mul(dot), shift) as i32);
    }
}

/// Brings both parts of eight rows to the matrix's exponent and adds them up, in place.
#[inline(always)]
fn finish(panel: &Panel<'_>, sums: &mut [i32; PANEL], minima: &[i32; PANEL]) {
    for row in 0..PANEL {
        let data = round_shift(i64::from(sums[row]), panel.shifts.data[row] as u32);
        let minimum = round_shift(i64::from(minima[row]), panel.shifts.minima[row] as u32);
        sums[row] = (data + minimum) as i32;
    }
}

/// Eight dot products of one block with codes of at most eight bits.
#[inline(always)]
fn dots(weights: &[i16], codes: &[i16]) -> [i32; PANEL] {
    let mut dots = [0i32; PANEL];
    for (pairs, codes) in weights.as_chunks::<{ 2 * PANEL }>().0.iter().zip(codes.as_chunks::<2>().0) {
        for (row, dot) in dots.iter_mut().enumerate() {
            *dot = dot.wrapping_add(two_products(pairs, codes, row));
        }
    }
    dots
}

/// Eight dot products of one block with codes of up to 15 bits.
#[inline(always)]
fn wide_dots(weights: &[i16], codes: &[i16]) -> [i64; PANEL] {
    let mut dots = [0i64; PANEL];
    for (pairs, codes) in weights.as_chunks::<{ 2 * PANEL }>().0.iter().zip(codes.as_chunks::<2>().0) {
        for (row, dot) in dots.iter_mut().enumerate() {
            *dot = dot.wrapping_add(i64::from(two_products(pairs, codes, row)));
        }
    }
    dots
}

/// The two products of a row's codes in one pair of columns, added up.
#[inline(always)]
fn two_products(pairs: &[i16; 2 * PANEL], codes: &[i16; 2], row: usize) -> i32 {
    let product = |at: usize| i32::from(pairs[2 * row + at]).wrapping_mul(i32::from(codes[at]));
    product(0).wrapping_add(product(1))
}

impl PanelCodes<'_> {
    /// Writes the codes of one block as 16-bit words, pair of columns by pair of columns; `offset` is what a nibble
    /// is more than its code.
    #[inline(always)]
    fn unpack(&self, block: usize, offset: i16, out: &mut [i16; PANEL_BLOCK]) {
        match self {
            Self::Nibbles(blocks) => {
                let vectors = blocks[block].as_chunks::<{ 2 * PANEL }>().0.iter();
                for (words, out) in vectors.zip(out.as_chunks_mut::<{ 8 * PANEL }>().0) {
                    for (nibble, out) in out.as_chunks_mut::<{ 2 * PANEL }>().0.iter_mut().enumerate() {
                        let code = |w: &u16| (w >> (4 * nibble) & 15) as i16 - offset;
                        out.iter_mut().zip(words).for_each(|(o, w)| *o = code(w));
                    }
                }
            }
            Self::Bytes(blocks) => out.iter_mut().zip(&blocks[block]).for_each(|(o, b)| *o = i16::from(*b)),
            Self::Words(blocks) => *out = blocks[block],
        }
    }
}
