// The result becomes logits: nats in Q16.
fn keep(token: u32, matrix_row: u32, y: i32) {
    let scale = scale_exp2(input_scale(token), params.exponent);
    result[token * params.stride + matrix_row] = scale_apply(y, scale, 16);
}
