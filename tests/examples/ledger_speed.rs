//! How fast the durable ledger is, beside what signatures alone allow in the same run. Figures depend on the machine and
//! on what else it does; the ratios say more.
//!
//! `cargo run -p gridhour-testkit --example ledger_speed`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gridhour_contracts_sim::{
    genesis::{Allocation, Genesis},
    harness::{Chain, key},
    tx::{Call, Tx},
};
use gridhour_node::{
    clock,
    consensus::{Ordering, ledger_time::SystemClock, solo::Solo},
    store::{
        ledger_dir::Ledger,
        restore::{FIRST_HEIGHT, replay_all},
    },
};
use gridhour_protocol::{
    signed::{PublicKey, SecretKey, Signed},
    units::{Credits, Height},
};
use rayon::prelude::*;

const ACCOUNTS: u64 = 1_000;
const BLOCKS: u64 = 60;
const SMALL_BLOCKS: u64 = 300;

fn account(n: u64) -> SecretKey {
    let mut seed = [77; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    SecretKey::from_seed(seed)
}

fn genesis(keys: &[SecretKey]) -> Genesis {
    let allocation = |key: &SecretKey| Allocation { account: key.public(), amount: Credits(1_000_000_000) };
    let allocations = keys.iter().map(allocation).collect();
    Genesis { allocations, created_at: clock::now(), ..Chain::new().state().genesis().clone() }
}

fn transfers(genesis: &Genesis, keys: &[SecretKey], nonces: std::ops::Range<u64>) -> Vec<Signed<Tx>> {
    let network = genesis.id();
    let to = |n: u64| -> PublicKey { keys[((n * 7 + 1) % ACCOUNTS) as usize].public() };
    let sign = |n: u64| {
        let sender = &keys[(n % ACCOUNTS) as usize];
        let call = Call::Transfer { to: to(n), amount: Credits(1) };
        sender.sign(Tx { network, sender: sender.public(), nonce: n, valid_until: Height(10_000), call })
    };
    nonces.into_par_iter().map(sign).collect()
}

/// Strict verifications a second on all cores.
fn verify_rate(txs: &[Signed<Tx>]) -> f64 {
    let start = Instant::now();
    let good = txs.par_iter().filter(|tx| (*tx).clone().verify().is_ok()).count();
    good as f64 / start.elapsed().as_secs_f64()
}

async fn all(solo: &Arc<Solo>, txs: &[Signed<Tx>]) {
    let tasks: Vec<_> = txs
        .iter()
        .map(|tx| {
            let (solo, tx) = (Arc::clone(solo), tx.clone());
            tokio::spawn(async move { solo.submit(tx).await.expect("accepted") })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
}

/// Transactions a second, in pieces of 1,000 with two of them under way.
async fn throughput(solo: &Arc<Solo>, txs: &[Signed<Tx>]) -> f64 {
    let start = Instant::now();
    let mut under_way = std::collections::VecDeque::new();
    for piece in txs.chunks(1_000) {
        let (solo, piece) = (Arc::clone(solo), piece.to_vec());
        under_way.push_back(tokio::spawn(async move { all(&solo, &piece).await }));
        if under_way.len() > 2 {
            under_way.pop_front().expect("not empty").await.expect("no task panics");
        }
    }
    for task in under_way {
        task.await.expect("no task panics");
    }
    txs.len() as f64 / start.elapsed().as_secs_f64()
}

async fn latencies(solo: &Arc<Solo>, txs: &[Signed<Tx>]) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for piece in txs.chunks(100) {
        let start = Instant::now();
        all(solo, piece).await;
        latencies.push(start.elapsed());
    }
    latencies.sort_unstable();
    latencies
}

fn main() {
    let keys: Vec<SecretKey> = (0..ACCOUNTS).map(account).collect();
    let genesis = genesis(&keys);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ledger = Ledger::open(dir.path(), &genesis).expect("opens");
    let solo = Arc::new(Solo::start(ledger, key(254), Box::new(SystemClock::default())).expect("starts"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

    let many = BLOCKS * 1_000;
    let txs = transfers(&genesis, &keys, 0..many);
    let before = verify_rate(&txs);
    let rate = runtime.block_on(throughput(&solo, &txs));
    let after = verify_rate(&txs);
    let limit = (before + after) / 2.0;
    println!("strict verification, all cores: {before:.0}/s before, {after:.0}/s after");
    println!("durable transfers, pieces of 1,000: {rate:.0}/s, ratio {:.2}", rate / limit);

    let txs = transfers(&genesis, &keys, many..many + SMALL_BLOCKS * 100);
    let latencies = runtime.block_on(latencies(&solo, &txs));
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("100 transfers acknowledged: p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));

    let height = solo.view().read(|state| state.tip().height);
    let reader = solo.view().journal().clone();
    let start = Instant::now();
    let state = replay_all(&genesis, &reader).expect("replays");
    let entries = state.tip().log.size();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "replay of {} blocks from {FIRST_HEIGHT}: {:.0} transactions/s",
        height.0,
        entries as f64 / seconds
    );
    drop(solo);
    let start = Instant::now();
    let ledger = Ledger::open(dir.path(), &genesis).expect("opens");
    assert_eq!(ledger.state, state);
    println!("start on an index in order: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
}
