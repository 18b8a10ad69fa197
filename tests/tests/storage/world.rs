//! A small ledger to play with: the network of the contract harness, and people with money.

use std::sync::Arc;

use crate::still_clock::StillClock;
use gridhour_contracts_sim::{
    audit::{Trust, verify_export},
    genesis::Genesis,
    harness::{Chain, START, key},
    state::{State, check_invariants},
    tx::{Call, Tx},
};
use gridhour_node::{
    consensus::{Accepted, Ordering, SubmitError, solo::Solo},
    store::{export::export_ledger, journal::JournalReader, ledger_dir::Ledger, restore::replay_all},
};
use gridhour_protocol::{
    signed::{PublicKey, SecretKey, Signed},
    units::{Credits, Height},
};

/// People with money, by the number of their key.
pub(crate) const PEOPLE: [u8; 4] = [1, 2, 3, 4];
/// What each of them has at first.
pub(crate) const EACH: Credits = Credits(1_000);

pub(crate) fn genesis() -> Genesis {
    Chain::new().state().genesis().clone()
}

pub(crate) fn operator() -> SecretKey {
    key(254)
}

pub(crate) fn account(n: u8) -> PublicKey {
    key(n).public()
}

pub(crate) fn sign(sender: &SecretKey, nonce: u64, call: Call) -> Signed<Tx> {
    let (network, valid_until) = (genesis().id(), Height(10_000));
    sender.sign(Tx { network, sender: sender.public(), nonce, valid_until, call })
}

/// `amount` from one person to another. Nonces are the caller's to keep apart.
pub(crate) fn pay(from: u8, to: u8, amount: u64, nonce: u64) -> Signed<Tx> {
    sign(&key(from), nonce, Call::Transfer { to: account(to), amount: Credits(amount) })
}

/// Gives everyone their money: what is minted to whom, ready to submit.
pub(crate) fn mints() -> Vec<Signed<Tx>> {
    let mint = |n: &u8| sign(&key(255), u64::from(*n), Call::Mint { to: account(*n), amount: EACH });
    PEOPLE.iter().map(mint).collect()
}

pub(crate) fn clock() -> StillClock {
    StillClock::new(START)
}

pub(crate) fn start(ledger: Ledger) -> Solo {
    Solo::start(ledger, operator(), Box::new(clock())).expect("the operator's key starts it")
}

/// Runs a future here and now.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

pub(crate) fn submit(solo: &Solo, tx: Signed<Tx>) -> Result<Accepted, SubmitError> {
    wait(solo.submit(tx))
}

/// Submits everything at once, and waits for all answers.
pub(crate) fn submit_all(solo: Solo, txs: Vec<Signed<Tx>>) -> (Solo, Vec<Result<Accepted, SubmitError>>) {
    let solo = Arc::new(solo);
    let answers = wait(async {
        let tasks: Vec<_> = txs
            .into_iter()
            .map(|tx| {
                let solo = Arc::clone(&solo);
                tokio::spawn(async move { solo.submit(tx).await })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.expect("no task panics"));
        }
        answers
    });
    (Arc::into_inner(solo).expect("every task is done"), answers)
}

/// The state must be what the journal alone gives, keep every invariant, and pass an audit that knows only the network.
pub(crate) fn check_ledger(state: &State, reader: &JournalReader) {
    check_invariants(state).expect("every invariant holds");
    assert_eq!(
        replay_all(&genesis(), reader).expect("the journal replays"),
        *state,
        "the state is a fold of the journal"
    );
    let mut export = Vec::new();
    export_ledger(reader, &Chain::new().network_file(), &mut export).expect("exports");
    let report = verify_export(&export, Trust::Genesis(genesis().id()));
    assert!(report.ok, "{:?}", report.findings);
    assert_eq!((report.height, report.root), (state.tip().height, state.tip().hash));
}
