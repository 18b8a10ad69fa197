// The lanes of a group are a workgroup; subgroups combine among themselves, then what their first lanes hold
// goes through shared memory. The size of a subgroup does not matter to the result.

const LANES: u32 = WORKGROUP;
var<private> lane: u32;
var<private> subgroup_lane: u32;
var<private> subgroup_index: u32;
var<private> subgroup_count: u32;

var<workgroup> shared_values: array<vec2<u32>, WORKGROUP>;

fn lanes_max(value: u32) -> u32 {
    let own = subgroupMax(value);
    if subgroup_lane == 0u {
        shared_values[subgroup_index].x = own;
    }
    workgroupBarrier();
    var result = shared_values[0].x;
    for (var other = 1u; other < subgroup_count; other++) {
        result = max(result, shared_values[other].x);
    }
    workgroupBarrier();
    return result;
}

fn lanes_max_signed(value: i32) -> i32 {
    return bitcast<i32>(lanes_max(bitcast<u32>(value) ^ 0x80000000u) ^ 0x80000000u);
}

fn lanes_add(value: u32) -> u32 {
    let own = subgroupAdd(value);
    if subgroup_lane == 0u {
        shared_values[subgroup_index].x = own;
    }
    workgroupBarrier();
    var result = shared_values[0].x;
    for (var other = 1u; other < subgroup_count; other++) {
        result += shared_values[other].x;
    }
    workgroupBarrier();
    return result;
}

// Sixteen bits at a time, whose sums over at most 2^16 lanes fit 32.
fn lanes_add_wide(value: Wide) -> Wide {
    let low = Wide(lanes_add(value.x & 0xffffu), 0u);
    let second = shift_left(Wide(lanes_add(value.x >> 16u), 0u), 16u);
    let third = Wide(0u, lanes_add(value.y));
    return add_wide(add_wide(low, second), third);
}

// Waits until all lanes have written what others read next.
fn lanes_meet() {
    storageBarrier();
    workgroupBarrier();
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) place: vec3<u32>,
    @builtin(subgroup_invocation_id) within: u32,
    @builtin(subgroup_id) own: u32,
    @builtin(num_subgroups) count: u32,
) {
    lane = index;
    subgroup_lane = within;
    subgroup_index = own;
    subgroup_count = count;
    run(place.x, place.y);
}
