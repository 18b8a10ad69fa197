// The heads of a token brought to one scale, as the input of the output product.

struct Own {
    heads: u32,
    head_dim: u32,
}

@group(1) @binding(0) var<uniform> own: Own;
// Per value its 64 bits; attention leaves the narrowed ones in the low half.
@group(1) @binding(1) var<storage, read> attended: array<Wide>;
@group(1) @binding(2) var<storage, read> attended_scales: array<Scale>;

var<private> joined_row: u32;
var<private> joined_top: i32;

fn rows_to_code() -> u32 {
    return pass_state.rows;
}

fn code_row(item: u32, place: u32, tells: bool) -> Scale {
    joined_row = item;
    // Exponents are small numbers, so that the least of all stands for none.
    joined_top = -LIMIT;
    for (var head = 0u; head < own.heads; head++) {
        let scale = attended_scales[item * own.heads + head];
        if scale.m != 0u {
            joined_top = max(joined_top, scale.e);
        }
    }
    let width = own.heads * own.head_dim;
    var largest = 0u;
    if joined_top != -LIMIT {
        for (var i = lane; i < width; i += LANES) {
            largest = max(largest, magnitude(value_at(0u, i, 0u)));
        }
    }
    largest = lanes_max(largest);
    write_codes(place, width, largest, 0u, 0u);
    return scale_exp2(a15_scale(largest), 31 + joined_top);
}

fn value_at(unused: u32, i: u32, also_unused: u32) -> i32 {
    let head = joined_row * own.heads + i / own.head_dim;
    let scale = attended_scales[head];
    let down = 31 + joined_top - scale.e;
    if scale.m == 0u || down > 62 {
        return 0;
    }
    let value = bitcast<i32>(attended[joined_row * own.heads * own.head_dim + i].x);
    return low_half(round_wide(mul_signed(value, scale.m), u32(down)));
}
