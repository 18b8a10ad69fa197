//! Matrices in an adapter's memory: panels of 32 rows, in which the words of neighbouring rows lie side by
//! side, so that neighbouring invocations read neighbouring addresses.

use std::ops::Range;

use rayon::prelude::*;
use wgpu::Buffer;

use super::{
    super::{
        coding::{self, BLOCK},
        matrix::{self, Matrix},
    },
    context::{Gpu, GpuFault},
    shader::{Form, PANEL},
};

/// Panels of a part at most: the workgroups that a dispatch may have along one axis.
const PANELS_MAX: u32 = 65_535;
/// Rows of a panel.
const ROWS: usize = PANEL as usize;

/// Part of one matrix, or of several that lie one behind the other: whole panels in buffers that one binding
/// can take.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) form: Form,
    pub(super) codes: Buffer,
    pub(super) scales: Buffer,
    /// Final shifts of each row.
    pub(super) shifts: Buffer,
    pub(super) blocks: u32,
    /// Panels before this part, and its own.
    pub(super) first_panel: u32,
    pub(super) panels: u32,
    pub(super) block_shift: u32,
    pub(super) minimum_shift: u32,
}

/// A matrix, or several that take the same input, one behind the other.
#[derive(Debug)]
pub(super) struct Matrices {
    pub(super) parts: Vec<Part>,
    /// First row and exponent of each.
    pub(super) members: Vec<(u32, i32)>,
    /// Rows of the last, for a guard, counted from the first of all.
    pub(super) rows: u32,
    /// Rows with those that fill up panels.
    pub(super) stride: u32,
}

impl Matrices {
    /// Puts `matrices`, all of the same number of columns, into memory.
    ///
    /// # Errors
    /// [`GpuFault`], if there is no room.
    pub(super) fn upload(gpu: &Gpu, what: &str, matrices: &[&Matrix]) -> Result<Self, GpuFault> {
        let mut laid: Vec<Laid> = Vec::new();
        let (mut members, mut stride, mut rows) = (Vec::new(), 0, 0);
        for matrix in matrices {
            members.push((stride, matrix.exponent()));
            rows = stride + matrix.rows() as u32;
            for panels in ranges(gpu, matrix) {
                let next = Laid::new(matrix, &panels, stride / PANEL);
                stride += panels.len() as u32 * PANEL;
                match laid.last_mut().filter(|last| last.takes(&next, gpu)) {
                    Some(last) => last.append(next),
                    None => laid.push(next),
                }
            }
        }
        let parts = laid.iter().map(|laid| laid.upload(gpu, what)).collect::<Result<_, _>>()?;
        Ok(Self { parts, members, rows, stride })
    }

    /// Bytes that the parts take.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().flat_map(|part| [&part.codes, &part.scales, &part.shifts]).map(Buffer::size).sum()
    }
}

/// Panels of a matrix, as they go into buffers.
pub(super) struct Laid {
    pub(super) form: Form,
    pub(super) codes: Vec<u32>,
    pub(super) scales: Vec<u32>,
    pub(super) shifts: Vec<u32>,
    pub(super) blocks: u32,
    first_panel: u32,
    pub(super) panels: u32,
    block_shift: u32,
    minimum_shift: u32,
}

impl Laid {
    /// A small matrix as one part.
    pub(super) fn whole(matrix: &Matrix) -> Self {
        Self::new(matrix, &(0..matrix.rows().div_ceil(ROWS)), 0)
    }

    fn new(matrix: &Matrix, panels: &Range<usize>, first_panel: u32) -> Self {
        let form = form(matrix);
        let lay = |words: fn(&Matrix, Form, usize) -> Vec<u32>| -> Vec<u32> {
            panels.clone().into_par_iter().flat_map_iter(|panel| words(matrix, form, panel)).collect()
        };
        Self {
            form,
            codes: lay(panel_codes),
            scales: lay(panel_scales),
            shifts: lay(panel_shifts),
            blocks: (matrix.cols() / BLOCK) as u32,
            first_panel,
            panels: panels.len() as u32,
            block_shift: matrix.block_shift(),
            minimum_shift: matrix.minimum_shift(),
        }
    }

    /// Whether `next` may go into the same buffers, so that one dispatch computes both.
    fn takes(&self, next: &Self, gpu: &Gpu) -> bool {
        let law = |laid: &Self| (laid.form, laid.blocks, laid.block_shift, laid.minimum_shift);
        let bytes = 4 * (self.codes.len() + next.codes.len()) as u64;
        law(self) == law(next) && bytes <= gpu.binding_max() && self.panels + next.panels <= PANELS_MAX
    }

    fn append(&mut self, next: Self) {
        self.codes.extend(next.codes);
        self.scales.extend(next.scales);
        self.shifts.extend(next.shifts);
        self.panels += next.panels;
    }

    fn upload(&self, gpu: &Gpu, what: &str) -> Result<Part, GpuFault> {
        let Self { form, blocks, first_panel, panels, block_shift, minimum_shift, .. } = *self;
        Ok(Part {
            form,
            codes: gpu.storage_of(what, &self.codes)?,
            scales: gpu.storage_of(what, &self.scales)?,
            shifts: gpu.storage_of(what, &self.shifts)?,
            blocks,
            first_panel,
            panels,
            block_shift,
            minimum_shift,
        })
    }
}

/// The exponents of each row of a matrix that embeds tokens, as its panels lie.
///
/// # Errors
/// [`GpuFault`], if there is no room.
pub(super) fn upload_exponents(gpu: &Gpu, matrix: &Matrix, part: &Part) -> Result<Buffer, GpuFault> {
    let first = part.first_panel as usize;
    gpu.storage_of("row exponents", &exponent_words(matrix, first..first + part.panels as usize))
}

/// The exponents of the rows of some panels.
pub(super) fn exponent_words(matrix: &Matrix, panels: Range<usize>) -> Vec<u32> {
    let exponents = (panels.start * ROWS..panels.end * ROWS).map(|row| match row < matrix.rows() {
        true => matrix.row_exponents(row),
        false => matrix::RowExponents::default(),
    });
    exponents.flat_map(|e| [e.scale as u32, e.minimum as u32]).collect()
}

/// Panels that one binding takes, part by part.
fn ranges(gpu: &Gpu, matrix: &Matrix) -> Vec<Range<usize>> {
    let panels = matrix.rows().div_ceil(ROWS);
    let bytes = matrix.cols() / BLOCK * ROWS * vectors(form(matrix)) * 16;
    let most = (gpu.binding_max() as usize / bytes).clamp(1, PANELS_MAX as usize);
    (0..panels).step_by(most).map(|first| first..(first + most).min(panels)).collect()
}

/// How a matrix's codes lie.
fn form(matrix: &Matrix) -> Form {
    let coding = matrix.kind().coding();
    match coding.form {
        coding::Form::Nibbles => Form::Nibbles { offset: coding.offset != 0 },
        coding::Form::Bytes if coding.block < BLOCK => Form::Halves,
        coding::Form::Bytes => Form::Bytes { minima: coding.has_minima },
        coding::Form::Words => Form::Words,
    }
}

/// Vectors of four words that a block of a row takes.
fn vectors(form: Form) -> usize {
    match form {
        Form::Nibbles { .. } => 1,
        Form::Bytes { .. } | Form::Halves => 2,
        Form::Words => 4,
    }
}

/// The codes of a panel: block by block, vector by vector, row by row.
fn panel_codes(matrix: &Matrix, form: Form, panel: usize) -> Vec<u32> {
    let (blocks, vectors) = (matrix.cols() / BLOCK, vectors(form));
    let mut words = vec![[0u32; 4]; blocks * vectors * ROWS];
    for row in (0..ROWS).take_while(|row| panel * ROWS + row < matrix.rows()) {
        for block in 0..blocks {
            let codes = matrix.codes(panel * ROWS + row, block);
            for (vector, four) in laid_out(form, &codes).iter().take(vectors).enumerate() {
                words[(block * vectors + vector) * ROWS + row] = *four;
            }
        }
    }
    words.into_flattened()
}

/// The codes of a block in the order that the kernels `codes_*.wgsl` name.
fn laid_out(form: Form, codes: &[i16; BLOCK]) -> [[u32; 4]; 4] {
    let bytes = |byte: &dyn Fn(usize) -> u8| -> [u32; 4] {
        std::array::from_fn(|word| u32::from_le_bytes(std::array::from_fn(|at| byte(4 * word + at))))
    };
    let half = |first: usize, limb: fn(i16) -> i16| bytes(&|at| limb(codes[first + at]) as u8);
    let (whole, high, low) = (|c| c, |c| (c + 64) >> 7, |c: i16| c - (((c + 64) >> 7) << 7));
    match form {
        Form::Nibbles { offset } => {
            let nibble = |at: usize| (codes[at] + if offset { 8 } else { 0 }) as u8;
            [bytes(&|at| nibble(at) | nibble(at + 16) << 4), [0; 4], [0; 4], [0; 4]]
        }
        Form::Bytes { .. } | Form::Halves => [half(0, whole), half(16, whole), [0; 4], [0; 4]],
        Form::Words => [half(0, high), half(16, high), half(0, low), half(16, low)],
    }
}

/// The scales of a panel: block by block, row by row, two in a word.
fn panel_scales(matrix: &Matrix, form: Form, panel: usize) -> Vec<u32> {
    let blocks = matrix.cols() / BLOCK;
    let word = |block: usize, row: usize| {
        if panel * ROWS + row >= matrix.rows() {
            return 0;
        }
        let (low, high) = matrix.block_scales(panel * ROWS + row, block, form == Form::Halves);
        u32::from(low as u16) | u32::from(high as u16) << 16
    };
    (0..blocks).flat_map(|block| (0..ROWS).map(move |row| word(block, row))).collect()
}

/// The final shifts of a panel's rows.
fn panel_shifts(matrix: &Matrix, _: Form, panel: usize) -> Vec<u32> {
    let shifts = (0..ROWS).map(|row| match panel * ROWS + row < matrix.rows() {
        true => matrix.row_shifts(panel * ROWS + row),
        false => (0, 0),
    });
    shifts.flat_map(|(data, minima)| [data as u32, minima as u32]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limbs_of_words_add_up_to_the_code() {
        let codes: [i16; BLOCK] = std::array::from_fn(|at| (at as i16 - 16) * 1016);
        let laid = laid_out(Form::Words, &codes);
        for (at, code) in codes.iter().enumerate() {
            let limb = |vector: usize| i16::from(laid[vector][at % 16 / 4].to_le_bytes()[at % 4] as i8);
            assert_eq!(128 * limb(at / 16) + limb(2 + at / 16), *code);
        }
    }

    #[test]
    fn nibbles_keep_the_order_of_the_file() {
        let codes: [i16; BLOCK] = std::array::from_fn(|at| (at % 16) as i16 - 8);
        let laid = laid_out(Form::Nibbles { offset: true }, &codes);
        assert_eq!(laid[0][0], 0x3322_1100);
    }
}
