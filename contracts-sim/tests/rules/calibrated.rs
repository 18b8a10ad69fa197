//! Orders that insist on a calibration: the ledger opens no session outside them.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::reject::Reject,
};
use gridhour_protocol::{
    calibration::{
        job::Challenge,
        receipt::{Calibration, DeviceName},
        shape::MEMORY_MIN,
    },
    exact::numerics_digest,
    id::{OutputDigest, ScoreDigest},
    market::advert::RateSource,
    units::Credits,
};

const CHALLENGER: u8 = 7;

/// The answer to an opening under an order that trusts `trusted`, with an advert that shows a receipt signed
/// by `signer`.
fn opened(trusted: u8, signer: u8) -> Result<(), Reject> {
    let mut chain = Chain::new();
    let (client, provider) = (key(2), key(3));
    chain.fund(&client.public(), Credits(50_000));
    let mut deal = Deal::new(&chain, &client, &provider);
    let device = &mut deal.advert.device;
    let receipt = Calibration {
        challenge: Challenge {
            numerics: numerics_digest(),
            network: deal.order.network,
            challenger: key(CHALLENGER).public(),
            provider: provider.public(),
            memory_bytes: MEMORY_MIN,
            seed: [1; 32],
        },
        device: DeviceName::of(device),
        prompt_nonce: [2; 32],
        output_nonce: [3; 32],
        output: OutputDigest([4; 32]),
        scores: ScoreDigest([5; 32]),
        prefill_ns: 1_000_000,
        decode_ns: 1_000_000,
        started_at: deal.order.issued_at,
        ended_at: deal.order.issued_at,
    };
    device.memory_bytes = MEMORY_MIN;
    device.rates = receipt.rates().expect("sound times");
    device.rate_source = RateSource::Calibrated(Box::new(key(signer).sign(receipt)));
    deal.terms.rates = deal.advert.device.rates;
    deal.order.calibrated_by = vec![key(trusted).public()];
    chain.acting(&client).call(deal.open()).map(|_| ())
}

#[test]
fn a_session_opens_with_a_provider_that_a_trusted_challenger_calibrated() {
    assert_eq!(opened(CHALLENGER, CHALLENGER), Ok(()));
}

#[test]
fn a_calibration_by_others_or_by_nobody_opens_nothing() {
    assert_eq!(opened(8, CHALLENGER), Err(Reject::NotCalibrated), "another challenger");
    assert_eq!(opened(CHALLENGER, 8), Err(Reject::NotCalibrated), "signed by another");
    assert_eq!(opened(CHALLENGER, 3), Err(Reject::NotCalibrated), "signed by the provider itself");
}
