//! How attention sees the keys and values of one head in one page.

use super::super::{device::PAGE, fixed::Scale};

/// Two neighbouring columns of the keys of a page: of every position, one code and the other.
pub type KeyPair = [i16; 2 * PAGE];

/// Keys and values of one head in one page, in A15 codes with a scale a position.
///
/// Positions lie side by side, so that sums over columns (of keys) and over positions (of values) are taken in as many
/// lanes as a register has, two products a lane. What lies behind the positions that are there counts for nothing.
#[derive(Clone, Copy, Debug)]
pub struct HeadView<'a> {
    /// Positions that are there, from the first on, at least one.
    pub positions: usize,
    /// Codes of the keys, half as many as a head has columns.
    pub keys: &'a [KeyPair],
    /// Scales of the keys.
    pub key_scales: &'a PageScales,
    /// Codes of the values, for every two positions, for every column, one position's and the other's.
    pub values: &'a [i16],
    /// Scales of the values.
    pub value_scales: &'a PageScales,
}

/// Scales of the positions of a page, mantissas and exponents apart.
#[derive(Clone, Copy, Debug)]
pub struct PageScales {
    m: [u32; PAGE],
    e: [i32; PAGE],
}

impl PageScales {
    /// All zero.
    pub const ZERO: Self = Self { m: [0; PAGE], e: [0; PAGE] };

    /// The scale of one position.
    pub fn at(&self, slot: usize) -> Scale {
        Scale { m: self.m[slot], e: self.e[slot] }
    }

    /// Sets the scale of one position.
    pub fn set(&mut self, slot: usize, scale: Scale) {
        (self.m[slot], self.e[slot]) = (scale.m, scale.e);
    }

    /// The mantissas of all positions.
    #[inline(always)]
    pub fn mantissas(&self) -> &[u32; PAGE] {
        &self.m
    }

    /// The exponents of all positions.
    #[inline(always)]
    pub fn exponents(&self) -> &[i32; PAGE] {
        &self.e
    }
}
