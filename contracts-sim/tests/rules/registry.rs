//! The registry, every state with every call: the table that docs/LEDGER.md shows is made here. And that what is
//! entered is bounded, dated, and replaced by newer alone.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key, table},
    ledger::reject::Reject,
    limits::{DEVICES_MAX, NUMERICS_MAX, REGISTRATION_MS_MAX},
    state::DeviceKey,
    tx::{Call, Registration},
};
use gridhour_protocol::{
    calibration::receipt::Calibration,
    id::{ModelId, NetworkId},
    limits::{MODELS_MAX, NAME_BYTES_MAX},
    signed::{PublicKey, SecretKey, Signature, Signed},
    units::{Millis, Timestamp},
};

const STATES: [&str; 5] = ["absent", "registered", "measured", "expired", "full"];
const PROVIDER: u8 = 2;
const CHALLENGER: u8 = 7;

struct Case {
    chain: Chain,
    deal: Deal,
}

/// A device in `state`; its entry has sequence 1.
fn case(state: &str) -> Case {
    let mut chain = Chain::new();
    let provider = key(PROVIDER);
    let mut deal = Deal::new(&chain, &key(1), &provider);
    match state {
        "absent" => {}
        "full" => fill(&mut chain, &deal),
        _ => {
            chain.acting(&provider).ok(deal.register());
        }
    }
    if state == "measured" {
        chain.acting(&provider).ok(calibrate(&deal, |_| {}));
    }
    if state == "expired" {
        chain.advance(Millis(REGISTRATION_MS_MAX));
        deal = Deal::new(&chain, &key(1), &provider);
    }
    Case { chain, deal }
}

fn fill(chain: &mut Chain, deal: &Deal) {
    for number in 0..DEVICES_MAX {
        let other = changed(deal, |entry| entry.name.name = format!("card {number}"));
        chain.acting(&key(PROVIDER)).ok(other);
    }
}

fn changed(deal: &Deal, change: impl FnOnce(&mut Registration)) -> Call {
    let mut registration = deal.registration();
    change(&mut registration);
    Call::Register(Box::new(registration))
}

fn calibrate(deal: &Deal, change: impl FnOnce(&mut Calibration)) -> Call {
    let mut calibration = deal.calibration(&key(CHALLENGER));
    change(&mut calibration);
    let signer = [PROVIDER, CHALLENGER].map(key).into_iter();
    let mut signer = signer.filter(|key| key.public() == calibration.challenge.challenger);
    Call::Calibrate(Box::new(signer.next().expect("a key of the story").sign(calibration)))
}

type MakeCall = fn(&Deal) -> (SecretKey, Call);

const CALLS: [(&str, MakeCall); 8] = [
    ("register, provider", |deal| (key(PROVIDER), deal.register())),
    ("register anew, provider", |deal| (key(PROVIDER), changed(deal, |entry| entry.sequence = 2))),
    ("register the same name, another", |deal| (key(8), deal.register())),
    ("calibrate, provider", |deal| (key(PROVIDER), calibrate(deal, |_| {}))),
    ("calibrate later, provider", |deal| (key(PROVIDER), calibrate(deal, |new| new.ended_at.0 += 1))),
    ("calibrate, challenger", |deal| (key(CHALLENGER), calibrate(deal, |_| {}))),
    ("deregister, provider", |deal| (key(PROVIDER), Call::Deregister { device: deal.device() })),
    ("deregister, another", |deal| (key(8), Call::Deregister { device: deal.device() })),
];

#[test]
fn the_docs_show_the_table() {
    let docs = include_str!("../../../docs/LEDGER.md");
    let table = table(&STATES, &CALLS, |state, make| {
        let mut case = case(state);
        let (who, call) = make(&case.deal);
        case.chain.acting(&who).answered(call)
    });
    assert!(docs.contains(&table), "docs/LEDGER.md must show:\n{table}");
}

fn key_of(deal: &Deal) -> DeviceKey {
    DeviceKey { owner: deal.provider.public(), device: deal.device() }
}

#[test]
fn an_entry_says_what_its_provider_said_and_who_measured() {
    let Case { mut chain, deal } = case("measured");
    let device = chain.state().device(&key_of(&deal)).expect("it is registered").clone();
    assert_eq!(device.registration, deal.registration());
    let measured = device.measured.expect("it was measured");
    let calibration = deal.calibration(&key(CHALLENGER));
    assert_eq!((measured.challenger, measured.ended_at), (key(CHALLENGER).public(), calibration.ended_at));
    assert_eq!(Some(measured.rates), calibration.rates());
    let newer = changed(&deal, |entry| {
        (entry.sequence, entry.models) = (2, vec![ModelId([1; 32]), ModelId([2; 32])]);
    });
    chain.acting(&deal.provider).ok(newer);
    let after = chain.state().device(&key_of(&deal)).expect("it is registered");
    assert_eq!((after.registration.models.len(), after.measured), (2, Some(measured)));
}

#[test]
fn the_state_forgets_an_entry_at_its_end() {
    let Case { mut chain, deal } = case("registered");
    chain.advance(Millis(REGISTRATION_MS_MAX - 1));
    chain.idle(1);
    assert!(chain.state().device(&key_of(&deal)).is_some());
    chain.advance(Millis(1));
    chain.idle(1);
    assert_eq!(chain.state().devices().count(), 0);
}

/// Devices that are removed, or expire, make room; in one block as well as over many.
#[test]
fn an_account_has_so_many_devices_and_no_more() {
    let Case { mut chain, deal } = case("full");
    chain.acting(&key(PROVIDER)).expect(deal.register(), Reject::DevicesFull);
    chain.acting(&key(8)).ok(deal.register());
    let (first, _) = chain.state().devices_of(&key(PROVIDER).public()).next().expect("there are many");
    let calls = [
        Call::Deregister { device: first.device },
        deal.register(),
        changed(&deal, |entry| {
            entry.name.name = "one too many".into();
        }),
    ];
    let txs = calls.map(|call| {
        let tx = chain.sign(&key(PROVIDER), call);
        gridhour_contracts_sim::ledger::admit::Admitted::check(tx).expect("it is sound")
    });
    let answers: Vec<_> = chain.block(txs.to_vec()).into_iter().map(|answer| answer.err()).collect();
    assert_eq!(answers, [None, None, Some(Reject::DevicesFull)]);
}

#[test]
fn entries_and_measurements_out_of_bounds_are_refused() {
    let Case { mut chain, deal } = case("registered");
    let now = chain.now().0;
    let newer = |change: fn(&mut Registration)| {
        changed(&deal, |entry| {
            entry.sequence = 2;
            change(entry);
        })
    };
    let calls = [
        (newer(|entry| entry.name.name = "x".repeat(NAME_BYTES_MAX + 1)), Reject::Malformed),
        (newer(|entry| entry.models = vec![ModelId([1; 32]); 2]), Reject::Malformed),
        (newer(|entry| entry.numerics = vec![2, 1]), Reject::Malformed),
        (newer(|entry| entry.numerics = (0..=NUMERICS_MAX as u16).collect()), Reject::Malformed),
        (
            newer(|entry| entry.models = (0..=MODELS_MAX as u8).map(|n| ModelId([n; 32])).collect()),
            Reject::Malformed,
        ),
        (newer(|entry| entry.expires_at.0 += 1), Reject::Lifetime),
        (changed(&deal, |entry| entry.expires_at = Timestamp(now)), Reject::Lifetime),
        (calibrate(&deal, |new| new.challenge.network = NetworkId([9; 32])), Reject::CalibrationMismatch),
        (calibrate(&deal, |new| new.challenge.provider = key(8).public()), Reject::CalibrationMismatch),
        (calibrate(&deal, |new| new.ended_at.0 += 5_001), Reject::CalibrationMismatch),
        (calibrate(&deal, |new| new.prefill_ns = 0), Reject::CalibrationMismatch),
        (calibrate(&deal, |new| new.device.name = "another card".into()), Reject::UnknownDevice),
        (calibrate(&deal, |new| new.challenge.challenger = key(PROVIDER).public()), Reject::SameAccount),
    ];
    for (call, reject) in calls {
        chain.acting(&key(PROVIDER)).expect(call, reject);
    }
    let forged = key(PROVIDER).sign(deal.calibration(&key(CHALLENGER)));
    let call = Call::Calibrate(Box::new(forged));
    chain.acting(&key(PROVIDER)).expect(call, Reject::BadCalibrationSignature);
}

/// Anybody can make a signature that plain verification accepts for a key of small order; the strict one does not.
#[test]
fn a_weak_key_registers_nothing() {
    let Case { mut chain, deal } = case("absent");
    let mut identity = [0; 32];
    identity[0] = 1;
    for weak in [identity, [0; 32]] {
        let mut tx = chain.sign(&key(PROVIDER), deal.register()).body;
        tx.sender = PublicKey(weak);
        // R is the identity and s is zero: R = s·B - k·A holds for every message if A is the identity.
        let mut signature = [0; 64];
        signature[0] = 1;
        let signed = Signed { body: tx, signature: Signature::from_bytes(signature) };
        assert_eq!(chain.send(signed), Err(Reject::BadSignature));
    }
}
