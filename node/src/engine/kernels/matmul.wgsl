// The product of a matrix with the rows of a pass: an invocation a matrix row and some tokens, whose weights
// it reads once. 32 matrix rows make a panel, in which neighbours lie side by side; several invocations may
// share a matrix row's blocks. How codes are kept comes from codes_*.wgsl, the input from input_*.wgsl, what
// becomes of the result from product_*.wgsl and its like. A group a panel and its tokens.

struct Params {
    blocks: u32,
    // Rows of the matrix, and words of a token's result.
    rows: u32,
    stride: u32,
    // Where this part of the matrix begins.
    first_panel: u32,
    block_shift: u32,
    minimum_shift: u32,
    exponent: i32,
    wanted_only: u32,
    // Rows of gates, where the result has gates and ups.
    gates: u32,
}

const PANEL: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>;
// Per block and row: the scale in the low half, the minimum or the second scale in the high half.
@group(0) @binding(3) var<storage, read> block_scales: array<u32>;
@group(0) @binding(4) var<storage, read> row_shifts: array<vec2<u32>>;
@group(0) @binding(8) var<storage, read_write> result: array<i32>;

fn run(panel: u32, tokens: u32) {
    let row = lane % PANEL;
    let split = lane / PANEL;
    let first = tokens * TOKENS;
    let last = rows_of(params.wanted_only) - 1u;
    make_input(params.first_panel + panel, first);
    var sums: array<i32, TOKENS>;
    var minima: array<i32, TOKENS>;
    for (var block = split; block < params.blocks; block += SPLITS) {
        let at = (panel * params.blocks + block) * PANEL + row;
        let scales = block_scales[at];
        let low = bitcast<i32>(scales << 16u) >> 16u;
        let high = bitcast<i32>(scales) >> 16u;
        let weights = load_weights(panel * params.blocks + block, row);
        for (var t = 0u; t < TOKENS; t++) {
            // Tokens behind the last are computed as the last, and not kept.
            let x = input_block(min(first + t, last), block);
            sums[t] += block_term(weights, x * 4u, low, high);
            if HAS_MINIMA {
                minima[t] += round_shift(high * input_sum(x), params.minimum_shift);
            }
        }
    }
    combine(&sums, &minima, row, split);
    if split != 0u {
        return;
    }
    let shifts = row_shifts[panel * PANEL + row];
    let matrix_row = (params.first_panel + panel) * PANEL + row;
    for (var t = 0u; t < TOKENS; t++) {
        if first + t <= last && matrix_row < params.rows {
            let y = round_shift(sums[t], shifts.x) + round_shift(minima[t], shifts.y);
            keep(first + t, matrix_row, y);
        }
    }
}
