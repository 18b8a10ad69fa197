// RMS norm, straight to A15: the largest code cancels the root mean square, which only the scale needs.
// Also the checksum of the layer that made the stream. A group a row.

struct Params {
    width: u32,
    weight_exponent: i32,
    epsilon: vec2<u32>,
    // Whether only the rows whose logits are wanted are taken.
    wanted_only: u32,
    // Whether the stream's checksum is kept, and at which place of a row's.
    keeps_checksum: u32,
    layer: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> stream: array<i32>;
@group(0) @binding(4) var<storage, read> weights: array<i32>;
@group(0) @binding(5) var<storage, read_write> codes: array<u32>;
@group(0) @binding(6) var<storage, read_write> sums: array<i32>;
@group(0) @binding(7) var<storage, read_write> scales: array<Scale>;
@group(0) @binding(8) var<storage, read_write> checksums: array<u32>;

fn run(item: u32, unused: u32) {
    if item >= rows_of(params.wanted_only) {
        return;
    }
    var row = item;
    if params.wanted_only != 0u {
        row = batch[pass_state.rows * ROW_WORDS + item];
    }
    let first = row * params.width;
    var largest = 0u;
    var checksum = 0u;
    for (var i = lane; i < params.width; i += LANES) {
        let x = stream[first + i];
        largest = max(largest, magnitude(x));
        checksum += bitcast<u32>(x) * ((2u * i + 1u) * 2654435761u);
    }
    let down = max(bits(lanes_max(largest)), 15u) - 15u;
    checksum = lanes_add(checksum);
    if params.keeps_checksum != 0u && lane == 0u {
        checksums[row * pass_state.layers + params.layer] = checksum;
    }

    var squares = Wide(0u, 0u);
    var longest = 0u;
    for (var i = lane; i < params.width; i += LANES) {
        let x = stream[first + i];
        let part = magnitude(round_shift(x, down));
        squares = add_wide(squares, Wide(part * part, 0u));
        longest = max(longest, wide_bits(wide_magnitude(mul_both(x, weights[i]))));
    }
    let total = add_wide(lanes_add_wide(squares), round_wide(params.epsilon, 2u * down));
    let shift = narrow_shift(lanes_max(longest));

    largest = 0u;
    for (var i = lane; i < params.width; i += LANES) {
        largest = max(largest, magnitude(weighted(first, i, shift)));
    }
    largest = lanes_max(largest);
    // A total of zero has a stream of zeros, and so no largest value either.
    write_codes(item, params.width, largest, first, shift);
    if lane == 0u {
        var scale = SCALE_ZERO;
        if largest != 0u {
            let root = scale_sqrt(total, 2 * i32(down) - 28);
            let inverse = scale_mul(scale_sqrt(Wide(params.width, 0u), 0), scale_recip(root));
            scale = scale_mul(a15_scale(largest), inverse);
            scale = scale_exp2(scale, i32(shift) - 14 - params.weight_exponent);
        }
        scales[item] = scale;
    }
}

// The stream's value times its weight, in 31 bits.
fn weighted(first: u32, i: u32, shift: u32) -> i32 {
    return low_half(round_wide(mul_both(stream[first + i], weights[i]), shift));
}

fn value_at(first: u32, i: u32, shift: u32) -> i32 {
    return weighted(first, i, shift);
}
