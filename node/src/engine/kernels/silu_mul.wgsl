// The gated unit: silu(gate) * up, to A15. A group a row; gates and ups lie one after the other in a product.

struct Params {
    width: u32,
    gate_exponent: i32,
    up_exponent: i32,
    // Rows of the product, padded to whole panels, and where the ups begin.
    stride: u32,
    up_first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> product: array<i32>;
@group(0) @binding(3) var<storage, read> input_scales: array<Scale>;
@group(0) @binding(4) var<storage, read_write> codes: array<u32>;
@group(0) @binding(5) var<storage, read_write> sums: array<i32>;
@group(0) @binding(6) var<storage, read_write> scales: array<Scale>;

fn run(item: u32, unused: u32) {
    if item >= pass_state.rows {
        return;
    }
    let first = item * params.stride;
    let gate_scale = scale_exp2(input_scales[item], params.gate_exponent);
    let up_scale = scale_exp2(input_scales[item], params.up_exponent);
    let nats_to_bits = scale_mul(gate_scale, LOG2E);
    var longest = 0u;
    for (var i = lane; i < params.width; i += LANES) {
        let gate = product[first + i];
        // The logistic function is the costly part: it is worked out once.
        let silu = low_half(round_wide(mul_signed(gate, sigmoid(gate, nats_to_bits)), 30u));
        product[first + i] = silu;
        let up = product[first + params.up_first + i];
        longest = max(longest, wide_bits(mul_wide(magnitude(silu), magnitude(up))));
    }
    let shift = narrow_shift(lanes_max(longest));
    var largest = 0u;
    for (var i = lane; i < params.width; i += LANES) {
        largest = max(largest, magnitude(value_at(first, i, shift)));
    }
    lanes_meet();
    largest = lanes_max(largest);
    write_codes(item, params.width, largest, first, shift);
    if lane == 0u {
        let scale = scale_mul(scale_mul(a15_scale(largest), gate_scale), up_scale);
        scales[item] = scale_exp2(scale, i32(shift));
    }
}

// The logistic function in Q30; the scale takes magnitudes to base-2 units in Q16.
fn sigmoid(gate: i32, scale: Scale) -> u32 {
    let x = scale_apply(bitcast<i32>(magnitude(gate)), scale, 16);
    let e = exp2_neg(bitcast<u32>(x));
    // floor(2^58 / d) is floor(2^60 / 4d), and 4d is from 2^30 to 2^31.
    let upper = reciprocal(((1u << 28u) + e) << 2u) >> 1u;
    let lower = round_wide(mul_wide(e, upper), 28u).x;
    return select(lower, upper, gate >= 0);
}

fn value_at(first: u32, i: u32, shift: u32) -> i32 {
    let h = mul_both(product[first + i], product[first + params.up_first + i]);
    return low_half(round_wide(h, shift));
}
