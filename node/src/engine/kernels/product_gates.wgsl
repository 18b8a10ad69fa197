// The result is kept as it is, but for gates, which go through silu on the way: gate * logistic(gate), in the
// scale of the gate. The rest of the gated unit needs a whole row and is silu_mul.wgsl's.
fn keep(token: u32, matrix_row: u32, y: i32) {
    var value = y;
    if matrix_row < params.gates {
        let scale = scale_mul(scale_exp2(input_scale(token), params.exponent), LOG2E);
        value = low_half(round_wide(mul_signed(y, sigmoid(y, scale)), 30u));
    }
    result[token * params.stride + matrix_row] = value;
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
