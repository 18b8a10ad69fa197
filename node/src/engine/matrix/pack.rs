//! Rows laid out as panels.

use rayon::prelude::*;

use super::{
    super::coding::{BLOCK, CodedRow, Coding, Form, Kind},
    Codes, PANEL,
};

/// The numbers of each row, `count` of them, as eight rows side by side.
pub(super) fn interleave(
    rows: &[CodedRow],
    count: usize,
    part: impl Fn(&CodedRow) -> &[i16] + Sync,
) -> Vec<[i16; PANEL]> {
    let mut panels = vec![[0; PANEL]; rows.len().div_ceil(PANEL) * count];
    panels.par_chunks_mut(count).zip(rows.par_chunks(PANEL)).for_each(|(panel, rows)| {
        for (at, row) in rows.iter().enumerate() {
            panel.iter_mut().zip(part(row)).for_each(|(eight, value)| eight[at] = *value);
        }
    });
    panels
}

pub(super) fn pack_codes(kind: Kind, rows: &[CodedRow], blocks: usize) -> Codes {
    let Coding { form, offset, .. } = kind.coding();
    match form {
        Form::Nibbles => Codes::Nibbles(pack_blocks(rows, blocks, |block, row, col, code| {
            let (vector, within) = (col / 8, col % 8);
            block[16 * vector + 2 * row + within % 2] |= ((code + offset) as u16) << (4 * (within / 2));
        })),
        Form::Bytes => Codes::Bytes(pack_blocks(rows, blocks, |block, row, col, code| {
            block[pair_index(row, col)] = code as i8;
        })),
        Form::Words => Codes::Words(pack_blocks(rows, blocks, |block, row, col, code| {
            block[pair_index(row, col)] = code;
        })),
    }
}

/// Where the code of a row and a column lies in a block of a panel.
#[inline(always)]
pub(crate) const fn pair_index(row: usize, col: usize) -> usize {
    col / 2 * 2 * PANEL + 2 * row + col % 2
}

/// Lays out codes with `put(block, row of the panel, column of the block, code)`.
fn pack_blocks<T: Copy + Default + Send, const N: usize>(
    rows: &[CodedRow],
    blocks: usize,
    put: impl Fn(&mut [T; N], usize, usize, i16) + Sync,
) -> Vec<[T; N]> {
    let mut packed = vec![[T::default(); N]; rows.len().div_ceil(PANEL) * blocks];
    packed.par_chunks_mut(blocks).zip(rows.par_chunks(PANEL)).for_each(|(panel, rows)| {
        for (at, row) in rows.iter().enumerate() {
            for (block, codes) in panel.iter_mut().zip(row.codes.chunks_exact(BLOCK)) {
                codes.iter().enumerate().for_each(|(col, code)| put(block, at, col, *code));
            }
        }
    });
    packed
}
