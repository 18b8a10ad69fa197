// Codes of whole rows go to memory, where products find them. A group a row.

@group(0) @binding(2) var<storage, read_write> coded: array<u32>;
@group(0) @binding(3) var<storage, read_write> coded_sums: array<i32>;
@group(0) @binding(4) var<storage, read_write> scales: array<Scale>;

fn run(item: u32, unused: u32) {
    if item >= rows_to_code() {
        return;
    }
    let scale = code_row(item, item, true);
    if lane == 0u {
        scales[item] = scale;
    }
}
