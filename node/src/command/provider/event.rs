//! What a provider reports, for programs and for people.

use gridhour_protocol::units::{Credits, Timestamp};
use serde_json::{Value, json};

use crate::{clock, drivers::provider::ProviderEvent};

/// One line of JSON for programs.
pub(in crate::command) fn event_json(event: &ProviderEvent) -> Value {
    match event {
        ProviderEvent::Advertised { sequence, slots_free } => {
            json!({ "event": "advertised", "sequence": sequence, "slots_free": slots_free })
        }
        ProviderEvent::Job { session, end, output_tokens } => json!({
            "event": "job", "session": session.to_string(), "end": end, "output_tokens": output_tokens,
        }),
        ProviderEvent::Reclaiming { session, notice } => json!({
            "event": "reclaiming", "session": session.to_string(), "notice_ms": notice.0,
        }),
        ProviderEvent::Closed { session } => json!({ "event": "closed", "session": session.to_string() }),
        ProviderEvent::Forgotten { session } => {
            json!({ "event": "forgotten", "session": session.to_string() })
        }
        ProviderEvent::Quoted { client, price, until } => json!({
            "event": "quoted", "client": client.to_string(), "price": price.0, "until": until.0,
        }),
        ProviderEvent::QuoteLapsed { client } => {
            json!({ "event": "quote-lapsed", "client": client.to_string() })
        }
        ProviderEvent::Misdeed { client, what, count } => {
            json!({ "event": "misdeed", "client": client.to_string(), "what": what, "count": count })
        }
        ProviderEvent::Withdrawn { why } => json!({ "event": "withdrawn", "why": why }),
        ProviderEvent::Restored => json!({ "event": "restored" }),
        ProviderEvent::Calibrating { challenger, memory_bytes } => json!({
            "event": "calibrating", "challenger": challenger.to_string(), "memory_bytes": memory_bytes,
        }),
        ProviderEvent::Calibrated { challenger, prefill, decode } => json!({
            "event": "calibrated", "challenger": challenger.to_string(),
            "prefill_macs_per_s": prefill, "decode_macs_per_s": decode,
        }),
        ProviderEvent::NotCalibrated { challenger, why } => {
            json!({ "event": "not-calibrated", "challenger": challenger.to_string(), "why": why })
        }
        ProviderEvent::Registered { device, expires_at } => json!({
            "event": "registered", "device": device.to_string(), "expires_at": expires_at.0,
        }),
        ProviderEvent::CalibrationEntered { device, challenger } => json!({
            "event": "calibration-entered", "device": device.to_string(), "challenger": challenger.to_string(),
        }),
        ProviderEvent::Staked { device, bonded, until } => json!({
            "event": "staked", "device": device.to_string(), "bonded": bonded.0, "until": until.0,
        }),
        ProviderEvent::StakeShort { device, account, wanted, bonded, balance, missing } => json!({
            "event": "stake-short", "device": device.to_string(), "account": account.to_string(),
            "wanted": wanted.0, "bonded": bonded.0, "balance": balance.0, "missing": missing.0,
        }),
        ProviderEvent::StakeBarred { device, until } => {
            json!({ "event": "stake-barred", "device": device.to_string(), "until": until.0 })
        }
        ProviderEvent::Unclaimed { session, amount, deadline, what } => json!({
            "event": "unclaimed", "session": session.to_string(), "amount": amount.0, "deadline": deadline.0,
            "what": what,
        }),
        ProviderEvent::Draining { jobs, at_most } => {
            json!({ "event": "draining", "jobs": jobs, "at_most_ms": at_most.0 })
        }
        ProviderEvent::Reserved { .. }
        | ProviderEvent::SlotAnswered { .. }
        | ProviderEvent::SlotMissed { .. } => reserved_json(event),
        ProviderEvent::Trouble { what } => json!({ "event": "trouble", "what": what }),
    }
}

/// One line for people; `None` for what would only scroll by.
pub(in crate::command) fn event_text(event: &ProviderEvent) -> Option<String> {
    match event {
        ProviderEvent::Advertised { .. } | ProviderEvent::QuoteLapsed { .. } => None,
        ProviderEvent::Quoted { client, price, .. } => {
            Some(format!("quoted {} credits per GPU-hour to {}", Credits(price.0), client.short()))
        }
        ProviderEvent::Job { session, end, output_tokens } => {
            Some(format!("job of session {}: {output_tokens} tokens, {end}", session.short()))
        }
        ProviderEvent::Reclaiming { session, notice } => Some(format!(
            "the spot job of session {} leaves its slot within {} ms",
            session.short(),
            notice.0
        )),
        ProviderEvent::Closed { session } => {
            Some(format!("session {} closed and collected", session.short()))
        }
        ProviderEvent::Forgotten { session } => {
            Some(format!("session {} had ended on the ledger", session.short()))
        }
        ProviderEvent::Misdeed { client, what, count } => {
            Some(format!("client {} broke the rules ({count} misdeeds so far): {what}", client.short()))
        }
        ProviderEvent::Withdrawn { why } => Some(format!("nothing is offered any more: {why}")),
        ProviderEvent::Calibrating { challenger, memory_bytes } => Some(format!(
            "{} calibrates this provider with {memory_bytes} bytes; nothing is offered meanwhile",
            challenger.short()
        )),
        ProviderEvent::Calibrated { challenger, prefill, decode } => Some(format!(
            "calibrated by {}: {} million MACs/s reading, {} writing",
            challenger.short(),
            prefill / 1_000_000,
            decode / 1_000_000
        )),
        ProviderEvent::NotCalibrated { challenger, why } => {
            Some(format!("not calibrated by {}: {why}", challenger.short()))
        }
        ProviderEvent::Restored => Some("the model was loaded anew, and is offered again".to_owned()),
        ProviderEvent::Registered { device, expires_at } => {
            Some(format!("device {} is registered for {}", device.short(), days_to(*expires_at)))
        }
        ProviderEvent::CalibrationEntered { challenger, .. } => {
            Some(format!("what {} measured stands on the ledger", challenger.short()))
        }
        ProviderEvent::Staked { device, bonded, until } => Some(format!(
            "{bonded} credits are at stake for device {}, for {} at least",
            device.short(),
            days_to(*until)
        )),
        ProviderEvent::StakeShort { account, wanted, bonded, balance, missing, .. } => Some(format!(
            "no {wanted} credits can be staked: {bonded} are bonded, and the account has {balance}; \
             fund account {account} with {missing} more"
        )),
        ProviderEvent::StakeBarred { device, until } => Some(format!(
            "device {} was slashed: nothing can be staked for it for {}; if you did not sign two receipts for one \
             job, look who has your key",
            device.short(),
            days_to(*until)
        )),
        ProviderEvent::Unclaimed { session, amount, what, .. } => {
            Some(format!("{amount} credits of session {} are not collected: {what}", session.short()))
        }
        ProviderEvent::Draining { jobs, at_most } => Some(format!(
            "told to stop: nothing is offered any more, {jobs} jobs have {} s to end",
            at_most.0 / 1_000
        )),
        ProviderEvent::Reserved { .. }
        | ProviderEvent::SlotAnswered { .. }
        | ProviderEvent::SlotMissed { .. } => reserved_text(event),
        ProviderEvent::Trouble { what } => Some(format!("look at this: {what}")),
    }
}

/// What concerns reservations, for programs.
fn reserved_json(event: &ProviderEvent) -> Value {
    match event {
        ProviderEvent::Reserved { reservation, client, from, until } => json!({
            "event": "reserved", "reservation": reservation.to_string(), "client": client.to_string(),
            "from": from.0, "until": until.0,
        }),
        ProviderEvent::SlotAnswered { reservation, slot } => {
            json!({ "event": "slot-answered", "reservation": reservation.to_string(), "slot": slot })
        }
        ProviderEvent::SlotMissed { reservation, missed } => {
            json!({ "event": "slot-missed", "reservation": reservation.to_string(), "missed": missed })
        }
        _ => Value::Null,
    }
}

/// What concerns reservations, for people.
fn reserved_text(event: &ProviderEvent) -> Option<String> {
    match event {
        ProviderEvent::Reserved { reservation, client, from, until } => Some(format!(
            "reservation {}: {} s of this device are {}'s, from {} s on",
            reservation.short(),
            until.since(*from).0 / 1_000,
            client.short(),
            from.since(clock::now()).0 / 1_000
        )),
        ProviderEvent::SlotAnswered { reservation, slot } => {
            Some(format!("slot {slot} of reservation {} was called for, and answered", reservation.short()))
        }
        ProviderEvent::SlotMissed { reservation, missed } => Some(format!(
            "a slot of reservation {} was called for and not answered in time: {missed} missed so far, a part of \
             the bond is gone",
            reservation.short()
        )),
        _ => None,
    }
}

/// How long it is until `end`, in days, the begun one counted.
fn days_to(end: Timestamp) -> String {
    match end.since(clock::now()).0.div_ceil(24 * 60 * 60 * 1000) {
        1 => "a day".into(),
        days => format!("{days} days"),
    }
}
