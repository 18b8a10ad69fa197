// Four-bit codes, as the file has them: a byte holds the codes of columns j and j + 16. SIGN_BIT is 8 in every
// byte where the codes stand for themselves less 8, else 0.

const HAS_MINIMA: bool = SIGN_BIT == 0u;

struct Weights {
    lower: vec4<u32>,
    upper: vec4<u32>,
}

fn load_weights(block: u32, row: u32) -> Weights {
    let both = codes[block * PANEL + row];
    return Weights(signed_codes(both & vec4<u32>(0x0f0f0f0fu)), signed_codes((both >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu)));
}

// Each byte less SIGN_BIT, the borrow kept within it.
fn signed_codes(codes: vec4<u32>) -> vec4<u32> {
    let guard = vec4<u32>(0x80808080u);
    return ((codes | guard) - vec4<u32>(SIGN_BIT)) ^ guard;
}

fn code_at(block: u32, row: u32, column: u32) -> i32 {
    let word = codes[block * PANEL + row][(column % 16u) / 4u];
    let code = (word >> (8u * (column % 4u) + 4u * (column / 16u))) & 15u;
    return i32(code) - i32(SIGN_BIT & 15u);
}
