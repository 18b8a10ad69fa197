// 2^-x in Q28 for x >= 0 in Q16: 64 table entries, straight lines between them.

// 2^(-i/64) in Q28, i = 0..64, four to an element.
@group(0) @binding(12) var<uniform> exp2_table: array<vec4<u32>, 17>;

fn exp2_entry(i: u32) -> u32 {
    return exp2_table[i / 4u][i % 4u];
}

fn exp2_neg(x: u32) -> u32 {
    let power = x >> 16u;
    if power > 28u {
        return 0u;
    }
    let entry = (x & 0xffffu) >> 10u;
    let upper = exp2_entry(entry);
    let fall = upper - exp2_entry(entry + 1u);
    // The fall is below 2^22, so that its product with ten bits fits.
    let value = upper - ((fall * (x & 1023u) + 512u) >> 10u);
    return u32(round_shift(bitcast<i32>(value), power));
}
