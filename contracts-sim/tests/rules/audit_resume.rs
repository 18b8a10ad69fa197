//! An audit that is interrupted goes on where it stood, with the answer of one that was not.

use gridhour_contracts_sim::{
    audit::{Auditor, Report, Resume, ResumeError, Resumed, Trust, verify_export},
    block::{Proposal, propose},
    checkpoint::Checkpoint,
    export,
    finding::Rule,
    harness::{Chain, Deal, key},
    limits::{CHECKPOINT_BLOCKS, CHECKPOINT_LAG_BLOCKS, CHECKPOINT_MS},
    proof::Sought,
    state::State,
    tx::Call,
};
use gridhour_protocol::{
    id::NetworkId,
    merkle::Hash,
    units::{Credits, Height, Millis},
};

const HASH_BYTES: usize = 32;
/// This build of the program.
const PROGRAM: Hash = [7; HASH_BYTES];

/// Money that moves, is held and is at stake, and a checkpoint of the state before the end.
fn history() -> Chain {
    let mut chain = Chain::new();
    let (client, provider) = (key(1), key(2));
    chain.fund(&client.public(), Credits(5_000));
    chain.fund(&provider.public(), Credits(9_000_000));
    let deal = Deal::new(&chain, &client, &provider);
    chain.acting(&client).ok(deal.open());
    chain.acting(&provider).ok(deal.register());
    chain.acting(&provider).ok(deal.bond(Credits(3_000_000)));
    chain.open_budget(&key(7), Vec::from([gridhour_contracts_sim::harness::cap(None, None, Credits(9))]));
    chain.idle(CHECKPOINT_BLOCKS);
    chain.acting(&client).ok(Call::Transfer { to: key(3).public(), amount: Credits(7) });
    chain.idle(2);
    chain
}

fn pinned(chain: &Chain) -> Trust {
    Trust::Genesis(chain.state().network())
}

/// Where the audit stands after the first `read` bytes.
fn saved(export: &[u8], read: usize, trust: Trust) -> Option<Vec<u8>> {
    let mut auditor = Auditor::new(trust);
    auditor.push(&export[..read]);
    auditor.save(PROGRAM)
}

fn gone_on(file: &[u8], export: &[u8], trust: Trust) -> Result<(Report, Option<State>), ResumeError> {
    let mut resume = Resume::open(file, trust, PROGRAM)?;
    let audited = usize::try_from(resume.bytes()).map_or(export.len(), |bytes| bytes.min(export.len()));
    let (before, after) = export.split_at(audited);
    before.chunks(1_000).for_each(|piece| resume.push(piece));
    let mut auditor = resume.finish()?;
    auditor.push(after);
    Ok(auditor.finish())
}

/// `file` after `change`, with the hash that fits.
fn forged(file: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = file[..file.len() - HASH_BYTES].to_vec();
    change(&mut bytes);
    let hash = blake3::hash(&bytes);
    [&bytes, hash.as_bytes().as_slice()].concat()
}

#[test]
fn an_audit_goes_on_from_any_place_with_the_answer_of_one_that_was_not_interrupted() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let whole = verify_export(&export, trust);
    assert!(whole.ok && whole.resumed.is_none() && whole.checked() == whole.transactions);
    let mut heights = Vec::new();
    for read in (0..export.len()).step_by(197) {
        let Some(file) = saved(&export, read, trust) else { continue };
        let (report, state) = gone_on(&file, &export, trust).expect("it is the same ledger");
        let resumed = report.resumed.expect("it was gone on with");
        assert_eq!(Report { resumed: None, ..report.clone() }, whole, "after {read} bytes");
        assert_eq!(state.as_ref(), Some(chain.state()));
        assert_eq!(report.checked(), whole.transactions - resumed.transactions);
        heights.push(resumed.height.0);
    }
    heights.dedup();
    assert!(heights.is_sorted() && heights.len() > 10, "{heights:?}");
    assert!(heights.last().expect("some") + 2 > whole.height.0, "{heights:?}");
}

/// What an earlier run checked is not checked again: this one has only the transactions behind it to check.
#[test]
fn an_audit_that_goes_on_checks_what_follows_alone() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len() * 9 / 10, trust).expect("there are blocks");
    let resume = Resume::open(&file, trust, PROGRAM).expect("it was just written");
    let Resumed { height, transactions } = resume.at();
    let before = chain.blocks().iter().take_while(|block| block.height() <= height);
    assert_eq!(before.map(|block| block.txs.len() as u64).sum::<u64>(), transactions);
    let (report, _) = gone_on(&file, &export, trust).expect("it is the same ledger");
    let after = chain.blocks().iter().filter(|block| block.height() > height);
    assert_eq!(report.checked(), after.map(|block| block.txs.len() as u64).sum::<u64>());
}

#[test]
fn an_audit_can_be_interrupted_again_and_again() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let mut auditor = Auditor::new(trust);
    let mut rounds = 0;
    for piece in export.chunks(500) {
        auditor.push(piece);
        let Some(file) = auditor.save(PROGRAM) else { continue };
        let mut resume = Resume::open(&file, trust, PROGRAM).expect("it was just written");
        let read = usize::try_from(resume.bytes()).expect("a short file");
        resume.push(&export[..read]);
        auditor = resume.finish().expect("it is the same ledger");
        // What was read of a block that is not whole comes again.
        let end = export.len().min((piece.as_ptr() as usize - export.as_ptr() as usize) + piece.len());
        auditor.push(&export[read..end]);
        rounds += 1;
    }
    assert!(rounds > 10);
    let (report, state) = auditor.finish();
    assert!(report.ok, "{:?}", report.findings);
    assert_eq!(state.as_ref(), Some(chain.state()));
}

#[test]
fn a_byte_changed_in_the_part_that_was_audited_is_seen() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len(), trust);
    assert_eq!(file, None, "an audit that came to the end is not gone on with");
    let file = saved(&export, export.len() - 50, trust).expect("there are blocks");
    let audited =
        usize::try_from(Resume::open(&file, trust, PROGRAM).expect("sound").bytes()).expect("short");
    for at in 0..audited {
        let mut changed = export.clone();
        changed[at] ^= 1 << (at % 8);
        let refused = gone_on(&file, &changed, trust).map(|(report, _)| report);
        assert_eq!(refused, Err(ResumeError::OtherFile), "byte {at}");
        if at % 200 == 0 {
            assert!(!verify_export(&changed, trust).ok, "begun anew, it is found and placed: byte {at}");
        }
    }
    let shorter = Resume::open(&file, trust, PROGRAM).and_then(|mut resume| {
        resume.push(&export[..audited - 1]);
        resume.finish()
    });
    assert_eq!(shorter.map(|_| ()), Err(ResumeError::OtherFile));
}

#[test]
fn a_changed_byte_behind_the_part_that_was_audited_is_found_and_placed() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len() / 2, trust).expect("there are blocks");
    let audited =
        usize::try_from(Resume::open(&file, trust, PROGRAM).expect("sound").bytes()).expect("short");
    for at in (audited..export.len()).step_by(211) {
        let mut changed = export.clone();
        changed[at] ^= 1 << (at % 8);
        let (report, _) = gone_on(&file, &changed, trust).expect("the audited part is the same");
        assert_eq!(report.findings, verify_export(&changed, trust).findings, "byte {at}");
        assert!(!report.ok, "byte {at}");
    }
}

#[test]
fn a_file_with_any_byte_changed_or_missing_is_no_audit() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len() / 2, trust).expect("there are blocks");
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << (at % 8);
        let error = Resume::open(&changed, trust, PROGRAM).map(|_| ()).expect_err("a changed byte");
        assert!(matches!(error, ResumeError::Damaged(_)), "byte {at}: {error}");
        let cut = Resume::open(&file[..at], trust, PROGRAM).map(|_| ()).expect_err("a missing byte");
        assert!(matches!(cut, ResumeError::Damaged(_)), "{at} bytes: {cut}");
    }
}

/// Behind a hash that fits, a changed byte is refused or found, or it changes nothing of what is said of the ledger.
#[test]
fn a_changed_byte_behind_a_hash_that_fits_gives_no_false_report() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let honest = verify_export(&export, trust);
    let file = saved(&export, export.len() * 3 / 4, trust).expect("there are blocks");
    let (mut refused, mut found, mut same) = (0, 0, 0);
    for at in 0..file.len() - HASH_BYTES {
        let changed = forged(&file, |bytes| bytes[at] ^= 1 << (at % 8));
        match gone_on(&changed, &export, trust) {
            Err(_) => refused += 1,
            Ok((report, _)) if !report.ok => found += 1,
            Ok((report, _)) => {
                assert_eq!(Report { resumed: None, ..report }, honest, "byte {at}");
                same += 1;
            }
        }
    }
    println!("{refused} refused, {found} found, {same} without effect");
    assert!(refused > 0 && found > 0, "{refused} refused, {found} found");
}

/// `file` with five credits of one account in another.
fn thieving(file: &[u8]) -> Vec<u8> {
    let [rich, poor] = [2, 1].map(|who| balance_in(file, who));
    forged(file, |bytes| {
        for (at, moved) in [(rich, -5_i64), (poor, 5)] {
            let balance = i64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
            bytes[at..at + 8].copy_from_slice(&(balance + moved).to_le_bytes());
        }
    })
}

/// Where a balance stands.
fn balance_in(file: &[u8], who: u8) -> usize {
    let key = [b"a".as_slice(), &key(who).public().0].concat();
    file.windows(key.len()).position(|part| part == key).expect("an account") + key.len() + 4
}

/// What an audit that goes on from a file in which money was moved finds: where, and against which rule.
fn found_of_theft(file: &[u8], export: &[u8], trust: Trust) -> Vec<(u64, Rule)> {
    let (report, _) = gone_on(&thieving(file), export, trust).expect("the sums are right");
    report.findings.iter().map(|finding| (finding.height.0, finding.rule)).collect()
}

/// Whoever can write the file, and moves money in it, is found at the next checkpoint that is begun behind it: the
/// operator signed its root.
#[test]
fn a_forged_state_falls_at_the_next_checkpoint_that_is_begun_behind_it() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len() / 2, trust).expect("there are blocks");
    assert_eq!(found_of_theft(&file, &export, trust), [(CHECKPOINT_BLOCKS + 1, Rule::StateRoot)]);
    let rich = balance_in(&file, 2);
    let minting = forged(&file, |bytes| bytes[rich] ^= 1);
    assert!(matches!(Resume::open(&minting, trust, PROGRAM).map(|_| ()), Err(ResumeError::State(_))));
}

/// A ledger whose checkpoints nobody has hashed before a block must name them; and the height of the first of them.
fn slow() -> (Vec<u8>, Trust, u64) {
    let mut chain = Chain::new();
    for who in [1, 2] {
        chain.fund(&key(who).public(), Credits(1_000));
    }
    let (mut state, mut export) = (chain.state().clone(), export::opening(&chain.network_file()));
    chain.blocks().iter().for_each(|block| export.extend(export::block_frame(block)));
    chain.advance(Millis(CHECKPOINT_MS));
    let begun = state.tip().height.0 + 1;
    while state.tip().height.0 < CHECKPOINT_BLOCKS + CHECKPOINT_LAG_BLOCKS {
        let Proposal { block, batch, .. } = propose(&state, chain.operator(), chain.now(), Vec::new());
        state.commit(&batch);
        export.extend(export::block_frame(&block));
    }
    export.extend(export::closing(state.tip().height));
    (export, pinned(&chain), begun)
}

/// A checkpoint that was pending when the file was written is of an earlier state: it is named, and shows nothing.
#[test]
fn a_forged_state_does_not_fall_at_a_checkpoint_that_was_pending() {
    let (export, trust, begun) = slow();
    assert!(verify_export(&export, trust).ok);
    let saved_at = |part: usize| {
        let file = saved(&export, export.len() * part / 8, trust).expect("there are blocks");
        let height = Resume::open(&file, trust, PROGRAM).expect("it was just written").at().height.0;
        (height, found_of_theft(&file, &export, trust))
    };
    let last = vec![(CHECKPOINT_BLOCKS + CHECKPOINT_LAG_BLOCKS, Rule::StateRoot)];
    let (height, found) = saved_at(2);
    assert!((begun + 1..begun + CHECKPOINT_LAG_BLOCKS).contains(&height), "the first is pending: {height}");
    assert_eq!(found, last, "and was named at {}", begun + CHECKPOINT_LAG_BLOCKS);
    let (height, found) = saved_at(6);
    assert!(height > CHECKPOINT_BLOCKS, "the last is pending: {height}");
    assert_eq!(found, [], "no checkpoint is begun behind it");
}

#[test]
fn an_audit_goes_on_with_what_it_rested_on_alone() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let pin = Trust::Checkpoint(Checkpoint::of(chain.state()));
    let half = export.len() / 2;
    let other = Trust::Genesis(NetworkId([9; 32]));
    for (one, another) in [(trust, pin), (pin, trust), (Trust::SelfTrust, trust), (trust, other)] {
        let file = saved(&export, half, one).expect("there are blocks");
        let refused = Resume::open(&file, another, PROGRAM).map(|_| ()).expect_err("another trust");
        assert_eq!(refused, ResumeError::Trust);
        assert!(gone_on(&file, &export, one).expect("the same").0.ok);
    }
}

/// Another build may check more.
#[test]
fn another_build_of_the_program_begins_anew() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len() / 2, trust).expect("there are blocks");
    assert!(Resume::open(&file, trust, PROGRAM).is_ok());
    for bit in 0..8 * HASH_BYTES {
        let mut other = PROGRAM;
        other[bit / 8] ^= 1 << (bit % 8);
        let refused = Resume::open(&file, trust, other).map(|_| ());
        assert_eq!(refused, Err(ResumeError::Program));
    }
}

#[test]
fn there_is_nothing_to_go_on_with_before_a_ledger_begins_and_after_a_finding() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    assert_eq!(saved(&export, 0, trust), None);
    assert_eq!(saved(&export, 20, trust), None, "before the genesis");
    let (mut broken, middle) = (export.clone(), export.len() / 2);
    // In what was signed: a length that is too large would only be waited for.
    let signed = key(2).public().0;
    let at = export.windows(signed.len()).position(|bytes| bytes == signed).expect("it was paid");
    broken[at] ^= 1;
    assert_eq!(saved(&broken, export.len(), trust), None);
    let deal = Deal::new(&chain, &key(1), &key(2));
    let mut seeking = Auditor::new(trust).seeking(Sought::of(&deal.receipt()));
    seeking.push(&export[..middle]);
    assert_eq!(seeking.save(PROGRAM), None, "what is looked for may stand before");
}

#[test]
fn an_audit_ends_where_it_is_told_to() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    for height in [0, 1, 6, CHECKPOINT_BLOCKS, chain.state().tip().height.0] {
        let mut auditor = Auditor::new(trust).until(Height(height));
        auditor.push(&export);
        assert!(auditor.is_over());
        let (report, state) = auditor.finish();
        let tip = state.as_ref().expect("a state").tip();
        let hash = height.checked_sub(1).map_or(tip.hash, |at| chain.blocks()[at as usize].hash());
        assert_eq!((report.ok, report.height, report.root, tip.hash), (true, Height(height), hash, hash));
    }
    let beyond = Auditor::new(trust).until(Height(10_000));
    let mut auditor = beyond;
    auditor.push(&export);
    assert!(!auditor.is_over());
    assert_eq!(auditor.finish().0, verify_export(&export, trust));
}

#[test]
fn what_stands_behind_the_end_of_an_audit_is_not_looked_at_and_what_stands_before_is() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let judge = |bytes: &[u8]| {
        let mut auditor = Auditor::new(trust).until(Height(5));
        bytes.chunks(64).for_each(|piece| auditor.push(piece));
        auditor.finish().0.ok
    };
    let mut broken = export.clone();
    *broken.last_mut().expect("bytes") ^= 1;
    assert!(judge(&broken));
    broken[export.len() / 50] ^= 1;
    assert!(!judge(&broken));
}
