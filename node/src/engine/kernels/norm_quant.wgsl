// RMS norm, straight to A15: the largest code cancels the root mean square, which only the scale needs.
// Also the checksum of the layer that made the stream.

struct Own {
    width: u32,
    weight_exponent: i32,
    epsilon: vec2<u32>,
    // Whether only the rows whose logits are wanted are taken.
    wanted_only: u32,
    // Whether the stream's checksum is kept, and at which place of a row's.
    keeps_checksum: u32,
    layer: u32,
}

@group(1) @binding(0) var<uniform> own: Own;
@group(1) @binding(1) var<storage, read> batch: array<u32>;
@group(1) @binding(2) var<storage, read> stream: array<i32>;
@group(1) @binding(3) var<storage, read> norm_weights: array<i32>;
@group(1) @binding(4) var<storage, read_write> checksums: array<u32>;

fn rows_to_code() -> u32 {
    return rows_of(own.wanted_only);
}

// Codes a row; the scale is its first lane's alone. One group of those that code the same row tells the checksum.
fn code_row(item: u32, place: u32, tells: bool) -> Scale {
    var row = item;
    if own.wanted_only != 0u {
        row = batch[pass_state.rows * ROW_WORDS + item];
    }
    let first = row * own.width;
    var largest = 0u;
    var checksum = 0u;
    for (var i = lane; i < own.width; i += LANES) {
        let x = stream[first + i];
        largest = max(largest, magnitude(x));
        checksum += bitcast<u32>(x) * ((2u * i + 1u) * 2654435761u);
    }
    let down = max(bits(lanes_max(largest)), 15u) - 15u;
    checksum = lanes_add(checksum);
    if tells && own.keeps_checksum != 0u && lane == 0u {
        checksums[row * pass_state.layers + own.layer] = checksum;
    }

    var squares = Wide(0u, 0u);
    var longest = 0u;
    for (var i = lane; i < own.width; i += LANES) {
        let x = stream[first + i];
        let part = magnitude(round_shift(x, down));
        squares = add_wide(squares, Wide(part * part, 0u));
        longest = max(longest, wide_bits(wide_magnitude(mul_both(x, norm_weights[i]))));
    }
    let total = add_wide(lanes_add_wide(squares), round_wide(own.epsilon, 2u * down));
    let shift = narrow_shift(lanes_max(longest));

    largest = 0u;
    for (var i = lane; i < own.width; i += LANES) {
        largest = max(largest, magnitude(value_at(first, i, shift)));
    }
    largest = lanes_max(largest);
    write_codes(place, own.width, largest, first, shift);
    // A total of zero has a stream of zeros, and so no largest value either.
    if lane != 0u || largest == 0u {
        return SCALE_ZERO;
    }
    let root = scale_sqrt(total, 2 * i32(down) - 28);
    let inverse = scale_mul(scale_sqrt(Wide(own.width, 0u), 0), scale_recip(root));
    return scale_exp2(scale_mul(a15_scale(largest), inverse), i32(shift) - 14 - own.weight_exponent);
}

// The stream's value times its weight, in 31 bits.
fn value_at(first: u32, i: u32, shift: u32) -> i32 {
    return low_half(round_wide(mul_both(stream[first + i], norm_weights[i]), shift));
}
