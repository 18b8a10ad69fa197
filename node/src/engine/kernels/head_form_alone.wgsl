// Heads of the product of queries, keys and values are formed where they lie. A group a head of a row.

// One entry for queries, keys and values each.
struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    // Padded rows of the product.
    stride: u32,
    first: vec4<u32>,
    exponent: vec4<i32>,
    form: vec4<u32>,
    weights_first: vec4<u32>,
    weights_exponent: vec4<i32>,
    epsilon_mantissa: vec4<u32>,
    epsilon_exponent: vec4<i32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> product: array<i32>;
@group(0) @binding(3) var<storage, read> input_scales: array<Scale>;
@group(0) @binding(4) var<storage, read> weights: array<i32>;
@group(0) @binding(5) var<storage, read_write> head_scales: array<Scale>;

fn run(item: u32, row: u32) {
    let all = params.heads + 2u * params.kv_heads;
    if item >= all {
        return;
    }
    var kind = 0u;
    var head = item;
    if item >= params.heads {
        kind = 1u + (item - params.heads) / params.kv_heads;
        head = (item - params.heads) % params.kv_heads;
    }
    let first = row * params.stride + params.first[kind] + head * params.head_dim;
    let scale = form_head(first, kind, head, scale_exp2(input_scales[row], params.exponent[kind]));
    if lane == 0u {
        head_scales[row * all + item] = scale;
    }
}
