// Heads of the product of queries, keys and values are coded. A group a head of a row.

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
    let largest = turn_head(first, position, is_value);
    let scale = head_scale(largest, scale_before(row, item, exponent), is_value);
    let words = params.head_dim / 2u;
    if is_query {
        let place = row * params.heads + item;
        write_query(first, largest, place * words);
        if lane == 0u {
            query_scales[place] = scale;
        }
    } else {
        let kv_head = (item - params.heads) % params.kv_heads;
        let place = cache_place(row, position, kv_head, is_value);
        write_cache(first, largest, place * words);
        if lane == 0u {
            cache_scales[place] = scale;
        }
    }
}
