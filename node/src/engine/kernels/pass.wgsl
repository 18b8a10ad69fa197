// What every kernel of a pass may ask: how many rows there are, and where each stands.

struct Pass {
    // Tokens computed.
    rows: u32,
    // Tokens whose logits are wanted.
    wanted: u32,
    // Positions that any row sees at most, to the next multiple of a page.
    positions: u32,
    // Layers of the model.
    layers: u32,
}

@group(0) @binding(1) var<uniform> pass_state: Pass;

// The batch: four words a row (its token, its position, where its page table begins in these words, and the
// tokens chosen for it so far), then the rows whose logits are wanted, then the page tables.
const ROW_WORDS: u32 = 4u;

fn rows_of(wanted_only: u32) -> u32 {
    return select(pass_state.rows, pass_state.wanted, wanted_only != 0u);
}
