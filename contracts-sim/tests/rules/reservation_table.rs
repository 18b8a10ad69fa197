//! Reservations, every state with every call: the table that docs/LEDGER.md shows is made here.

use gridhour_contracts_sim::{
    harness::{Chain, Deal, key, table},
    tx::Call,
};
use gridhour_protocol::{
    id::ReservationId,
    market::{reservation::ReservationOffer, tier::Tier},
    signed::SecretKey,
    units::{Credits, Millis},
};

const STATES: [&str; 9] =
    ["absent", "to come", "running", "called for", "answered", "missed", "drawn", "ended", "over"];
const CLIENT: u8 = 1;
const PROVIDER: u8 = 2;
const MINUTE_MS: u64 = 60_000;

struct Case {
    chain: Chain,
    offer: ReservationOffer,
    reservation: ReservationId,
    /// The session that is open under the reservation, if one is.
    drawn: Deal,
    /// One that could be opened now.
    next: Deal,
}

fn deal(chain: &Chain, number: u64) -> Deal {
    let mut deal = Deal::new(chain, &key(CLIENT), &key(PROVIDER)).in_tier(Tier::Reserved);
    (deal.order.nonce, deal.terms.use_until.0) = (number, chain.now().0 + 3 * MINUTE_MS);
    deal
}

/// A reservation in `state`.
fn case(state: &str) -> Case {
    let mut chain = Chain::new();
    let first = deal(&chain, 1);
    chain.ready_device(&first);
    let offer = first.reservation();
    let mut reservation = offer.id();
    if state != "absent" {
        reservation = chain.book(&first, &offer);
    } else {
        chain.fund(&key(CLIENT).public(), offer.price_of(offer.slots));
        chain.fund(&key(PROVIDER).public(), offer.bond(0));
    }
    if !["absent", "to come"].contains(&state) {
        chain.advance(Millis(10 * MINUTE_MS));
    }
    let drawn = deal(&chain, 2);
    if ["drawn", "ended", "over"].contains(&state) {
        chain.acting(&key(CLIENT)).ok(drawn.draw_slot(reservation));
    }
    if ["called for", "answered", "missed"].contains(&state) {
        chain.acting(&key(CLIENT)).ok(Call::Demand { reservation });
    }
    if state == "answered" {
        chain.acting(&key(PROVIDER)).ok(drawn.answer(reservation));
    }
    let minutes = match state {
        "missed" => 2,
        "ended" => 10,
        "over" => 40,
        _ => 0,
    };
    chain.advance(Millis(minutes * MINUTE_MS));
    let next = deal(&chain, 3);
    Case { chain, offer, reservation, drawn, next }
}

type MakeCall = fn(&Case) -> (SecretKey, Call);

const CALLS: [(&str, MakeCall); 15] = [
    ("book, client", |case| (key(CLIENT), case.next.book(&case.offer))),
    ("book, another", |case| (key(9), case.next.book(&case.offer))),
    ("demand, client", |case| (key(CLIENT), demand(case))),
    ("demand, provider", |case| (key(PROVIDER), demand(case))),
    ("answer, provider", |case| (key(PROVIDER), case.next.answer(case.reservation))),
    ("answer, client", |case| (key(CLIENT), case.next.answer(case.reservation))),
    ("draw-slot, client", |case| (key(CLIENT), case.next.draw_slot(case.reservation))),
    ("draw-slot, provider", |case| (key(PROVIDER), case.next.draw_slot(case.reservation))),
    ("draw-slot of more than the slot's price, client", |case| (key(CLIENT), over(case))),
    ("draw-slot for longer than the slot, client", |case| (key(CLIENT), long(case))),
    ("top-up of its session, client", |case| (key(CLIENT), top_up(case))),
    ("close its session, provider", |case| (key(PROVIDER), close(case))),
    ("give-up, client", |case| (key(CLIENT), Call::GiveUp { reservation: case.reservation })),
    ("give-up, provider", |case| (key(PROVIDER), Call::GiveUp { reservation: case.reservation })),
    ("settle, anyone", |case| (key(9), Call::Settle { reservation: case.reservation })),
];

fn demand(case: &Case) -> Call {
    Call::Demand { reservation: case.reservation }
}

fn over(case: &Case) -> Call {
    let much = Credits(case.offer.slot_price().0 + 1);
    let mut deal = Deal { hold: much, ..case.next.clone() };
    deal.order.total_max = much;
    deal.draw_slot(case.reservation)
}

fn long(case: &Case) -> Call {
    let mut deal = case.next.clone();
    deal.terms.use_until.0 += 8 * MINUTE_MS;
    deal.terms.collect_until.0 += 8 * MINUTE_MS;
    deal.draw_slot(case.reservation)
}

fn top_up(case: &Case) -> Call {
    Call::TopUp { session: case.drawn.session(), amount: Credits(50) }
}

fn close(case: &Case) -> Call {
    Call::Close { session: case.drawn.session(), vouchers: vec![], release: None }
}

#[test]
fn the_docs_show_the_table() {
    let docs = include_str!("../../../docs/LEDGER.md");
    let table = table(&STATES, &CALLS, |state, make| {
        let mut case = case(state);
        let (who, call) = make(&case);
        case.chain.acting(&who).answered(call)
    });
    assert!(docs.contains(&table), "docs/LEDGER.md must show:\n{table}");
}
