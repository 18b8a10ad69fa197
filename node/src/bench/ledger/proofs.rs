//! How large proofs are, and how long one takes to verify, in a ledger of any size: only its log and its state tree are
//! made, and one header over both.

use std::time::Instant;

use gridhour_contracts_sim::{
    block::Header,
    harness::{Chain, Deal, key},
    ledger::entry::{Book, Entry, Event, Lane, Posting},
    proof::{Anchor, EntryProof, ReceiptProof},
    state::{
        StateKey, StateRoot, StateValue, Totals,
        tree::{Change, Tree},
    },
};
use gridhour_protocol::{
    id::{BlockHash, TxId},
    merkle::{Frontier, Hash, Tracker, TreeHead, inclusion_proof, leaf_hash, root},
    receipt::Receipt,
    signed::{PublicKey, Signed},
    units::{Credits, Height},
    wire,
};

use super::{BenchError, percentile};

/// Balance proofs looked at.
const SAMPLE: usize = 4_000;
/// Receipts of the lane of which one is shown.
const LANE_RECEIPTS: u32 = 4;
/// Times that a bundle is verified.
const VERIFIED: u32 = 1_000;

/// Bytes, and microseconds.
pub(super) struct Proofs {
    /// Hashes from an entry to the root of the log.
    pub(super) inclusion_bytes: f64,
    /// The way from a balance to the root of the state: 99 of 100 are no longer.
    pub(super) balance_bytes: f64,
    /// From a receipt over lane, log and header to the operator's signature, without the receipt itself.
    pub(super) bundle_bytes: f64,
    /// To verify that.
    pub(super) bundle_us: f64,
    /// To verify one signature.
    pub(super) signature_us: f64,
}

/// Measures proofs in a log of `entries` and a state of `accounts`.
///
/// # Errors
/// If a proof does not hold.
pub(super) fn measure(entries: u32, accounts: u32) -> Result<Proofs, BenchError> {
    let chain = Chain::new();
    let deal = Deal::new(&chain, &key(1), &key(2));
    let receipt = |index| deal.provider.sign(Receipt { index, ..deal.receipt() });
    let receipts: Vec<Signed<Receipt>> = (0..LANE_RECEIPTS).map(receipt).collect();
    let leaves: Vec<Hash> = receipts.iter().map(|receipt| leaf_hash(&receipt.id().0)).collect();
    let entry = under_a_log(&chain, collected(&deal, root(&leaves)), entries);
    let inclusion_bytes = (32 * entry.path.len()) as f64;
    let path = inclusion_proof(&leaves, 1).ok_or(BenchError::Proof("a lane has its receipts"))?;
    let bundle = ReceiptProof { receipt: receipts[1].clone(), path, entry };
    let bundle_bytes = (wire::encode(&bundle).len() - wire::encode(&bundle.receipt).len()) as f64;
    let anchor = Anchor::from(chain.state().genesis());
    let bundle_us = micros(|| bundle.verify(&anchor).is_ok())?;
    let signature_us = micros(|| bundle.receipt.clone().verify().is_ok())?;
    let balance_bytes = balance_bytes(accounts)?;
    Ok(Proofs { inclusion_bytes, balance_bytes, bundle_bytes, bundle_us, signature_us })
}

/// Microseconds that something takes which must hold.
fn micros(holds: impl Fn() -> bool) -> Result<f64, BenchError> {
    let start = Instant::now();
    if !(0..VERIFIED).all(|_| holds()) {
        return Err(BenchError::Proof("a proof just made holds"));
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(VERIFIED))
}

/// The entry of a provider that collected for a lane.
fn collected(deal: &Deal, receipts_root: Hash) -> Entry {
    let (session, provider, amount) = (deal.session(), deal.provider.public(), Credits(50));
    let lane = Lane { lane: 0, sequence: 9, amount, receipts: LANE_RECEIPTS, receipts_root };
    Entry {
        height: Height(1),
        tx: TxId([9; 32]),
        postings: vec![Posting { debit: Book::Hold(session), credit: Book::Account(provider), amount }],
        event: Event::Collected { session, lanes: vec![lane] },
    }
}

/// The entry in the middle of a log of so many, under a header.
fn under_a_log(chain: &Chain, entry: Entry, entries: u32) -> EntryProof {
    let index = entries / 2;
    let leaf = |n: u32| leaf_hash(&n.to_le_bytes());
    let mut log = Frontier::new();
    (0..index).for_each(|n| log.push(leaf(n)));
    let mut tracker = Tracker::start(log.clone(), entry.leaf_hash());
    log.push(entry.leaf_hash());
    for n in index + 1..entries {
        tracker.push(leaf(n));
        log.push(leaf(n));
    }
    let (operator, time) = (chain.operator(), chain.now());
    let header = Header {
        network: chain.state().network(),
        operator: operator.public(),
        height: Height(1 << 14),
        previous: BlockHash([0; 32]),
        time,
        tx_root: [0; 32],
        log: TreeHead { size: log.size(), root: log.root() },
        checkpoint: StateRoot { height: Height(0), time, root: [0; 32] },
        totals: Totals::default(),
    };
    EntryProof { entry, index: index.into(), path: tracker.proof(), header: operator.sign(header) }
}

fn balance_bytes(accounts: u32) -> Result<f64, BenchError> {
    let key = |n: u32| StateKey::Account(PublicKey(*blake3::hash(&n.to_le_bytes()).as_bytes()));
    let value = StateValue::Balance(Credits(1)).hash();
    let change = |n: u32| Change { path: key(n).path(), value: Some(value) };
    let tree = Tree::default().with((0..accounts).map(change).collect());
    let mut sizes = Vec::new();
    for n in (0..accounts).step_by((accounts as usize / SAMPLE).max(1)) {
        let path = key(n).path();
        let proof = tree.prove(&path);
        if proof.root(&path, Some(&value)) != Some(tree.root()) {
            return Err(BenchError::Proof("a balance is in the state"));
        }
        sizes.push(wire::encode(&proof).len() as f64);
    }
    Ok(percentile(&mut sizes, 99))
}
