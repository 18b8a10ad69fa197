//! What an auditor sees: every flipped byte, every forged history that can be seen, and what no one could.

use gridhour_contracts_sim::{
    audit::{Auditor, Report, Trust, verify_export},
    block::{
        Block, CheckedBlock, Header, Proposal, Replay, Signatures, check_clock, propose, tx_root,
        verify_and_apply,
    },
    checkpoint::Checkpoint,
    export::{self, Decoder, FrameKind},
    finding::Rule,
    harness::{Chain, Deal, START, key},
    ledger::admit::Admitted,
    limits::CHECKPOINT_BLOCKS,
    tx::Call,
};
use gridhour_protocol::{
    id::NetworkId,
    signed::{PublicKey, SecretKey, Signed},
    units::{Credits, Height, Millis, Timestamp},
};
use proptest::prelude::*;

/// A short history with every kind of session call.
fn history() -> Chain {
    let mut chain = Chain::new();
    let (client, provider) = (key(1), key(2));
    chain.fund(&client.public(), Credits(5_000));
    let deal = Deal::new(&chain, &client, &provider);
    let session = deal.session();
    chain.acting(&client).ok(deal.open());
    chain.acting(&client).ok(Call::TopUp { session, amount: Credits(50) });
    chain.acting(&provider).ok(Call::Collect { session, vouchers: vec![deal.voucher(0, 1, Credits(90))] });
    let vouchers = vec![deal.voucher(0, 2, Credits(100)), deal.voucher(1, 1, Credits(20))];
    chain.advance(Millis(1_000));
    let release = Some(Box::new(deal.release(Credits(120))));
    chain.acting(&client).ok(Call::Close { session, vouchers, release });
    chain.acting(&provider).ok(Call::Transfer { to: key(3).public(), amount: Credits(7) });
    chain
}

fn pinned(chain: &Chain) -> Trust {
    Trust::Genesis(chain.state().network())
}

fn frames(bytes: &[u8]) -> Vec<(FrameKind, Vec<u8>)> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
}

fn export_of(chain: &Chain, blocks: &[Block]) -> Vec<u8> {
    let mut bytes = export::opening(&chain.network_file());
    bytes.extend(blocks.iter().flat_map(export::block_frame));
    bytes.extend(export::closing(Height(blocks.len() as u64)));
    bytes
}

fn rules(report: &Report) -> Vec<(u64, Rule)> {
    assert_eq!(report.ok, report.findings.is_empty());
    report.findings.iter().map(|finding| (finding.height.0, finding.rule)).collect()
}

#[test]
fn an_honest_ledger_is_in_order() {
    let chain = history();
    let report = verify_export(&chain.export(), pinned(&chain));
    let tip = chain.state().tip();
    assert_eq!(rules(&report), []);
    assert_eq!((report.height, report.root), (tip.height, tip.hash));
    assert_eq!((report.transactions, report.receipts), (6, 0));
    assert_eq!((report.issued, report.balances, report.holds), (Credits(5_000), Credits(5_000), Credits(0)));
    assert_eq!(report.trust.name(), "genesis");
}

#[test]
fn pieces_of_any_size_give_the_same_report() {
    let chain = history();
    let bytes = chain.export();
    for size in [1, 7, 1_000] {
        let mut auditor = Auditor::new(pinned(&chain));
        bytes.chunks(size).for_each(|piece| auditor.push(piece));
        let (report, state) = auditor.finish();
        assert_eq!(report, verify_export(&bytes, pinned(&chain)));
        assert_eq!(state.as_ref(), Some(chain.state()));
    }
}

#[test]
fn a_file_that_was_cut_or_extended_is_found() {
    let chain = history();
    let honest = chain.export();
    for cut in 0..honest.len() {
        assert!(!verify_export(&honest[..cut], pinned(&chain)).ok, "cut to {cut}");
    }
    let mut longer = honest.clone();
    longer.push(0);
    assert_eq!(rules(&verify_export(&longer, pinned(&chain))), [(7, Rule::Frame)]);
    longer = honest.clone();
    longer.extend(export::closing(Height(6)));
    assert_eq!(rules(&verify_export(&longer, pinned(&chain))), [(7, Rule::Frame)]);
    let short = [export_of(&chain, &chain.blocks()[..3])[..].to_vec(), vec![]].concat();
    assert!(verify_export(&short, pinned(&chain)).ok, "a shorter history is a history: pin a checkpoint");
}

#[test]
fn frames_in_another_order_are_found() {
    let chain = history();
    let mut blocks = chain.blocks().to_vec();
    blocks.swap(2, 3);
    assert_eq!(rules(&verify_export(&export_of(&chain, &blocks), pinned(&chain))), [(3, Rule::Height)]);
    let twice = [export::opening(&chain.network_file()), chain.export()[8..].to_vec()].concat();
    assert_eq!(rules(&verify_export(&twice, pinned(&chain))), [(1, Rule::Frame)]);
    let headless = [export::MAGIC.to_vec(), export::block_frame(&chain.blocks()[0])].concat();
    assert_eq!(rules(&verify_export(&headless, Trust::SelfTrust)), [(0, Rule::Frame)]);
    assert_eq!(frames(&chain.export()).len(), 8, "network, 6 blocks, end");
}

/// Someone without the operator's key edits a payment and repairs every hash after it.
fn rewrite(chain: &Chain, sign: impl Fn(Header, &Signed<Header>) -> Signed<Header>) -> Vec<u8> {
    let mut blocks = chain.blocks().to_vec();
    let Call::Mint { amount, .. } = &mut blocks[0].txs[0].body.call else { panic!("a mint comes first") };
    amount.0 += 1_000_000;
    blocks[0].txs[0] = chain.issuer().sign(blocks[0].txs[0].body.clone());
    let mut previous = blocks[0].header.body.previous;
    for block in &mut blocks {
        let mut header = block.header.body.clone();
        header.previous = previous;
        header.tx_root = tx_root(&block.txs);
        header.totals.issued.0 += 1_000_000;
        header.totals.balances.0 += 1_000_000;
        block.header = sign(header, &block.header);
        previous = block.hash();
    }
    export_of(chain, &blocks)
}

#[test]
fn a_history_that_was_changed_and_rehashed_falls_at_a_signature() {
    let chain = history();
    let kept = rewrite(&chain, |header, old| Signed { body: header, signature: old.signature });
    assert_eq!(rules(&verify_export(&kept, pinned(&chain))), [(1, Rule::Signature)]);
    let thief = key(66);
    let own_name = rewrite(&chain, |mut header, _| {
        header.operator = thief.public();
        thief.sign(header)
    });
    assert_eq!(rules(&verify_export(&own_name, pinned(&chain))), [(1, Rule::Operator)]);
    let stolen_name =
        rewrite(&chain, |header, _| Signed { signature: thief.sign(header.clone()).signature, body: header });
    assert_eq!(rules(&verify_export(&stolen_name, pinned(&chain))), [(1, Rule::Signature)]);
}

/// A transaction edited without its sender's key, in a block that the operator signs again.
#[test]
fn an_operator_cannot_forge_a_sender() {
    let chain = history();
    let mut blocks = chain.blocks().to_vec();
    let Call::Transfer { amount, .. } = &mut blocks[5].txs[0].body.call else {
        panic!("a transfer comes last")
    };
    amount.0 += 1;
    let mut header = blocks[5].header.body.clone();
    header.tx_root = tx_root(&blocks[5].txs);
    blocks[5].header = chain.operator().sign(header);
    let report = verify_export(&export_of(&chain, &blocks), pinned(&chain));
    assert_eq!(rules(&report), [(6, Rule::Transaction)]);
    assert!(report.findings[0].found.contains("bad-signature"), "{}", report.findings[0]);
}

/// The operator lies in a header that it signs.
#[test]
fn an_operator_cannot_lie_about_what_follows() {
    type Lie = fn(&mut Header);
    let lies: [(Rule, Lie); 11] = [
        (Rule::Network, |header| header.network = NetworkId([9; 32])),
        (Rule::Height, |header| header.height.0 += 1),
        (Rule::Previous, |header| header.previous.0[0] ^= 1),
        (Rule::Time, |header| header.time = START),
        (Rule::TxRoot, |header| header.tx_root[0] ^= 1),
        (Rule::LogRoot, |header| header.log.root[0] ^= 1),
        (Rule::LogRoot, |header| header.log.size += 1),
        (Rule::StateRoot, |header| header.checkpoint.root[0] ^= 1),
        (Rule::StateRoot, |header| header.checkpoint.height.0 += 1),
        (Rule::StateRoot, |header| header.checkpoint.time.0 += 1),
        (Rule::Totals, |header| header.totals.balances.0 += 1),
    ];
    let chain = history();
    for (rule, lie) in lies {
        let mut blocks = chain.blocks().to_vec();
        let mut header = blocks[5].header.body.clone();
        lie(&mut header);
        blocks[5].header = chain.operator().sign(header);
        let report = verify_export(&export_of(&chain, &blocks), pinned(&chain));
        assert_eq!(rules(&report), [(6, rule)], "{rule}");
    }
}

/// An operator that takes its own transactions as checked makes a block that nobody else accepts.
#[test]
fn an_operator_cannot_pay_a_weak_key() {
    let mut chain = history();
    let to = PublicKey([0; 32]);
    let issuer = chain.issuer().clone();
    let tx = Admitted::checked_before(chain.sign(&issuer, Call::Mint { to, amount: Credits(1) }));
    let Proposal { block, .. } = propose(chain.state(), chain.operator(), chain.now(), vec![tx]);
    assert_eq!(block.txs.len(), 1);
    let blocks = [chain.blocks(), &[block]].concat();
    let report = verify_export(&export_of(&chain, &blocks), pinned(&chain));
    assert_eq!(rules(&report), [(7, Rule::Transaction)]);
    assert!(report.findings[0].found.contains("weak-key"), "{}", report.findings[0]);
}

/// Who reads its own blocks back looks neither at signatures nor at the root over the transactions: the log is over them too.
#[test]
fn a_block_of_ones_own_with_other_transactions_falls_at_the_log() {
    let mut chain = history();
    let issuer = chain.issuer().clone();
    let mints = [5, 6].map(|n| chain.sign(&issuer, Call::Mint { to: key(n).public(), amount: Credits(1) }));
    let before = chain.state().clone();
    assert!(chain.block(mints.map(Admitted::checked_before).into()).iter().all(Result::is_ok));
    let block = chain.blocks()[6].clone();
    let taken = |block: Block| verify_and_apply(&mut before.clone(), block, Signatures::CheckedBefore);
    assert!(taken(block.clone()).is_ok());
    let turned = Block { txs: block.txs.iter().rev().cloned().collect(), ..block };
    assert_eq!(taken(turned.clone()).unwrap_err().rule, Rule::LogRoot);

    // With the log behind it is the other half that finds out.
    let check = |block: &Block| {
        CheckedBlock::check(block.clone(), &chain.operator().public(), Signatures::CheckedBefore).unwrap()
    };
    let (mut replay, mut log) = Replay::start(before.clone());
    let applied = replay.apply(&check(&turned)).expect("nothing but the log differs");
    assert_eq!(log.enter(&applied).unwrap_err().rule, Rule::LogRoot);
}

/// A replay that met a bad block is where it was before it.
#[test]
fn a_bad_block_leaves_a_replay_as_it_was() {
    let mut chain = history();
    let before = chain.state().clone();
    chain.acting(&key(3)).ok(Call::Transfer { to: key(1).public(), amount: Credits(7) });
    let block = chain.blocks()[6].clone();
    let mut header = block.header.body.clone();
    header.totals.balances.0 += 1;
    let bad = Block { header: chain.operator().sign(header), ..block.clone() };
    let check = |block: &Block| {
        CheckedBlock::check(block.clone(), &chain.operator().public(), Signatures::CheckedBefore).unwrap()
    };
    let (mut replay, mut log) = Replay::start(before);
    assert_eq!(replay.apply(&check(&bad)).unwrap_err().rule, Rule::Totals);
    let applied = replay.apply(&check(&block)).expect("the good one in its place");
    log.enter(&applied).unwrap();
    assert_eq!(&replay.end(log), chain.state());
}

#[test]
fn an_operator_cannot_apply_a_transaction_twice() {
    let mut chain = history();
    let again = chain.blocks()[0].txs.clone();
    chain.idle(1);
    let mut blocks = chain.blocks().to_vec();
    let mut header = blocks[6].header.body.clone();
    header.tx_root = tx_root(&again);
    blocks[6] = Block { header: chain.operator().sign(header), txs: again };
    let report = verify_export(&export_of(&chain, &blocks), pinned(&chain));
    assert_eq!(rules(&report), [(7, Rule::Transaction)]);
    assert!(report.findings[0].found.contains("duplicate"), "{}", report.findings[0]);
}

/// The operator writes another history altogether: only someone who remembers the first one sees it.
#[test]
fn a_history_that_the_operator_signed_anew_falls_at_a_pinned_checkpoint() {
    let mut chain = history();
    let beginning = chain.snapshot();
    chain.acting(&key(3)).ok(Call::Transfer { to: key(1).public(), amount: Credits(7) });
    let pin = Checkpoint::of(chain.state());
    chain.idle(2);
    let first = chain.export();
    chain.revert(beginning);
    chain.acting(&key(3)).ok(Call::Transfer { to: key(2).public(), amount: Credits(7) });
    chain.idle(2);
    let second = chain.export();

    assert!(verify_export(&second, pinned(&chain)).ok, "nothing in the bytes tells which came first");
    assert_eq!(rules(&verify_export(&first, Trust::Checkpoint(pin))), []);
    assert_eq!(rules(&verify_export(&second, Trust::Checkpoint(pin))), [(7, Rule::Checkpoint)]);
    let early = export_of(&chain, &chain.blocks()[..6]);
    assert_eq!(rules(&verify_export(&early, Trust::Checkpoint(pin))), [(6, Rule::Checkpoint)]);
}

#[test]
fn a_pin_names_its_network() {
    let chain = history();
    let wrong = Trust::Genesis(NetworkId([9; 32]));
    assert_eq!(rules(&verify_export(&chain.export(), wrong)), [(0, Rule::Genesis)]);
    let mut pin = Checkpoint::of(chain.state());
    pin.network = NetworkId([9; 32]);
    assert_eq!(rules(&verify_export(&chain.export(), Trust::Checkpoint(pin))), [(0, Rule::Genesis)]);
    assert_eq!(verify_export(&chain.export(), Trust::SelfTrust).trust.name(), "self");
}

#[test]
fn a_network_file_is_signed_by_its_operator() {
    let chain = history();
    let file = |spoil: fn(&mut Signed<_>)| {
        let mut file = chain.network_file();
        spoil(&mut file);
        verify_export(&export::opening(&file), Trust::SelfTrust).findings[0].rule
    };
    assert_eq!(file(|file| file.body.bootstrap.push("/ip4/6.6.6.6/tcp/1".into())), Rule::Signature);
    assert_eq!(file(|file| file.body.genesis.version += 1), Rule::Encoding);
    assert_eq!(file(|file| file.body.genesis.operator.0 = [0; 32]), Rule::Encoding);
}

#[test]
fn a_state_checkpoint_is_checked_when_it_is_due() {
    let mut chain = history();
    chain.idle(2 * CHECKPOINT_BLOCKS);
    let report = verify_export(&chain.export(), pinned(&chain));
    assert_eq!(rules(&report), []);
    assert_eq!(chain.state().tip().checkpoint.height.0, 2 * CHECKPOINT_BLOCKS);
    let mut blocks = chain.blocks().to_vec();
    let at = CHECKPOINT_BLOCKS as usize;
    let mut header = blocks[at].header.body.clone();
    assert_eq!(header.checkpoint.height.0, CHECKPOINT_BLOCKS);
    header.checkpoint.root = chain.blocks()[at - 1].header.body.checkpoint.root;
    blocks[at].header = chain.operator().sign(header);
    let report = verify_export(&export_of(&chain, &blocks), pinned(&chain));
    assert_eq!(rules(&report), [(CHECKPOINT_BLOCKS + 1, Rule::StateRoot)]);
}

#[test]
fn time_is_bounded_by_whoever_has_a_clock() {
    let chain = history();
    let header = &chain.blocks()[5].header.body;
    let genesis = chain.state().genesis();
    let at = |offset: i64| check_clock(genesis, header, Timestamp(header.time.0.wrapping_add_signed(offset)));
    assert!(at(5_000).is_ok() && at(-5_000).is_ok());
    assert_eq!(at(5_001).unwrap_err().rule, Rule::Time);
    assert_eq!(at(-5_001).unwrap_err().rule, Rule::Time);

    let audit = |now: u64| {
        let mut auditor = Auditor::new(pinned(&chain)).with_clock(Timestamp(now));
        auditor.push(&chain.export());
        rules(&auditor.finish().0)
    };
    assert_eq!(audit(header.time.0 + 1_000_000), [], "old is fine");
    assert_eq!(audit(header.time.0 - 5_001), [(6, Rule::Time)]);
    let back = propose(chain.state(), chain.operator(), Timestamp(0), vec![]);
    assert_eq!(back.block.header.body.time, header.time, "a clock that went back stops the ledger's time");
}

proptest! {
    /// Whatever bytes come, behind whatever good beginning: an answer, never a panic.
    #[test]
    fn foreign_bytes_are_never_in_order(
        bytes in prop::collection::vec(any::<u8>(), 1..300), kind in 0usize..3, framed in any::<bool>(), keep in 0usize..7,
    ) {
        let chain = history();
        let mut file = export::opening(&chain.network_file());
        file.extend(chain.blocks()[..keep.min(6)].iter().flat_map(export::block_frame));
        let kinds = [FrameKind::Network, FrameKind::Block, FrameKind::End];
        file.extend(if framed { export::frame(kinds[kind], &bytes) } else { bytes });
        let report = verify_export(&file, pinned(&chain));
        prop_assert!(!report.ok);
        prop_assert_eq!(report.height.0, keep.min(6) as u64);
    }
}

#[test]
#[should_panic(expected = "only the operator proposes")]
fn nobody_else_proposes() {
    let thief: SecretKey = key(66);
    let _ = propose(history().state(), &thief, START, vec![]);
}
