// The end of every operator that gives the input of a product: values to codes, in blocks of 32 columns.
// A block is eight words of high limbs, then eight of low limbs. `value_at` is the operator's own.

const BLOCK: u32 = 32u;
const LIMB_WORDS: u32 = 8u;
const BLOCK_WORDS: u32 = 16u;

fn write_codes(row: u32, width: u32, largest: u32, first: u32, shift: u32) {
    let words = width / 4u;
    var a = A15(0u, 0u);
    if largest != 0u {
        a = a15_of(largest);
    }
    for (var word = lane; word < words; word += LANES) {
        var high = vec4<i32>(0);
        var low = vec4<i32>(0);
        if largest != 0u {
            for (var at = 0u; at < 4u; at++) {
                let code = a15_code(a, value_at(first, word * 4u + at, shift));
                high[at] = high_limb(code);
                low[at] = low_limb(code);
            }
        }
        let place = row * words * 2u + (word / LIMB_WORDS) * BLOCK_WORDS + word % LIMB_WORDS;
        coded[place] = pack4(high);
        coded[place + LIMB_WORDS] = pack4(low);
    }
    lanes_meet();
    let blocks = width / BLOCK;
    for (var block = lane; block < blocks; block += LANES) {
        var sum = 0;
        let place = (row * blocks + block) * BLOCK_WORDS;
        for (var word = 0u; word < LIMB_WORDS; word++) {
            let high = dot(unpack4xI8(coded[place + word]), vec4<i32>(1));
            sum += 128 * high + dot(unpack4xI8(coded[place + LIMB_WORDS + word]), vec4<i32>(1));
        }
        coded_sums[row * blocks + block] = sum;
    }
}
