//! The newest advert of every provider, from verified adverts only, and which of them the node has not seen
//! yet.

use std::collections::{BTreeMap, BTreeSet};

use gridhour_protocol::{
    limits::{ADVERT_TTL_MS_MAX, CLOCK_SKEW_MS_MAX},
    market::advert::Advert,
    signed::{PublicKey, Verified},
    units::{Millis, Timestamp},
};

use crate::net::{
    gossip::Refusal,
    limits::{ADVERTS_MAX, PUSH_ADVERTS_MAX},
};

/// How long a provider's sequence number is remembered: as long as any advert that was signed before it can
/// live, so that a replaced offer cannot come back when the one that replaced it dies first.
const MEMORY: Millis = Millis(ADVERT_TTL_MS_MAX + CLOCK_SKEW_MS_MAX);

#[derive(Debug)]
struct Entry {
    advert: Verified<Advert>,
    forget_at: Timestamp,
}

/// At most [`ADVERTS_MAX`] providers' newest adverts.
#[derive(Debug, Default)]
pub(crate) struct AdvertTable {
    entries: BTreeMap<PublicKey, Entry>,
    undelivered: BTreeSet<PublicKey>,
}

impl AdvertTable {
    /// The highest sequence number of a provider.
    pub(crate) fn newest(&self, provider: &PublicKey) -> Option<u64> {
        self.entries.get(provider).map(|entry| entry.advert.sequence)
    }

    /// Whether a newcomer would be refused at `now`, after those that may be forgotten are.
    pub(crate) fn make_room(&mut self, provider: &PublicKey, now: Timestamp) -> Result<(), Refusal> {
        if self.entries.len() < ADVERTS_MAX || self.entries.contains_key(provider) {
            return Ok(());
        }
        self.forget(now);
        if self.entries.len() < ADVERTS_MAX { Ok(()) } else { Err(Refusal::TableFull) }
    }

    /// Keeps an advert that [`crate::net::gossip::validate`] accepted and [`AdvertTable::make_room`] has room
    /// for. `deliver` says whether the node is to hear of it.
    pub(crate) fn insert(&mut self, advert: Verified<Advert>, now: Timestamp, deliver: bool) {
        let provider = advert.provider;
        let forget_at = now.after(MEMORY).unwrap_or(Timestamp(u64::MAX));
        self.entries.insert(provider, Entry { advert, forget_at });
        if deliver {
            self.undelivered.insert(provider);
        }
    }

    /// Drops the providers that no live advert can name any more.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| now < entry.forget_at);
        self.undelivered.retain(|provider| self.entries.contains_key(provider));
    }

    pub(crate) fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// The newest advert of a provider that the node has not heard of. Older ones that it missed are not
    /// repeated.
    pub(crate) fn next_undelivered(&mut self) -> Option<Verified<Advert>> {
        let provider = self.undelivered.pop_first()?;
        self.entries.get(&provider).map(|entry| entry.advert.clone())
    }

    /// The newest advert of a provider.
    pub(crate) fn get(&self, provider: &PublicKey) -> Option<&Verified<Advert>> {
        self.entries.get(provider).map(|entry| &entry.advert)
    }

    /// Where the provider says that it listens.
    pub(crate) fn addresses(&self, provider: &PublicKey) -> &[String] {
        self.entries.get(provider).map_or(&[], |entry| &entry.advert.addresses)
    }

    /// Live adverts for a peer that just subscribed: those that live longest, at most [`PUSH_ADVERTS_MAX`].
    pub(crate) fn live(&self, now: Timestamp) -> Vec<&Verified<Advert>> {
        let mut live: Vec<_> =
            self.entries.values().map(|entry| &entry.advert).filter(|advert| advert.is_live(now)).collect();
        live.sort_by_key(|advert| std::cmp::Reverse(advert.expires_at));
        live.truncate(PUSH_ADVERTS_MAX);
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{
        gossip::validate,
        sample::{NETWORK, NOW, advert, bytes_of, secret},
    };

    fn verified(seed: u8, sequence: u64, life_ms: u64) -> Verified<Advert> {
        let mut body = advert(seed, sequence);
        body.expires_at = Timestamp(NOW.0 + life_ms);
        secret(seed).sign(body).verify().expect("signed by its provider")
    }

    #[test]
    fn only_the_newest_is_delivered_and_only_once() {
        let mut table = AdvertTable::default();
        table.insert(verified(1, 1, 100), NOW, true);
        table.insert(verified(1, 2, 100), NOW, true);
        assert_eq!(table.next_undelivered().map(|advert| advert.sequence), Some(2));
        assert_eq!(table.next_undelivered(), None);
    }

    #[test]
    fn a_replaced_offer_does_not_come_back() {
        let mut table = AdvertTable::default();
        let long = verified(1, 1, ADVERT_TTL_MS_MAX);
        table.insert(verified(1, 2, 1000), NOW, true);
        let later = Timestamp(NOW.0 + 2000);
        table.forget(later);
        assert!(table.live(later).is_empty());
        let verdict = validate(&bytes_of(long.signed()), &NETWORK, later, |key| table.newest(key));
        assert_eq!(verdict, Err(Refusal::Stale));
        table.forget(Timestamp(NOW.0 + MEMORY.0));
        assert_eq!(table.newest(&secret(1).public()), None);
    }

    #[test]
    fn a_full_table_keeps_what_it_has() {
        let mut table = AdvertTable::default();
        let template = verified(1, 1, 1000);
        for n in 0..ADVERTS_MAX {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            let forget_at = NOW.after(MEMORY).expect("in range");
            table.entries.insert(PublicKey(key), Entry { advert: template.clone(), forget_at });
        }
        let newcomer = secret(7).public();
        assert_eq!(table.make_room(&newcomer, NOW), Err(Refusal::TableFull));
        assert_eq!(table.make_room(&newcomer, Timestamp(NOW.0 + MEMORY.0)), Ok(()));
    }
}
