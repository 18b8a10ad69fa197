//! A client that spends what it does not have, or spends it twice.

use std::collections::BTreeMap;

use gridhour_protocol::{
    job::message::ClientMessage,
    session::{terms::Terms, voucher::Voucher},
    signed::{SecretKey, Signed},
    units::{Credits, Timestamp},
};

use super::client::{Profile, Twist};

/// How it cheats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fraud {
    /// Opens several sessions at once, each for most of its balance.
    BeyondBalance,
    /// Opens several sessions at once, each for most of what its order allows.
    BeyondOrder,
    /// Signs later vouchers with the sequence of voucher 0 and a lower amount.
    ReusedSequence,
    /// Signs vouchers for less than is due.
    Underpaid,
    /// Pays for the first chunk of a job and for nothing after, and keeps the stream open.
    StopsPaying,
    /// Asks to close as soon as a job runs, before the provider has collected.
    ClosesEarly,
    /// Asks to have its hold released while a job runs, before the deadline.
    ExpiresEarly,
    /// Goes on paying after the end of use, when vouchers are void.
    LateVouchers,
    /// Never sends the last voucher of a job, as if the provider had not finished.
    WithholdsFinal,
    /// Opens an old job once more, with the voucher that paid for it then.
    ReplayedOpen,
}

/// Balance of a client that goes beyond it.
pub const SCARCE: Credits = Credits(40_000_000);

/// The twist.
#[derive(Clone, Debug)]
pub struct DoubleSpender {
    fraud: Fraud,
    first: Option<Voucher>,
    opened: BTreeMap<u16, ClientMessage>,
    settled: Option<ClientMessage>,
}

impl DoubleSpender {
    /// Cheats so.
    #[must_use]
    pub fn new(fraud: Fraud) -> Self {
        Self { fraud, first: None, opened: BTreeMap::new(), settled: None }
    }

    fn voucher(&mut self, key: &SecretKey, honest: Signed<Voucher>) -> Signed<Voucher> {
        let mut body = honest.body.clone();
        match (self.fraud, &self.first) {
            (Fraud::ReusedSequence, Some(first)) => {
                body.sequence = first.sequence;
                body.amount = Credits(first.amount.0 / 2);
            }
            (Fraud::Underpaid, _) => body.amount = Credits(body.amount.0 / 2),
            _ => return honest,
        }
        key.sign(body)
    }
}

impl Twist for DoubleSpender {
    fn say(&mut self, key: &SecretKey, message: ClientMessage) -> Vec<ClientMessage> {
        if self.fraud == Fraud::StopsPaying && matches!(message, ClientMessage::Voucher(_)) {
            return Vec::new();
        }
        if self.fraud == Fraud::WithholdsFinal && matches!(message, ClientMessage::Final(_)) {
            return Vec::new();
        }
        vec![match message {
            ClientMessage::Open(open) => {
                self.first = Some(open.voucher.body.clone());
                self.opened.insert(open.request.lane, ClientMessage::Open(open.clone()));
                ClientMessage::Open(open)
            }
            ClientMessage::Voucher(voucher) => ClientMessage::Voucher(self.voucher(key, voucher)),
            ClientMessage::Final(voucher) => {
                self.settled = self.opened.get(&voucher.body.lane).cloned();
                ClientMessage::Final(self.voucher(key, voucher))
            }
            ClientMessage::Cancel => ClientMessage::Cancel,
        }]
    }

    fn sessions(&self, profile: &Profile) -> usize {
        if matches!(self.fraud, Fraud::BeyondBalance | Fraud::BeyondOrder) { 3 } else { profile.sessions }
    }

    fn hold(&self, profile: &Profile, honest: Credits) -> Credits {
        match self.fraud {
            Fraud::BeyondBalance => Credits(SCARCE.0 / 10 * 6),
            Fraud::BeyondOrder => Credits(profile.total_max.0 / 10 * 6),
            // So much that the old job is not refused for want of credits before it is recognised.
            Fraud::ReplayedOpen => Credits(honest.0 * 10),
            _ => honest,
        }
    }

    fn clock(&self, now: Timestamp, terms: &Terms) -> Timestamp {
        match self.fraud {
            Fraud::LateVouchers => now.min(Timestamp(terms.use_until.0 - 1)),
            _ => now,
        }
    }

    fn closes_early(&self) -> bool {
        self.fraud == Fraud::ClosesEarly
    }

    fn expires_early(&self) -> bool {
        self.fraud == Fraud::ExpiresEarly
    }

    fn lingers(&self) -> bool {
        self.fraud == Fraud::ReplayedOpen
    }

    fn again(&mut self) -> Option<ClientMessage> {
        self.settled.clone().filter(|_| self.fraud == Fraud::ReplayedOpen)
    }
}
