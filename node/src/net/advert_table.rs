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
    scoped::Scope,
};

/// How long a provider's sequence number is remembered: as long as any advert that was signed before it can
/// live, so that a replaced offer cannot come back when the one that replaced it dies first.
const MEMORY: Millis = Millis(ADVERT_TTL_MS_MAX + CLOCK_SKEW_MS_MAX);

#[derive(Debug)]
struct Entry {
    advert: Verified<Advert>,
    /// Who brought the provider's first advert; nobody for the node's own.
    from: Option<PublicKey>,
    /// Whether a peer on our own networks told of the provider.
    is_told_near: bool,
    forget_at: Timestamp,
}

/// At most [`ADVERTS_MAX`] providers' newest adverts.
#[derive(Debug, Default)]
pub struct AdvertTable {
    entries: BTreeMap<PublicKey, Entry>,
    undelivered: BTreeSet<PublicKey>,
    /// How many of the providers each peer brought.
    brought: BTreeMap<PublicKey, usize>,
}

impl AdvertTable {
    /// Providers that are remembered: at most [`ADVERTS_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The highest sequence number of a provider.
    #[must_use]
    pub fn newest(&self, provider: &PublicKey) -> Option<u64> {
        self.entries.get(provider).map(|entry| entry.advert.sequence)
    }

    /// Makes room for a provider that `from` brings, after those that may be forgotten are. In a full table whoever
    /// brought the most gives way, so that one peer with many keys keeps nobody else's providers out.
    ///
    /// # Errors
    /// If `from` itself brought as many as anyone.
    pub fn make_room(
        &mut self,
        provider: &PublicKey,
        from: Option<PublicKey>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if self.entries.len() < ADVERTS_MAX || self.entries.contains_key(provider) {
            return Ok(());
        }
        self.forget(now);
        if self.entries.len() < ADVERTS_MAX {
            return Ok(());
        }
        let held = |peer: &PublicKey| self.brought.get(peer).copied().unwrap_or_default();
        let most = self.brought.iter().map(|(peer, count)| (*count, *peer)).max();
        match most {
            Some((count, peer)) if count > from.map_or(0, |from| held(&from)) + 1 => {
                self.drop_one_of(peer);
                Ok(())
            }
            _ => Err(Refusal::TableFull),
        }
    }

    /// Drops the provider of `peer`'s that would be forgotten first.
    fn drop_one_of(&mut self, peer: PublicKey) {
        let theirs = self.entries.iter().filter(|(_, entry)| entry.from == Some(peer));
        let first = theirs.min_by_key(|(_, entry)| entry.forget_at).map(|(provider, _)| *provider);
        if let Some(provider) = first {
            self.entries.remove(&provider);
            self.recount();
        }
    }

    fn recount(&mut self) {
        self.brought.clear();
        for from in self.entries.values().filter_map(|entry| entry.from) {
            *self.brought.entry(from).or_default() += 1;
        }
        self.undelivered.retain(|provider| self.entries.contains_key(provider));
    }

    /// Keeps an advert that [`crate::net::gossip::validate`] accepted and [`AdvertTable::make_room`] has room
    /// for. The node is to hear of what others brought.
    pub fn insert(&mut self, advert: Verified<Advert>, from: Option<PublicKey>, now: Timestamp) {
        let provider = advert.provider;
        let forget_at = now.after(MEMORY).unwrap_or(Timestamp(u64::MAX));
        match self.entries.get_mut(&provider) {
            Some(entry) => (entry.advert, entry.forget_at) = (advert, forget_at),
            None => {
                self.entries.insert(provider, Entry { advert, from, is_told_near: false, forget_at });
                if let Some(from) = from {
                    *self.brought.entry(from).or_default() += 1;
                }
            }
        }
        if from.is_some() {
            self.undelivered.insert(provider);
        }
    }

    /// Drops the providers that no live advert can name any more.
    pub fn forget(&mut self, now: Timestamp) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| now < entry.forget_at);
        if self.entries.len() < before {
            self.recount();
        }
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

    /// The newest advert of a provider, alive or not.
    pub(crate) fn get(&self, provider: &PublicKey) -> Option<&Verified<Advert>> {
        self.entries.get(provider).map(|entry| &entry.advert)
    }

    /// A peer of this reach told of the provider. One that is near is believed for as long as the provider is remembered,
    /// as which peer is first with an advert is chance.
    pub(crate) fn told_by(&mut self, provider: &PublicKey, teller: Scope) {
        if let Some(entry) = self.entries.get_mut(provider) {
            entry.is_told_near |= teller == Scope::Near;
        }
    }

    /// Where the provider says that it listens, and the reach of who told.
    pub(crate) fn addresses(&self, provider: &PublicKey) -> (Scope, &[String]) {
        self.entries.get(provider).map_or((Scope::Far, &[]), |entry| {
            let teller = if entry.is_told_near { Scope::Near } else { Scope::Far };
            (teller, &entry.advert.addresses)
        })
    }

    /// Live adverts for a peer that just subscribed: those that live longest, at most [`PUSH_ADVERTS_MAX`].
    #[must_use]
    pub fn live(&self, now: Timestamp) -> Vec<&Verified<Advert>> {
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

    const FROM: Option<PublicKey> = Some(PublicKey([9; 32]));

    fn verified(seed: u8, sequence: u64, life_ms: u64) -> Verified<Advert> {
        let mut body = advert(seed, sequence);
        body.expires_at = Timestamp(NOW.0 + life_ms);
        secret(seed).sign(body).verify().expect("signed by its provider")
    }

    #[test]
    fn only_the_newest_is_delivered_and_only_once() {
        let mut table = AdvertTable::default();
        table.insert(verified(1, 1, 100), FROM, NOW);
        table.insert(verified(1, 2, 100), FROM, NOW);
        assert_eq!(table.next_undelivered().map(|advert| advert.sequence), Some(2));
        assert_eq!(table.next_undelivered(), None);
    }

    #[test]
    fn a_replaced_offer_does_not_come_back() {
        let mut table = AdvertTable::default();
        let long = verified(1, 1, ADVERT_TTL_MS_MAX);
        table.insert(verified(1, 2, 1000), FROM, NOW);
        let later = Timestamp(NOW.0 + 2000);
        table.forget(later);
        assert!(table.live(later).is_empty());
        let verdict = validate(&bytes_of(long.signed()), &NETWORK, later, |key| table.newest(key));
        assert_eq!(verdict, Err(Refusal::Stale));
        table.forget(Timestamp(NOW.0 + MEMORY.0));
        assert_eq!(table.newest(&secret(1).public()), None);
    }

    fn key(n: usize) -> PublicKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        PublicKey(key)
    }

    /// A full table, of which each of `bringers` brought the same part.
    fn full(bringers: usize) -> AdvertTable {
        let (mut table, template) = (AdvertTable::default(), verified(1, 1, 1000));
        let forget_at = NOW.after(MEMORY).expect("in range");
        for n in 0..ADVERTS_MAX {
            let from = Some(key(ADVERTS_MAX + n % bringers));
            table
                .entries
                .insert(key(n), Entry { advert: template.clone(), from, is_told_near: false, forget_at });
        }
        table.recount();
        table
    }

    #[test]
    fn a_full_table_keeps_what_it_has_if_everyone_brought_as_much() {
        let mut table = full(ADVERTS_MAX);
        let newcomer = secret(7).public();
        assert_eq!(table.make_room(&newcomer, FROM, NOW), Err(Refusal::TableFull));
        assert_eq!(table.make_room(&newcomer, FROM, Timestamp(NOW.0 + MEMORY.0)), Ok(()));
        assert!(table.brought.is_empty(), "nobody brought what is forgotten");
    }

    #[test]
    fn who_fills_the_table_gives_way_to_others_and_never_to_itself() {
        let mut table = full(1);
        let greedy = Some(key(ADVERTS_MAX));
        assert_eq!(table.make_room(&secret(7).public(), greedy, NOW), Err(Refusal::TableFull));
        for seed in 10..20 {
            let advert = verified(seed, 1, 1000);
            assert_eq!(table.make_room(&advert.provider, FROM, NOW), Ok(()));
            table.insert(advert, FROM, NOW);
        }
        assert_eq!(table.entries.len(), ADVERTS_MAX);
        assert!((10..20).all(|seed| table.newest(&secret(seed).public()).is_some()));
        let counted: usize = table.brought.values().sum();
        assert_eq!(counted, ADVERTS_MAX);
    }

    #[test]
    fn an_expired_advert_is_told_to_nobody() {
        let mut table = AdvertTable::default();
        table.insert(verified(1, 1, 1000), FROM, NOW);
        assert_eq!(table.live(Timestamp(NOW.0 + 999)).len(), 1);
        assert!(table.live(Timestamp(NOW.0 + 1000)).is_empty());
    }
}
