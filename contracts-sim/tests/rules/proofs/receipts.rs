//! Receipts, from the provider's signature to the operator's, found in an exported ledger.

use gridhour_contracts_sim::{
    audit::{Auditor, Trust},
    harness::{Chain, Deal, key},
    ledger::entry::Entry,
    proof::{EntryProof, ProofError, ReceiptProof, Sought},
    tx::Call,
};
use gridhour_protocol::{
    merkle::{Hash, inclusion_proof, leaf_hash, root},
    receipt::Receipt,
    session::voucher::Voucher,
    signed::Signed,
    units::Credits,
};

use super::{anchor, every_byte_counts, with_session};

pub(super) fn receipt(deal: &Deal, lane: u16, index: u32) -> Signed<Receipt> {
    deal.provider.sign(Receipt { lane, index, ..deal.receipt() })
}

pub(super) fn leaves(receipts: &[Signed<Receipt>]) -> Vec<Hash> {
    receipts.iter().map(|receipt| leaf_hash(&receipt.id().0)).collect()
}

/// The client's word that these receipts of the lane are accepted, and `amount` is due for them.
fn voucher(deal: &Deal, lane: u16, receipts: &[Signed<Receipt>], amount: u64) -> Signed<Voucher> {
    let count = u32::try_from(receipts.len()).expect("a few");
    deal.client.sign(Voucher {
        session: deal.session(),
        client: deal.client.public(),
        lane,
        sequence: count,
        amount: Credits(amount),
        receipts: count,
        receipts_root: root(&leaves(receipts)),
    })
}

/// A ledger with two lanes collected on, the second twice, and other people's business before and after.
fn collected() -> (Chain, Deal, [Vec<Signed<Receipt>>; 2]) {
    let (mut chain, deal) = with_session();
    let lanes = [0, 1].map(|lane| (0..5).map(|index| receipt(&deal, lane, index)).collect::<Vec<_>>());
    let session = deal.session();
    let first = vec![voucher(&deal, 0, &lanes[0][..3], 30), voucher(&deal, 1, &lanes[1][..2], 20)];
    chain.acting(&deal.provider).ok(Call::Collect { session, vouchers: first });
    chain.fund(&key(5).public(), Credits(3));
    let last = vec![voucher(&deal, 1, &lanes[1], 50)];
    chain.acting(&deal.provider).ok(Call::Close { session, vouchers: last, release: None });
    (0..9).for_each(|n| drop(chain.fund(&key(n + 10).public(), Credits(1))));
    (chain, deal, lanes)
}

fn sought(chain: &Chain, receipt: &Signed<Receipt>) -> Option<EntryProof> {
    let mut auditor =
        Auditor::new(Trust::Genesis(chain.state().network())).seeking(Sought::of(&receipt.body));
    auditor.push(&chain.export());
    let (report, found) = auditor.finish_seeking();
    assert!(report.ok);
    found
}

fn proof_of(chain: &Chain, lane: &[Signed<Receipt>], index: usize) -> ReceiptProof {
    let entry = sought(chain, &lane[index]).expect("it was collected for");
    let stated = entry.entry.event.lanes().iter().find(|known| known.lane == lane[0].body.lane);
    let count = stated.expect("the entry states the lane").receipts as usize;
    let path = inclusion_proof(&leaves(&lane[..count]), index).expect("it is among them");
    ReceiptProof { receipt: lane[index].clone(), path, entry }
}

#[test]
fn every_receipt_that_was_collected_for_is_proven_from_an_export() {
    let (chain, _, [first, second]) = collected();
    for (lane, index, receipts) in [(&first, 0, 3), (&first, 2, 3), (&second, 1, 2), (&second, 4, 5)] {
        let proven = proof_of(&chain, lane, index).verify(&anchor(&chain)).expect("it holds");
        assert_eq!(proven.id, lane[index].id());
        assert_eq!((proven.receipt, proven.lane.receipts), (lane[index].body.clone(), receipts));
        assert_eq!(proven.header, chain.blocks().last().expect("blocks").header.body);
        let collecting = chain.blocks().iter().find(|block| block.height() == proven.at).expect("a block");
        assert!(matches!(collecting.txs[0].body.call, Call::Collect { .. } | Call::Close { .. }));
    }
    assert_eq!(sought(&chain, &first[3]), None, "nobody collected for it");
}

#[test]
fn an_export_that_is_not_in_order_proves_nothing() {
    let (chain, _, [first, _]) = collected();
    let mut export = chain.export();
    let last = export.len() - 1;
    export[last] ^= 1;
    let mut auditor = Auditor::new(Trust::SelfTrust).seeking(Sought::of(&first[0].body));
    auditor.push(&export);
    let (report, found) = auditor.finish_seeking();
    assert!(!report.ok && found.is_none());
}

#[test]
fn any_byte_of_a_receipt_proof_changed_is_refused() {
    let (chain, _, [first, second]) = collected();
    for proof in [proof_of(&chain, &first, 1), proof_of(&chain, &second, 4)] {
        every_byte_counts(&proof, |proof| proof.verify(&anchor(&chain)));
        every_byte_counts(&proof.entry, |proof| proof.verify(&anchor(&chain)));
    }
}

#[test]
fn lies_about_a_receipt_are_refused() {
    let (chain, deal, [first, second]) = collected();
    let own = anchor(&chain);
    let honest = proof_of(&chain, &first, 1);
    let verify = |proof: &ReceiptProof| proof.verify(&own).map(|proven| proven.at);
    let invented = receipt(&Deal { provider: key(2), ..deal.clone() }, 0, 3);
    let not_accepted = ReceiptProof { receipt: invented, ..honest.clone() };
    let among = "the receipt is not among those of its lane";
    assert_eq!(verify(&not_accepted), Err(ProofError::Contradiction(among)));
    let mut signed_by_another = honest.clone();
    signed_by_another.receipt.signature = second[0].signature;
    assert_eq!(verify(&signed_by_another), Err(ProofError::Signature("receipt")));
    let mut of_another_session = honest.clone();
    of_another_session.entry = EntryProof { entry: foreign_entry(&chain), ..honest.entry.clone() };
    let sessions = "receipt and entry are of different sessions";
    assert_eq!(verify(&of_another_session), Err(ProofError::Contradiction(sessions)));
    let mut elsewhere = honest.clone();
    elsewhere.entry.index += 1;
    assert_eq!(verify(&elsewhere), Err(ProofError::Root("log root")));
    let mut before = honest;
    before.entry.header = chain.blocks()[0].header.clone();
    let early = "the entry is of a block after the header";
    assert_eq!(verify(&before), Err(ProofError::Contradiction(early)));
}

/// An entry that is about no session.
fn foreign_entry(chain: &Chain) -> Entry {
    let mut chain = chain.clone();
    chain.fund(&key(3).public(), Credits(1))
}
