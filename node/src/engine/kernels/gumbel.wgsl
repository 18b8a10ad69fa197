// Gumbel noise from a counter: Threefry-2x32 (Salmon et al., 2011) gives the bits, two tables the logarithms.

// log2(1 + i/256) in Q28, then -ln(1-u)/u at u = i/512 in Q30; 257 entries each, four to an element.
@group(0) @binding(13) var<uniform> gumbel_tables: array<vec4<u32>, 130>;

const LN2_Q30: u32 = 744261118u;
const RATIO_FIRST: u32 = 260u;

fn gumbel_entry(i: u32) -> u32 {
    return gumbel_tables[i / 4u][i % 4u];
}

// The value between two rising entries, on a straight line; the rest has so many bits.
fn between(entry: u32, rest: u32, length: u32) -> u32 {
    let lower = gumbel_entry(entry);
    let risen = mul_wide(gumbel_entry(entry + 1u) - lower, rest);
    return lower + round_wide(risen, length).x;
}

// The base-2 logarithm in Q28, n from 1 to below 2^63.
fn log2_wide(n: Wide) -> Wide {
    let whole = wide_bits(n) - 1u;
    let fraction = shift_left(n, 63u - whole).y & 0x7fffffffu;
    let rest = between(fraction >> 23u, fraction & 0x7fffffu, 23u);
    return add_wide(shift_left(Wide(whole, 0u), 28u), Wide(rest, 0u));
}

// A number below 2^34 times one of 30 bits.
fn mul_long(a: Wide, b: u32) -> Wide {
    return add_wide(mul_wide(a.x, b), Wide(0u, a.y * b));
}

// The noise of a uniform number (2 * word + 1) / 2^33, nats in Q16.
fn gumbel_of(word: u32) -> i32 {
    var log2_exponential: Wide;
    if word < 0x80000000u {
        let v = 2u * word + 1u;
        let ratio = between(RATIO_FIRST + (v >> 24u), v & 0xffffffu, 24u);
        log2_exponential = sub_wide(log2_wide(mul_wide(v, ratio)), shift_left(Wide(63u, 0u), 28u));
    } else {
        let v = Wide(2u * word + 1u, 1u);
        let rest = log2_wide(sub_wide(Wide(0u, 2u), v));
        let halvings = sub_wide(shift_left(Wide(33u, 0u), 28u), rest);
        let scaled = log2_wide(mul_long(halvings, LN2_Q30));
        log2_exponential = sub_wide(scaled, shift_left(Wide(58u, 0u), 28u));
    }
    let rises = is_negative(log2_exponential);
    let product = mul_long(wide_magnitude(log2_exponential), LN2_Q30);
    return low_half(round_wide(select(negated(product), product, rises), 42u));
}

fn rotated(x: u32, by: u32) -> u32 {
    return (x << by) | (x >> (32u - by));
}

// The first word of Threefry-2x32 with 20 rounds.
fn threefry(key: vec2<u32>, counter: vec2<u32>) -> u32 {
    let keys = vec3<u32>(key, key.x ^ key.y ^ 0x1bd11bdau);
    var x = counter + keys.xy;
    for (var four = 0u; four < 5u; four++) {
        var turns = vec4<u32>(13u, 15u, 26u, 6u);
        if (four & 1u) != 0u {
            turns = vec4<u32>(17u, 29u, 16u, 24u);
        }
        for (var round = 0u; round < 4u; round++) {
            x.x += x.y;
            x.y = rotated(x.y, turns[round]) ^ x.x;
        }
        x += vec2<u32>(keys[(four + 1u) % 3u], keys[(four + 2u) % 3u] + four + 1u);
    }
    return x.x;
}
