// Sampling, first part: every invocation looks through a part of a row's vocabulary for the best score and
// the two largest logits.

struct Params {
    vocab: u32,
    // Invocations that share a row.
    shares: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> batch: array<u32>;
@group(0) @binding(3) var<storage, read> logits: array<i32>;
// Per row: floor(2^32 / temperature) or 0 for the largest logit, and the two words of the key.
@group(0) @binding(4) var<storage, read> samplers: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> candidates: array<Candidate>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) place: vec3<u32>) {
    if place.x >= params.shares {
        return;
    }
    let row = batch[pass_state.rows * ROW_WORDS + place.y];
    // The token to choose stands behind the row's own.
    let position = batch[row * ROW_WORDS + 1u] + 1u;
    let sampler = samplers[place.y];
    var found = NO_CANDIDATE;
    for (var token = place.x; token < params.vocab; token += params.shares) {
        let logit = logits[place.y * params.vocab + token];
        var score = widened(logit);
        if sampler.x != 0u {
            let noise = gumbel_of(threefry(sampler.yz, vec2<u32>(position, token)));
            score = add_wide(round_wide(mul_signed(logit, sampler.x), 16u), widened(noise));
        }
        // Flipping the sign makes the order of the numbers that of their bits.
        let one = Candidate(score.x, score.y ^ 0x80000000u, token, logit, token, logit, NO_TOKEN, -LIMIT);
        found = better(found, one);
    }
    candidates[place.y * params.shares + place.x] = found;
}
