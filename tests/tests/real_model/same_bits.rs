//! One result, however and by whomever it is computed.

use std::{sync::Arc, time::Instant};

use gridhour_node::engine::{Engine, score_chain::Scores, sequence::Sequence};
use gridhour_protocol::exact::llama::{Reference, Step};
use testkit::definition::definition_weights;

use crate::{prompts::PROMPTS, subject::subject};

/// Tokens that every form of the engine reads: more than one full piece of 64.
const WINDOW: usize = 96;
/// Tokens that the definition reads, which is slow.
const DEFINED: usize = 6;

/// Digest of all logits and checksums behind every token of `tokens`, computed in pieces of `piece` tokens.
fn digest(engine: &Arc<Engine>, tokens: &[u32], piece: usize) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut sequence = Sequence::new(engine, tokens.len()).expect("the context is longer");
    for tokens in tokens.chunks(piece) {
        let take = |_, scores: Scores<'_>| {
            let logits = scores.logits.iter().flat_map(|logit| logit.to_le_bytes());
            let checksums = scores.checksums.iter().flat_map(|checksum| checksum.to_le_bytes());
            hasher.update(&logits.chain(checksums).collect::<Vec<_>>());
        };
        sequence.prefill_from(tokens, 0, take).expect("there is room");
    }
    hasher.finalize()
}

#[test]
fn instructions_and_pieces_change_no_bit() {
    let Some(subject) = subject() else { return };
    let Some(text) = subject.wikitext() else { return };
    let tokens = &text[..WINDOW];
    let portable = subject.portable();
    let expected = digest(&portable, tokens, WINDOW);
    println!("logits of {WINDOW} tokens: {expected}");
    for engine in [&portable, &subject.engine] {
        for piece in [1, 7, 64] {
            let started = Instant::now();
            assert_eq!(digest(engine, tokens, piece), expected, "{} in pieces of {piece}", engine.isa_name());
            let took = started.elapsed().as_secs_f64();
            println!("    the same from {} in pieces of {piece}: {took:.1} s", engine.isa_name());
        }
    }
}

#[test]
fn the_definition_gives_the_same_bits() {
    let Some(subject) = subject() else { return };
    let mut tokens = subject.tokenizer.encode_bare(PROMPTS[0]).expect("a prompt is short");
    tokens.truncate(DEFINED);
    let mut steps = Vec::new();
    let mut sequence = Sequence::new(&subject.engine, DEFINED).expect("the context is longer");
    let take = |_, Scores { logits, checksums }: Scores<'_>| {
        steps.push(Step { logits: logits.to_vec(), checksums: checksums.to_vec() });
    };
    sequence.prefill_from(&tokens, 0, take).expect("there is room");

    let started = Instant::now();
    let weights = definition_weights(&subject.file);
    let mut reference = Reference::new(&weights);
    assert_eq!(steps.len(), DEFINED);
    for (position, (token, found)) in tokens.iter().zip(&steps).enumerate() {
        let expected = reference.forward(*token).expect("a token of the vocabulary");
        assert!(*found == expected, "position {position} differs");
    }
    println!("definition: {DEFINED} tokens, the same bits; {:.1} s", started.elapsed().as_secs_f64());
}
