// Codes of 15 bits in two limbs: high limbs of 32 columns, then their low limbs.

const HAS_MINIMA: bool = false;

struct Weights {
    high_lower: vec4<u32>,
    high_upper: vec4<u32>,
    low_lower: vec4<u32>,
    low_upper: vec4<u32>,
}

fn load_weights(block: u32, row: u32) -> Weights {
    let first = block * 4u * PANEL + row;
    return Weights(codes[first], codes[first + PANEL], codes[first + 2u * PANEL], codes[first + 3u * PANEL]);
}

fn code_at(block: u32, row: u32, column: u32) -> i32 {
    let place = (block * 4u + column / 16u) * PANEL + row;
    let down = (24u - 8u * (column % 4u)) & 31u;
    let high = bitcast<i32>(codes[place][(column % 16u) / 4u] << down) >> 24u;
    let low = bitcast<i32>(codes[place + 2u * PANEL][(column % 16u) / 4u] << down) >> 24u;
    return 128 * high + low;
}
