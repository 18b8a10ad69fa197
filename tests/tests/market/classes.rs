//! What is sold is a rate, never a class of device.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::reject::Reject,
};
use gridhour_protocol::{
    market::{
        advert::{Advert, DeviceClass},
        costs::BuyerCosts,
        estimate::Measured,
        mask::Reason,
        matching::{Matcher, Offer},
        order::Order,
        score::Score,
    },
    units::{Credits, Timestamp},
};

const CLIENT: u8 = 1;
const PROVIDER: u8 = 2;
const CHALLENGER: u8 = 9;

/// What a buyer makes of this offer.
fn judged(order: &Order, advert: &Advert, now: Timestamp) -> Result<Score, Reason> {
    let order = key(CLIENT).sign(order.clone()).verify().expect("just signed");
    let advert = key(PROVIDER).sign(advert.clone()).verify().expect("just signed");
    let matcher = Matcher { order: &order, numerics: 1, now, costs: &BuyerCosts::NONE };
    let offer = Offer { advert: &advert, measured: Measured::default() };
    matcher.judge(&offer).map_err(|failure| failure.reason())
}

/// A processor that says it is a graphics adapter gains nothing by it: offers are compared by their rates, and whoever does
/// not take a provider's word for those asks for a calibration, which the buyer's match and the ledger insist on alike.
#[test]
fn a_cpu_never_passes_for_a_gpu() {
    let mut chain = Chain::new();
    let mut deal = Deal::new(&chain, &key(CLIENT), &key(PROVIDER));
    chain.fund(&key(CLIENT).public(), Credits(10_000));
    let of_class = |advert: &Advert, class| {
        let mut advert = advert.clone();
        advert.device.class = class;
        advert
    };
    let classes = [DeviceClass::Cpu, DeviceClass::Gpu].map(|class| of_class(&deal.advert, class));
    let [honest, boasts] = classes.each_ref().map(|advert| judged(&deal.order, advert, chain.now()));
    assert!(honest.is_ok() && honest == boasts, "{honest:?} against {boasts:?}");
    deal.order.calibrated_by = vec![key(CHALLENGER).public()];
    for advert in classes {
        assert_eq!(judged(&deal.order, &advert, chain.now()), Err(Reason::NotCalibrated));
        deal.advert = advert;
        chain.acting(&key(CLIENT)).expect(deal.open(), Reject::NotCalibrated);
    }
}
