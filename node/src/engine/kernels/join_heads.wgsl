// The heads of a token brought to one scale, as the input of the output product. A group a row.

struct Params {
    heads: u32,
    head_dim: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Per value its 64 bits; attention leaves the narrowed ones in the low half.
@group(0) @binding(2) var<storage, read> attended: array<Wide>;
@group(0) @binding(3) var<storage, read> attended_scales: array<Scale>;
@group(0) @binding(4) var<storage, read_write> codes: array<u32>;
@group(0) @binding(5) var<storage, read_write> sums: array<i32>;
@group(0) @binding(6) var<storage, read_write> scales: array<Scale>;

var<private> joined_row: u32;
var<private> joined_top: i32;

fn run(item: u32, unused: u32) {
    if item >= pass_state.rows {
        return;
    }
    joined_row = item;
    // Exponents are small numbers, so that the least of all stands for none.
    joined_top = -LIMIT;
    for (var head = 0u; head < params.heads; head++) {
        let scale = attended_scales[item * params.heads + head];
        if scale.m != 0u {
            joined_top = max(joined_top, scale.e);
        }
    }
    let width = params.heads * params.head_dim;
    var largest = 0u;
    if joined_top != -LIMIT {
        for (var i = lane; i < width; i += LANES) {
            largest = max(largest, magnitude(value_at(0u, i, 0u)));
        }
    }
    largest = lanes_max(largest);
    write_codes(item, width, largest, 0u, 0u);
    if lane == 0u {
        scales[item] = scale_exp2(a15_scale(largest), 31 + joined_top);
    }
}

fn value_at(unused: u32, i: u32, also_unused: u32) -> i32 {
    let head = joined_row * params.heads + i / params.head_dim;
    let scale = attended_scales[head];
    let down = 31 + joined_top - scale.e;
    if scale.m == 0u || down > 62 {
        return 0;
    }
    let value = bitcast<i32>(attended[joined_row * params.heads * params.head_dim + i].x);
    return low_half(round_wide(mul_signed(value, scale.m), u32(down)));
}
