// Which two values of a head make a pair: neighbours, as the architecture llama has it.
fn pair_places(first: u32, pair: u32) -> vec2<u32> {
    return vec2<u32>(first + 2u * pair, first + 2u * pair + 1u);
}
