// A block of codes of one limb, whose halves have a scale each; see block_whole.wgsl.
fn block_term(w: Weights, x: u32, first: i32, second: i32) -> i32 {
    return half_term(first, dot16(w.lower, input_codes(x)), dot16(w.lower, input_codes(x + 2u)))
        + half_term(second, dot16(w.upper, input_codes(x + 1u)), dot16(w.upper, input_codes(x + 3u)));
}

fn half_term(scale: i32, high: i32, low: i32) -> i32 {
    let half = 1 << ((params.block_shift - 8u) & 31u);
    return (scale * high + ((scale * low) >> 7u) + half) >> ((params.block_shift - 7u) & 31u);
}
