//! probe
use std::{num::NonZeroUsize, path::Path, sync::Arc, time::Instant};
use gridhour_node::engine::{Engine, EngineConfig, isa::Isa, sequence::Sequence};

fn main() {
    let path = std::env::args().nth(1).expect("model");
    let isa = match std::env::args().nth(2).as_deref() { Some("portable") => Isa::Portable, Some("avx2") => Isa::Avx2, _ => Isa::Auto };
    let start = Instant::now();
    let engine = Arc::new(Engine::load(Path::new(&path), EngineConfig { threads: NonZeroUsize::new(2).unwrap(), isa, ..EngineConfig::default() }).unwrap());
    println!("load {:?} {}", start.elapsed(), engine.isa_name());
    let tokens: Vec<u32> = (0..256u32).map(|i| (i * 7919 + 13) % 49000).collect();
    for _ in 0..5 {
        let mut s = Sequence::new(&engine, 400).unwrap();
        let start = Instant::now();
        s.prefill(&tokens, |_| ()).unwrap();
        let pre = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for t in &tokens[..64] { s.prefill(&[*t], |_| ()).unwrap(); }
        let dec = start.elapsed().as_secs_f64();
        println!("prefill {:.0} tok/s decode {:.1} tok/s", 256.0 / pre, 64.0 / dec);
    }
}
