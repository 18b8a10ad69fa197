// The input of a product, as memory holds it.

@group(0) @binding(5) var<storage, read> input: array<vec4<u32>>;
@group(0) @binding(6) var<storage, read> input_sums: array<i32>;
@group(0) @binding(7) var<storage, read> input_scales: array<Scale>;

fn make_input(panel: u32, token: u32) {}

fn input_block(token: u32, block: u32) -> u32 {
    return token * params.blocks + block;
}

fn input_codes(at: u32) -> vec4<u32> {
    return input[at];
}

fn input_sum(block: u32) -> i32 {
    return input_sums[block];
}

fn input_scale(token: u32) -> Scale {
    return input_scales[token];
}
