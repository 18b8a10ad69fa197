// A15: codes of 15 bits relative to the largest value, as the two signed 8-bit limbs of an integer product.

// The reciprocal of the largest code, 16256.
const ONE_OVER_MAX = Scale(1082196484u, -44);

// What turns values into codes, once their largest magnitude is known.
struct A15 {
    up: u32,
    reciprocal: u32,
}

fn a15_of(largest: u32) -> A15 {
    let up = 31u - bits(largest);
    return A15(up, reciprocal(largest << (up & 31u)));
}

// The code of a value, for a largest magnitude other than 0.
fn a15_code(a: A15, y: i32) -> i32 {
    let t = bitcast<i32>(mul_signed(y << (a.up & 31u), a.reciprocal).y);
    // t * 16256 is 127 * 2^7 * t; eleven bits of t at a time stay within 32.
    let high = t >> 11u;
    let low = t & 0x7ff;
    return (high * 127 + ((low * 127) >> 11u) + 1024) >> 11u;
}

// The scale of the codes.
fn a15_scale(largest: u32) -> Scale {
    if largest == 0u {
        return SCALE_ZERO;
    }
    return scale_mul(scale_from(Wide(largest, 0u), 0), ONE_OVER_MAX);
}

fn high_limb(code: i32) -> i32 {
    return (code + 64) >> 7u;
}

fn low_limb(code: i32) -> i32 {
    return code - 128 * high_limb(code);
}

fn pack4(a: vec4<i32>) -> u32 {
    let b = bitcast<vec4<u32>>(a) & vec4<u32>(0xffu);
    return b.x | (b.y << 8u) | (b.z << 16u) | (b.w << 24u);
}
