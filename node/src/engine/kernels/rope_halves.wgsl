// Which two values of a head make a pair: one of each half, as the architectures qwen2 and qwen3 have it.
fn pair_places(first: u32, pair: u32) -> vec2<u32> {
    return vec2<u32>(first + pair, first + pair + params.head_dim / 2u);
}
