//! Matrix products in a layout that the compiler turns into vector instructions: many outputs side by side.

use rayon::prelude::*;

/// Outputs that lie side by side.
const LANES: usize = 64;
/// Columns whose weights are added to an output in one go.
const STEP: usize = 4;
/// Columns of a panel that stay in the nearest cache while the rows of `x` pass: 128 · 64 floats are 32 KiB.
const NEAR: usize = 128;
/// Input rows that one task works on.
const TASK_ROWS: usize = 32;

/// A matrix cut into panels of 64 rows, each panel column after column.
#[derive(Debug)]
pub(super) struct Panels {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

impl Panels {
    /// Packs a matrix given row after row.
    pub(super) fn pack(matrix: &[f32], rows: usize, cols: usize) -> Self {
        Self::pack_by(rows, cols, |row, col| matrix[row * cols + col])
    }

    /// Packs the transpose of a matrix of `rows` rows.
    pub(super) fn pack_transposed(matrix: &[f32], rows: usize) -> Self {
        let cols = matrix.len() / rows;
        Self::pack_by(cols, rows, |row, col| matrix[col * cols + row])
    }

    fn pack_by(rows: usize, cols: usize, at: impl Fn(usize, usize) -> f32) -> Self {
        let mut data = vec![0.0; rows.div_ceil(LANES) * cols * LANES];
        for (panel, data) in data.chunks_exact_mut(cols * LANES).enumerate() {
            let from = panel * LANES;
            for (col, lanes) in data.chunks_exact_mut(LANES).enumerate() {
                lanes.iter_mut().zip(from..rows).for_each(|(lane, row)| *lane = at(row, col));
            }
        }
        Self { rows, cols, data }
    }

    /// The product with each row of `x`, on all cores.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.cols * self.rows];
        let tasks = out.par_chunks_mut(TASK_ROWS * self.rows).zip(x.par_chunks(TASK_ROWS * self.cols));
        tasks.for_each(|(out, x)| self.product(x, self.cols, self.rows, out));
        out
    }

    /// The product of each row of `x` with the matrix's first `rows` rows.
    pub(super) fn first_rows(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.cols * rows];
        self.product(x, self.cols, rows, &mut out);
        out
    }

    /// The product of each row of `x`, of `cols` values, with the matrix's first `cols` columns.
    pub(super) fn first_columns(&self, x: &[f32], cols: usize) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / cols * self.rows];
        self.product(x, cols, self.rows, &mut out);
        out
    }

    /// Adds to `out`, which is zero, panel after panel and stretch after stretch of columns.
    fn product(&self, x: &[f32], cols: usize, rows: usize, out: &mut [f32]) {
        for (number, panel) in
            self.data.chunks_exact(self.cols * LANES).take(rows.div_ceil(LANES)).enumerate()
        {
            let lanes = number * LANES..rows.min((number + 1) * LANES);
            for from in (0..cols).step_by(NEAR) {
                let stretch = from..cols.min(from + NEAR);
                let weights = &panel[stretch.start * LANES..stretch.end * LANES];
                for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(rows)) {
                    add_columns(&mut out[lanes.clone()], &x[stretch.clone()], weights);
                }
            }
        }
    }
}

/// Adds each column of `weights` times its value of `x`.
fn add_columns(out: &mut [f32], x: &[f32], weights: &[f32]) {
    let steps = x.chunks_exact(STEP).zip(weights.chunks_exact(STEP * LANES));
    for (x, weights) in steps {
        let (a, rest) = weights.split_at(LANES);
        let (b, rest) = rest.split_at(LANES);
        let (c, d) = rest.split_at(LANES);
        let [xa, xb, xc, xd] = [x[0], x[1], x[2], x[3]];
        for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out += xa * a + xb * b + xc * c + xd * d;
        }
    }
    let done = x.len() / STEP * STEP;
    for (x, weights) in x[done..].iter().zip(weights[done * LANES..].chunks_exact(LANES)) {
        out.iter_mut().zip(weights).for_each(|(out, weight)| *out += x * weight);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 17) as f32 - 8.0).collect()
    }

    fn by_definition(x: &[f32], matrix: &[f32], cols: usize) -> Vec<f32> {
        let dot = |x: &[f32], row: &[f32]| x.iter().zip(row).map(|(a, b)| a * b).sum();
        x.chunks(cols).flat_map(|x| matrix.chunks(cols).map(move |row| dot(x, row))).collect()
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_definition(count in 1usize..70, rows in 1usize..150, cols in 1usize..300,
                                                seed in 0usize..100) {
            let (x, matrix) = (numbers(count * cols, seed), numbers(rows * cols, seed + 1));
            let panels = Panels::pack(&matrix, rows, cols);
            // The numbers are small integers, so every order of summation gives the same sum.
            prop_assert_eq!(panels.apply(&x), by_definition(&x, &matrix, cols));
            let some = rows.div_ceil(2);
            prop_assert_eq!(panels.first_rows(&x, some), by_definition(&x, &matrix[..some * cols], cols));
        }

        #[test]
        fn transposed_products_are_right(count in 1usize..9, rows in 1usize..300, cols in 1usize..70) {
            let matrix = numbers(rows * cols, 3);
            let panels = Panels::pack_transposed(&matrix, rows);
            let seen = rows.div_ceil(2);
            let x = numbers(count * seen, 5);
            let column = |col: usize| matrix.iter().skip(col).step_by(cols).take(seen);
            let transposed: Vec<f32> = (0..cols).flat_map(column).copied().collect();
            prop_assert_eq!(panels.first_columns(&x, seen), by_definition(&x, &transposed, seen));
        }
    }
}
