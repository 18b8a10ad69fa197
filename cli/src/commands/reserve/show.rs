//! How reservations are shown: those of the ledger that are not over.

use gridhour_contracts_sim::state::Reservation;
use gridhour_node::clock;
use gridhour_protocol::{market::reservation::ReservationOffer, signed::PublicKey, units::Timestamp};
use serde_json::{Value, json};

use super::percent;
use crate::{
    context::Context,
    error::Result,
    human_time::{span, when},
    output::Table,
};

/// Prints all reservations of an account.
pub fn list(context: &Context, account: &PublicKey, known: &[Reservation]) -> Result {
    let now = clock::now();
    let documents: Vec<Value> = known.iter().map(|known| document(account, known, now)).collect();
    context.out.document(&json!({ "reservations": documents }))?;
    if known.is_empty() {
        return context.out.line(format!("{account} has no reservation that is not over"));
    }
    let mut table = Table::new(["id", "side", "with", "slots", "missed", "state", "held", "ends"]);
    for known in known {
        table.row([
            known.terms.id().short(),
            side(account, known).to_owned(),
            other_side(account, known).short(),
            format!("{} of {} settled", known.settled, known.slots),
            known.missed.len().to_string(),
            state(known, now),
            if side(account, known) == "client" { known.prepaid() } else { known.bond() }.to_string(),
            when(known.end(), now),
        ]);
    }
    table.lines().iter().try_for_each(|line| context.out.line(line))
}

/// Prints one reservation.
pub fn one(context: &Context, account: &PublicKey, known: &Reservation) -> Result {
    let now = clock::now();
    context.out.document(&document(account, known, now))?;
    lines(known, now).iter().try_for_each(|line| context.out.line(line))
}

fn lines(known: &Reservation, now: Timestamp) -> Vec<String> {
    let terms = &known.terms;
    let ladder: Vec<String> = terms.ladder.iter().map(|rung| percent(*rung)).collect();
    vec![
        format!("reservation {}", terms.id()),
        format!("provider    {}", terms.provider),
        format!("client      {}", terms.client),
        format!("model       {}", terms.model),
        format!(
            "window      {} slots of {}, from {}",
            terms.slots,
            span(terms.slot),
            when(terms.starts_at, now)
        ),
        format!(
            "price       {} credits a slot, {} of what is not used for standing by",
            terms.slot_price(),
            percent(terms.standby)
        ),
        format!("ladder      {}; an answer within {}", ladder.join(", "), span(terms.answer_within)),
        format!("state       {}", state(known, now)),
        format!("settled     {} of {} slots that are left of {}", known.settled, known.slots, terms.slots),
        format!("missed      {}", missed(known)),
        format!("held        {} credits prepaid, {} put up by the provider", known.prepaid(), known.bond()),
    ]
}

fn missed(known: &Reservation) -> String {
    let slots: Vec<String> = known.missed.iter().map(u16::to_string).collect();
    match slots.is_empty() {
        true => "no slot".into(),
        false => format!("slots {}: what was not used of their price is back", slots.join(", ")),
    }
}

/// Where a reservation stands, in words.
fn state(known: &Reservation, now: Timestamp) -> String {
    if !known.is_live() {
        return "over; a session is still open".into();
    }
    if known.is_missed(now) {
        return format!("slot {} was missed, and is to be settled", known.settled);
    }
    let called = known.demand.filter(|_| known.slot_at(now) == Some(known.settled));
    match (known.slot_at(now), called) {
        (Some(slot), Some(demand)) if demand.answered => {
            format!("slot {slot} runs; the provider answered for it")
        }
        (Some(slot), Some(demand)) => {
            format!("slot {slot} is called for; to be answered {}", when(demand.answer_by, now))
        }
        (Some(slot), None) => format!("slot {slot} runs, {} credits of it are left", known.left_of(slot)),
        (None, _) if now >= known.end() => "ended; to be settled".into(),
        (None, _) => "waits for its next slot".into(),
    }
}

fn side(account: &PublicKey, known: &Reservation) -> &'static str {
    if known.terms.client == *account { "client" } else { "provider" }
}

fn other_side(account: &PublicKey, known: &Reservation) -> PublicKey {
    if known.terms.client == *account { known.terms.provider } else { known.terms.client }
}

/// The terms for programs.
pub fn terms_json(terms: &ReservationOffer) -> Value {
    json!({
        "id": terms.id().to_string(), "provider": terms.provider.to_string(), "client": terms.client.to_string(),
        "device": terms.device.to_string(), "model_id": terms.model.to_string(), "price": terms.price.0,
        "starts_at": terms.starts_at.0, "ends_at": terms.start_of(terms.slots).0, "slot_ms": terms.slot.0,
        "slots": terms.slots, "capacity_ms": terms.capacity.0 / 1_000_000, "slot_price": terms.slot_price().0,
        "total": terms.price_of(terms.slots).0, "bond": terms.bond(0).0, "standby": terms.standby,
        "answer_within_ms": terms.answer_within.0, "notice_ms": terms.notice.0, "ladder": terms.ladder,
        "firm_until": terms.accept_until.0,
    })
}

fn document(account: &PublicKey, known: &Reservation, now: Timestamp) -> Value {
    json!({
        "id": known.terms.id().to_string(), "side": side(account, known), "state": state(known, now),
        "slots": known.slots, "settled": known.settled, "missed": known.missed, "prepaid": known.prepaid().0,
        "put_up": known.bond().0, "ends_at": known.end().0, "running": known.slot_at(now), "open": known.open,
        "answer_by": known.demand.filter(|demand| !demand.answered).map(|demand| demand.answer_by.0),
        "terms": terms_json(&known.terms),
    })
}

#[cfg(test)]
mod tests {
    use gridhour_contracts_sim::{
        harness::{Chain, Deal, key},
        state::reservation::Demand,
    };

    use super::*;

    #[test]
    fn a_state_says_what_is_awaited() {
        let offer = Deal::new(&Chain::new(), &key(1), &key(2)).reservation();
        let (begin, slot) = (offer.starts_at, offer.slot.0);
        let mut known = Reservation::new(offer);
        let at = |known: &Reservation, ms: u64| state(known, Timestamp(begin.0 + ms));
        assert_eq!(state(&known, Timestamp(begin.0 - 1)), "waits for its next slot");
        assert!(at(&known, 0).starts_with("slot 0 runs"));
        assert!(at(&known, slot).starts_with("slot 1 runs"));
        assert_eq!(at(&known, 4 * slot), "ended; to be settled");
        known.demand = Some(Demand { answer_by: Timestamp(begin.0 + 60_000), answered: false });
        assert!(at(&known, 60_000).starts_with("slot 0 is called for"));
        assert!(at(&known, 60_001).starts_with("slot 0 was missed"));
        known.demand = Some(Demand { answer_by: Timestamp(begin.0 + 60_000), answered: true });
        assert!(at(&known, 60_001).contains("answered"));
        known.settled = known.slots;
        assert!(at(&known, 0).starts_with("over"));
    }

    #[test]
    fn each_side_sees_the_other() {
        let known = Reservation::new(Deal::new(&Chain::new(), &key(1), &key(2)).reservation());
        let (client, provider) = (key(1).public(), key(2).public());
        assert_eq!((side(&client, &known), other_side(&client, &known)), ("client", provider));
        assert_eq!((side(&provider, &known), other_side(&provider, &known)), ("provider", client));
        let document = document(&client, &known, known.terms.starts_at);
        assert_eq!(document["prepaid"], known.prepaid().0);
        assert_eq!(document["terms"]["id"], document["id"]);
        assert_eq!((document["running"].as_u64(), &document["answer_by"]), (Some(0), &Value::Null));
    }
}
