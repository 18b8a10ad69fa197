//! A checkpoint that is hashed aside, while the threads that all work shares are busy or few. A test binary of its own:
//! the common pool has one thread here.

use std::{sync::mpsc, thread, time::Duration};

use gridhour_contracts_sim::{
    block::{Proposal, propose},
    harness::Chain,
    ledger::admit::Admitted,
    limits::CHECKPOINT_MS,
    state::{PendingCheckpoint, State, StateRoot},
    tx::Call,
};
use gridhour_protocol::{
    signed::SecretKey,
    units::{Credits, Millis},
};
use rayon::ThreadPoolBuilder;

/// Enough that their hashing is handed from thread to thread.
const ACCOUNTS: u16 = 1_200;
/// Which of two threads comes first is left to chance, so each is tried often.
const ROUNDS: usize = 10;
const ASKERS: usize = 16;
const LIMIT: Duration = Duration::from_secs(60);

/// A common pool of one thread.
fn small_pool() {
    // Whichever test comes first makes it.
    let _ = ThreadPoolBuilder::new().num_threads(1).build_global();
    assert_eq!(rayon::current_num_threads(), 1, "it was not made elsewhere");
}

/// A state that just began a checkpoint of many accounts, which nobody hashes yet; and what that has to be.
fn begun() -> (State, StateRoot) {
    small_pool();
    let mut chain = Chain::new();
    let issuer = chain.issuer().clone();
    chain.advance(Millis(CHECKPOINT_MS));
    let txs = (0..ACCOUNTS).map(|number| {
        let mut seed = [7; 32];
        seed[..2].copy_from_slice(&number.to_le_bytes());
        let to = SecretKey::from_seed(seed).public();
        Admitted::checked_before(chain.sign(&issuer, Call::Mint { to, amount: Credits(1) }))
    });
    let txs = txs.collect();
    let mut state = chain.state().clone();
    let Proposal { batch, answers, .. } = propose(&state, chain.operator(), chain.now(), txs);
    assert!(answers.iter().all(Result::is_ok));
    state.commit(&batch);
    let root = StateRoot { height: state.tip().height, time: state.tip().time, root: state.root() };
    (state, root)
}

fn pending(state: &State) -> PendingCheckpoint {
    state.pending_checkpoint().cloned().expect("one was begun")
}

/// What is done aside the test, or a failure if it takes for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waits) = mpsc::sync_channel(1);
    thread::spawn(move || done.send(work()));
    waits.recv_timeout(LIMIT).expect("it comes to an end")
}

/// Holds the thread of the common pool for as long as what is returned is kept.
fn held_pool() -> mpsc::SyncSender<()> {
    small_pool();
    let (release, held) = mpsc::sync_channel::<()>(1);
    rayon::spawn(move || {
        let _ = held.recv();
    });
    release
}

#[test]
fn a_checkpoint_is_hashed_aside_while_every_thread_of_the_common_pool_is_held() {
    let (state, root) = begun();
    let release = held_pool();
    state.hash_checkpoint_aside();
    let checkpoint = pending(&state);
    let hashed = checkpoint.clone();
    in_time(move || {
        while !hashed.is_finished() {
            thread::yield_now();
        }
    });
    assert_eq!(in_time(move || checkpoint.finish()), root);
    drop(release);
}

/// Whoever asks may do so before the thread aside begins, and have the common pool hash: neither waits for the other.
#[test]
fn who_asks_while_it_is_hashed_aside_is_answered_whoever_is_first() {
    for _ in 0..ROUNDS {
        let (state, root) = begun();
        let release = held_pool();
        state.hash_checkpoint_aside();
        let checkpoint = pending(&state);
        let (asks, asked) = mpsc::sync_channel(1);
        let answer = thread::spawn(move || {
            let _ = asks.send(());
            checkpoint.finish()
        });
        asked.recv().expect("it asks");
        drop(release);
        assert_eq!(in_time(move || answer.join()).expect("it is hashed"), root);
    }
}

/// A thread that waits for a part of the hashing takes up what else waits in its pool: here, others who ask for the same.
#[test]
fn who_asks_on_the_threads_that_hash_is_answered() {
    let pool = ThreadPoolBuilder::new().num_threads(4).build().expect("there are threads");
    for _ in 0..ROUNDS {
        let (state, root) = begun();
        let (answer, answers) = mpsc::sync_channel(ASKERS);
        for _ in 0..ASKERS {
            let (checkpoint, answer) = (pending(&state), answer.clone());
            pool.spawn(move || {
                let _ = answer.send(checkpoint.finish());
            });
        }
        for _ in 0..ASKERS {
            assert_eq!(answers.recv_timeout(LIMIT).expect("everyone is answered"), root);
        }
    }
}
