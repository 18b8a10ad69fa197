// Heads of the product of queries, keys and values: turned by their position, coded, and put where attention
// finds them. A group a head of a row.

struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    // Padded rows of the product, and where its keys and values begin.
    stride: u32,
    key_first: u32,
    value_first: u32,
    query_exponent: i32,
    key_exponent: i32,
    value_exponent: i32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read_write> product: array<i32>;
@group(0) @binding(4) var<storage, read> input_scales: array<Scale>;
// A cosine and a sine in Q30 a pair, position after position.
@group(0) @binding(5) var<storage, read> turns: array<vec2<i32>>;
@group(0) @binding(6) var<storage, read_write> queries: array<u32>;
@group(0) @binding(7) var<storage, read_write> query_scales: array<Scale>;
@group(0) @binding(8) var<storage, read_write> cache: array<u32>;
@group(0) @binding(9) var<storage, read_write> cache_scales: array<Scale>;

fn run(item: u32, row: u32) {
    if item >= params.heads + 2u * params.kv_heads {
        return;
    }
    var exponent = params.query_exponent;
    var first = item * params.head_dim;
    let is_query = item < params.heads;
    let is_value = item >= params.heads + params.kv_heads;
    if is_value {
        exponent = params.value_exponent;
        first = params.value_first + (item - params.heads - params.kv_heads) * params.head_dim;
    } else if !is_query {
        exponent = params.key_exponent;
        first = params.key_first + (item - params.heads) * params.head_dim;
    }
    first += row * params.stride;
    let position = batch[row * ROW_WORDS + 1u];
    let pairs = params.head_dim / 2u;
    var largest = 0u;
    for (var pair = lane; pair < pairs; pair += LANES) {
        let places = pair_places(first, pair);
        var values = vec2<i32>(product[places.x], product[places.y]);
        if !is_value {
            values = turned(values, turns[position * pairs + pair]);
            product[places.x] = values.x;
            product[places.y] = values.y;
        }
        largest = max(largest, max(magnitude(values.x), magnitude(values.y)));
    }
    lanes_meet();
    largest = lanes_max(largest);
    let before = scale_exp2(scale_before(row, item, exponent), select(1, 0, is_value));
    let scale = scale_mul(a15_scale(largest), before);
    if is_query {
        let place = row * params.heads + item;
        write_head(first, largest, place * pairs, 0u);
        if lane == 0u {
            query_scales[place] = scale;
        }
    } else {
        let kv_head = (item - params.heads) % params.kv_heads;
        let place = cache_place(row, position, kv_head, is_value);
        write_head(first, largest, place * pairs, 1u);
        if lane == 0u {
            cache_scales[place] = scale;
        }
    }
}

// The pair's two values, turned.
fn turned(values: vec2<i32>, turn: vec2<i32>) -> vec2<i32> {
    let a = sub_wide(mul_both(values.x, turn.x), mul_both(values.y, turn.y));
    let b = add_wide(mul_both(values.x, turn.y), mul_both(values.y, turn.x));
    return vec2<i32>(low_half(round_wide(a, 31u)), low_half(round_wide(b, 31u)));
}

// Which head of the cache belongs to a row: pages hold all heads, keys before values.
fn cache_place(row: u32, position: u32, kv_head: u32, is_value: bool) -> u32 {
    let page = batch[batch[row * ROW_WORDS + 2u] + position / PAGE];
    let kind = page * 2u * params.kv_heads + select(0u, params.kv_heads, is_value) + kv_head;
    return kind * PAGE + position % PAGE;
}

// Two codes a word, neighbours in the head.
fn write_head(first: u32, largest: u32, place: u32, to_cache: u32) {
    var a = A15(0u, 0u);
    if largest != 0u {
        a = a15_of(largest);
    }
    for (var word = lane; word < params.head_dim / 2u; word += LANES) {
        var both = 0u;
        if largest != 0u {
            let low = a15_code(a, product[first + 2u * word]);
            let high = a15_code(a, product[first + 2u * word + 1u]);
            both = (bitcast<u32>(low) & 0xffffu) | (bitcast<u32>(high) << 16u);
        }
        if to_cache != 0u {
            cache[place + word] = both;
        } else {
            queries[place + word] = both;
        }
    }
}
