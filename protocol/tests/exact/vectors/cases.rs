//! The cases: edge values first, then seeded ones.

use gridhour_protocol::{
    exact::{
        a15::{A15, Scaled, a15},
        attend::{attend, join_heads},
        bias::add_bias,
        embed::{add, embed},
        exp2::exp2_neg,
        llama::{LlamaConfig, Reference},
        matvec::matvec,
        norm::{head_norm, norm_epsilon, norm_quant},
        rational::Dyadic,
        rope::{head_quant, rope},
        round::{narrow, round_shift, sat32},
        sample::{History, SamplingKey, gumbel, logprobs, sample, threefry2x32},
        scale::Scale,
        score_chain::{Score, ScoreChain, layer_checksum},
        silu::silu_mul_quant,
        tables::{EXP2, EXPONENTIAL_RATIO, LOG2, RopeFrequencies, RopePair, RopePairs},
        weights::{BlockType, CodedMatrix, VectorWeights},
    },
    job::{logprobs::Logprobs, sampling::Sampling},
};

use super::{Answers, hex, ints, scale, scaled};
use crate::{
    model::{File, SMALL, VARIANTS},
    support::Seeded,
};

pub(super) fn write(out: &mut Answers) {
    let mut seeded = Seeded::new(0x6e75_6d65_7269_6373);
    words(out, &mut seeded);
    scales(out, &mut seeded);
    vectors(out, &mut seeded);
    tables(out);
    for kind in [BlockType::Q4_1, BlockType::Q8_0, BlockType::F32] {
        matrices(out, &mut seeded, kind, 64);
    }
    residual(out, &mut seeded);
    norms(out, &mut seeded);
    ropes(out, &mut seeded);
    attention(out, &mut seeded);
    gates(out, &mut seeded);
    sampling(out, &mut seeded);
    chain(out, &mut seeded);
    forward(out, SMALL, 99, &[]);
    more_kinds(out);
    rules(out, &mut Seeded::new(0x7275_6c65_7300_0001));
    heads(out);
    for config in VARIANTS {
        let architecture = ("architecture", config.architecture.name().to_owned());
        forward(out, config, 100, &[architecture, ("rope_scaling", config.rope_scaling.to_string())]);
    }
}

/// The kinds of weights that came after the first three, with numbers of their own.
fn more_kinds(out: &mut Answers) {
    let mut seeded = Seeded::new(0x6b69_6e64_7300_0001);
    for &kind in &BlockType::ALL[3..] {
        matrices(out, &mut seeded, kind, kind.group_columns());
    }
}

/// What the architectures after the first do with heads, with numbers of its own.
fn heads(out: &mut Answers) {
    let mut seeded = Seeded::new(0x6865_6164_7300_0001);
    divided_frequencies(out);
    let row = RopeFrequencies::new(dyadic(1_000_000.0), 8).row(4095);
    let y = Scaled { values: seeded.ints32(16), scale: seeded.scale(-50) };
    let inputs = [&scaled(&y, ["y", "s"])[..], &angles(&row)].concat();
    out.line("rope_halves", &inputs, &scaled(&rope(&y, &row, RopePairs::Halves), ["y", "s"]));
    let (most, zero) = (i32::MAX - (1 << 18), VectorWeights { values: vec![0; 8], k: 0 });
    for (e, k) in [(-55, 24), (-55, 12), (-85, 24), (-20, 24), (-300, 174), (200, -103)] {
        let values = [&[most, -most, 0, 1], &seeded.ints32(4)[..]].concat();
        let y = Scaled { values, scale: seeded.scale(e) };
        let values = seeded.ints(8, 25).into_iter().map(|v| v as i32).collect();
        let weights = VectorWeights { values, k };
        for (y, weights) in [(&y, &weights), (&y, &zero), (&y.clone().with_scale(Scale::ZERO), &weights)] {
            vector_on_head(out, y, weights);
        }
    }
    let silent = Scaled { values: vec![0; 8], scale: Scale::from_int(1, -50) };
    vector_on_head(out, &silent, &zero);
}

/// One vector as biases, and as the weights of a norm.
fn vector_on_head(out: &mut Answers, y: &Scaled<i32>, weights: &VectorWeights) {
    let head = scaled(y, ["y", "s"]);
    let inputs = [&head[..], &[("B", ints(&weights.values)), ("k", weights.k.to_string())]].concat();
    out.line("add_bias", &inputs, &scaled(&add_bias(y, weights), ["y", "s"]));
    for eps in [0.0f32, 1e-6, 0.9] {
        let weights_of = [("W", ints(&weights.values)), ("k", weights.k.to_string())];
        let inputs = [&head[..], &weights_of, &[("eps", eps.to_bits().to_string())]].concat();
        out.line("head_norm", &inputs, &scaled(&head_norm(y, weights, dyadic(eps)), ["y", "s"]));
    }
}

fn divided_frequencies(out: &mut Answers) {
    let factors = [1f32, 1.7, 8.0, 31.9];
    let divided = RopeFrequencies::new(dyadic(500_000.0), 8).divided(&factors.map(dyadic));
    for p in [0, 1, 1000, 131_071] {
        let bits = ints(&factors.map(f32::to_bits));
        let base = 500_000f32.to_bits().to_string();
        let inputs = [("base", base), ("d", "8".to_owned()), ("p", p.to_string()), ("factors", bits)];
        out.line("rope_row", &inputs, &angles(&divided.row(p)));
    }
}

fn words(out: &mut Answers, seeded: &mut Seeded) {
    let edges = [(0, 0), (1, 1), (-1, 1), (3, 2), (-2, 2), (i64::MAX, 1), (i64::MIN, 1), (i64::MIN, 63)];
    let random = seeded.ints(8, 63).into_iter().map(|a| (a, (a & 63) as u32));
    for (a, n) in edges.into_iter().chain(random) {
        let inputs = [("a", a.to_string()), ("n", n.to_string())];
        out.line("round_shift", &inputs, &[("y", round_shift(a, n).to_string())]);
    }
    for a in [0, -1, 1 << 31, -(1 << 31), (1 << 31) - 1, i64::MIN] {
        out.line("sat32", &[("a", a.to_string())], &[("y", sat32(a).to_string())]);
    }
}

fn scales(out: &mut Answers, seeded: &mut Seeded) {
    let integers: Vec<u64> = [1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, (1 << 62) - 1, 1 << 63, u64::MAX]
        .into_iter()
        .chain((0..6).map(|i| seeded.word() >> (i * 9)))
        .collect();
    for &v in &integers {
        for e in [0, 1, -29] {
            let inputs = [("v", v.to_string()), ("e", e.to_string())];
            let (from, root) = (Scale::from_int(v, e), Scale::sqrt(v, e));
            let outputs = [("from", scale(from)), ("sqrt", scale(root)), ("recip", scale(from.recip()))];
            out.line("scale", &inputs, &outputs);
        }
    }
    for pair in integers.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|v| Scale::from_int(v, -40));
        out.line("scale_mul", &[("a", scale(a)), ("b", scale(b))], &[("y", scale(a.times(b)))]);
    }
    let units: Vec<Scale> = [-100, -93, -62, -46, -45, -31, -30, 0].map(|e| seeded.scale(e)).to_vec();
    for y in [0, 1, -1, i32::MAX, -i32::MAX, seeded.word() as i32 >> 3] {
        for &s in units.iter().chain([&Scale::ZERO]) {
            let inputs = [("y", y.to_string()), ("s", scale(s)), ("f", "14".to_owned())];
            out.line("apply", &inputs, &[("q", s.apply(y, 14).to_string())]);
        }
    }
}

fn vectors(out: &mut Answers, seeded: &mut Seeded) {
    let edges = [vec![0, 0], vec![(1 << 30) - 1, -1], vec![(1 << 31) - 1, -3], vec![-(1 << 62), 1 << 32]];
    let random = [20, 40, 62].map(|bits| seeded.ints(12, bits));
    for v in edges.into_iter().chain(random) {
        let (y, k) = narrow(&v);
        out.line("narrow", &[("v", ints(&v))], &[("y", ints(&y)), ("k", k.to_string())]);
    }
    let edges = [vec![0, 0], vec![1, -1, 0], vec![i32::MAX, -i32::MAX, 1, 65_000], vec![3, -2, 1]];
    for y in edges.into_iter().chain([seeded.ints32(16), seeded.ints32(16)]) {
        out.line("a15", &[("y", ints(&y))], &scaled(&a15(&y), ["q", "s"]));
    }
}

fn tables(out: &mut Answers) {
    out.line("exp2_table", &[], &[("L", ints(&EXP2))]);
    out.line("log2_table", &[], &[("T", ints(&LOG2))]);
    out.line("exponential_ratio_table", &[], &[("A", ints(&EXPONENTIAL_RATIO))]);
    for (base, d) in [(10_000f32, 8), (100_000f32, 64), (500_000.5, 16), (1.0, 2)] {
        let frequencies = RopeFrequencies::new(dyadic(base), d);
        for p in [0, 1, 2, 1000, 8191, 131_071] {
            let row = frequencies.row(p);
            let inputs = [("base", base.to_bits().to_string()), ("d", d.to_string()), ("p", p.to_string())];
            out.line("rope_row", &inputs, &angles(&row));
        }
    }
    let edges = [0, 1, 1023, 1024, 65_535, 65_536, 28 << 16, (29 << 16) - 1, 29 << 16, u32::MAX.into()];
    for x in edges.into_iter().chain((1..20).map(|i| i * 97_003)) {
        out.line("exp2_neg", &[("x", x.to_string())], &[("y", exp2_neg(x).to_string())]);
    }
}

fn angles(row: &[RopePair]) -> [(&'static str, String); 2] {
    let part = |f: fn(&RopePair) -> i32| ints(&row.iter().map(f).collect::<Vec<_>>());
    [("cos", part(|p| p.cos)), ("sin", part(|p| p.sin))]
}

/// Coding, product and embedding of one matrix, with a row of zeros and one too small to be seen.
fn matrices(out: &mut Answers, seeded: &mut Seeded, kind: BlockType, columns: usize) {
    let rows = 5;
    let mut bytes = seeded.tensor(kind, rows, columns, 0.02);
    let row = bytes.len() / rows;
    bytes[3 * row..4 * row].fill(0);
    make_tiny(kind, &mut bytes[4 * row..]);
    let w = CodedMatrix::from_gguf(kind, rows, columns, &bytes).expect("finite weights");
    let tensor = [
        ("kind", format!("{kind:?}")),
        ("rows", rows.to_string()),
        ("columns", columns.to_string()),
        ("w_hex", hex(&bytes)),
    ];
    coded(out, &tensor, &w);
    let extreme = A15 { values: vec![-16256; columns], scale: Scale::from_int(1, -14) };
    for a in [seeded.a15(columns, -44), extreme, A15 { values: vec![0; columns], scale: Scale::ZERO }] {
        let inputs = [&tensor[..], &scaled(&a, ["q", "s"])].concat();
        out.line("matvec", &inputs, &scaled(&matvec(&w, &a), ["y", "sy"]));
    }
    for token in 0..rows {
        let inputs = [&tensor[..], &[("token", token.to_string())]].concat();
        out.line("embed", &inputs, &[("x", ints(&embed(&w, token)))]);
    }
}

/// Scales down the blocks of a row: to subnormal half floats, or by 2^-40 for the types that reach so far.
fn make_tiny(kind: BlockType, row: &mut [u8]) {
    let unit = if kind == BlockType::Q6K { 208 } else { 0 };
    match kind {
        BlockType::F32 => row.chunks_exact_mut(4).for_each(|w| w[3] -= 20),
        BlockType::Bf16 => row.chunks_exact_mut(2).for_each(|w| w[1] -= 20),
        BlockType::F16 => row.chunks_exact_mut(2).for_each(|w| w.copy_from_slice(&[1, 0])),
        _ => {
            row.chunks_exact_mut(kind.group_bytes()).for_each(|b| b[unit..unit + 2].copy_from_slice(&[1, 0]))
        }
    }
}

fn coded(out: &mut Answers, tensor: &[(&str, String)], w: &CodedMatrix) {
    let mut outputs = vec![("Rd", w.rd.to_string()), ("Rm", w.rm.to_string()), ("X", w.x.to_string())];
    for row in &w.rows {
        outputs.extend([("kd", row.kd.to_string()), ("km", row.km.to_string())]);
        outputs.extend([("S", ints(&row.scales)), ("M", ints(&row.mins)), ("c", ints(&row.codes))]);
    }
    out.line("code_matrix", tensor, &outputs);
}

fn residual(out: &mut Answers, seeded: &mut Seeded) {
    let edges = [i32::MAX, -i32::MAX, i32::MAX, 0];
    let x = [&edges[..], &seeded.ints32(4)].concat();
    for e in [-50, -30, 0] {
        let y = Scaled { values: [&[1, -1, -5, 7], &seeded.ints32(4)[..]].concat(), scale: seeded.scale(e) };
        let mut sum = x.clone();
        add(&mut sum, &y);
        let inputs = [&[("x", ints(&x))][..], &scaled(&y, ["y", "s"])].concat();
        out.line("add", &inputs, &[("x", ints(&sum))]);
    }
}

fn norms(out: &mut Answers, seeded: &mut Seeded) {
    for (eps, n) in
        [(1e-5f32, 576), (0.0, 32), (f32::from_bits(1), 1 << 24), (f32::from_bits(0x3f7f_ffff), 1 << 24)]
    {
        let inputs = [("eps", eps.to_bits().to_string()), ("n", n.to_string())];
        out.line("norm_epsilon", &inputs, &[("E", norm_epsilon(dyadic(eps), n).to_string())]);
    }
    let random = [8, 17, 25, 31].map(|bits| seeded.ints(32, bits).into_iter().map(|v| v as i32).collect());
    for x in [vec![0; 32], vec![-i32::MAX; 32], vec![1; 32]].into_iter().chain(random) {
        let values = seeded.ints(32, 25).into_iter().map(|v| v as i32).collect();
        let w = VectorWeights { values, k: 24 };
        for epsilon in [0, 85_899] {
            let weights = [("W", ints(&w.values)), ("k", w.k.to_string())];
            let inputs = [&[("x", ints(&x))][..], &weights, &[("E", epsilon.to_string())]].concat();
            out.line("norm_quant", &inputs, &scaled(&norm_quant(&x, &w, epsilon), ["q", "s"]));
        }
    }
}

fn ropes(out: &mut Answers, seeded: &mut Seeded) {
    for p in [0, 1, 4095] {
        let row = RopeFrequencies::new(dyadic(10_000.0), 8).row(p);
        let most = i32::MAX - (1 << 18);
        let y = Scaled {
            values: [&[most, most, -most, most], &seeded.ints32(12)[..]].concat(),
            scale: seeded.scale(-50),
        };
        let turned = rope(&y, &row, RopePairs::Neighbours);
        let inputs = [&scaled(&y, ["y", "s"])[..], &angles(&row)].concat();
        out.line("rope", &inputs, &scaled(&turned, ["y", "s"]));
        let heads = head_quant(&turned, 8);
        let inputs = [&scaled(&turned, ["y", "s"])[..], &[("d", "8".to_owned())]].concat();
        let outputs: Vec<_> = heads.iter().flat_map(|h| scaled(h, ["q", "s"])).collect();
        out.line("head_quant", &inputs, &outputs);
    }
}

fn attention(out: &mut Answers, seeded: &mut Seeded) {
    for (positions, d, e) in [(1, 8, -44), (5, 16, -44), (70, 8, -46), (3, 64, -38)] {
        let query = seeded.a15(d, e);
        let keys: Vec<A15> = (0..positions).map(|_| seeded.a15(d, -44)).collect();
        let mut values: Vec<A15> = (0..positions).map(|i| seeded.a15(d, -44 - i % 5 * 3)).collect();
        if positions > 2 {
            values[1] = A15 { values: vec![0; d], scale: Scale::ZERO };
        }
        attended(out, &query, &keys, &values);
    }
    let zero = A15 { values: vec![0; 8], scale: Scale::ZERO };
    attended(out, &zero, &[zero.clone(), zero.clone()], &[zero.clone(), zero.clone()]);
    let wide = |seeded: &mut Seeded, e: i32| Scaled { values: seeded.ints(4, 45), scale: seeded.scale(e) };
    let none = Scaled { values: vec![0; 4], scale: Scale::ZERO };
    for heads in [
        vec![wide(seeded, -80), wide(seeded, -79), wide(seeded, -115), none.clone(), wide(seeded, -200)],
        vec![none.clone(), none],
    ] {
        let inputs: Vec<_> = heads.iter().flat_map(|h| scaled(h, ["o", "s"])).collect();
        out.line("join_heads", &inputs, &scaled(&join_heads(&heads), ["q", "s"]));
    }
}

fn attended(out: &mut Answers, query: &A15, keys: &[A15], values: &[A15]) {
    let mut inputs = scaled(query, ["q", "sq"]).to_vec();
    inputs.extend(keys.iter().flat_map(|k| scaled(k, ["k", "sk"])));
    inputs.extend(values.iter().flat_map(|v| scaled(v, ["v", "sv"])));
    out.line("attend", &inputs, &scaled(&attend(query, keys, values), ["o", "s"]));
}

fn gates(out: &mut Answers, seeded: &mut Seeded) {
    let most = i32::MAX - (1 << 18);
    for e in [-60, -57, -30, -100] {
        let g =
            Scaled { values: [&[most, -most, 0, 1], &seeded.ints32(8)[..]].concat(), scale: seeded.scale(e) };
        let u = Scaled {
            values: [&[most, most, 5, -1], &seeded.ints32(8)[..]].concat(),
            scale: seeded.scale(-60),
        };
        let inputs = [scaled(&g, ["g", "sg"]), scaled(&u, ["u", "su"])].concat();
        out.line("silu_mul_quant", &inputs, &scaled(&silu_mul_quant(&g, &u), ["q", "s"]));
    }
}

fn sampling(out: &mut Answers, seeded: &mut Seeded) {
    for [key, counter] in [[[0; 2]; 2], [[u32::MAX; 2]; 2], [[1, 2], [3, 4]]] {
        let inputs = [("key", ints(&key)), ("counter", ints(&counter))];
        out.line("threefry2x32", &inputs, &[("x", ints(&threefry2x32(key, counter)))]);
    }
    for core in [&b""[..], b"request core"] {
        let key = SamplingKey::derive(7, core);
        out.line(
            "sampling_key",
            &[("seed", "7".to_owned()), ("core_hex", hex(core))],
            &[("key", ints(&key.0))],
        );
        let noise: Vec<i32> = (0..64).map(|token| gumbel(key, 11, token)).collect();
        let inputs = [("key", ints(&key.0)), ("position", "11".to_owned()), ("tokens", "64".to_owned())];
        out.line("gumbel", &inputs, &[("g", ints(&noise))]);
        let logits: Vec<i32> = seeded.ints(12, 18).into_iter().map(|v| v as i32).collect();
        for q16 in [0, 656, 45_875, 65_536, 100 << 16] {
            let rules = Sampling { temperature_q16: q16, ..Sampling::GREEDY };
            let none = History { prompt: &[], output: &[] };
            let tokens: Vec<u32> = (0..8).map(|p| sample(&logits, &rules, none, key, p)).collect();
            let inputs = [("logits", ints(&logits)), ("T", q16.to_string()), ("key", ints(&key.0))];
            out.line("sample", &inputs, &[("tokens_at_0_to_7", ints(&tokens))]);
        }
    }
}

/// Choices under every rule, alone and together, and log probabilities.
fn rules(out: &mut Answers, seeded: &mut Seeded) {
    let warm = Sampling { temperature_q16: 80_000, ..Sampling::GREEDY };
    let repeat = Sampling { repetition_q16: 85_197, repeat_last: 4, ..Sampling::GREEDY };
    let each = [
        Sampling { top_k: 3, ..warm },
        Sampling { top_p_q16: 40_000, ..warm },
        Sampling { top_p_q16: 0, ..warm },
        Sampling { min_p_q16: 9_000, ..warm },
        Sampling { top_k: 9, top_p_q16: 60_000, min_p_q16: 2_000, ..warm },
        repeat,
        Sampling { repetition_q16: 50_000, repeat_last: u32::MAX, ..warm },
        Sampling { frequency_q16: 60_000, ..warm },
        Sampling { presence_q16: -131_072, ..Sampling::GREEDY },
        Sampling { top_k: 8, top_p_q16: 64_000, frequency_q16: 30_000, presence_q16: 20_000, ..repeat },
    ];
    let key = SamplingKey::derive(7, b"rules");
    let history = History { prompt: &[1, 2, 3, 5], output: &[8, 8, 2] };
    let places = [("prompt", ints(history.prompt)), ("output", ints(history.output))];
    for rules in each {
        let logits: Vec<i32> = (0..12).map(|_| seeded.range(-300_000, 300_000) as i32).collect();
        let tokens: Vec<u32> = (7..23).map(|p| sample(&logits, &rules, history, key, p)).collect();
        let inputs = [&[("logits", ints(&logits))][..], &fields(&rules), &places, &[("key", ints(&key.0))]];
        out.line("sample", &inputs.concat(), &[("tokens_at_7_to_22", ints(&tokens))]);
    }
    let extremes = vec![i32::MAX, 0, -i32::MAX, i32::MAX];
    for logits in [seeded.ints(12, 20).into_iter().map(|v| v as i32).collect(), vec![7; 5], extremes] {
        let Logprobs { logprob_q16, top } = logprobs(&logits, 2, 3);
        let inputs = [("logits", ints(&logits)), ("token", "2".to_owned()), ("count", "3".to_owned())];
        let (ids, values): (Vec<u32>, Vec<i32>) = top.iter().map(|one| (one.token, one.logprob_q16)).unzip();
        let outputs =
            [("logprob", logprob_q16.to_string()), ("top", ints(&ids)), ("top_logprobs", ints(&values))];
        out.line("logprobs", &inputs, &outputs);
    }
}

/// The rules by the names of the page.
fn fields(rules: &Sampling) -> [(&'static str, String); 8] {
    [
        ("T", rules.temperature_q16.to_string()),
        ("K", rules.top_k.to_string()),
        ("P", rules.top_p_q16.to_string()),
        ("M", rules.min_p_q16.to_string()),
        ("R", rules.repetition_q16.to_string()),
        ("N", rules.repeat_last.to_string()),
        ("F", rules.frequency_q16.to_string()),
        ("H", rules.presence_q16.to_string()),
    ]
}

fn chain(out: &mut Answers, seeded: &mut Seeded) {
    let x = seeded.ints32(9);
    let checksums = [layer_checksum(&x), layer_checksum(&[-1])];
    out.line("layer_checksum", &[("x", ints(&x))], &[("sum", checksums[0].to_string())]);
    let request: [u8; 32] = std::array::from_fn(|i| i as u8);
    let mut chain = ScoreChain::start(&request, 5);
    let inputs = [("request_hex", hex(&request)), ("start", "5".to_owned())];
    out.line("chain_start", &inputs, &[("c_hex", hex(&chain.digest()))]);
    let logits = [-70_000, 12, 12, 9];
    for token in [1, 3, 0] {
        let inputs = [
            ("c_hex", hex(&chain.digest())),
            ("logits", ints(&logits)),
            ("token", token.to_string()),
            ("checksums", ints(&checksums)),
        ];
        chain = chain.extend(&Score::new(&logits, token, &checksums));
        out.line("chain_extend", &inputs, &[("c_hex", hex(&chain.digest()))]);
    }
}

fn forward(out: &mut Answers, config: LlamaConfig, seed: u64, more: &[(&str, String)]) {
    let file = File::seeded(config, seed);
    let c = file.config;
    let sizes = [c.layers, c.width, c.heads, c.kv_heads, c.head_dim, c.ffn, c.vocab, c.context];
    let names = ["layers", "width", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context"];
    let mut inputs: Vec<_> = names.into_iter().zip(sizes.map(|v| v.to_string())).collect();
    inputs.extend([("rope_base", c.rope_base.to_string()), ("epsilon", c.epsilon.to_string())]);
    inputs.extend(more.iter().cloned());
    out.line("model", &inputs, &[]);
    for (name, t) in file.tensors() {
        let shape = [
            ("kind", format!("{:?}", t.kind)),
            ("rows", t.rows.to_string()),
            ("columns", t.columns.to_string()),
        ];
        out.line(
            "tensor",
            &[&[("name", name.to_owned())][..], &shape, &[("w_hex", hex(t.bytes))]].concat(),
            &[],
        );
    }
    let weights = file.load().expect("a sound file");
    let mut sequence = Reference::new(&weights);
    for token in [3, 17, 0, 23, 3] {
        let step = sequence.forward(token).expect("a token of the vocabulary");
        let outputs = [("logits", ints(&step.logits)), ("checksums", ints(&step.checksums))];
        out.line("forward", &[("token", token.to_string())], &outputs);
    }
}

fn dyadic(v: f32) -> Dyadic {
    Dyadic::from_f32_bits(v.to_bits()).expect("a finite number")
}
