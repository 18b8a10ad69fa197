// A block of codes of one limb, under one scale. The shift is 8 at least: the products of the input's two
// limbs are rounded limb by limb, since floors nest.
fn block_term(w: Weights, x: u32, scale: i32, unused: i32) -> i32 {
    let high = dot16(w.lower, input_codes(x)) + dot16(w.upper, input_codes(x + 1u));
    let low = dot16(w.lower, input_codes(x + 2u)) + dot16(w.upper, input_codes(x + 3u));
    let half = 1 << ((params.block_shift - 8u) & 31u);
    return (scale * high + ((scale * low) >> 7u) + half) >> ((params.block_shift - 7u) & 31u);
}
