// Rows of the embedding matrix become the residual stream, in Q14. An invocation a column.

struct Params {
    blocks: u32,
    first_panel: u32,
    panels: u32,
}

const PANEL: u32 = 32u;
const BLOCK: u32 = 32u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> codes: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> block_scales: array<u32>;
// Powers of two by which a row's scales and minima were multiplied.
@group(0) @binding(4) var<storage, read> row_exponents: array<vec2<i32>>;
@group(0) @binding(5) var<storage, read> batch: array<u32>;
@group(0) @binding(6) var<storage, read_write> stream: array<i32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) place: vec3<u32>) {
    let column = place.x;
    let token = batch[place.y * ROW_WORDS];
    let panel = token / PANEL - params.first_panel;
    // A token of another part of the matrix is another dispatch's.
    if column >= params.blocks * BLOCK || token / PANEL < params.first_panel || panel >= params.panels {
        return;
    }
    let row = token % PANEL;
    let block = panel * params.blocks + column / BLOCK;
    let scales = block_scales[block * PANEL + row];
    let low = bitcast<i32>(scales << 16u) >> 16u;
    let high = bitcast<i32>(scales) >> 16u;
    let exponents = row_exponents[panel * PANEL + row];
    let code = code_at(block, row, column % BLOCK);
    var value = to_stream(select(low, high, HAS_HALVES && column % BLOCK >= 16u) * code, exponents.x);
    if HAS_MINIMA {
        value = add_wide(value, to_stream(high, exponents.y));
    }
    stream[place.y * params.blocks * BLOCK + column] = sat32(value);
}

// v * 2^-k in Q14, for v below 2^26. A left shift beyond 32 saturates, so it is cut there.
fn to_stream(v: i32, k: i32) -> Wide {
    let shift = k - 14;
    if shift > 62 {
        return Wide(0u, 0u);
    }
    if shift >= 0 {
        return round_wide(widened(v), u32(shift));
    }
    return shift_left(widened(v), u32(min(-shift, 32)));
}
