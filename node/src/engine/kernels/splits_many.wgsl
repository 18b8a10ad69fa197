// The invocations of a matrix row add up their blocks' sums; any order gives the same bits.

const SPLITS: u32 = WORKGROUP / PANEL;

var<workgroup> shared_sums: array<vec2<i32>, WORKGROUP>;

fn combine(
    sums: ptr<function, array<i32, TOKENS>>, minima: ptr<function, array<i32, TOKENS>>, row: u32, split: u32,
) {
    for (var t = 0u; t < TOKENS; t++) {
        shared_sums[split * PANEL + row] = vec2<i32>((*sums)[t], (*minima)[t]);
        workgroupBarrier();
        if split == 0u {
            var total = vec2<i32>(0);
            for (var other = 0u; other < SPLITS; other++) {
                total += shared_sums[other * PANEL + row];
            }
            (*sums)[t] = total.x;
            (*minima)[t] = total.y;
        }
        workgroupBarrier();
    }
}
