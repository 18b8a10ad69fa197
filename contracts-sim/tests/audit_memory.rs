//! An audit needs as much memory for a long ledger as for a short one: what it allocates is counted.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement; this one passes everything on")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use gridhour_contracts_sim::{
    audit::{Auditor, Trust},
    harness::{Chain, key},
    ledger::admit::Admitted,
    limits::CHECKPOINT_BLOCKS,
    tx::Call,
};
use gridhour_protocol::units::{Credits, Millis};

/// Passes everything on to the system's allocator, and counts.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every request goes to `System` as it came, which keeps the contract of `GlobalAlloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Accounts that pay each other.
const PEOPLE: u8 = 40;
/// Transfers of a block.
const BLOCK: u64 = 8;
/// Blocks of the short ledger: so many that the first is no longer remembered at the end, and that one of its checkpoints is
/// hashed late too, which takes an eighth more and depends on when the thread aside runs.
const BLOCKS: u64 = 12 * CHECKPOINT_BLOCKS;
/// How much longer the long one is.
const LONGER: u64 = 4;

/// A ledger of so many blocks between the same people, as an exported file.
fn ledger(blocks: u64) -> Vec<u8> {
    let mut chain = Chain::new();
    let people: Vec<_> = (0..PEOPLE).map(|n| key(n + 1)).collect();
    for person in &people {
        chain.fund(&person.public(), Credits(1_000_000));
    }
    for block in 0..blocks {
        chain.advance(Millis(250));
        let transfers = (0..BLOCK).map(|at| {
            let payer = &people[((7 * block + 3 * at) % u64::from(PEOPLE)) as usize];
            let to = people[((7 * block + 3 * at + 1) % u64::from(PEOPLE)) as usize].public();
            Admitted::checked_before(chain.sign(payer, Call::Transfer { to, amount: Credits(1) }))
        });
        let transfers = transfers.collect();
        assert!(chain.block(transfers).iter().all(Result::is_ok));
    }
    chain.export()
}

/// Bytes that an audit of `file` has at most at a time, the file apart.
fn peak_of(file: &[u8], keeps: bool) -> usize {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut auditor = Auditor::new(Trust::SelfTrust);
    for (number, piece) in file.chunks(4096).enumerate() {
        auditor.push(piece);
        if keeps && number % 16 == 0 {
            drop(auditor.save([0; 32]));
        }
    }
    let (report, _) = auditor.finish();
    assert!(report.ok, "{:?}", report.findings);
    PEAK.load(Relaxed) - before
}

/// One test, so that nothing else is counted; on one thread, so that each run allocates in the same order.
#[test]
fn a_longer_ledger_needs_no_more_memory() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    pool.install(|| {
        let (short, long) = (ledger(BLOCKS), ledger(LONGER * BLOCKS));
        assert!(long.len() > 3 * short.len());
        for keeps in [false, true] {
            // The first run pays for what the process sets up once.
            let [_, little, much] = [&short, &short, &long].map(|file| peak_of(file, keeps));
            println!("kept {keeps}: {little} bytes for {} of ledger, {much} for {}", short.len(), long.len());
            assert!(little > short.len() / 100, "something is counted: {little}");
            assert!(much * 5 <= little * 6, "{much} bytes instead of {little}");
        }
    });
}
