// Words of the arithmetic: 64-bit integers in two 32-bit halves, the rounding rule, and scales m * 2^e.
//
// WGSL has no 64-bit integers, and a shift by 32 or more is not defined on every backend: every shift by a
// number that is not written here is masked. Divisions by numbers known only at run time are left out as well.

// A 64-bit integer, low half first; in two's complement where it has a sign.
alias Wide = vec2<u32>;

// The real number m * 2^e: m is 0 (then e is 0), or has exactly 31 bits.
struct Scale {
    m: u32,
    e: i32,
}

const LIMIT: i32 = 2147483647;
const SCALE_ZERO = Scale(0u, 0);
const LOG2E = Scale(1549082005u, -30);

// Bits of a magnitude: 0 for 0.
fn bits(a: u32) -> u32 {
    return 32u - countLeadingZeros(a);
}

fn wide_bits(a: Wide) -> u32 {
    return select(bits(a.x), 32u + bits(a.y), a.y != 0u);
}

fn magnitude(a: i32) -> u32 {
    return bitcast<u32>(select(a, -a, a < 0));
}

fn add_wide(a: Wide, b: Wide) -> Wide {
    let low = a.x + b.x;
    return Wide(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn negated(a: Wide) -> Wide {
    let low = ~a.x + 1u;
    return Wide(low, ~a.y + select(0u, 1u, low == 0u));
}

fn sub_wide(a: Wide, b: Wide) -> Wide {
    return Wide(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn is_negative(a: Wide) -> bool {
    return (a.y & 0x80000000u) != 0u;
}

fn wide_magnitude(a: Wide) -> Wide {
    return select(a, negated(a), is_negative(a));
}

fn widened(a: i32) -> Wide {
    return Wide(bitcast<u32>(a), bitcast<u32>(a >> 31u));
}

fn max_wide(a: Wide, b: Wide) -> Wide {
    let less = a.y < b.y || (a.y == b.y && a.x < b.x);
    return select(a, b, less);
}

// The product of two unsigned numbers, from four products of halves.
fn mul_wide(a: u32, b: u32) -> Wide {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let p00 = a0 * b0;
    let first = a0 * b1 + (p00 >> 16u);
    let second = a1 * b0 + (first & 0xffffu);
    return Wide((second << 16u) | (p00 & 0xffffu), a1 * b1 + (first >> 16u) + (second >> 16u));
}

fn mul_signed(a: i32, b: u32) -> Wide {
    let p = mul_wide(magnitude(a), b);
    return select(p, negated(p), a < 0);
}

fn mul_both(a: i32, b: i32) -> Wide {
    let p = mul_wide(magnitude(a), magnitude(b));
    return select(p, negated(p), (a ^ b) < 0);
}

fn shift_left(a: Wide, n: u32) -> Wide {
    let within = n & 31u;
    let carried = select(0u, a.x >> ((32u - within) & 31u), within != 0u);
    let short = Wide(a.x << within, (a.y << within) | carried);
    return select(short, Wide(0u, a.x << within), n >= 32u);
}

// The floor of a / 2^n for n up to 63, a unsigned.
fn shift_right(a: Wide, n: u32) -> Wide {
    let within = n & 31u;
    let carried = select(0u, a.y << ((32u - within) & 31u), within != 0u);
    let short = Wide((a.x >> within) | carried, a.y >> within);
    return select(short, Wide(a.y >> within, 0u), n >= 32u);
}

// The floor of a / 2^n for n up to 63, a signed.
fn shift_right_signed(a: Wide, n: u32) -> Wide {
    let within = n & 31u;
    let high = bitcast<i32>(a.y);
    let carried = select(0u, a.y << ((32u - within) & 31u), within != 0u);
    let short = Wide((a.x >> within) | carried, bitcast<u32>(high >> within));
    let far = Wide(bitcast<u32>(high >> within), bitcast<u32>(high >> 31u));
    return select(short, far, n >= 32u);
}

// The one rounding rule: floor((a + 2^(n-1)) / 2^n), and a for n = 0.
fn round_wide(a: Wide, n: u32) -> Wide {
    let half = shift_left(Wide(1u, 0u), (n - 1u) & 63u);
    return shift_right_signed(select(a, add_wide(a, half), n != 0u), n);
}

// The same of 32 bits, n up to 31: the floor, plus the highest bit that it lost.
fn round_shift(a: i32, n: u32) -> i32 {
    let lost = select(0, (a >> ((n - 1u) & 31u)) & 1, n != 0u);
    return (a >> (n & 31u)) + lost;
}

// Clamped to the symmetric range of an i32.
fn sat32(a: Wide) -> i32 {
    let low = bitcast<i32>(a.x);
    let fits = bitcast<i32>(a.y) == (low >> 31u);
    return select(select(LIMIT, -LIMIT, is_negative(a)), max(low, -LIMIT), fits);
}

// A number that is known to fit.
fn low_half(a: Wide) -> i32 {
    return bitcast<i32>(a.x);
}

// v * 2^e, cut to 31 bits.
fn scale_from(v: Wide, e: i32) -> Scale {
    let length = wide_bits(v);
    let down = shift_right(v, max(length, 31u) - 31u).x;
    let up = v.x << ((31u - min(length, 31u)) & 31u);
    let scale = Scale(select(up, down, length > 31u), e + i32(length) - 31);
    if length == 0u {
        return SCALE_ZERO;
    }
    return scale;
}

fn scale_mul(a: Scale, b: Scale) -> Scale {
    return scale_from(mul_wide(a.m, b.m), a.e + b.e);
}

fn scale_exp2(a: Scale, k: i32) -> Scale {
    return Scale(a.m, select(0, a.e + k, a.m != 0u));
}

// floor(2^61 / d) for d from 2^30 to 2^31, by long division.
fn reciprocal(d: u32) -> u32 {
    var rest = 1u << 30u;
    var quotient = 0u;
    if d == rest {
        rest = 0u;
        quotient = 1u;
    }
    for (var bit = 0u; bit < 31u; bit++) {
        rest = rest << 1u;
        let taken = rest >= d;
        rest -= select(0u, d, taken);
        quotient = (quotient << 1u) | select(0u, 1u, taken);
    }
    return quotient;
}

// The reciprocal of a scale that is not zero.
fn scale_recip(a: Scale) -> Scale {
    return scale_from(Wide(reciprocal(a.m), 0u), -61 - a.e);
}

// The integer nearest to y * s * 2^f, saturated.
fn scale_apply(y: i32, s: Scale, f: i32) -> i32 {
    let p = mul_signed(y, s.m);
    let n = -(s.e + f);
    if n < 0 {
        // The mantissa has 31 bits, so that a product other than 0 leaves the range.
        let none = p.x == 0u && p.y == 0u;
        return select(select(LIMIT, -LIMIT, y < 0), 0, none);
    }
    if n > 62 {
        return 0;
    }
    return sat32(round_wide(p, bitcast<u32>(n)));
}

// The shift that brings a largest magnitude to 30 bits.
fn narrow_shift(length: u32) -> u32 {
    return max(length, 30u) - 30u;
}
