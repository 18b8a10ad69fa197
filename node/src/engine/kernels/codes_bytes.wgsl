// Eight-bit codes: sixteen columns, then the other sixteen.

const HAS_MINIMA: bool = BYTES_HAVE_MINIMA;

struct Weights {
    lower: vec4<u32>,
    upper: vec4<u32>,
}

fn load_weights(block: u32, row: u32) -> Weights {
    return Weights(codes[block * 2u * PANEL + row], codes[(block * 2u + 1u) * PANEL + row]);
}

fn code_at(block: u32, row: u32, column: u32) -> i32 {
    let word = codes[(block * 2u + column / 16u) * PANEL + row][(column % 16u) / 4u];
    return bitcast<i32>(word << ((24u - 8u * (column % 4u)) & 31u)) >> 24u;
}
