// Attention of one query head of a row over the positions of its key-value head.

// Stands for the exponent of no scale at all.
const NONE: i32 = -LIMIT;

// Where a row's keys and values lie, counted in heads: those of earlier positions in the pages of a table, its
// own wherever they were put.
struct Seen {
    table: u32,
    kv_head: u32,
    own_position: u32,
    own_key: u32,
    own_value: u32,
}

// Attention of the query at `place`, counted in query heads of the pass.
fn attend(place: u32, query_scale: Scale, seen: Seen) {
    let positions = seen.own_position + 1u;
    let first = place * pass_state.positions;
    let words = params.head_dim / 2u;
    let to_bits = Scale(params.to_bits_mantissa, params.to_bits_exponent);

    var peak = NONE;
    var top = NONE;
    for (var t = lane; t < positions; t += LANES) {
        let key = key_place(seen, t);
        let dot = head_dot(place * words, key * words, words);
        let scale = scale_mul(scale_mul(query_scale, cache_scales[key]), to_bits);
        let logit = scale_apply(dot, scale_exp2(scale, i32(params.dot_shift)), 16);
        scratch[first + t] = logit;
        peak = max(peak, logit);
        let value_scale = cache_scales[value_place(seen, t)];
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
        let value_scale = cache_scales[value_place(seen, t)];
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
            sums = weighted_sums(seen, first, word, words);
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

fn page_place(table: u32, t: u32, kv_head: u32) -> u32 {
    return (batch[table + t / PAGE] * 2u * params.kv_heads + kv_head) * PAGE + t % PAGE;
}

fn key_place(seen: Seen, t: u32) -> u32 {
    return select(page_place(seen.table, t, seen.kv_head), seen.own_key, t == seen.own_position);
}

fn value_place(seen: Seen, t: u32) -> u32 {
    let earlier = page_place(seen.table, t, seen.kv_head) + params.kv_heads * PAGE;
    return select(earlier, seen.own_value, t == seen.own_position);
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
fn weighted_sums(seen: Seen, first: u32, word: u32, words: u32) -> array<Wide, 2> {
    let own = scratch[first + seen.own_position] * unpack(cache[seen.own_value * words + word]);
    var sums = array<Wide, 2>(widened(own.x), widened(own.y));
    for (var begin = 0u; begin < seen.own_position; begin += 8u) {
        // Eight positions lie in one page, one after the other.
        let place = value_place(seen, begin);
        var part = vec2<i32>(0);
        for (var t = 0u; t < min(8u, seen.own_position - begin); t++) {
            part += scratch[first + begin + t] * unpack(cache[(place + t) * words + word]);
        }
        sums[0] = add_wide(sums[0], widened(part.x));
        sums[1] = add_wide(sums[1], widened(part.y));
    }
    return sums;
}
