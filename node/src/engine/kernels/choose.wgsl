// Sampling, second part: a row's candidates become its next token, which is fed back, and the record of the
// choice that the score chain takes. A workgroup a row.

struct Params {
    shares: u32,
    // Words of a record, and records of a step.
    record_words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> batch: array<u32>;
@group(0) @binding(3) var<storage, read> candidates: array<Candidate>;
@group(0) @binding(4) var<storage, read> checksums: array<u32>;
@group(0) @binding(5) var<storage, read_write> records: array<u32>;

var<workgroup> shared_candidates: array<Candidate, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) place: vec3<u32>) {
    var found = NO_CANDIDATE;
    for (var share = index; share < params.shares; share += WORKGROUP) {
        found = better(found, candidates[place.y * params.shares + share]);
    }
    shared_candidates[index] = found;
    workgroupBarrier();
    if index != 0u {
        return;
    }
    for (var other = 1u; other < WORKGROUP; other++) {
        found = better(found, shared_candidates[other]);
    }
    let row = batch[pass_state.rows * ROW_WORDS + place.y];
    let word = row * ROW_WORDS;
    let record = (batch[word + 3u] * pass_state.wanted + place.y) * params.record_words;
    let is_first = found.token == found.first;
    records[record] = found.token;
    records[record + 1u] = bitcast<u32>(found.logit);
    records[record + 2u] = select(found.first, found.second, is_first);
    records[record + 3u] = bitcast<u32>(select(found.first_logit, found.second_logit, is_first));
    for (var layer = 0u; layer < pass_state.layers; layer++) {
        records[record + 4u + layer] = checksums[row * pass_state.layers + layer];
    }
    batch[word] = found.token;
    batch[word + 1u] += 1u;
    batch[word + 3u] += 1u;
}
