// All heads of a row come from one product with one scale, times a power of two a matrix.
fn scale_before(row: u32, item: u32, exponent: i32) -> Scale {
    return scale_exp2(input_scales[row], exponent);
}
