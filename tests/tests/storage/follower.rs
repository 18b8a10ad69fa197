//! Following: what is kept was checked, whose fault a bad block is, and what proves it.

use std::sync::Arc;

use gridhour_contracts_sim::{
    block::Block, finding::Rule, harness::START, limits::CHECKPOINT_BLOCKS, tx::Tx,
};
use gridhour_node::{
    consensus::{
        Ordering,
        follower::{Breach, FollowError, Follower, authentic},
        solo::Solo,
    },
    store::{ledger_dir::Ledger, log_error::LogError, state_store::MemoryStore},
};
use gridhour_protocol::{
    id::BlockHash,
    signed::Signed,
    units::{Credits, Height, Timestamp},
    wire,
};
use testkit::sim::{disk::SimDisk, rng::Rng};

use crate::{
    scale,
    world::{check_ledger, genesis, mints, operator, pay, start, submit},
};

fn open(disk: &SimDisk) -> Result<Ledger, gridhour_node::store::ledger_dir::OpenError> {
    Ledger::open_on(Arc::new(disk.clone()), Box::new(MemoryStore::default()), &genesis())
}

fn follower(disk: &SimDisk) -> Follower {
    Follower::start(open(disk).expect("opens"), || START).expect("starts")
}

/// A ledger of these transactions, one a block, and all its blocks.
pub(crate) fn ledger(txs: impl IntoIterator<Item = Signed<Tx>>) -> (Solo, Vec<Vec<u8>>) {
    let solo = start(open(&SimDisk::new(1)).expect("opens"));
    for tx in txs {
        submit(&solo, tx).expect("accepted");
    }
    let blocks = solo.view().blocks(Height(1), usize::MAX, usize::MAX).expect("reads");
    (solo, blocks)
}

pub(crate) fn payments(count: u64) -> impl Iterator<Item = Signed<Tx>> {
    mints().into_iter().chain((0..count).map(|nonce| pay(1, 2, 1, nonce)))
}

fn breach(outcome: Result<(), FollowError>) -> Breach {
    match outcome {
        Err(FollowError::Breach(breach)) => *breach,
        other => panic!("the operator's fault, and it says {other:?}"),
    }
}

#[test]
fn a_copy_is_the_ledger_block_by_block_and_goes_on_after_a_restart() {
    let (solo, blocks) = ledger(payments(CHECKPOINT_BLOCKS + 20));
    let disk = SimDisk::new(2);
    let mut rng = Rng::new(3);
    let mut rest = &blocks[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(1 + rng.below(rest.len().min(20) as u64) as usize);
        // A new follower each time: what it knows, it knows from its journal.
        let mut copy = follower(&disk);
        copy.take(now).expect("good blocks");
        copy.view().read(|state| check_ledger(state, copy.view().journal()));
        rest = later;
    }
    let copy = follower(&disk);
    copy.view().read(|copy| solo.view().read(|original| assert_eq!(copy, original)));
    assert_eq!(copy.view().blocks(Height(1), usize::MAX, usize::MAX).expect("reads"), blocks);
    assert_eq!(copy.agrees(Height(0), BlockHash(genesis().id().0)).ok(), Some(Some(true)));
    assert_eq!(copy.agrees(Height(blocks.len() as u64 + 1), BlockHash([0; 32])).ok(), Some(None));
}

#[test]
fn bytes_that_the_operator_did_not_sign_are_the_senders_fault_and_leave_no_trace() {
    let (_, blocks) = ledger(payments(3));
    let mut copy = follower(&SimDisk::new(2));
    copy.take(&blocks[..6]).expect("good blocks");
    for at in 0..blocks[6].len() {
        let mut changed = blocks[6].clone();
        changed[at] ^= 1 << (at % 8);
        match copy.take(&[changed]) {
            Err(FollowError::Forged(finding)) => assert_eq!(finding.height, Height(7), "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    for misplaced in [&blocks[5], &blocks[0]] {
        assert!(matches!(copy.take(std::slice::from_ref(misplaced)), Err(FollowError::Forged(_))));
    }
    assert_eq!(copy.height(), Height(6));
    copy.take(&blocks[6..]).expect("the block itself is kept");
}

#[test]
fn good_blocks_before_a_bad_one_are_kept() {
    let (_, mut blocks) = ledger(payments(6));
    blocks[8].truncate(20);
    let mut copy = follower(&SimDisk::new(2));
    assert!(matches!(copy.take(&blocks), Err(FollowError::Forged(_))));
    assert_eq!(copy.height(), Height(8));
    copy.view().read(|state| check_ledger(state, copy.view().journal()));
}

/// The block with another header, signed by the operator.
fn resigned(block: &[u8], change: impl FnOnce(&mut gridhour_contracts_sim::block::Header)) -> Vec<u8> {
    let block: Block = wire::decode(block).expect("a block");
    let mut header = block.header.body;
    change(&mut header);
    wire::encode(&Block { header: operator().sign(header), txs: block.txs })
}

#[test]
fn a_block_that_the_operator_signed_against_the_rules_is_a_breach_with_its_rule() {
    let (_, blocks) = ledger(payments(3));
    let last = &blocks[6];
    let bad = [
        (resigned(last, |header| header.totals.issued = Credits(1)), Rule::Totals),
        (resigned(last, |header| header.log.root[0] ^= 1), Rule::LogRoot),
        (resigned(last, |header| header.time.0 -= 1), Rule::Time),
        (resigned(last, |header| header.checkpoint.root[0] ^= 1), Rule::StateRoot),
    ];
    let mut copy = follower(&SimDisk::new(2));
    copy.take(&blocks[..6]).expect("good blocks");
    for (block, rule) in bad {
        let found = breach(copy.take(std::slice::from_ref(&block)));
        assert_eq!((found.finding.rule, found.finding.height), (rule, Height(7)));
        assert_eq!(found.blocks, [block]);
    }
    assert_eq!(copy.height(), Height(6));
}

#[test]
fn two_histories_of_one_operator_are_proven_by_two_blocks() {
    let (_, ours) = ledger(payments(3));
    let (_, theirs) = ledger(mints().into_iter().chain((0..5).map(|nonce| pay(2, 1, 1, nonce))));
    let mut copy = follower(&SimDisk::new(2));
    copy.take(&ours).expect("good blocks");
    assert!(copy.compare(Height(4), &theirs[3]).is_ok(), "until there they are one");
    let fork = breach(copy.compare(Height(5), &theirs[4]));
    assert_eq!((fork.finding.rule, fork.finding.height), (Rule::Fork, Height(5)));
    assert_eq!(fork.blocks, [ours[4].clone(), theirs[4].clone()]);
    let next = breach(copy.take(&theirs[7..8]));
    assert_eq!(next.finding.rule, Rule::Previous);
    assert_eq!(next.blocks, [theirs[7].clone(), ours[6].clone()]);
    for block in fork.blocks {
        authentic(&genesis(), Height(5), &block).expect("the operator signed both");
    }
    assert_eq!(
        copy.agrees(Height(5), wire::decode::<Block>(&theirs[4]).expect("a block").hash()).ok(),
        Some(Some(false))
    );
}

#[test]
fn a_block_from_the_future_waits_for_its_time() {
    let (_, blocks) = ledger(payments(1));
    let disk = SimDisk::new(2);
    let skew = genesis().clock_skew;
    assert_eq!(skew.0, 5_000);
    let mut slow =
        Follower::start(open(&disk).expect("opens"), || Timestamp(START.0 - 5_001)).expect("starts");
    match slow.take(&blocks) {
        Err(FollowError::Early(finding)) => {
            assert_eq!((finding.height, finding.rule), (Height(1), Rule::Time));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(slow.height(), Height(0));
    drop(slow);
    let mut right =
        Follower::start(open(&disk).expect("opens"), || Timestamp(START.0 - 5_000)).expect("starts");
    right.take(&blocks).expect("the clocks are near enough");
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_a_follower_showed() {
    let (_, blocks) = ledger(payments(8));
    for seed in 0..4 * scale() {
        let whole = SimDisk::new(seed);
        follower(&whole).take(&blocks).expect("good blocks");
        for at in 0..whole.operations() {
            let disk = SimDisk::new(seed);
            disk.cut_power_at(at);
            let Ok(ledger) = open(&disk) else { continue };
            let mut copy = Follower::start(ledger, || START).expect("starts");
            assert!(matches!(copy.take(&blocks), Err(FollowError::Log(LogError::Disk { .. }))));
            let shown = copy.height();
            drop(copy);
            let mut copy = follower(&disk.after_power_cut());
            assert!(copy.height() >= shown, "seed {seed}, power cut at operation {at}");
            copy.take(&blocks[copy.height().0 as usize..]).expect("goes on");
            copy.view().read(|state| check_ledger(state, copy.view().journal()));
        }
    }
}
