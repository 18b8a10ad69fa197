//! Proofs: whatever the bytes, what verifies is true.

use gridhour_contracts_sim::{
    audit::{Auditor, Trust},
    harness::{Chain, Deal, key},
    limits::CHECKPOINT_MS,
    proof::{Anchor, Bundle, EntryProof, ReceiptProof, RecordProof, Sought},
    state::{StateKey, StateValue, tree},
    tx::Call,
};
use gridhour_protocol::{
    arbitrary,
    id::{OrderId, SessionId},
    merkle::{leaf_hash, root},
    receipt::Receipt,
    session::voucher::Voucher,
    signed::Signed,
    units::{Credits, Millis},
    wire::{Wire, decode, encode},
};
use testkit::fuzz::Target;

use crate::{
    run,
    samples::{busy_chain, encoded, samples},
};

/// The busy story, and a checkpoint at its end that a block names.
fn checkpointed() -> Chain {
    let mut chain = busy_chain();
    chain.advance(Millis(CHECKPOINT_MS));
    chain.idle(2);
    chain
}

fn anchor(chain: &Chain) -> Anchor {
    chain.state().genesis().into()
}

/// Proofs of every kind of record, there and not there.
fn record_proofs(chain: &Chain) -> Vec<RecordProof> {
    let state = chain.state();
    let header = &chain.blocks().last().expect("there are blocks").header;
    let accounts = [1, 2, 99].map(|n| StateKey::Account(key(n).public()));
    let orders = state.orders().map(|(id, _)| *id).chain([OrderId([9; 32])]).map(StateKey::Order);
    let sessions = state.sessions().map(|(id, _)| *id).chain([SessionId([9; 32])]).map(StateKey::Session);
    let prove = |key: StateKey| {
        let shown = state.show(&key).expect("the checkpoint is the state's own");
        RecordProof { key, value: shown.value, proof: shown.proof, header: header.clone() }
    };
    let reservations = state.reservations().map(|(id, _)| *id).map(StateKey::Reservation);
    accounts.into_iter().chain(orders).chain(sessions).chain(reservations).map(prove).collect()
}

/// Decodes `bytes`, whose encoding is the one of its value.
fn decoded<T: Wire>(bytes: &[u8]) -> Result<T, String> {
    let value: T = decode(bytes).map_err(|error| error.to_string())?;
    assert_eq!(encode(&value), bytes, "one value has one encoding");
    Ok(value)
}

#[test]
fn records() {
    let chain = checkpointed();
    let anchor = anchor(&chain);
    run(&Target::new("record-proof", encoded(&record_proofs(&chain))), |bytes| {
        let proof: RecordProof = decoded(bytes)?;
        let proven = proof.verify(&anchor, &proof.key).map_err(|error| error.to_string())?;
        let shown = chain.state().show(&proof.key).expect("the checkpoint is the state's own");
        assert_eq!(proven.value, shown.value, "only what is true can be proven");
        Ok(())
    });
}

/// Ways through the tree, put under an honest header with an honest record.
#[test]
fn ways_through_the_tree() {
    let chain = checkpointed();
    let (anchor, honest) = (anchor(&chain), record_proofs(&chain));
    let ways: Vec<tree::Proof> = honest.iter().map(|proof| proof.proof.clone()).collect();
    run(&Target::new("state-proof", encoded(&ways)), |bytes| {
        let proof: tree::Proof = decoded(bytes)?;
        let fits = |record: &&RecordProof| {
            let again = RecordProof { proof: proof.clone(), ..(*record).clone() };
            let flipped = RecordProof { value: None, ..again.clone() };
            assert!(record.value.is_none() || flipped.verify(&anchor, &record.key).is_err());
            again.verify(&anchor, &record.key).is_ok()
        };
        if honest.iter().any(|record| fits(&record)) { Ok(()) } else { Err("of no record".into()) }
    });
}

#[test]
fn values() {
    let values: Vec<StateValue> =
        record_proofs(&checkpointed()).into_iter().filter_map(|proof| proof.value).collect();
    run(&Target::new("state-value", encoded(&values)), |bytes| {
        let value: StateValue = decoded(bytes)?;
        let _ = (value.hash(), value.fits(&StateKey::Session(SessionId([1; 32]))));
        Ok(())
    });
}

/// A receipt of a lane that was collected on.
fn receipt_proof() -> (Chain, ReceiptProof) {
    let mut chain = busy_chain();
    let (client, provider) = (key(1), key(2));
    let mut deal = Deal::new(&chain, &client, &provider);
    (deal.order.nonce, deal.terms.nonce) = (9, 9);
    chain.acting(&client).ok(deal.open());
    let session = deal.session();
    let receipt = samples(arbitrary::signed(arbitrary::receipts), 1).remove(0).body;
    let receipt = Receipt { session, provider: provider.public(), lane: 0, index: 0, ..receipt };
    let receipt: Signed<Receipt> = provider.sign(receipt);
    let voucher = deal.voucher(0, 1, Credits(9)).body;
    let receipts_root = root(&[leaf_hash(&receipt.id().0)]);
    let voucher = client.sign(Voucher { receipts: 1, receipts_root, ..voucher });
    chain.acting(&provider).ok(Call::Close { session, vouchers: vec![voucher], release: None });
    let mut auditor = Auditor::new(Trust::SelfTrust).seeking(Sought::of(&receipt.body));
    auditor.push(&chain.export());
    let entry = auditor.finish_seeking().1.expect("it was collected for");
    (chain, ReceiptProof { receipt, path: Vec::new(), entry })
}

#[test]
fn receipts() {
    let (chain, honest) = receipt_proof();
    run(&Target::new("receipt-proof", encoded(std::slice::from_ref(&honest))), |bytes| {
        let proof: ReceiptProof = decoded(bytes)?;
        proof.verify(&anchor(&chain)).map_err(|error| error.to_string())?;
        assert_eq!(proof, honest, "there is one proof of it");
        Ok(())
    });
}

#[test]
fn entries_of_the_log() {
    let (chain, honest) = receipt_proof();
    run(&Target::new("entry-proof", encoded(std::slice::from_ref(&honest.entry))), |bytes| {
        let proof: EntryProof = decoded(bytes)?;
        proof.verify(&anchor(&chain)).map_err(|error| error.to_string())?;
        assert_eq!(proof, honest.entry, "there is one proof of it");
        Ok(())
    });
}

#[test]
fn files() {
    let (_, receipt) = receipt_proof();
    let record = record_proofs(&checkpointed()).remove(0);
    let files = [Bundle::Receipt(Box::new(receipt)), Bundle::Record(Box::new(record))];
    run(&Target::new("proof-file", files.iter().map(Bundle::to_file).collect()), |bytes| {
        let bundle = Bundle::from_file(bytes).map_err(|error| error.to_string())?;
        assert_eq!(bundle.to_file(), bytes, "one proof has one file");
        Ok(())
    });
}
