// A block of codes of two limbs. The shift is 15 at least: the three products, of 14, 7 and 0 bits' weight, are
// rounded limb by limb, since floors nest.
fn block_term(w: Weights, x: u32, scale: i32, unused: i32) -> i32 {
    let high = scale * (dot16(w.high_lower, input_codes(x)) + dot16(w.high_upper, input_codes(x + 1u)));
    let cross = scale
        * (dot16(w.high_lower, input_codes(x + 2u)) + dot16(w.high_upper, input_codes(x + 3u))
            + dot16(w.low_lower, input_codes(x)) + dot16(w.low_upper, input_codes(x + 1u)));
    let low = scale * (dot16(w.low_lower, input_codes(x + 2u)) + dot16(w.low_upper, input_codes(x + 3u)));
    let carried = (cross + (low >> 7u)) >> 7u;
    let half = 1 << ((params.block_shift - 15u) & 31u);
    return (high + carried + half) >> ((params.block_shift - 14u) & 31u);
}
