//! The constants of a matrix and its rows' exponents: `docs/NUMERICS.md`, section 2.

use super::{
    super::{
        coding::{CodedRow, Kind, SCALE_MAX},
        fixed::A15_MAX,
    },
    PanelShifts,
};

/// Rows further below the largest than this many bits are too small to be seen.
const SHIFT_MAX: i32 = 31;

/// The exponent `X` of a matrix of these rows.
pub(crate) fn matrix_exponent(kind: Kind, cols: usize, rows: &[CodedRow]) -> i32 {
    Laws::new(kind, cols).matrix_exponent(rows)
}

/// The constants of a matrix: functions of its kind and its number of columns.
pub(super) struct Laws {
    pub(super) block_shift: u32,
    pub(super) minimum_shift: u32,
}

impl Laws {
    pub(super) fn new(kind: Kind, cols: usize) -> Self {
        let sum = cols as u64 * (SCALE_MAX as u64 + 1) * A15_MAX as u64;
        let least =
            |from: u32, bound: u64| (from..).find(|shift| bound >> shift < 1 << 31).unwrap_or(u32::MAX);
        let coding = kind.coding();
        Self { block_shift: least(coding.shift_min(), sum * coding.code_max), minimum_shift: least(0, sum) }
    }

    fn scale_exponent(&self, row: &CodedRow) -> Option<i32> {
        row.has_scales().then(|| self.block_shift as i32 - row.scale_exponent)
    }

    fn minimum_exponent(&self, row: &CodedRow) -> Option<i32> {
        row.has_minima().then(|| self.minimum_shift as i32 - row.minimum_exponent)
    }

    /// `X`: one more than the largest row exponent, so that the two parts of a row add up without overflow.
    pub(super) fn matrix_exponent(&self, rows: &[CodedRow]) -> i32 {
        let parts = rows.iter().flat_map(|row| [self.scale_exponent(row), self.minimum_exponent(row)]);
        parts.flatten().max().map_or(0, |largest| largest + 1)
    }

    pub(super) fn drop_unseen_parts(&self, row: &mut CodedRow, exponent: i32) {
        let unseen = |part: Option<i32>| part.is_some_and(|part| exponent - part > SHIFT_MAX);
        if unseen(self.scale_exponent(row)) {
            row.scales.fill(0);
        }
        if unseen(self.minimum_exponent(row)) {
            row.minima.fill(0);
        }
    }

    pub(super) fn panel_shifts(&self, rows: &[CodedRow], exponent: i32) -> PanelShifts {
        let mut shifts = PanelShifts::default();
        for (at, row) in rows.iter().enumerate() {
            shifts.data[at] = self.scale_exponent(row).map_or(0, |part| exponent - part);
            shifts.minima[at] = self.minimum_exponent(row).map_or(0, |part| exponent - part);
        }
        shifts
    }
}

#[cfg(test)]
mod tests {
    use super::{super::COLS_MAX, *};

    #[test]
    fn constants_are_the_least_shifts() {
        let laws = Laws::new(Kind::Q4_1, 576);
        assert_eq!((laws.block_shift, laws.minimum_shift), (9, 5));
        assert_eq!(Laws::new(Kind::Q8_0, 576).block_shift, 12);
        assert_eq!(Laws::new(Kind::F32, 32).block_shift, 15);
        assert_eq!(Laws::new(Kind::F32, COLS_MAX).block_shift, 33);
        assert_eq!([Kind::Q4_0, Kind::Q6K].map(|kind| Laws::new(kind, 1 << 16).block_shift), [14, 16]);
    }
}
