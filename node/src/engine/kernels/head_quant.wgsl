// Heads are turned by their position, coded, and put where attention finds them.

// Turns the head that lies at `first`, unless it is a value, and gives its largest magnitude.
fn turn_head(first: u32, position: u32, is_value: bool) -> u32 {
    let pairs = params.head_dim / 2u;
    var largest = 0u;
    for (var pair = lane; pair < pairs; pair += LANES) {
        let places = pair_places(first, pair);
        var values = vec2<i32>(product[places.x], product[places.y]);
        if !is_value {
            values = turned(values, turns[position * pairs + pair]);
            product[places.x] = values.x;
            product[places.y] = values.y;
        }
        largest = max(largest, max(magnitude(values.x), magnitude(values.y)));
    }
    lanes_meet();
    return lanes_max(largest);
}

// The scale of a head's codes; turning halves its values.
fn head_scale(largest: u32, before: Scale, is_value: bool) -> Scale {
    return scale_mul(a15_scale(largest), scale_exp2(before, select(1, 0, is_value)));
}

// The pair's two values, turned.
fn turned(values: vec2<i32>, turn: vec2<i32>) -> vec2<i32> {
    let a = sub_wide(mul_both(values.x, turn.x), mul_both(values.y, turn.y));
    let b = add_wide(mul_both(values.x, turn.y), mul_both(values.y, turn.x));
    return vec2<i32>(low_half(round_wide(a, 31u)), low_half(round_wide(b, 31u)));
}

// Which head of the cache belongs to a row: pages hold all heads, keys before values.
fn cache_place(row: u32, position: u32, kv_head: u32, is_value: bool) -> u32 {
    let page = batch[batch[row * ROW_WORDS + 2u] + position / PAGE];
    let kind = page * 2u * params.kv_heads + select(0u, params.kv_heads, is_value) + kv_head;
    return kind * PAGE + position % PAGE;
}

fn write_query(first: u32, largest: u32, place: u32) {
    let a = a15_of(max(largest, 1u));
    for (var word = lane; word < params.head_dim / 2u; word += LANES) {
        queries[place + word] = head_word(a, first, word);
    }
}

fn write_cache(first: u32, largest: u32, place: u32) {
    let a = a15_of(max(largest, 1u));
    for (var word = lane; word < params.head_dim / 2u; word += LANES) {
        cache[place + word] = head_word(a, first, word);
    }
}

// Two codes, neighbours in the head.
fn head_word(a: A15, first: u32, word: u32) -> u32 {
    let low = a15_code(a, product[first + 2u * word]);
    let high = a15_code(a, product[first + 2u * word + 1u]);
    return (bitcast<u32>(low) & 0xffffu) | (bitcast<u32>(high) << 16u);
}
