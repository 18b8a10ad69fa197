//! Refusals of what providers do have one order: of two faults, the one with the lower code gives the answer.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::reject::Reject,
    limits::{ACCUSATION_MS_MAX, DEVICES_MAX, UNBOND_DELAY, UNBONDINGS_MAX},
    tx::{Accusation, Call, Registration},
};
use gridhour_protocol::{
    calibration::receipt::Calibration,
    id::DeviceId,
    units::{Credits, Millis},
};

use crate::precedence::pairs::{Fault, Setting, check};

const PROVIDER: u8 = 2;
const STRANGER: u8 = 5;
const CHALLENGER: u8 = 7;
const STAKE: Credits = Credits(3_000_000);

/// A device with a stake, by its provider.
fn staked(make: fn(&Deal) -> Call) -> Setting {
    let mut chain = Chain::new();
    let sender = key(PROVIDER);
    chain.fund(&sender.public(), Credits(10_000_000));
    let deal = Deal::new(&chain, &key(1), &sender);
    chain.acting(&sender).ok(deal.register());
    chain.acting(&sender).ok(deal.bond(STAKE));
    let call = make(&deal);
    Setting { chain, deal, sender, call }
}

/// By evidence that is good now, whatever the time.
fn slash_before(setting: &mut Setting) {
    let call = Deal::new(&setting.chain, &key(1), &key(PROVIDER)).slash();
    setting.chain.acting(&key(STRANGER)).ok(call);
}

#[test]
fn a_bond_is_refused_in_order() {
    fn amount_of(setting: &mut Setting) -> &mut Credits {
        let Call::Bond { amount, .. } = &mut setting.call else { unreachable!("a bond") };
        amount
    }
    let late = |setting: &mut Setting| {
        let Call::Bond { until, .. } = &mut setting.call else { unreachable!("a bond") };
        until.0 += 1;
    };
    let unknown = |setting: &mut Setting| {
        let Call::Bond { device, .. } = &mut setting.call else { unreachable!("a bond") };
        *device = DeviceId([9; 32]);
    };
    // Where something is bonded, a bond of nothing moves its end.
    let nothing = |setting: &mut Setting| {
        *amount_of(setting) = Credits::ZERO;
        let device = setting.deal.device();
        let bonded = setting.chain.state().stake(&device).map_or(Credits::ZERO, |stake| stake.bonded);
        if bonded != Credits::ZERO {
            setting.chain.acting(&key(PROVIDER)).ok(Call::Unbond { device, amount: bonded });
        }
    };
    check(
        || staked(|deal| deal.bond(STAKE)),
        &[
            (Reject::ZeroAmount, nothing),
            (Reject::TooLittle, |setting| *amount_of(setting) = Credits(999_999)),
            (Reject::Lifetime, late),
            (Reject::UnknownDevice, unknown),
            (Reject::DeviceBarred, slash_before),
            (Reject::InsufficientBalance, |setting| *amount_of(setting) = Credits(7_000_001)),
        ],
    );
}

#[test]
fn an_unbonding_is_refused_in_order() {
    fn unbond(setting: &mut Setting) -> (&mut DeviceId, &mut Credits) {
        let Call::Unbond { device, amount } = &mut setting.call else { unreachable!("an unbonding") };
        (device, amount)
    }
    let fill = |setting: &mut Setting| {
        let call = Call::Unbond { device: setting.deal.device(), amount: Credits(1) };
        for _ in 0..UNBONDINGS_MAX {
            setting.chain.acting(&key(PROVIDER)).ok(call.clone());
        }
    };
    check(
        || staked(|deal| Call::Unbond { device: deal.device(), amount: Credits(1) }),
        &[
            (Reject::ZeroAmount, |setting| *unbond(setting).1 = Credits::ZERO),
            (Reject::UnknownStake, |setting| *unbond(setting).0 = DeviceId([9; 32])),
            (Reject::NotOwner, |setting| setting.sender = key(STRANGER)),
            (Reject::OverStake, |setting| *unbond(setting).1 = Credits(STAKE.0 + 1)),
            (Reject::UnbondingsFull, fill),
        ],
    );
}

#[test]
fn a_withdrawal_is_refused_in_order() {
    let due = || {
        let mut setting = staked(|deal| Call::Withdraw { device: deal.device() });
        let unbond = Call::Unbond { device: setting.deal.device(), amount: Credits(1) };
        setting.chain.acting(&key(PROVIDER)).ok(unbond);
        setting.chain.advance(UNBOND_DELAY);
        setting
    };
    let withdraw_before = |setting: &mut Setting| {
        let call = setting.call.clone();
        setting.chain.acting(&key(STRANGER)).ok(call);
    };
    check(due, &[(Reject::UnknownStake, slash_before), (Reject::NothingDue, withdraw_before)]);
}

#[test]
fn an_accusation_is_refused_in_order() {
    fn accusation(setting: &mut Setting) -> &mut Accusation {
        let Call::Slash(accusation) = &mut setting.call else { unreachable!("an accusation") };
        accusation
    }
    let forge_advert = |setting: &mut Setting| {
        let accusation = accusation(setting);
        accusation.advert = key(STRANGER).sign(accusation.advert.body.clone());
    };
    let forge_receipt = |setting: &mut Setting| {
        let accusation = accusation(setting);
        accusation.one = key(STRANGER).sign(accusation.one.body.clone());
    };
    check(
        || Setting { sender: key(STRANGER), ..staked(Deal::slash) },
        &[
            (Reject::Malformed, |setting| accusation(setting).terms.chunk_tokens = 0),
            (Reject::BadAdvertSignature, forge_advert),
            (Reject::BadReceiptSignature, forge_receipt),
            (Reject::SameAccount, |setting| setting.sender = key(PROVIDER)),
            (Reject::UnknownStake, slash_before),
            (Reject::EvidenceMismatch, |setting| accusation(setting).terms.nonce += 1),
            (Reject::AccusationOver, |setting| setting.chain.advance(Millis(ACCUSATION_MS_MAX))),
            (Reject::NoConflict, |setting| {
                let accusation = accusation(setting);
                accusation.other = accusation.one.clone();
            }),
        ],
    );
}

#[test]
fn an_entry_is_refused_in_order() {
    fn entry(setting: &mut Setting) -> &mut Registration {
        let Call::Register(registration) = &mut setting.call else { unreachable!("an entry") };
        registration
    }
    fn newer() -> Setting {
        staked(|deal| Call::Register(Box::new(Registration { sequence: 2, ..deal.registration() })))
    }
    let (malformed, lifetime): (Fault, Fault) =
        (|setting| entry(setting).numerics = vec![2, 1], |setting| entry(setting).expires_at.0 += 1);
    let older: Fault = |setting| entry(setting).sequence = 1;
    check(newer, &[(Reject::Malformed, malformed), (Reject::Lifetime, lifetime), (Reject::NotNewer, older)]);
    let full: Fault = |setting| {
        for number in 1..DEVICES_MAX {
            let mut other = setting.deal.registration();
            other.name.name = format!("card {number}");
            setting.chain.acting(&key(PROVIDER)).ok(Call::Register(Box::new(other)));
        }
        entry(setting).name.name = "one too many".into();
    };
    check(
        newer,
        &[(Reject::Malformed, malformed), (Reject::Lifetime, lifetime), (Reject::DevicesFull, full)],
    );
}

#[test]
fn a_measurement_is_refused_in_order() {
    fn change(setting: &mut Setting, change: fn(&mut Calibration)) {
        let Call::Calibrate(signed) = &mut setting.call else { unreachable!("a measurement") };
        change(&mut signed.body);
        let challenger = signed.body.challenge.challenger;
        let own = [PROVIDER, CHALLENGER].map(key).into_iter().find(|key| key.public() == challenger);
        **signed = own.expect("a key of the story").sign(signed.body.clone());
    }
    let forge: Fault = |setting| {
        let Call::Calibrate(signed) = &mut setting.call else { unreachable!("a measurement") };
        **signed = key(STRANGER).sign(signed.body.clone());
    };
    let later: Fault = |setting| {
        let mut calibration = setting.deal.calibration(&key(CHALLENGER));
        calibration.ended_at.0 += 1;
        let call = Call::Calibrate(Box::new(key(CHALLENGER).sign(calibration)));
        setting.chain.acting(&key(PROVIDER)).ok(call);
    };
    check(
        || staked(|deal| Call::Calibrate(Box::new(key(CHALLENGER).sign(deal.calibration(&key(CHALLENGER)))))),
        &[
            (Reject::Malformed, |setting| change(setting, |new| new.device.name = "x".repeat(65))),
            (Reject::BadCalibrationSignature, forge),
            (Reject::SameAccount, |setting| {
                change(setting, |new| new.challenge.challenger = key(PROVIDER).public());
            }),
            (Reject::UnknownDevice, |setting| change(setting, |new| new.device.name = "another".into())),
            (Reject::NotNewer, later),
            (Reject::CalibrationMismatch, |setting| change(setting, |new| new.prefill_ns = 0)),
        ],
    );
}
