//! The ledger against bytes: transactions and blocks that are damaged and signed again, exports, stored
//! state.

use std::collections::BTreeMap;

use gridhour_contracts_sim::{
    audit::{Auditor, Resume, Trust, verify_export},
    block::{Block, CheckedBlock, Proposal, Signatures, propose, tx_root, verify},
    export::{self, Decoder, FrameKind},
    harness::{Chain, key},
    state::{State, check_invariants},
    tx::{Accusation, Call, Open, Tx},
};
use gridhour_protocol::{
    merkle::Hash,
    receipt::Receipt,
    session::{terms::Terms, voucher::Voucher},
    signed::{PublicKey, SecretKey, Signable, Signed},
    units::Millis,
    wire::{decode, encode},
};
use testkit::fuzz::Target;

use crate::{
    run,
    samples::{busy_chain, packed, unpacked},
};

/// Time that may pass between two transactions, in milliseconds: two years.
const PASSED_MS_MAX: u64 = 1 << 36;

/// The key of `public`, if it is one of the story's.
fn key_of(chain: &Chain, public: &PublicKey) -> Option<SecretKey> {
    let keys = [key(1), key(2), key(7), chain.issuer().clone(), chain.operator().clone()];
    keys.into_iter().find(|key| key.public() == *public)
}

/// `signed` with the signature that its signer would give.
fn resigned<T: Signable>(chain: &Chain, signed: Signed<T>) -> Signed<T> {
    match key_of(chain, &signed.body.signer()) {
        Some(key) => key.sign(signed.body),
        None => signed,
    }
}

/// A damaged transaction as its sender could have meant it: every signature and every id that depends on one
/// is right.
fn resigned_tx(chain: &Chain, mut tx: Signed<Tx>) -> Signed<Tx> {
    let sign_all = |vouchers: Vec<Signed<Voucher>>| -> Vec<Signed<Voucher>> {
        vouchers.into_iter().map(|voucher| resigned(chain, voucher)).collect()
    };
    tx.body.call = match tx.body.call {
        Call::Open(open) => Call::Open(Box::new(resigned_open(chain, *open))),
        Call::Draw { budget, cap, open } => {
            Call::Draw { budget, cap, open: Box::new(resigned_open(chain, *open)) }
        }
        Call::DrawSlot { reservation, open } => {
            Call::DrawSlot { reservation, open: Box::new(resigned_open(chain, *open)) }
        }
        Call::Book(offer) => Call::Book(Box::new(resigned(chain, *offer))),
        Call::Answer { reservation, advert } => {
            Call::Answer { reservation, advert: Box::new(resigned(chain, *advert)) }
        }
        Call::Collect { session, vouchers } => Call::Collect { session, vouchers: sign_all(vouchers) },
        Call::Close { session, vouchers, release } => {
            let release = release.map(|release| Box::new(resigned(chain, *release)));
            Call::Close { session, vouchers: sign_all(vouchers), release }
        }
        Call::Calibrate(calibration) => Call::Calibrate(Box::new(resigned(chain, *calibration))),
        Call::Slash(accusation) => Call::Slash(Box::new(resigned_accusation(chain, *accusation))),
        other => other,
    };
    resigned(chain, tx)
}

fn resigned_open(chain: &Chain, open: Open) -> Open {
    let (order, advert) = (resigned(chain, open.order), resigned(chain, open.advert));
    let terms = Terms { order: order.id(), advert: advert.id(), ..open.terms };
    Open { order, advert, terms, hold: open.hold }
}

/// The receipts follow the terms, and the terms the advert, unless the damage is in what links them.
fn resigned_accusation(chain: &Chain, accusation: Accusation) -> Accusation {
    let was = accusation.terms.id();
    let advert = resigned(chain, accusation.advert);
    let terms = Terms { advert: advert.id(), ..accusation.terms };
    let follow = |mut receipt: Signed<Receipt>| {
        if receipt.body.session == was {
            receipt.body.session = terms.id();
        }
        resigned(chain, receipt)
    };
    let [one, other] = [accusation.one, accusation.other].map(follow);
    Accusation { terms, advert, one, other }
}

/// The transactions of `chain`, each behind the milliseconds that passed before it.
fn timed_story(chain: &Chain) -> Vec<Vec<u8>> {
    let mut last = chain.state().genesis().created_at;
    let mut timed = |block: &Block| {
        let passed = block.header.body.time.since(std::mem::replace(&mut last, block.header.body.time));
        [passed.0.to_le_bytes().as_slice(), &encode(&block.txs[0])].concat()
    };
    chain.blocks().iter().map(&mut timed).collect()
}

/// Every transaction is applied or refused with a reason, whenever it comes, and after every block each invariant
/// holds: the harness checks them.
#[test]
fn signed_transactions() {
    let before = Chain::new();
    let story = timed_story(&busy_chain());
    let starts = [packed(story[..4].to_vec()), packed(story)];
    let target = Target::new("signed-transactions", starts.to_vec()).with_inputs_least(100);
    run(&target, |bytes| {
        let mut chain = before.clone();
        let mut refusals = String::new();
        for message in unpacked(bytes) {
            let (passed, tx) = message.split_first_chunk::<8>().ok_or("no time")?;
            let tx: Signed<Tx> = decode(tx).map_err(|error| error.to_string())?;
            let tx = resigned_tx(&chain, tx);
            chain.advance(Millis(u64::from_le_bytes(*passed).min(PASSED_MS_MAX)));
            if let Err(reject) = chain.send(tx) {
                refusals.push_str(reject.name());
            }
        }
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    });
}

/// A block that its operator signed is refused, or leaves every invariant intact.
#[test]
fn signed_blocks() {
    let chain = busy_chain();
    let blocks = chain.blocks();
    let (last, earlier) = blocks.split_last().expect("the story has blocks");
    let before = replay(&chain, earlier);
    let operator = chain.operator();
    run(&Target::new("signed-block", vec![encode(last)]), |bytes| {
        let mut block: Block = decode(bytes).map_err(|error| error.to_string())?;
        block.txs = block.txs.into_iter().map(|tx| resigned_tx(&chain, tx)).collect();
        block.header.body.operator = operator.public();
        block.header.body.tx_root = tx_root(&block.txs);
        block.header = operator.sign(block.header.body);
        let batch = CheckedBlock::check(block, &operator.public(), Signatures::Check)
            .and_then(|block| verify(&before, &block))
            .map_err(|finding| format!("{finding:?}"))?;
        let mut state = before.clone();
        state.commit(&batch);
        check_invariants(&state).expect("every invariant holds after a block that verifies");
        Ok(())
    });
}

fn replay(chain: &Chain, blocks: &[Block]) -> State {
    let mut state = State::new(chain.state().genesis().clone()).expect("the genesis is sound");
    for block in blocks {
        let block = CheckedBlock::check(block.clone(), &chain.operator().public(), Signatures::CheckedBefore);
        let batch = verify(&state, &block.expect("the block is whole")).expect("the story verifies");
        state.commit(&batch);
    }
    state
}

fn audit(bytes: &[u8]) -> Result<(), String> {
    let report = verify_export(bytes, Trust::SelfTrust);
    match report.findings.as_slice() {
        [] => Ok(()),
        findings => Err(format!("{findings:?}")),
    }
}

/// Any change of an exported ledger is a finding.
#[test]
fn exports() {
    let chain = busy_chain();
    let whole = chain.export();
    let shorter = {
        let mut bytes = export::opening(&chain.network_file());
        bytes.extend(export::closing(gridhour_protocol::units::Height(0)));
        bytes
    };
    run(&Target::new("export", vec![whole.clone(), shorter]), |bytes| {
        audit(bytes)?;
        let again: Vec<u8> =
            frames(bytes).into_iter().flat_map(|(kind, body)| export::frame(kind, &body)).collect();
        assert_eq!([export::MAGIC.as_slice(), &again].concat(), bytes, "what passes is what its frames say");
        assert!(whole.starts_with(&bytes[..bytes.len() - 45]), "only the ledger or a beginning of it passes");
        Ok(())
    });
}

fn frames(bytes: &[u8]) -> Vec<(FrameKind, Vec<u8>)> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().ok().flatten()).collect()
}

/// Frames whose hashes are right whatever they hold: the audit looks into each.
#[test]
fn exports_of_damaged_frames() {
    let chain = busy_chain();
    let of_kind = |(kind, body): (FrameKind, Vec<u8>)| [vec![kind as u8], body].concat();
    let corpus = packed(frames(&chain.export()).into_iter().map(of_kind));
    run(&Target::new("export-frames", vec![corpus]), |bytes| {
        let mut file = export::MAGIC.to_vec();
        for message in unpacked(bytes) {
            let Some((kind, body)) = message.split_first() else { continue };
            let kinds = [FrameKind::Network, FrameKind::Block, FrameKind::End];
            file.extend(export::frame(kinds[usize::from(*kind) % 3], body));
        }
        audit(&file)
    });
}

/// Stored records are refused, or are a state that goes on and stores the same records again.
#[test]
fn stored_state() {
    let chain = busy_chain();
    let stored = |state: &State| {
        let records = state.records();
        packed(records.into_iter().flat_map(|(key, value)| [key, value.unwrap_or_default()]))
    };
    let genesis = chain.state().genesis().clone();
    let empty = State::new(genesis.clone()).expect("the genesis is sound");
    run(&Target::new("stored-state", vec![stored(chain.state()), stored(&empty)]), |bytes| {
        let messages = unpacked(bytes);
        let pairs: BTreeMap<&[u8], &[u8]> = messages.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let state = State::from_records(genesis.clone(), &pairs).map_err(|error| error.to_string())?;
        let again: BTreeMap<Vec<u8>, Option<Vec<u8>>> = state.records().into_iter().collect();
        assert_eq!(again.len(), pairs.len());
        assert!(again.iter().all(|(key, value)| pairs.get(key.as_slice()).copied() == value.as_deref()));
        let Proposal { batch, .. } = propose(&state, chain.operator(), state.tip().time, Vec::new());
        let mut state = state;
        state.commit(&batch);
        Ok(())
    });
}

/// Where an audit stood, changed behind a hash that fits: refused, or gone on with to a finding or to the ledger's own
/// end.
#[test]
fn interrupted_audits() {
    const PROGRAM: Hash = [3; 32];
    let chain = busy_chain();
    let export = chain.export();
    let unhashed = |read: usize| {
        let mut auditor = Auditor::new(Trust::SelfTrust);
        auditor.push(&export[..read]);
        let mut file = auditor.save(PROGRAM).expect("the ledger has begun");
        file.truncate(file.len() - blake3::OUT_LEN);
        file
    };
    let corpus = vec![unhashed(export.len() / 3), unhashed(export.len() * 2 / 3)];
    run(&Target::new("audit-resume", corpus), |bytes| {
        let file = [bytes, blake3::hash(bytes).as_bytes()].concat();
        let mut resume = Resume::open(&file, Trust::SelfTrust, PROGRAM).map_err(|error| error.to_string())?;
        let audited = usize::try_from(resume.bytes()).map_or(export.len(), |bytes| bytes.min(export.len()));
        resume.push(&export[..audited]);
        let mut auditor = resume.finish().map_err(|error| error.to_string())?;
        auditor.push(&export[audited..]);
        let (report, state) = auditor.finish();
        if let Some(finding) = report.findings.first() {
            return Err(finding.rule.name().to_owned());
        }
        let tip = state.expect("a ledger that is in order has a state").tip().hash;
        assert_eq!((tip, report.root), (chain.state().tip().hash, tip), "there is one way to the end");
        Ok(())
    });
}
