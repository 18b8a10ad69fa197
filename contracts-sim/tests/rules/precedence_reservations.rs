//! Refusals about reservations have one order: of two faults, the one with the lower code gives the answer.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key},
    ledger::{admit::Admitted, reject::Reject},
    limits::{DEVICE_RESERVATIONS_MAX, RESERVATION_MS_MAX},
    tx::{Call, Open},
};
use gridhour_protocol::{
    id::{NetworkId, PostingId, ReservationId},
    limits::QUOTE_TTL_MS_MAX,
    market::{advert::Advert, quote::Quote, reservation::ReservationOffer, tier::Tier},
    session::terms::Terms,
    signed::Signed,
    units::{Credits, Millis},
};

use crate::precedence::pairs::{Fault, Setting, check};

const CLIENT: u8 = 1;
const PROVIDER: u8 = 2;
const MINUTE_MS: u64 = 60_000;
const SLOT: Millis = Millis(10 * MINUTE_MS);

fn deal(chain: &Chain, number: u64) -> Deal {
    let mut deal = Deal::new(chain, &key(CLIENT), &key(PROVIDER)).in_tier(Tier::Reserved);
    (deal.order.nonce, deal.terms.use_until.0) = (number, chain.now().0 + 3 * MINUTE_MS);
    deal
}

/// An offer that waits for its client, who has the money, as its provider has.
fn offered() -> Setting {
    let mut chain = Chain::new();
    let deal = deal(&chain, 1);
    chain.ready_device(&deal);
    let offer = deal.reservation();
    chain.fund(&deal.client.public(), offer.price_of(offer.slots));
    chain.fund(&deal.provider.public(), offer.bond(0));
    let call = deal.book(&offer);
    Setting { chain, sender: deal.client.clone(), deal, call }
}

/// The first slot runs, and both sides have a deal that is fresh.
fn running() -> (Setting, ReservationId) {
    let Setting { mut chain, deal: booked, sender, call } = offered();
    chain.acting(&sender).ok(call);
    chain.advance(SLOT);
    let reservation = booked.reservation().id();
    let deal = deal(&chain, 2);
    (Setting { chain, deal, sender, call: Call::Demand { reservation } }, reservation)
}

/// Changes the offer, which its provider signs anew, so that no fault undoes another.
fn reoffer(setting: &mut Setting, change: fn(&mut ReservationOffer)) {
    let Call::Book(offer) = &mut setting.call else { unreachable!("a booking") };
    change(&mut offer.body);
    let signer = if offer.body.provider == key(CLIENT).public() { key(CLIENT) } else { key(PROVIDER) };
    **offer = signer.sign(offer.body.clone());
}

fn forge(setting: &mut Setting) {
    let Call::Book(offer) = &mut setting.call else { unreachable!("a booking") };
    offer.signature = key(9).sign(offer.body.clone()).signature;
}

/// The same device for a part of the same time, for another client.
fn book_before(setting: &mut Setting) {
    let other = Deal::new(&setting.chain, &key(8), &key(PROVIDER));
    let mut offer = other.reservation();
    (offer.starts_at.0, offer.accept_until.0) = (offer.starts_at.0 + 1, offer.accept_until.0);
    setting.chain.book(&other, &offer);
}

#[test]
fn a_booking_is_refused_in_order() {
    check(
        offered,
        &[
            (Reject::Malformed, |setting| reoffer(setting, |offer| offer.standby = 1_001)),
            (Reject::NotReserver, |setting| setting.sender = key(9)),
            (Reject::SameAccount, |setting| reoffer(setting, |offer| offer.provider = offer.client)),
            (Reject::Lifetime, |setting| {
                reoffer(setting, |offer| offer.starts_at.0 += RESERVATION_MS_MAX);
            }),
            (Reject::TermsNetwork, |setting| {
                reoffer(setting, |offer| offer.network = NetworkId([9; 32]));
            }),
            (Reject::UnknownDevice, |setting| reoffer(setting, |offer| offer.device.0[0] ^= 1)),
            (Reject::OverCapacity, |setting| {
                reoffer(setting, |offer| offer.rates.decode.0 = 1 << 60);
            }),
            (Reject::TimeReserved, book_before),
            (Reject::InsufficientBalance, |setting| reoffer(setting, |offer| offer.slots += 1)),
        ],
    );
}

/// Of faults that others would undo: a signature that every change renews, and a stake that a device must have.
#[test]
fn a_booking_is_refused_for_its_signature_its_stake_and_its_measurement() {
    let answer = |fault: Fault| {
        let mut setting = offered();
        fault(&mut setting);
        setting.chain.acting(&setting.sender).call(setting.call).map(|_| ())
    };
    assert_eq!(answer(forge), Err(Reject::BadOfferSignature));
    let unbond: Fault = |setting| {
        let (device, provider) = (setting.deal.device(), key(PROVIDER));
        let amount = setting.chain.state().stake(&device).expect("a bond").bonded;
        setting.chain.acting(&provider).ok(Call::Unbond { device, amount });
    };
    assert_eq!(answer(unbond), Err(Reject::UnknownStake), "what is on its way back is no bond");
    let unmeasured: Fault = |setting| {
        let (device, provider) = (setting.deal.device(), key(PROVIDER));
        let register = setting.deal.register();
        setting.chain.acting(&provider).ok(Call::Deregister { device });
        setting.chain.acting(&provider).ok(register);
    };
    assert_eq!(answer(unmeasured), Err(Reject::OverCapacity), "its own word is not enough");
    let late: Fault = |setting| setting.chain.advance(Millis(SLOT.0 + 1));
    assert_eq!(answer(late), Err(Reject::Lifetime), "an offer is firm until it says, and no longer");
    let at_the_last: Fault = |setting| setting.chain.advance(SLOT);
    assert_eq!(answer(at_the_last), Ok(()));
    let unfunded: Fault = |setting| {
        let amount = setting.chain.state().balance(&key(PROVIDER).public());
        setting.chain.acting(&key(PROVIDER)).ok(Call::Transfer { to: key(9).public(), amount });
    };
    assert_eq!(answer(unfunded), Err(Reject::InsufficientBalance), "no bond, no reservation");
}

#[test]
fn a_device_has_so_many_reservations_and_no_more() {
    let Setting { mut chain, deal, .. } = offered();
    let offer_of = |number: u64| {
        let offer = deal.reservation();
        let starts_at = offer.start_of(u16::try_from(4 * number).expect("few"));
        ReservationOffer { starts_at, nonce: number, ..offer }
    };
    for number in 0..DEVICE_RESERVATIONS_MAX as u64 {
        chain.book(&deal, &offer_of(number));
    }
    let next = offer_of(DEVICE_RESERVATIONS_MAX as u64);
    chain.acting(&deal.client).expect(deal.book(&next), Reject::TimeReserved);
}

fn demanding() -> Setting {
    running().0
}

const NO_SUCH: Fault = |setting| match &mut setting.call {
    Call::Demand { reservation }
    | Call::Answer { reservation, .. }
    | Call::DrawSlot { reservation, .. }
    | Call::GiveUp { reservation }
    | Call::Settle { reservation } => reservation.0[0] ^= 1,
    _ => unreachable!("a call of a reservation"),
};
const TO_THE_END: Fault = |setting| setting.chain.advance(Millis(40 * MINUTE_MS));

#[test]
fn a_demand_is_refused_in_order() {
    let faults: [(Reject, Fault); 4] = [
        (Reject::UnknownReservation, NO_SUCH),
        (Reject::NotReserver, |setting| setting.sender = key(PROVIDER)),
        // Nine minutes and a minute to answer are the whole slot.
        (Reject::SlotClosed, |setting| setting.chain.advance(Millis(9 * MINUTE_MS))),
        (Reject::SlotCalled, |setting| {
            let call = setting.call.clone();
            let _ = setting.chain.acting(&key(CLIENT)).call(call);
        }),
    ];
    check(demanding, &faults[..3]);
    check(demanding, &[&faults[..2], &faults[3..]].concat());
}

#[test]
fn an_answer_is_refused_in_order() {
    fn answering() -> Setting {
        let (mut setting, reservation) = running();
        let (demand, call) = (setting.call.clone(), setting.deal.answer(reservation));
        setting.chain.acting(&setting.sender).ok(demand);
        Setting { call, sender: key(PROVIDER), ..setting }
    }
    fn readvertise(setting: &mut Setting, change: fn(&mut Advert)) {
        let Call::Answer { advert, .. } = &mut setting.call else { unreachable!("an answer") };
        change(&mut advert.body);
        **advert = key(PROVIDER).sign(advert.body.clone());
    }
    let too_short: Fault =
        |setting| readvertise(setting, |advert| advert.expires_at.0 = advert.issued_at.0 + 10_000);
    check(
        answering,
        &[
            (Reject::UnknownReservation, NO_SUCH),
            (Reject::NotReserver, |setting| setting.sender = key(CLIENT)),
            (Reject::SlotClosed, |setting| setting.chain.advance(Millis(MINUTE_MS + 1))),
            (Reject::NotAsReserved, |setting| readvertise(setting, |advert| advert.ask.0 -= 1)),
            (Reject::AdvertNotLive, too_short),
        ],
    );
    let mut setting = answering();
    let Call::Answer { advert, .. } = &mut setting.call else { unreachable!("an answer") };
    advert.body.queued += 1;
    setting.chain.acting(&setting.sender).expect(setting.call, Reject::BadAdvertSignature);
}

#[test]
fn a_draw_is_refused_in_order() {
    fn drawing() -> Setting {
        let (setting, reservation) = running();
        let call = setting.deal.draw_slot(reservation);
        Setting { call, ..setting }
    }
    fn redraw(setting: &mut Setting, change: fn(&mut Deal)) {
        change(&mut setting.deal);
        let signed = setting.deal.sign();
        **open(setting) = signed;
    }
    fn open(setting: &mut Setting) -> &mut Box<Open> {
        let Call::DrawSlot { open, .. } = &mut setting.call else { unreachable!("a draw") };
        open
    }
    check(
        drawing,
        &[
            (Reject::UnknownReservation, NO_SUCH),
            (Reject::NotReserver, |setting| setting.sender = key(PROVIDER)),
            (Reject::SlotClosed, TO_THE_END),
            (Reject::NotAsReserved, |setting| {
                redraw(setting, |deal| deal.terms.use_until.0 += 8 * MINUTE_MS);
            }),
            (Reject::ZeroAmount, |setting| redraw(setting, |deal| deal.hold = Credits::ZERO)),
            (Reject::PriceNotAsk, |setting| redraw(setting, |deal| deal.terms.price.0 -= 1)),
            (Reject::OverOrder, |setting| redraw(setting, |deal| deal.order.total_max = Credits(1))),
            (Reject::OverSlot, |setting| {
                redraw(setting, |deal| {
                    deal.hold = Credits(100_001);
                    deal.order.total_max = deal.order.total_max.max(Credits(1 << 40));
                });
            }),
        ],
    );
}

/// Adverts of something else than is reserved, and terms that fit them: each would do without the reservation.
const OTHERS: [fn(&mut Deal); 6] = [
    |deal| (deal.advert.spot, deal.advert.ask.0, deal.terms.price.0) = (None, 9, 9),
    |deal| deal.advert.device.name = "another".into(),
    |deal| {
        deal.advert.device.rates.decode.0 -= 1;
        deal.terms.rates = deal.advert.device.rates;
    },
    |deal| {
        deal.advert.models[0].work.layers *= 1_000;
        deal.terms.work = deal.advert.models[0].work;
    },
    |deal| {
        deal.advert.device.numerics += 1;
        deal.terms.numerics = deal.advert.device.numerics;
    },
    |deal| {
        deal.advert.models[0].model.0[0] ^= 1;
        let other = deal.advert.models[0].model;
        (deal.order.model, deal.terms.model) = (other, other);
    },
];

fn changed(deal: &Deal, change: fn(&mut Deal)) -> Deal {
    let mut other = deal.clone();
    change(&mut other);
    other
}

/// Whatever differs from what is reserved: a session is not of the slot, though it would open otherwise.
#[test]
fn a_session_of_another_model_device_or_price_draws_nothing() {
    let another_provider: fn(&mut Deal) = |deal| {
        deal.provider = key(9);
        (deal.advert.provider, deal.terms.provider) = (key(9).public(), key(9).public());
    };
    // One that is offered as well, beside the reserved one.
    let another_model: fn(&mut Deal) = |deal| {
        let mut offer = deal.advert.models[0];
        offer.model.0[0] ^= 1;
        (deal.order.model, deal.terms.model) = (offer.model, offer.model);
        deal.advert.models.push(offer);
    };
    for (number, change) in OTHERS.into_iter().chain([another_provider, another_model]).enumerate() {
        let (Setting { mut chain, deal, .. }, reservation) = running();
        let other = changed(&deal, change);
        chain.acting(&key(CLIENT)).expect(other.draw_slot(reservation), Reject::NotAsReserved);
        chain.acting(&key(CLIENT)).ok(deal.draw_slot(reservation));
        chain.fund(&key(CLIENT).public(), Credits(10_000));
        let alone = Deal { terms: Terms { nonce: 2, ..other.terms.clone() }, ..other };
        let alone = alone.in_tier(Tier::OnDemand);
        let opened = chain.acting(&key(CLIENT)).call(alone.open());
        assert!(opened.is_ok(), "change {number}: {opened:?}");
    }
}

/// A use that outlasts the slot which runs may fit the next one.
#[test]
fn a_session_for_longer_than_its_slot_opens_in_the_next() {
    let (Setting { mut chain, .. }, reservation) = running();
    chain.advance(Millis(9 * MINUTE_MS));
    let late = deal(&chain, 2).draw_slot(reservation);
    let tx = chain.sign(&key(CLIENT), late);
    assert_eq!(chain.send(tx.clone()), Err(Reject::NotAsReserved));
    assert!(Reject::NotAsReserved.is_transient());
    chain.advance(Millis(MINUTE_MS));
    assert!(chain.send(tx).is_ok());
}

/// A provider that could answer with a thousand times the work for the same money would serve nothing, and be paid for
/// standing by.
#[test]
fn an_advert_of_another_model_device_or_price_is_no_answer() {
    let (Setting { mut chain, deal, .. }, reservation) = running();
    chain.acting(&key(CLIENT)).ok(Call::Demand { reservation });
    for change in OTHERS {
        let answer = changed(&deal, change).answer(reservation);
        chain.acting(&key(PROVIDER)).expect(answer, Reject::NotAsReserved);
    }
    let quoted = |to: u8| {
        let mut deal = deal.clone();
        deal.advert.expires_at.0 = deal.advert.issued_at.0 + QUOTE_TTL_MS_MAX;
        deal.advert.quote = Some(Quote { client: key(to).public(), posting: PostingId([5; 32]) });
        deal.answer(reservation)
    };
    chain.acting(&key(PROVIDER)).expect(quoted(77), Reject::NotAsReserved);
    chain.acting(&key(PROVIDER)).ok(quoted(CLIENT));
}

#[test]
fn giving_up_and_settling_are_refused_in_order() {
    fn giving_up() -> Setting {
        let (setting, reservation) = running();
        Setting { call: Call::GiveUp { reservation }, ..setting }
    }
    check(
        giving_up,
        &[
            (Reject::UnknownReservation, NO_SUCH),
            (Reject::NotReserver, |setting| setting.sender = key(PROVIDER)),
            (Reject::SlotClosed, |setting| setting.chain.advance(Millis(20 * MINUTE_MS))),
        ],
    );
    fn settling() -> Setting {
        let (mut setting, reservation) = running();
        setting.chain.advance(SLOT);
        Setting { sender: key(9), call: Call::Settle { reservation }, ..setting }
    }
    check(
        settling,
        &[
            (Reject::UnknownReservation, NO_SUCH),
            (Reject::NothingDue, |setting| {
                let call = setting.call.clone();
                let _ = setting.chain.acting(&key(8)).call(call);
            }),
        ],
    );
}

/// A top-up is of the slot in which its session opened, while that runs.
#[test]
fn a_top_up_is_refused_when_its_slot_is_over() {
    let (Setting { mut chain, mut deal, .. }, reservation) = running();
    deal.terms.use_until = deal.reservation().starts_at;
    chain.acting(&key(CLIENT)).ok(deal.draw_slot(reservation));
    let session = deal.session();
    let top_up = |amount| Call::TopUp { session, amount: Credits(amount) };
    chain.acting(&key(CLIENT)).expect(top_up(0), Reject::ZeroAmount);
    chain.acting(&key(PROVIDER)).expect(top_up(50), Reject::NotParty);
    chain.acting(&key(CLIENT)).expect(top_up(601), Reject::OverOrder);
    chain.acting(&key(CLIENT)).ok(top_up(600));
    chain.advance(SLOT);
    chain.acting(&key(CLIENT)).expect(top_up(50), Reject::UseOver);
}

/// An order says whether it is for a slot, and opens nothing else.
#[test]
fn an_order_opens_in_a_slot_if_and_only_if_it_is_for_what_is_reserved() {
    for tier in Tier::ALL {
        let (Setting { mut chain, deal, .. }, reservation) = running();
        chain.fund(&key(CLIENT).public(), deal.hold);
        let deal = deal.in_tier(tier);
        let (refused, taken) = match tier {
            Tier::Reserved => (deal.open(), deal.draw_slot(reservation)),
            Tier::OnDemand | Tier::Spot => (deal.draw_slot(reservation), deal.open()),
        };
        chain.acting(&key(CLIENT)).expect(refused, Reject::NotAsReserved);
        chain.acting(&key(CLIENT)).ok(taken);
    }
}

/// An order may allow more than is left of the slot.
#[test]
fn a_top_up_is_refused_beyond_the_slots_price() {
    let (Setting { mut chain, mut deal, .. }, reservation) = running();
    deal.order.total_max = Credits(1 << 40);
    deal.hold = Credits(99_999);
    chain.acting(&key(CLIENT)).ok(deal.draw_slot(reservation));
    let top_up = |amount| Call::TopUp { session: deal.session(), amount: Credits(amount) };
    chain.acting(&key(CLIENT)).expect(top_up(2), Reject::OverSlot);
    chain.acting(&key(CLIENT)).ok(top_up(1));
}

/// What a provider signed for one client, another cannot accept, nor change, without the signature failing.
#[test]
fn an_offer_is_for_its_client_and_as_it_was_signed() {
    let Setting { mut chain, deal, call, .. } = offered();
    let Call::Book(signed) = call else { unreachable!("a booking") };
    let changed = Signed { body: ReservationOffer { standby: 0, ..signed.body.clone() }, ..*signed.clone() };
    let tx = chain.sign(&deal.client, Call::Book(Box::new(changed)));
    assert_eq!(Admitted::check(tx).err(), Some(Reject::BadOfferSignature));
    chain.acting(&key(9)).expect(Call::Book(signed), Reject::NotReserver);
}
