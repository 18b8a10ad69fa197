// Roots of scales.

// floor(sqrt(v)) for v from 2^62: the root of the high half digit by digit, then one step of Zimmermann's
// recursion (Karatsuba Square Root, 1999) for the low half.
fn floor_sqrt(v: Wide) -> u32 {
    var root = 0u;
    var rest = v.y;
    for (var bit = 15i; bit >= 0; bit--) {
        let step = ((root << 1u) | (1u << u32(bit))) << u32(bit);
        if rest >= step {
            rest -= step;
            root |= 1u << u32(bit);
        }
    }
    // rest <= 2 * root, so that half of rest * 2^16 + the next digit fits 32 bits.
    let next = v.x >> 16u;
    let half = (rest << 15u) + (next >> 1u);
    // root is at least 2^15: a quotient of 17 bits, by long division.
    var quotient = 0u;
    var left = half;
    for (var bit = 16i; bit >= 0; bit--) {
        let step = mul_wide(root, 1u << u32(bit));
        if step.y == 0u && left >= step.x {
            left -= step.x;
            quotient |= 1u << u32(bit);
        }
    }
    let over = (left << 1u) | (next & 1u);
    let square = mul_wide(quotient, quotient);
    let low = Wide((over << 16u) | (v.x & 0xffffu), over >> 16u);
    let candidate = (root << 16u) + quotient;
    return select(candidate, candidate - 1u, is_negative(sub_wide(low, square)));
}

// The root of v * 2^e, v not zero.
fn scale_sqrt(v: Wide, e: i32) -> Scale {
    let zeros = 64 - i32(wide_bits(v));
    let odd = ((e - zeros) & 1) != 0;
    // One bit less where that makes the exponent even; a v without room is halved.
    let k = select(zeros, zeros - 1, odd);
    var mantissa = shift_left(v, u32(max(k, 0)));
    if k < 0 {
        mantissa = shift_right(v, 1u);
    }
    return scale_from(Wide(floor_sqrt(mantissa), 0u), (e - k) >> 1u);
}
