// The result is added to the residual stream, Q14, saturating.
fn keep(token: u32, matrix_row: u32, y: i32) {
    let place = token * params.stride + matrix_row;
    let added = scale_apply(y, scale_exp2(input_scale(token), params.exponent), 14);
    result[place] = sat32(add_wide(widened(result[place]), widened(added)));
}
