//! Any single byte of an exported ledger changed: refused, with the place named. Every kind of call stands on it.

use gridhour_contracts_sim::{
    audit::{Auditor, Report, Trust},
    export::{self, Decoder, FrameKind},
    harness::Chain,
    tx::Call,
};
use rayon::prelude::*;

/// Kinds of calls. Another one is another number in [`place_of`], which this must be above.
const KINDS: usize = 24;

fn place_of(call: &Call) -> usize {
    match call {
        Call::Mint { .. } => 0,
        Call::Burn { .. } => 1,
        Call::Transfer { .. } => 2,
        Call::Open(_) => 3,
        Call::TopUp { .. } => 4,
        Call::Collect { .. } => 5,
        Call::Close { .. } => 6,
        Call::Expire { .. } => 7,
        Call::Register(_) => 8,
        Call::Calibrate(_) => 9,
        Call::Deregister { .. } => 10,
        Call::Bond { .. } => 11,
        Call::Unbond { .. } => 12,
        Call::Withdraw { .. } => 13,
        Call::Slash(_) => 14,
        Call::Plan { .. } => 15,
        Call::Draw { .. } => 16,
        Call::CloseBudget { .. } => 17,
        Call::Book(_) => 18,
        Call::Demand { .. } => 19,
        Call::Answer { .. } => 20,
        Call::DrawSlot { .. } => 21,
        Call::GiveUp { .. } => 22,
        Call::Settle { .. } => 23,
    }
}

/// One frame of an export, and an audit of all that stands before it.
struct Place {
    height: u64,
    before: Auditor,
    kind: FrameKind,
    payload: Vec<u8>,
    /// Where the frame begins and ends in the file.
    bytes: std::ops::Range<usize>,
}

/// The frames of an export.
fn places(chain: &Chain, file: &[u8]) -> Vec<Place> {
    let mut decoder = Decoder::default();
    decoder.push(file);
    let mut before = Auditor::new(Trust::Genesis(chain.state().network()));
    before.push(export::MAGIC);
    let mut begin = export::MAGIC.len();
    let mut places = Vec::new();
    while let Some((kind, payload)) = decoder.next_frame().expect("the export is sound") {
        let bytes = begin..begin + export::frame(kind, &payload).len();
        // Whoever keeps where it stands has replayed what it was given.
        let _ = before.save([0; 32]);
        let height = places.len() as u64;
        places.push(Place { height, before: before.clone(), kind, payload, bytes: bytes.clone() });
        before.push(&file[bytes.clone()]);
        begin = bytes.end;
    }
    assert_eq!(begin, file.len());
    places
}

/// What an audit finds in `frame` and what follows it.
fn judged(before: &Auditor, frame: &[u8], rest: &[u8]) -> Report {
    let mut auditor = before.clone();
    auditor.push(frame);
    // What follows is of no interest where the frame is refused: nothing more is checked then.
    let _ = auditor.save([0; 32]);
    auditor.push(rest);
    auditor.finish().0
}

/// There is one finding, at the height of the frame.
fn assert_placed(place: &Place, report: &Report, what: &str) {
    assert!(!report.ok && report.findings.len() == 1, "{what}: {:?}", report.findings);
    // A network file that is another's stands, like everything before the first block, at height 0.
    assert_eq!(report.findings[0].height.0, place.height, "{what}: {}", report.findings[0]);
}

#[test]
fn every_kind_of_call_stands_on_the_ledger_whose_bytes_are_flipped() {
    let chain = Chain::of_every_call();
    let mut count = [0; KINDS];
    for tx in chain.blocks().iter().flat_map(|block| &block.txs) {
        count[place_of(&tx.body.call)] += 1;
    }
    assert!(count.iter().all(|count| *count > 0), "a kind of call is missing from the story: {count:?}");
}

/// Every byte of the file, at the height where it stands.
#[test]
fn every_flipped_byte_is_found_and_placed() {
    let chain = Chain::of_every_call();
    let file = chain.export();
    for at in 0..export::MAGIC.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        let report = judged(&Auditor::new(Trust::SelfTrust), &changed, &[]);
        assert_eq!(report.findings[0].height.0, 0, "byte {at} of the magic");
    }
    let places = places(&chain, &file);
    let flip = |place: &Place, at: usize| {
        let mut frame = file[place.bytes.clone()].to_vec();
        frame[at - place.bytes.start] ^= 1 << (at % 8);
        // What follows comes as well: a frame that says it is longer takes it in.
        let report = judged(&place.before, &frame, &file[place.bytes.end..]);
        assert_placed(place, &report, &format!("byte {at}"));
    };
    places.par_iter().for_each(|place| place.bytes.clone().for_each(|at| flip(place, at)));
}

/// As above, but whoever flips it also corrects the frame's hash: only what is in it is left.
#[test]
fn every_flipped_byte_is_found_behind_a_corrected_hash() {
    let chain = Chain::of_every_call();
    let file = chain.export();
    let places = places(&chain, &file);
    let flip = |place: &Place, at: usize| {
        let mut payload = place.payload.clone();
        payload[at] ^= 1 << (at % 8);
        let frame = export::frame(place.kind, &payload);
        let report = judged(&place.before, &frame, &file[place.bytes.end..]);
        let height = if place.kind == FrameKind::End { place.height - 1 } else { place.height };
        assert!(!report.ok, "byte {at} of frame {}", place.height);
        assert_eq!(report.findings[0].height.0, height, "byte {at}: {}", report.findings[0]);
    };
    places.par_iter().for_each(|place| (0..place.payload.len()).for_each(|at| flip(place, at)));
}
