// A matrix row belongs to one invocation: there is nothing to combine.

const SPLITS: u32 = 1u;

fn combine(
    sums: ptr<function, array<i32, TOKENS>>, minima: ptr<function, array<i32, TOKENS>>, row: u32, split: u32,
) {}
