// What an architecture does with the heads of a product before they are turned: biases are added (qwen2), or
// each head is normed (qwen3). In place; every head gets a scale of its own.

const BIASED: u32 = 1u;
const NORMED: u32 = 2u;
// Bits by which biases are widened.
const BIAS_BITS: i32 = 35;

// Forms the head of a kind that lies at `first`, whose scale was `scale`, and gives its scale.
fn form_head(first: u32, kind: u32, head: u32, scale: Scale) -> Scale {
    if params.form[kind] == BIASED {
        let biases = params.weights_first[kind] + head * params.head_dim;
        return add_bias(first, biases, params.weights_exponent[kind], scale);
    }
    if params.form[kind] == NORMED {
        let epsilon = Scale(params.epsilon_mantissa[kind], params.epsilon_exponent[kind]);
        return head_norm(first, params.weights_first[kind], params.weights_exponent[kind], epsilon, scale);
    }
    return scale;
}

fn add_bias(first: u32, biases: u32, exponent: i32, scale: Scale) -> Scale {
    var largest = 0u;
    for (var i = lane; i < params.head_dim; i += LANES) {
        largest = max(largest, magnitude(weights[biases + i]));
    }
    let has_biases = lanes_max(largest) != 0u;
    let bias_unit = -exponent - BIAS_BITS;
    // Both parts lose at least one bit, so that their sum cannot overflow; an absent part has no say.
    var unit = max(scale.e, bias_unit) + 1;
    if scale.m == 0u {
        unit = bias_unit + 1;
    } else if !has_biases {
        unit = scale.e + 1;
    }
    var longest = 0u;
    for (var i = lane; i < params.head_dim; i += LANES) {
        let sum = biased(first + i, biases + i, scale, unit, bias_unit);
        longest = max(longest, wide_bits(wide_magnitude(sum)));
    }
    let shift = narrow_shift(lanes_max(longest));
    for (var i = lane; i < params.head_dim; i += LANES) {
        product[first + i] = low_half(round_wide(biased(first + i, biases + i, scale, unit, bias_unit), shift));
    }
    if scale.m == 0u && !has_biases {
        return SCALE_ZERO;
    }
    return scale_from(Wide(1u, 0u), unit + i32(shift));
}

// A value and its bias in units of 2^unit.
fn biased(at: u32, bias: u32, scale: Scale, unit: i32, bias_unit: i32) -> Wide {
    let value = lowered(mul_signed(product[at], scale.m), unit - scale.e);
    return add_wide(value, lowered(shift_left(widened(weights[bias]), u32(BIAS_BITS)), unit - bias_unit));
}

// A shift above 62 leaves nothing; an absent part is zero however it is shifted.
fn lowered(v: Wide, down: i32) -> Wide {
    if down > 62 || down < 0 {
        return Wide(0u, 0u);
    }
    return round_wide(v, u32(down));
}

fn head_norm(first: u32, norms: u32, exponent: i32, epsilon: Scale, scale: Scale) -> Scale {
    var largest = 0u;
    for (var i = lane; i < params.head_dim; i += LANES) {
        largest = max(largest, magnitude(product[first + i]));
    }
    // Sixteen bits of each value.
    let down = max(bits(lanes_max(largest)), 15u) - 15u;
    var squares = Wide(0u, 0u);
    var longest = 0u;
    for (var i = lane; i < params.head_dim; i += LANES) {
        let part = magnitude(round_shift(product[first + i], down));
        squares = add_wide(squares, Wide(part * part, 0u));
        longest = max(longest, wide_bits(wide_magnitude(mul_both(product[first + i], weights[norms + i]))));
    }
    squares = lanes_add_wide(squares);
    let shift = narrow_shift(lanes_max(longest));
    var total = SCALE_ZERO;
    if scale.m != 0u {
        let unit = scale_recip(scale);
        let added = scale_mul(scale_mul(epsilon, unit), unit);
        total = scale_add(scale_from(squares, 2 * i32(down)), added);
    }
    for (var i = lane; i < params.head_dim; i += LANES) {
        let weighted = low_half(round_wide(mul_both(product[first + i], weights[norms + i]), shift));
        product[first + i] = select(weighted, 0, total.m == 0u);
    }
    if total.m == 0u {
        return SCALE_ZERO;
    }
    let root = scale_sqrt(Wide(total.m, 0u), total.e);
    let inverse = scale_mul(scale_sqrt(Wide(params.head_dim, 0u), 0), scale_recip(root));
    return scale_exp2(inverse, i32(shift) - exponent);
}

fn scale_add(a: Scale, b: Scale) -> Scale {
    var high = a;
    var low = b;
    if a.e < b.e {
        high = b;
        low = a;
    }
    if high.m == 0u {
        return low;
    }
    let down = high.e - low.e;
    if low.m == 0u || down >= 32 {
        return high;
    }
    return scale_from(Wide(high.m + (low.m >> (u32(down) & 31u)), 0u), high.e);
}
