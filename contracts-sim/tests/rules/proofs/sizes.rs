//! How large proofs are and how long they take. Sizes must be kept; times are printed, for nobody knows what else the
//! machine does.

use std::time::{Duration, Instant};

use gridhour_contracts_sim::{
    harness::Chain,
    ledger::entry::{Book, Entry, Event, Lane, Posting},
    proof::{EntryProof, ReceiptProof, RecordProof},
    state::{
        StateKey, StateValue,
        tree::{Change, Tree},
    },
};
use gridhour_protocol::{
    id::TxId,
    merkle::{Frontier, Hash, Tracker, TreeHead, inclusion_proof, leaf_hash, root, verify_inclusion},
    signed::PublicKey,
    units::{Credits, Height},
    wire::encode,
};

use super::{
    anchor,
    receipts::{leaves, receipt},
    with_session,
};

/// Proofs looked at.
const SAMPLE: u32 = 4_000;

fn account(n: u32) -> StateKey {
    StateKey::Account(PublicKey(*blake3::hash(&n.to_le_bytes()).as_bytes()))
}

fn change(n: u32, balance: u64) -> Change {
    let value = StateValue::Balance(Credits(balance));
    Change { path: account(n).path(), value: Some(value.hash()) }
}

#[allow(clippy::disallowed_methods, reason = "a test may look at the clock to tell how long something took")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}

fn percentile(sorted: &[usize], percent: usize) -> usize {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Builds a tree of `count` accounts, changes 10,000 of them, proves some; the sizes in bytes, sorted.
fn sizes_at(count: u32) -> Vec<usize> {
    let (tree, built) = timed(|| Tree::default().with((0..count).map(|n| change(n, 1)).collect()));
    let step = count / 10_000;
    let (tree, updated) = timed(|| tree.with((0..10_000).map(|n| change(n * step, 2)).collect()));
    let (_, one) = timed(|| (0..1_000).fold(tree.clone(), |tree, n| tree.with(vec![change(n * step, 3)])));
    let root = tree.root();
    let sample: Vec<u32> = (0..SAMPLE).map(|n| n * (count / SAMPLE) + 1).collect();
    let (proofs, proved) =
        timed(|| sample.iter().map(|n| tree.prove(&account(*n).path())).collect::<Vec<_>>());
    let hash = |n: u32| {
        StateValue::Balance(Credits(if n.is_multiple_of(step) && n / step < 10_000 { 2 } else { 1 })).hash()
    };
    let (good, verified) = timed(|| {
        let pairs = sample.iter().zip(&proofs);
        pairs.filter(|(n, proof)| proof.root(&account(**n).path(), Some(&hash(**n))) == Some(root)).count()
    });
    assert_eq!(good, proofs.len());
    let (_, hashed) = timed(|| {
        (0..SAMPLE).fold([0; 88], |bytes, _| {
            let mut next = [0; 88];
            next[..32].copy_from_slice(blake3::hash(&bytes).as_bytes());
            next
        })
    });
    let rate = |n: u32, time: Duration| f64::from(n) / time.as_secs_f64();
    println!(
        "{count} accounts: built at {:.0}/s; 10,000 changed at {:.0}/s, one by one at {:.0}/s; \
         proved in {:?}, verified in {:?}; one hash of 88 bytes takes {:?}",
        rate(count, built),
        rate(10_000, updated),
        rate(1_000, one),
        proved / SAMPLE,
        verified / SAMPLE,
        hashed / SAMPLE
    );
    let mut sizes: Vec<usize> = proofs.iter().map(|proof| encode(proof).len()).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn a_balance_proof_stays_small() {
    for (count, most) in [(1 << 17, 800), (1_000_000, 900)] {
        let sizes = sizes_at(count);
        let [half, late, last] = [50, 99, 100].map(|percent| percentile(&sizes, percent));
        println!("{count} accounts: a proof has {half} bytes at p50, {late} at p99, {last} at most");
        assert!(late <= most, "{late} bytes at p99");
    }
}

/// A header of the chain's operator over a log of 2^20 entries, of which `entry` is one.
fn under_a_long_log(chain: &Chain, entry: &Entry) -> EntryProof {
    let leaf = |n: u32| leaf_hash(&n.to_le_bytes());
    let mut frontier = Frontier::new();
    frontier.extend((0..700_000).map(leaf));
    let mut tracker = Tracker::start(frontier.clone(), entry.leaf_hash());
    frontier.push(entry.leaf_hash());
    for n in 700_001..1 << 20 {
        tracker.push(leaf(n));
        frontier.push(leaf(n));
    }
    let log = TreeHead { size: frontier.size(), root: frontier.root() };
    let mut header = chain.blocks().last().expect("blocks").header.body.clone();
    (header.log, header.height) = (log, Height(1 << 14));
    let path = tracker.proof();
    assert!(verify_inclusion(&entry.leaf_hash(), 700_000, log.size, &path, &log.root));
    assert!(32 * path.len() <= 640, "an inclusion proof of {} hashes", path.len());
    EntryProof { entry: entry.clone(), index: 700_000, path, header: chain.operator().sign(header) }
}

#[test]
fn a_bundle_stays_small() {
    let (chain, deal) = with_session();
    let lane: Vec<_> = (0..4).map(|index| receipt(&deal, 0, index)).collect();
    let receipts_root: Hash = root(&leaves(&lane));
    let session = deal.session();
    let lanes = vec![Lane { lane: 0, sequence: 9, amount: Credits(50), receipts: 4, receipts_root }];
    let paid = Posting {
        debit: Book::Hold(session),
        credit: Book::Account(deal.provider.public()),
        amount: Credits(50),
    };
    let entry = Entry {
        height: Height(11_000),
        tx: TxId([9; 32]),
        postings: vec![paid],
        event: Event::Collected { session, lanes },
    };
    let entry = under_a_long_log(&chain, &entry);
    let path = inclusion_proof(&leaves(&lane), 2).expect("the third");
    let bundle = ReceiptProof { receipt: lane[2].clone(), path, entry };
    let anchor = anchor(&chain);
    bundle.verify(&anchor).expect("it holds");
    let (_, time) = timed(|| (0..1_000).for_each(|_| drop(bundle.verify(&anchor))));
    let bytes = encode(&bundle).len() - encode(&bundle.receipt).len();
    let (_, signature) = timed(|| (0..1_000).for_each(|_| drop(bundle.receipt.clone().verify())));
    println!(
        "a bundle at 2^20 entries: {bytes} bytes without the receipt, verified in {:?}; one signature takes {:?}",
        time / 1_000,
        signature / 1_000
    );
    assert!(bytes <= 1_331, "{bytes} bytes");
    let tree = Tree::default().with((0..1_000_000).map(|n| change(n, 1)).collect());
    let mut header = bundle.entry.header.body.clone();
    header.checkpoint.root = tree.root();
    let key_of = account(77);
    let (value, header) = (Some(StateValue::Balance(Credits(1))), chain.operator().sign(header));
    let record = RecordProof { key: key_of, value, proof: tree.prove(&key_of.path()), header };
    assert!(record.verify(&anchor, &key_of).is_ok());
    println!("a balance of 1 M with its header: {} bytes", encode(&record).len());
}
