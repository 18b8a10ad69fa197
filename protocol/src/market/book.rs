//! The offers that a node has seen.
//!
//! Only a [`Verified`] advert gets in, so nothing that nobody answers for is ever remembered. There is one entry a
//! provider, the one with the highest sequence. An entry outlives its advert for as long as any advert of that provider
//! that was seen could still be replayed, so that a withdrawn offer does not come back.
//!
//! The book holds [`OFFERS_MAX`] providers. When it is full, entries whose advert has expired make room; if there are
//! none, the newcomer is refused. A flood of fresh keys therefore never pushes out a provider that renews in time.

use std::collections::BTreeMap;

use super::advert::Advert;
use crate::{
    calibration::receipt::CalibrationFault,
    id::NetworkId,
    limits::{CLOCK_SKEW_MS_MAX, OFFERS_MAX},
    signed::{PublicKey, Verified},
    units::{Millis, Timestamp},
};

/// Adverts by provider.
#[derive(Clone, Debug)]
pub struct Book {
    network: NetworkId,
    entries: BTreeMap<PublicKey, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    advert: Verified<Advert>,
    /// Until then an older advert of this provider might be alive.
    remember_until: Timestamp,
}

/// What became of an advert that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// The provider was not known.
    New,
    /// It replaced the provider's earlier advert.
    Replaced,
}

/// Why an advert was not taken. The order of the variants is the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEntered {
    /// It is for another network.
    #[error("advert is for another network")]
    WrongNetwork,
    /// It is a quote, which is for one client and not for everybody.
    #[error("advert is a quote to one client")]
    Quote,
    /// It claims to be signed later than our clock and the allowed skew.
    #[error("advert was signed {ahead_ms} ms in our future; {CLOCK_SKEW_MS_MAX} are allowed")]
    FutureDated {
        /// By how many milliseconds.
        ahead_ms: u64,
    },
    /// It is over.
    #[error("advert expired {ago_ms} ms ago")]
    Expired {
        /// How many milliseconds ago.
        ago_ms: u64,
    },
    /// The very advert that is known.
    #[error("advert is known")]
    Duplicate,
    /// Another advert with the sequence of the one that is known: the provider signed two.
    #[error("provider signed two adverts with sequence {sequence}")]
    Conflicting {
        /// That sequence.
        sequence: u64,
    },
    /// An advert with a higher sequence is known.
    #[error("advert has sequence {sequence}, {newest} is known")]
    OlderSequence {
        /// Its sequence.
        sequence: u64,
        /// The one that is known.
        newest: u64,
    },
    /// It shows a calibration that does not speak for it.
    #[error("advert shows a false calibration: {0}")]
    FalseCalibration(CalibrationFault),
    /// The book is full of live offers.
    #[error("the book holds {OFFERS_MAX} live offers")]
    Full,
}

impl NotEntered {
    /// Whether the peer that passed the advert on did wrong: an honest peer checks the network, its clock and expiry
    /// first. Late, repeated and outrun adverts are what gossip brings.
    #[must_use]
    pub const fn is_misbehavior(self) -> bool {
        matches!(
            self,
            Self::WrongNetwork | Self::Quote | Self::FutureDated { .. } | Self::FalseCalibration(_)
        )
    }

    /// Its stable name, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongNetwork => "wrong-network",
            Self::Quote => "quote",
            Self::FutureDated { .. } => "future-dated",
            Self::Expired { .. } => "expired",
            Self::Duplicate => "duplicate",
            Self::Conflicting { .. } => "conflicting",
            Self::OlderSequence { .. } => "older-sequence",
            Self::FalseCalibration(_) => "false-calibration",
            Self::Full => "full",
        }
    }
}

impl Book {
    /// An empty book of `network`.
    #[must_use]
    pub const fn new(network: NetworkId) -> Self {
        Self { network, entries: BTreeMap::new() }
    }

    /// Takes an advert, or says why not.
    ///
    /// # Errors
    /// With the first check that failed. The book is then as before, but for entries that expired.
    pub fn enter(&mut self, now: Timestamp, advert: Verified<Advert>) -> Result<Entered, NotEntered> {
        self.check_times(now, &advert)?;
        let provider = advert.provider;
        let mut remember_until = advert.expires_at;
        let entered = match self.entries.get(&provider) {
            Some(entry) => {
                check_sequence(&entry.advert, &advert)?;
                check_calibration(&advert)?;
                remember_until = remember_until.max(entry.remember_until);
                Entered::Replaced
            }
            None => {
                check_calibration(&advert)?;
                self.make_room(now)?;
                Entered::New
            }
        };
        self.entries.insert(provider, Entry { advert, remember_until });
        Ok(entered)
    }

    fn check_times(&self, now: Timestamp, advert: &Advert) -> Result<(), NotEntered> {
        if advert.network != self.network {
            return Err(NotEntered::WrongNetwork);
        }
        if advert.quote.is_some() {
            return Err(NotEntered::Quote);
        }
        let ahead = advert.issued_at.since(now);
        if ahead > Millis(CLOCK_SKEW_MS_MAX) {
            return Err(NotEntered::FutureDated { ahead_ms: ahead.0 });
        }
        if !advert.is_live(now) {
            return Err(NotEntered::Expired { ago_ms: now.since(advert.expires_at).0 });
        }
        Ok(())
    }

    fn make_room(&mut self, now: Timestamp) -> Result<(), NotEntered> {
        if self.entries.len() >= OFFERS_MAX {
            self.entries.retain(|_, entry| entry.advert.is_live(now));
        }
        if self.entries.len() >= OFFERS_MAX { Err(NotEntered::Full) } else { Ok(()) }
    }

    /// Forgets what can no longer be replayed. Call it now and then; nothing else depends on it.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| now < entry.remember_until);
    }

    /// The adverts alive at `now`, by provider key.
    pub fn live(&self, now: Timestamp) -> impl Iterator<Item = &Verified<Advert>> {
        self.entries.values().map(|entry| &entry.advert).filter(move |advert| advert.is_live(now))
    }

    /// The live advert of `provider`.
    #[must_use]
    pub fn get(&self, now: Timestamp, provider: &PublicKey) -> Option<&Verified<Advert>> {
        self.entries.get(provider).map(|entry| &entry.advert).filter(|advert| advert.is_live(now))
    }

    /// Providers remembered, whether their advert is alive or not: at most [`OFFERS_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn check_calibration(advert: &Advert) -> Result<(), NotEntered> {
    advert.check_calibration().map_err(NotEntered::FalseCalibration)
}

fn check_sequence(known: &Verified<Advert>, advert: &Verified<Advert>) -> Result<(), NotEntered> {
    if advert.sequence > known.sequence {
        return Ok(());
    }
    if advert.sequence < known.sequence {
        return Err(NotEntered::OlderSequence { sequence: advert.sequence, newest: known.sequence });
    }
    if advert.signed().body == known.signed().body {
        return Err(NotEntered::Duplicate);
    }
    Err(NotEntered::Conflicting { sequence: advert.sequence })
}

#[cfg(test)]
mod tests;
