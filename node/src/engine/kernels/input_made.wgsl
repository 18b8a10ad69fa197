// The input of a product, made where it is taken: every workgroup codes its row for itself, in its own memory.
// That is work done many times over, and a dispatch less. The workgroup of the first panel tells others the scale.

@group(0) @binding(7) var<storage, read_write> input_scales: array<Scale>;

var<workgroup> coded: array<u32, INPUT_WORDS>;
var<workgroup> coded_sums: array<i32, INPUT_BLOCKS>;
var<workgroup> made_scale: Scale;

fn make_input(panel: u32, token: u32) {
    let scale = code_row(token, 0u, panel == 0u);
    if lane == 0u {
        made_scale = scale;
        if panel == 0u {
            input_scales[token] = scale;
        }
    }
    workgroupBarrier();
}

fn input_block(token: u32, block: u32) -> u32 {
    return block;
}

fn input_codes(at: u32) -> vec4<u32> {
    let first = at * 4u;
    return vec4<u32>(coded[first], coded[first + 1u], coded[first + 2u], coded[first + 3u]);
}

fn input_sum(block: u32) -> i32 {
    return coded_sums[block];
}

fn input_scale(token: u32) -> Scale {
    return made_scale;
}
