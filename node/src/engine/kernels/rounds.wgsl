// A loop of as many rounds as asked for, to see whether the adapter does them all. What it mixes (Marsaglia's
// xorshift, 2003) has no shorter way to its end.

@group(0) @binding(0) var<storage, read> asked: array<u32>;
// Rounds done, and the mix behind them.
@group(0) @binding(1) var<storage, read_write> done: array<u32>;

@compute @workgroup_size(1)
fn main() {
    var rounds = 0u;
    var mix = 1u;
    for (; rounds < asked[0]; rounds++) {
        mix = mix ^ (mix << 13u);
        mix = mix ^ (mix >> 17u);
        mix = mix ^ (mix << 5u);
    }
    done[0] = rounds;
    done[1] = mix;
}
