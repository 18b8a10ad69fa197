// The lanes of a group, a workgroup, combine what each found through shared memory, halving the distance at
// each step.

const LANES: u32 = WORKGROUP;
var<private> lane: u32;

var<workgroup> shared_values: array<vec2<u32>, WORKGROUP>;

fn lanes_max(value: u32) -> u32 {
    let at = lane;
    shared_values[at].x = value;
    for (var step = LANES / 2u; step > 0u; step = step >> 1u) {
        workgroupBarrier();
        if lane < step {
            shared_values[at].x = max(shared_values[at].x, shared_values[at + step].x);
        }
    }
    workgroupBarrier();
    let result = shared_values[0].x;
    workgroupBarrier();
    return result;
}

fn lanes_max_signed(value: i32) -> i32 {
    return bitcast<i32>(lanes_max(bitcast<u32>(value) ^ 0x80000000u) ^ 0x80000000u);
}

fn lanes_add_wide(value: Wide) -> Wide {
    let at = lane;
    shared_values[at] = value;
    for (var step = LANES / 2u; step > 0u; step = step >> 1u) {
        workgroupBarrier();
        if lane < step {
            shared_values[at] = add_wide(shared_values[at], shared_values[at + step]);
        }
    }
    workgroupBarrier();
    let result = shared_values[0];
    workgroupBarrier();
    return result;
}

fn lanes_add(value: u32) -> u32 {
    return lanes_add_wide(Wide(value, 0u)).x;
}

// Waits until all lanes have written what others read next.
fn lanes_meet() {
    storageBarrier();
    workgroupBarrier();
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) place: vec3<u32>) {
    lane = index;
    run(place.x, place.y);
}
