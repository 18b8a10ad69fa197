//! An audit that is interrupted goes on where it stood, with the answer of one that was not.

use gridhour_contracts_sim::{
    audit::{Auditor, Report, Resume, ResumeError, Resumed, Trust, verify_export},
    checkpoint::Checkpoint,
    finding::Rule,
    harness::{Chain, Deal, key},
    limits::CHECKPOINT_BLOCKS,
    proof::Sought,
    state::State,
    tx::Call,
};
use gridhour_protocol::{
    id::NetworkId,
    signed::PublicKey,
    units::{Credits, Height},
};

const HASH_BYTES: usize = 32;

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
    auditor.save()
}

fn gone_on(file: &[u8], export: &[u8], trust: Trust) -> Result<(Report, Option<State>), ResumeError> {
    let mut resume = Resume::open(file, trust)?;
    let (before, after) = export.split_at(usize::try_from(resume.bytes()).expect("a short file"));
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
    let resume = Resume::open(&file, trust).expect("it was just written");
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
        let Some(file) = auditor.save() else { continue };
        let mut resume = Resume::open(&file, trust).expect("it was just written");
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
    let audited = usize::try_from(Resume::open(&file, trust).expect("sound").bytes()).expect("short");
    for at in 0..audited {
        let mut changed = export.clone();
        changed[at] ^= 1 << (at % 8);
        let refused = gone_on(&file, &changed, trust).map(|(report, _)| report);
        assert_eq!(refused, Err(ResumeError::OtherFile), "byte {at}");
        if at % 200 == 0 {
            assert!(!verify_export(&changed, trust).ok, "begun anew, it is found and placed: byte {at}");
        }
    }
    let shorter = Resume::open(&file, trust).and_then(|mut resume| {
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
    let audited = usize::try_from(Resume::open(&file, trust).expect("sound").bytes()).expect("short");
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
        let error = Resume::open(&changed, trust).map(|_| ()).expect_err("a changed byte");
        assert!(matches!(error, ResumeError::Damaged(_)), "byte {at}: {error}");
        let cut = Resume::open(&file[..at], trust).map(|_| ()).expect_err("a missing byte");
        assert!(matches!(cut, ResumeError::Damaged(_)), "{at} bytes: {cut}");
    }
    // Behind a hash that fits: refused, or no shorter than what it says.
    for at in 0..file.len() - HASH_BYTES {
        let changed = forged(&file, |bytes| bytes[at] ^= 1 << (at % 8));
        let _ = Resume::open(&changed, trust).map(|resume| resume.bytes());
    }
}

/// Whoever can write the file, and moves money in it, is found at the next checkpoint: the operator signed its root.
#[test]
fn a_forged_state_falls_at_the_next_root_that_the_operator_signed() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len() / 2, trust).expect("there are blocks");
    let account = |who: PublicKey| [b"a".as_slice(), &who.0].concat();
    let place = |key: &[u8]| {
        file.windows(key.len()).position(|part| part == key).expect("an account") + key.len() + 4
    };
    let [rich, poor] = [key(2), key(1)].map(|who| place(&account(who.public())));
    let thieving = forged(&file, |bytes| {
        for (at, moved) in [(rich, -5_i64), (poor, 5)] {
            let balance = i64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
            bytes[at..at + 8].copy_from_slice(&(balance + moved).to_le_bytes());
        }
    });
    let (report, _) = gone_on(&thieving, &export, trust).expect("the sums are right");
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.height.0, finding.rule)).collect();
    assert_eq!(found, [(CHECKPOINT_BLOCKS + 1, Rule::StateRoot)]);
    let minting = forged(&file, |bytes| bytes[rich] ^= 1);
    assert!(matches!(Resume::open(&minting, trust).map(|_| ()), Err(ResumeError::State(_))));
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
        let refused = Resume::open(&file, another).map(|_| ()).expect_err("another trust");
        assert_eq!(refused, ResumeError::Trust);
        assert!(gone_on(&file, &export, one).expect("the same").0.ok);
    }
}

#[test]
fn another_version_of_the_program_begins_anew() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    let file = saved(&export, export.len() / 2, trust).expect("there are blocks");
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let at = file.windows(version.len()).position(|part| part == version).expect("its version");
    let newer = forged(&file, |bytes| bytes[at] = b'9');
    assert!(matches!(Resume::open(&newer, trust).map(|_| ()), Err(ResumeError::Program(_))));
}

#[test]
fn there_is_nothing_to_go_on_with_before_a_ledger_begins_and_after_a_finding() {
    let chain = history();
    let (export, trust) = (chain.export(), pinned(&chain));
    assert_eq!(saved(&export, 0, trust), None);
    assert_eq!(saved(&export, 20, trust), None, "before the genesis");
    let mut broken = export.clone();
    let middle = export.len() / 2;
    broken[middle] ^= 1;
    assert_eq!(saved(&broken, export.len(), trust), None);
    let deal = Deal::new(&chain, &key(1), &key(2));
    let mut seeking = Auditor::new(trust).seeking(Sought::of(&deal.receipt()));
    seeking.push(&export[..middle]);
    assert_eq!(seeking.save(), None, "what is looked for may stand before");
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
