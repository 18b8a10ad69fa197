//! A provider that tries to be paid twice: it collects the same voucher again, an older one, and one of
//! another session.

use gridhour_contracts_sim::tx::Call;
use gridhour_protocol::{
    id::SessionId, job::message::ClientMessage, session::voucher::Voucher, signed::Signed,
};

use super::provider::Twist;

/// Vouchers that it remembers.
const VOUCHERS_MAX: usize = 64;

/// The twist.
#[derive(Clone, Debug, Default)]
pub struct Replaying {
    heard: Vec<Signed<Voucher>>,
}

impl Replaying {
    /// A voucher of another session; of the same client, who might owe it something, if there is one.
    fn other_session(&self, session: &SessionId) -> Option<Signed<Voucher>> {
        let client = self.heard.iter().find(|one| one.body.session == *session).map(|one| one.body.client);
        let others = self.heard.iter().filter(|one| one.body.session != *session);
        others.max_by_key(|one| (Some(one.body.client) == client, one.body.amount)).cloned()
    }

    fn older(&self, newest: &Signed<Voucher>) -> Option<Signed<Voucher>> {
        let same_lane = |one: &&Signed<Voucher>| {
            (one.body.session, one.body.lane) == (newest.body.session, newest.body.lane)
                && one.body.sequence < newest.body.sequence
        };
        self.heard.iter().find(same_lane).cloned()
    }
}

impl Twist for Replaying {
    fn heard(&mut self, message: &ClientMessage) {
        let voucher = match message {
            ClientMessage::Open(open) => open.voucher.clone(),
            ClientMessage::Voucher(voucher) | ClientMessage::Final(voucher) => voucher.clone(),
            ClientMessage::Cancel => return,
        };
        if self.heard.len() < VOUCHERS_MAX {
            self.heard.push(voucher);
        }
    }

    fn submit(&mut self, call: Call) -> Vec<Call> {
        let Call::Close { session, vouchers, .. } = &call else { return vec![call.clone(), call] };
        let collect = |vouchers| Call::Collect { session: *session, vouchers };
        let mut calls = vec![collect(vouchers.clone()), collect(vouchers.clone())];
        calls.extend(vouchers.first().and_then(|newest| self.older(newest)).map(|one| collect(vec![one])));
        calls.extend(self.other_session(session).map(|one| collect(vec![one])));
        calls.push(call);
        calls
    }
}
