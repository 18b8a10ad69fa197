// One invocation does all the work of a group: nothing to combine, no barrier. The form for processors.

const LANES: u32 = 1u;
var<private> lane: u32 = 0u;

fn lanes_max(value: u32) -> u32 {
    return value;
}

fn lanes_max_signed(value: i32) -> i32 {
    return value;
}

fn lanes_add(value: u32) -> u32 {
    return value;
}

fn lanes_add_wide(value: Wide) -> Wide {
    return value;
}

fn lanes_meet() {}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) place: vec3<u32>) {
    run(place.x * WORKGROUP + index, place.y);
}
