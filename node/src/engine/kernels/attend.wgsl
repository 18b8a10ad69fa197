// Attention of one query head of a row over the positions of its key-value head. A group a head.

struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    // Right shift that takes a dot product to 32 bits.
    dot_shift: u32,
    // What takes a product of scales to base-2 logits: mantissa and exponent.
    to_bits_mantissa: u32,
    to_bits_exponent: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> queries: array<u32>;
@group(0) @binding(4) var<storage, read> query_scales: array<Scale>;
@group(0) @binding(5) var<storage, read> cache: array<u32>;
@group(0) @binding(6) var<storage, read> cache_scales: array<Scale>;
// Per head and position: the logit, then the weight, then its code.
@group(0) @binding(7) var<storage, read_write> scratch: array<i32>;
@group(0) @binding(8) var<storage, read_write> attended: array<Wide>;
@group(0) @binding(9) var<storage, read_write> attended_scales: array<Scale>;

// Stands for the exponent of no scale at all.
const NONE: i32 = -LIMIT;

fn run(item: u32, row: u32) {
    if item >= params.heads {
        return;
    }
    let place = row * params.heads + item;
    let kv_head = item / (params.heads / params.kv_heads);
    let positions = batch[row * ROW_WORDS + 1u] + 1u;
    let table = batch[row * ROW_WORDS + 2u];
    let first = place * pass_state.positions;
    let words = params.head_dim / 2u;
    let query_scale = query_scales[place];
    let to_bits = Scale(params.to_bits_mantissa, params.to_bits_exponent);

    var peak = NONE;
    var top = NONE;
    for (var t = lane; t < positions; t += LANES) {
        let key = key_place(table, t, kv_head);
        let dot = head_dot(place * words, key * words, words);
        let scale = scale_mul(scale_mul(query_scale, cache_scales[key]), to_bits);
        let logit = scale_apply(dot, scale_exp2(scale, i32(params.dot_shift)), 16);
        scratch[first + t] = logit;
        peak = max(peak, logit);
        let value_scale = cache_scales[key + params.kv_heads * PAGE];
        if value_scale.m != 0u {
            top = max(top, value_scale.e);
        }
    }
    peak = lanes_max_signed(peak);
    top = lanes_max_signed(top);

    var total = Wide(0u, 0u);
    var largest = 0u;
    for (var t = lane; t < positions; t += LANES) {
        let e = exp2_neg(bitcast<u32>(peak) - bitcast<u32>(scratch[first + t]));
        total = add_wide(total, Wide(e, 0u));
        let value_scale = cache_scales[key_place(table, t, kv_head) + params.kv_heads * PAGE];
        let down = 31 + top - value_scale.e;
        var weight = 0;
        if value_scale.m != 0u && down <= 62 {
            weight = low_half(round_wide(mul_wide(e, value_scale.m), u32(down)));
        }
        scratch[first + t] = weight;
        largest = max(largest, bitcast<u32>(weight));
    }
    total = lanes_add_wide(total);
    largest = lanes_max(largest);
    if largest != 0u {
        let a = a15_of(largest);
        for (var t = lane; t < positions; t += LANES) {
            scratch[first + t] = a15_code(a, scratch[first + t]);
        }
    }
    lanes_meet();

    var longest = 0u;
    for (var word = lane; word < words; word += LANES) {
        var sums = array<Wide, 2>(Wide(0u, 0u), Wide(0u, 0u));
        if largest != 0u {
            sums = weighted_sums(table, positions, kv_head, first, word, words);
        }
        attended[place * params.head_dim + 2u * word] = sums[0];
        attended[place * params.head_dim + 2u * word + 1u] = sums[1];
        longest = max(longest, wide_bits(wide_magnitude(sums[0])));
        longest = max(longest, wide_bits(wide_magnitude(sums[1])));
    }
    let shift = narrow_shift(lanes_max(longest));
    for (var word = lane; word < words; word += LANES) {
        for (var at = 0u; at < 2u; at++) {
            let o = place * params.head_dim + 2u * word + at;
            attended[o] = round_wide(attended[o], shift);
        }
    }
    if lane == 0u {
        var scale = SCALE_ZERO;
        if largest != 0u {
            scale = scale_mul(a15_scale(largest), scale_recip(scale_from(total, 0)));
            scale = scale_exp2(scale, 31 + top + i32(shift));
        }
        attended_scales[place] = scale;
    }
}

fn key_place(table: u32, t: u32, kv_head: u32) -> u32 {
    return (batch[table + t / PAGE] * 2u * params.kv_heads + kv_head) * PAGE + t % PAGE;
}

fn unpack(both: u32) -> vec2<i32> {
    return vec2<i32>(bitcast<i32>(both << 16u) >> 16u, bitcast<i32>(both) >> 16u);
}

// The dot product of two heads, rounded to 32 bits. A product is below 2^28: eight of them are added before
// the sum goes to 64 bits.
fn head_dot(query: u32, key: u32, words: u32) -> i32 {
    var sum = Wide(0u, 0u);
    for (var word = 0u; word < words; word += 4u) {
        var part = 0;
        for (var at = word; at < min(word + 4u, words); at++) {
            let products = unpack(queries[query + at]) * unpack(cache[key + at]);
            part += products.x + products.y;
        }
        sum = add_wide(sum, widened(part));
    }
    return low_half(round_wide(sum, params.dot_shift));
}

// The sums over positions of code times value, of two neighbouring columns.
fn weighted_sums(
    table: u32, positions: u32, kv_head: u32, first: u32, word: u32, words: u32,
) -> array<Wide, 2> {
    var sums = array<Wide, 2>(Wide(0u, 0u), Wide(0u, 0u));
    for (var begin = 0u; begin < positions; begin += 8u) {
        // Eight positions lie in one page, one after the other.
        let place = key_place(table, begin, kv_head) + params.kv_heads * PAGE;
        var part = vec2<i32>(0);
        for (var t = 0u; t < min(8u, positions - begin); t++) {
            part += scratch[first + begin + t] * unpack(cache[(place + t) * words + word]);
        }
        sums[0] = add_wide(sums[0], widened(part.x));
        sums[1] = add_wide(sums[1], widened(part.y));
    }
    return sums;
}
