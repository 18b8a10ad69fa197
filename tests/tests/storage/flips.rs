//! Single bytes changed on a ledger that is too long to try them all.

use gridhour_contracts_sim::{
    audit::{Auditor, Trust},
    export::{self, Decoder, FrameKind},
};
use gridhour_node::bench::audit::{Plan, write};
use testkit::{seeds::seeds, sim::rng::Rng};

const PLAN: Plan = Plan { accounts: 300, transactions: 20_000, block: 100, valid_blocks: 20, seed: 3 };
/// Bytes that are flipped for each seed, each once as it is and once behind a corrected hash.
const FLIPS: u64 = 50;

struct Frame {
    kind: FrameKind,
    payload: Vec<u8>,
    begin: usize,
    end: usize,
}

fn frames(file: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    decoder.push(file);
    let mut begin = export::MAGIC.len();
    let mut frames = Vec::new();
    while let Some((kind, payload)) = decoder.next_frame().expect("the ledger is sound") {
        let end = begin + export::frame(kind, &payload).len();
        frames.push(Frame { kind, payload, begin, end });
        begin = end;
    }
    frames
}

/// The height at which an audit that has come to here finds something in `frame` and what follows.
fn found(before: &Auditor, frame: &[u8], rest: &[u8]) -> Option<u64> {
    let mut auditor = before.clone();
    auditor.push(frame);
    // What follows is of no interest where the frame is refused: nothing more is checked then.
    let _ = auditor.save([0; 32]);
    auditor.push(rest);
    auditor.finish().0.findings.first().map(|finding| finding.height.0)
}

#[test]
fn a_byte_flipped_anywhere_in_a_long_ledger_is_found_and_placed() {
    let mut file = Vec::new();
    let written = write(&PLAN, &mut file, &mut |_| ()).expect("memory has room");
    let frames = frames(&file);
    assert_eq!(frames.len() as u64, written.height.0 + 2, "network, blocks, end");
    for seed in seeds(1) {
        println!("GRIDHOUR_SEED={seed}");
        flip_some(&file, &frames, &mut Rng::new(seed));
    }
}

fn flip_some(file: &[u8], frames: &[Frame], rng: &mut Rng) {
    let first = frames[0].begin as u64;
    let draw =
        |_| usize::try_from(first + rng.below(file.len() as u64 - first)).expect("a place in the file");
    let mut places: Vec<usize> = (0..FLIPS).map(draw).collect();
    places.sort_unstable();
    let mut auditor = Auditor::new(Trust::SelfTrust);
    auditor.push(export::MAGIC);
    let mut places = places.into_iter().peekable();
    for (height, frame) in (0..).zip(frames) {
        while let Some(at) = places.next_if(|at| *at < frame.end) {
            // Whoever keeps where it stands has replayed what it was given.
            let _ = auditor.save([0; 32]);
            flip(file, frame, height, at, &auditor);
        }
        auditor.push(&file[frame.begin..frame.end]);
    }
    assert!(auditor.finish().0.ok, "the ledger itself is in order");
}

fn flip(file: &[u8], frame: &Frame, height: u64, at: usize, before: &Auditor) {
    let rest = &file[frame.end..];
    let mut bytes = file[frame.begin..frame.end].to_vec();
    let bit = 1 << (at % 8);
    bytes[at - frame.begin] ^= bit;
    assert_eq!(found(before, &bytes, rest), Some(height), "byte {at}");
    // A frame begins with its kind and its length, and ends with its hash.
    let inside = (at - frame.begin).checked_sub(5).filter(|inside| *inside < frame.payload.len());
    let Some(inside) = inside else { return };
    let mut payload = frame.payload.clone();
    payload[inside] ^= bit;
    // An end that names another height is found at the last block.
    let height = if frame.kind == FrameKind::End { height - 1 } else { height };
    let reframed = export::frame(frame.kind, &payload);
    assert_eq!(found(before, &reframed, rest), Some(height), "byte {at} behind a corrected hash");
}
