// The second half of the gated unit, silu(gate) * up, to A15: gates, which product_gates.wgsl took through silu,
// and ups lie one after the other in a product.

struct Own {
    width: u32,
    gate_exponent: i32,
    up_exponent: i32,
    // Rows of the product, padded to whole panels, and where the ups begin.
    stride: u32,
    up_first: u32,
}

@group(1) @binding(0) var<uniform> own: Own;
@group(1) @binding(1) var<storage, read> product: array<i32>;
@group(1) @binding(2) var<storage, read> product_scales: array<Scale>;

fn rows_to_code() -> u32 {
    return pass_state.rows;
}

fn code_row(item: u32, place: u32, tells: bool) -> Scale {
    let first = item * own.stride;
    var longest = 0u;
    for (var i = lane; i < own.width; i += LANES) {
        longest = max(longest, wide_bits(wide_magnitude(gated(first, i))));
    }
    let shift = narrow_shift(lanes_max(longest));
    var largest = 0u;
    for (var i = lane; i < own.width; i += LANES) {
        largest = max(largest, magnitude(value_at(first, i, shift)));
    }
    largest = lanes_max(largest);
    write_codes(place, own.width, largest, first, shift);
    let gate_scale = scale_exp2(product_scales[item], own.gate_exponent);
    let up_scale = scale_exp2(product_scales[item], own.up_exponent);
    return scale_exp2(scale_mul(scale_mul(a15_scale(largest), gate_scale), up_scale), i32(shift));
}

fn gated(first: u32, i: u32) -> Wide {
    return mul_both(product[first + i], product[first + own.up_first + i]);
}

fn value_at(first: u32, i: u32, shift: u32) -> i32 {
    return low_half(round_wide(gated(first, i), shift));
}
