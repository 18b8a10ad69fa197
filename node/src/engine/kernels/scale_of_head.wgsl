// Every head has a scale of its own.
fn scale_before(row: u32, item: u32, exponent: i32) -> Scale {
    return input_scales[row * (params.heads + 2u * params.kv_heads) + item];
}
