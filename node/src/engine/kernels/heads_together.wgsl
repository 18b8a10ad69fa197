// All that happens to the heads of a row between two products, in one dispatch: they are formed, turned, coded
// and stored, and each query attends. A group a query head of a row.
//
// Every group codes the row's key and value of its key-value head for itself. The first of those that share a
// head puts them into the pages; the others put them beside the pages, so that no group reads what another one
// writes. For passes in which no text has two rows: the keys of a row are another row's to write.

struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    // Padded rows of the product.
    stride: u32,
    // One entry for queries, keys and values each.
    first: vec4<u32>,
    exponent: vec4<i32>,
    form: vec4<u32>,
    weights_first: vec4<u32>,
    weights_exponent: vec4<i32>,
    epsilon_mantissa: vec4<u32>,
    epsilon_exponent: vec4<i32>,
    // As attend_alone.wgsl has them.
    dot_shift: u32,
    to_bits_mantissa: u32,
    to_bits_exponent: i32,
    // The first head of the cache beside its pages.
    beside: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> products: array<i32>;
@group(0) @binding(4) var<storage, read> input_scales: array<Scale>;
@group(0) @binding(5) var<storage, read> weights: array<i32>;
// A cosine and a sine in Q30 a pair, position after position.
@group(0) @binding(6) var<storage, read> turns: array<vec2<i32>>;
// A query, a key and a value a group, which it works on.
@group(0) @binding(7) var<storage, read_write> product: array<i32>;
@group(0) @binding(8) var<storage, read_write> queries: array<u32>;
@group(0) @binding(9) var<storage, read_write> cache: array<u32>;
@group(0) @binding(10) var<storage, read_write> cache_scales: array<Scale>;
// Per head and position: the logit, then the weight, then its code.
@group(0) @binding(11) var<storage, read_write> scratch: array<i32>;
@group(0) @binding(14) var<storage, read_write> attended: array<Wide>;
@group(0) @binding(15) var<storage, read_write> attended_scales: array<Scale>;

const QUERY: u32 = 0u;
const KEY: u32 = 1u;
const VALUE: u32 = 2u;

// A head, ready to be written: where it lies, its largest magnitude, and the scale of its codes.
struct Coded {
    first: u32,
    largest: u32,
    scale: Scale,
}

fn run(item: u32, row: u32) {
    if item >= params.heads {
        return;
    }
    let place = row * params.heads + item;
    let words = params.head_dim / 2u;
    let sharing = params.heads / params.kv_heads;
    let kv_head = item / sharing;
    let position = batch[row * ROW_WORDS + 1u];

    let query = coded_head(row, position, QUERY, item, place);
    write_query(query.first, query.largest, place * words);
    var own_key = params.beside + 2u * place;
    var own_value = own_key + 1u;
    if item % sharing == 0u {
        own_key = cache_place(row, position, kv_head, false);
        own_value = cache_place(row, position, kv_head, true);
    }
    store_head(coded_head(row, position, KEY, kv_head, place), own_key);
    store_head(coded_head(row, position, VALUE, kv_head, place), own_value);
    lanes_meet();
    let table = batch[row * ROW_WORDS + 2u];
    attend(place, query.scale, Seen(table, kv_head, position, own_key, own_value));
}

// A head of the product, formed and turned in the group's own memory.
fn coded_head(row: u32, position: u32, kind: u32, head: u32, place: u32) -> Coded {
    let first = (place * 3u + kind) * params.head_dim;
    let origin = row * params.stride + params.first[kind] + head * params.head_dim;
    for (var i = lane; i < params.head_dim; i += LANES) {
        product[first + i] = products[origin + i];
    }
    let formed = form_head(first, kind, head, scale_exp2(input_scales[row], params.exponent[kind]));
    // Other lanes turn these values.
    lanes_meet();
    let largest = turn_head(first, position, kind == VALUE);
    return Coded(first, largest, head_scale(largest, formed, kind == VALUE));
}

fn store_head(head: Coded, place: u32) {
    write_cache(head.first, head.largest, place * (params.head_dim / 2u));
    if lane == 0u {
        cache_scales[place] = head.scale;
    }
}
