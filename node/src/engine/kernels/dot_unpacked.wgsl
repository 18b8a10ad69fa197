// Dot products of sixteen bytes for adapters without an instruction for four: bytes with the same place in
// their words are multiplied together.
fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    let p = bitcast<vec4<i32>>(a);
    let q = bitcast<vec4<i32>>(b);
    let eight = vec4<u32>(8u);
    let sixteen = vec4<u32>(16u);
    let first = vec4<u32>(24u);
    let sums = ((p << first) >> first) * ((q << first) >> first)
        + ((p << sixteen) >> first) * ((q << sixteen) >> first)
        + ((p << eight) >> first) * ((q << eight) >> first)
        + (p >> first) * (q >> first);
    return sums.x + sums.y + sums.z + sums.w;
}
