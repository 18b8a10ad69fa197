//! Super-blocks of 256 weights, whose blocks have small integers as scales.

use gridhour_node::model::gguf::{BLOCK_COLS, SUPER_COLS};

use super::{code, half, range, signed_step};

/// Columns of a block of Q6_K.
const SMALL_BLOCK: usize = 16;

/// Units of scales and minima, 6-bit scales and minima, codes.
pub(super) fn q4_k(weights: &[f32; SUPER_COLS]) -> Vec<u8> {
    let blocks = weights.as_chunks::<BLOCK_COLS>().0;
    // A minimum is taken off, so it cannot be negative: blocks of positive weights start from 0.
    let ranges: Vec<(f32, f32)> = blocks.iter().map(|block| range(block, 15.0)).collect();
    let minima: Vec<f32> = ranges.iter().map(|(least, _)| -least.min(0.0)).collect();
    let unit = largest(ranges.iter().map(|(_, step)| *step)) / 63.0;
    let minimum_unit = largest(minima.iter().copied()) / 63.0;
    let scales: Vec<u8> = ranges.iter().map(|(_, step)| code(step / unit, 63)).collect();
    let minima: Vec<u8> = minima.iter().map(|least| code(least / minimum_unit, 63)).collect();
    let coded = |block: usize, weight: f32| {
        let (scale, least) = (f32::from(scales[block]) * unit, f32::from(minima[block]) * minimum_unit);
        code((weight + least) / scale.max(f32::MIN_POSITIVE), 15)
    };
    let pairs = (0..8).step_by(2).flat_map(|at| {
        let both = blocks[at].iter().zip(&blocks[at + 1]);
        both.map(|(a, b)| coded(at, *a) | coded(at + 1, *b) << 4).collect::<Vec<_>>()
    });
    [half(unit).to_vec(), half(minimum_unit).to_vec(), six_bits(&scales, &minima), pairs.collect()].concat()
}

/// Eight scales and eight minima of six bits in twelve bytes.
fn six_bits(scales: &[u8], minima: &[u8]) -> Vec<u8> {
    let first = |values: &[u8]| (0..4).map(|i| values[i] | values[i + 4] >> 4 << 6).collect::<Vec<_>>();
    let last = (4..8).map(|i| scales[i] & 15 | minima[i] << 4).collect();
    [first(scales), first(minima), last].concat()
}

/// Low halves and high quarters of the codes, 8-bit scales, their unit.
pub(super) fn q6_k(weights: &[f32; SUPER_COLS]) -> Vec<u8> {
    let blocks = weights.as_chunks::<SMALL_BLOCK>().0;
    let steps: Vec<f32> = blocks.iter().map(|block| signed_step(block, 32.0)).collect();
    let unit = largest(steps.iter().map(|step| step.abs())) / 127.0;
    let scale = |step: &f32| (step / unit).round().clamp(-128.0, 127.0) as i8;
    let scales: Vec<i8> = steps.iter().map(scale).collect();
    let coded = |at: usize| {
        let step = f32::from(scales[at / SMALL_BLOCK]) * unit;
        if step == 0.0 { 32 } else { code(weights[at] / step + 32.0, 63) }
    };
    let mut bytes = vec![0; 192];
    for at in 0..SUPER_COLS {
        let (half, quarter, column) = (at / 128, at % 128 / 32, at % 32);
        let value = coded(at);
        bytes[64 * half + 32 * (quarter % 2) + column] |= (value & 15) << (4 * (quarter / 2));
        bytes[128 + 32 * half + column] |= value >> 4 << (2 * quarter);
    }
    bytes.extend(scales.iter().map(|scale| scale.cast_unsigned()));
    bytes.extend(half(unit));
    bytes
}

/// The largest of positive numbers, or the least positive one where all are zero.
fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::MIN_POSITIVE, f32::max)
}
