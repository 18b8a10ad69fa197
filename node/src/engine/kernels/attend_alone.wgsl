// Attention over keys and values that all lie in their pages. A group a query head of a row.

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

fn run(item: u32, row: u32) {
    if item >= params.heads {
        return;
    }
    let place = row * params.heads + item;
    let kv_head = item / (params.heads / params.kv_heads);
    let position = batch[row * ROW_WORDS + 1u];
    let table = batch[row * ROW_WORDS + 2u];
    let key = page_place(table, position, kv_head);
    let seen = Seen(table, kv_head, position, key, key + params.kv_heads * PAGE);
    attend(place, query_scales[place], seen);
}
