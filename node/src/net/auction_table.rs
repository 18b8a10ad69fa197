//! Posted orders that wait for quotes, and who has quoted. Pure: time and who brought what are inputs.
//!
//! Postings cost nothing to make, so what they can make this node do is bounded: so many are known, so many
//! of one client, so many quotes answer one, and so many messages a second are passed on, few of them of one
//! bringer. Nothing is kept before its signature was checked, and no quote goes anywhere but the way of a
//! posting that is known.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gridhour_protocol::{
    id::{NetworkId, PostingId},
    limits::{CLOCK_SKEW_MS_MAX, GOSSIP_BYTES_MAX},
    market::{advert::Advert, posting::Posting},
    signed::{PublicKey, Signed, Verified},
    units::{Millis, Timestamp},
    wire::{self, WireError},
};

use crate::net::{
    gossip::{self, Refusal},
    limits::{
        AUCTIONS_PASSED_BY_ONE_MAX, AUCTIONS_PASSED_PER_SECOND_MAX, POSTINGS_MAX, POSTINGS_PER_CLIENT_MAX,
        QUOTES_PER_POSTING_MAX,
    },
};

/// Why a posting or a quote was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuctionRefusal {
    /// For a reason for which adverts are refused, too.
    #[error(transparent)]
    Gossip(#[from] Refusal),
    /// An advert for everybody, or a quote to another client than the one who posted.
    #[error("not addressed to whoever posted")]
    Misaddressed,
    /// It answers no posting that is known here.
    #[error("answers no posting that is known")]
    Unasked,
    /// The client has as many postings here, or the posting as many quotes, as may be.
    #[error("one too many")]
    TooMany,
}

impl AuctionRefusal {
    /// Whether every honest node refuses it, whenever it comes: then who brought it is at fault.
    #[must_use]
    pub fn is_misbehavior(self) -> bool {
        match self {
            Self::Gossip(refusal) => refusal.is_misbehavior(),
            Self::Misaddressed => true,
            Self::Unasked | Self::TooMany => false,
        }
    }
}

/// A posting, until nobody may answer it any more.
#[derive(Debug)]
struct Entry {
    client: PublicKey,
    expires_at: Timestamp,
    /// Who brought it; nobody, if this node posted it.
    from: Option<PublicKey>,
    /// By provider: who brought its quote; nobody, if it is this node's.
    quoted: BTreeMap<PublicKey, Option<PublicKey>>,
}

impl Entry {
    /// In a full list one of whoever brought the most gives way: the provider that loses its place, if any has to.
    ///
    /// # Errors
    /// If `from` itself brought as many as anyone.
    fn gives_way(&self, from: Option<PublicKey>) -> Result<Option<PublicKey>, AuctionRefusal> {
        if self.quoted.len() < QUOTES_PER_POSTING_MAX {
            return Ok(None);
        }
        let greedy = greediest(self.quoted.values().copied(), from).ok_or(AuctionRefusal::TooMany)?;
        let theirs = self.quoted.iter().find(|(_, from)| **from == Some(greedy));
        Ok(theirs.map(|(provider, _)| *provider))
    }
}

/// Who brought the most of what these brought, unless `from` would then have brought as many.
fn greediest(
    bringers: impl Iterator<Item = Option<PublicKey>>,
    from: Option<PublicKey>,
) -> Option<PublicKey> {
    let mut brought: BTreeMap<PublicKey, usize> = BTreeMap::new();
    for peer in bringers.flatten() {
        *brought.entry(peer).or_default() += 1;
    }
    let held = from.and_then(|peer| brought.get(&peer)).copied().unwrap_or_default();
    let most = brought.into_iter().map(|(peer, count)| (count, peer)).max();
    most.filter(|(count, _)| *count > held + 1).map(|(_, peer)| peer)
}

/// At most [`POSTINGS_MAX`] postings.
#[derive(Debug, Default)]
pub(crate) struct AuctionTable {
    entries: BTreeMap<PostingId, Entry>,
    passed: Passed,
}

impl AuctionTable {
    /// Takes a posting that `from` brought, or the node's own.
    ///
    /// # Errors
    /// With the first reason against it; the cheap ones are tried first.
    pub(crate) fn take_posting(
        &mut self,
        bytes: &[u8],
        network: &NetworkId,
        now: Timestamp,
        from: Option<PublicKey>,
    ) -> Result<Verified<Posting>, AuctionRefusal> {
        let signed = read_posting(bytes)?;
        let id = signed.id();
        self.check_claims(&signed, network, now)?;
        let posting = signed.verify().map_err(|_| Refusal::BadSignature)?;
        self.make_room(from, now)?;
        let (client, expires_at) = (posting.client(), posting.wanted().expires_at);
        self.entries.insert(id, Entry { client, expires_at, from, quoted: BTreeMap::new() });
        Ok(posting)
    }

    fn check_claims(
        &self,
        signed: &Signed<Posting>,
        network: &NetworkId,
        now: Timestamp,
    ) -> Result<(), AuctionRefusal> {
        let (posting, wanted) = (&signed.body, signed.body.wanted());
        if wanted.network != *network {
            return Err(Refusal::WrongNetwork.into());
        }
        if !posting.is_live(now) {
            return Err(Refusal::Stale.into());
        }
        if wanted.issued_at.since(now) > Millis(CLOCK_SKEW_MS_MAX) {
            return Err(Refusal::FromFuture.into());
        }
        if self.entries.contains_key(&signed.id()) {
            return Err(Refusal::Duplicate.into());
        }
        let of_client = self.live(now).filter(|entry| entry.client == posting.client()).count();
        if of_client >= POSTINGS_PER_CLIENT_MAX { Err(AuctionRefusal::TooMany) } else { Ok(()) }
    }

    fn live(&self, now: Timestamp) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| now < entry.expires_at)
    }

    /// In a full table whoever brought the most gives way, so that one peer with many keys keeps nobody
    /// else's out.
    fn make_room(&mut self, from: Option<PublicKey>, now: Timestamp) -> Result<(), AuctionRefusal> {
        if self.entries.len() < POSTINGS_MAX {
            return Ok(());
        }
        self.forget(now);
        if self.entries.len() < POSTINGS_MAX {
            return Ok(());
        }
        let bringers = self.entries.values().map(|entry| entry.from);
        let greedy = greediest(bringers, from).ok_or(Refusal::TableFull)?;
        let theirs = self.entries.iter().filter(|(_, entry)| entry.from == Some(greedy));
        let first = theirs.min_by_key(|(_, entry)| entry.expires_at).map(|(id, _)| *id);
        first.map(|id| self.entries.remove(&id));
        Ok(())
    }

    /// Takes a quote that `from` brought, or the node's own, the first one of its provider; and says whether it answers a
    /// posting of this node.
    ///
    /// # Errors
    /// With the first reason against it; the signatures are checked last.
    pub(crate) fn take_quote(
        &mut self,
        bytes: &[u8],
        network: &NetworkId,
        now: Timestamp,
        from: Option<PublicKey>,
    ) -> Result<(Verified<Advert>, bool), AuctionRefusal> {
        let signed = gossip::read(bytes)?;
        let addressed = signed.body.quote.ok_or(AuctionRefusal::Misaddressed)?;
        gossip::check_claims(&signed.body, network, now, |_| None)?;
        let entry = self.entries.get_mut(&addressed.posting).filter(|entry| now < entry.expires_at);
        let entry = entry.ok_or(AuctionRefusal::Unasked)?;
        let provider = signed.body.provider;
        if addressed.client != entry.client {
            return Err(AuctionRefusal::Misaddressed);
        }
        if entry.quoted.contains_key(&provider) {
            return Err(Refusal::Duplicate.into());
        }
        let gives_way = entry.gives_way(from)?;
        let quote = gossip::check_proofs(signed)?;
        gives_way.map(|provider| entry.quoted.remove(&provider));
        entry.quoted.insert(provider, from);
        Ok((quote, entry.from.is_none()))
    }

    /// Whether one more message that `from` brought is passed on now. What is not is lost for those behind
    /// this node: a posting that comes too late is worth nothing.
    pub(crate) fn passes(&mut self, from: PublicKey, now: Instant) -> bool {
        self.passed.take(from, now)
    }

    /// Drops postings whose time is over.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| now < entry.expires_at);
    }
}

/// What was passed on in the second that runs, in all and of each bringer.
#[derive(Debug, Default)]
struct Passed {
    since: Option<Instant>,
    all: usize,
    /// At most [`AUCTIONS_PASSED_PER_SECOND_MAX`] bringers.
    by: BTreeMap<PublicKey, usize>,
}

impl Passed {
    fn take(&mut self, from: PublicKey, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        let of_one = self.by.get(&from).copied().unwrap_or_default();
        if self.all >= AUCTIONS_PASSED_PER_SECOND_MAX || of_one >= AUCTIONS_PASSED_BY_ONE_MAX {
            return false;
        }
        self.all += 1;
        self.by.insert(from, of_one + 1);
        true
    }
}

fn read_posting(bytes: &[u8]) -> Result<Signed<Posting>, Refusal> {
    if bytes.len() > GOSSIP_BYTES_MAX {
        return Err(Refusal::Oversized);
    }
    wire::decode(bytes).map_err(|error| match error {
        WireError::TooLong { .. } => Refusal::Oversized,
        WireError::Malformed(_) | WireError::NotCanonical => Refusal::Malformed,
    })
}

#[cfg(test)]
mod tests {
    use gridhour_protocol::limits::POSTING_TTL_MS_MAX;
    use proptest::prelude::*;

    use super::*;
    use crate::net::sample::{NETWORK, NOW, advert, bytes_of, posting, quote, secret};

    const FROM: Option<PublicKey> = Some(PublicKey([9; 32]));
    const CLIENT: u8 = 70;

    fn post(table: &mut AuctionTable, client: u8, nonce: u64) -> Result<PostingId, AuctionRefusal> {
        let posting = posting(client, nonce);
        table.take_posting(&wire::encode(&posting), &NETWORK, NOW, FROM).map(|_| posting.id())
    }

    fn answer(table: &mut AuctionTable, provider: u8, posting: PostingId) -> Result<bool, AuctionRefusal> {
        answer_by(table, provider, posting, FROM)
    }

    fn answer_by(
        table: &mut AuctionTable,
        provider: u8,
        posting: PostingId,
        from: Option<PublicKey>,
    ) -> Result<bool, AuctionRefusal> {
        let quote = quote(provider, CLIENT, posting);
        table.take_quote(&bytes_of(&quote), &NETWORK, NOW, from).map(|(_, is_ours)| is_ours)
    }

    #[test]
    fn a_posting_is_taken_once_and_answered_once_by_each() {
        let mut table = AuctionTable::default();
        let id = post(&mut table, CLIENT, 1).expect("an honest posting");
        assert_eq!(post(&mut table, CLIENT, 1), Err(Refusal::Duplicate.into()));
        assert_eq!(answer(&mut table, 1, id), Ok(false), "another node posted it");
        assert_eq!(answer(&mut table, 1, id), Err(Refusal::Duplicate.into()));
        assert_eq!(answer(&mut table, 2, id), Ok(false));
        assert_eq!(answer(&mut table, 2, PostingId([1; 32])), Err(AuctionRefusal::Unasked));
        let own = posting(CLIENT, 2);
        table.take_posting(&wire::encode(&own), &NETWORK, NOW, None).expect("our own");
        assert_eq!(answer(&mut table, 1, own.id()), Ok(true));
    }

    #[test]
    fn what_is_forged_or_misaddressed_is_charged_and_leaves_no_trace() {
        let mut table = AuctionTable::default();
        let mut forged = posting(CLIENT, 1);
        forged.signature = posting(CLIENT, 2).signature;
        let taken = table.take_posting(&wire::encode(&forged), &NETWORK, NOW, FROM).map(drop);
        assert_eq!(taken, Err(Refusal::BadSignature.into()));
        let foreign = table.take_posting(&wire::encode(&posting(CLIENT, 1)), &NetworkId([8; 32]), NOW, FROM);
        assert_eq!(foreign.map(drop), Err(Refusal::WrongNetwork.into()));
        assert!(table.entries.is_empty());

        let id = post(&mut table, CLIENT, 1).expect("an honest posting");
        let everybodys = bytes_of(&secret(1).sign(advert(1, 1)));
        let mut unsigned = quote(1, CLIENT, id);
        unsigned.body.ask.0 -= 1;
        for (bytes, refusal) in [
            (everybodys, AuctionRefusal::Misaddressed),
            (bytes_of(&quote(1, CLIENT + 1, id)), AuctionRefusal::Misaddressed),
            (bytes_of(&unsigned), Refusal::BadSignature.into()),
        ] {
            assert_eq!(table.take_quote(&bytes, &NETWORK, NOW, FROM).map(drop), Err(refusal));
            assert!(refusal.is_misbehavior());
        }
        assert_eq!(answer(&mut table, 1, id), Ok(false), "the forgery was not counted as its quote");
    }

    #[test]
    fn nothing_is_posted_or_quoted_after_its_time() {
        let mut table = AuctionTable::default();
        let id = post(&mut table, CLIENT, 1).expect("an honest posting");
        let later = Timestamp(NOW.0 + POSTING_TTL_MS_MAX);
        let late = table.take_quote(&bytes_of(&quote(1, CLIENT, id)), &NETWORK, later, FROM).map(drop);
        assert_eq!(late, Err(AuctionRefusal::Unasked));
        let again = table.take_posting(&wire::encode(&posting(CLIENT, 1)), &NETWORK, later, FROM).map(drop);
        assert_eq!(again, Err(Refusal::Stale.into()));
        table.forget(later);
        assert!(table.entries.is_empty());
    }

    #[test]
    fn clients_quotes_and_bringers_are_bounded() {
        let mut table = AuctionTable::default();
        let ids: Vec<_> = (0..10).filter_map(|nonce| post(&mut table, CLIENT, nonce).ok()).collect();
        assert_eq!(ids.len(), POSTINGS_PER_CLIENT_MAX);
        assert_eq!(post(&mut table, CLIENT, 99), Err(AuctionRefusal::TooMany));
        let quoted = (0..=u8::MAX).filter(|seed| answer(&mut table, *seed, ids[0]).is_ok()).count();
        assert_eq!(quoted, QUOTES_PER_POSTING_MAX);
        let now = Instant::now();
        let mut passed = |peer| (0..1_000).filter(|_| table.passes(PublicKey([peer; 32]), now)).count();
        assert_eq!([passed(1), passed(2)], [AUCTIONS_PASSED_BY_ONE_MAX; 2], "a flood leaves room for others");
        assert_eq!(passed(3) + 2 * AUCTIONS_PASSED_BY_ONE_MAX, AUCTIONS_PASSED_PER_SECOND_MAX);
        assert!(table.passes(PublicKey([1; 32]), now + Duration::from_secs(1)));
    }

    #[test]
    fn who_brings_all_quotes_gives_way_to_others_and_never_to_itself() {
        let mut table = AuctionTable::default();
        let id = post(&mut table, CLIENT, 1).expect("an honest posting");
        let all = QUOTES_PER_POSTING_MAX as u8;
        let quoted = (0..all).filter(|seed| answer(&mut table, *seed, id).is_ok()).count();
        assert_eq!((quoted, answer(&mut table, all, id)), (all.into(), Err(AuctionRefusal::TooMany)));
        assert_eq!(answer_by(&mut table, all, id, None), Ok(false), "this node's own");
        let other = Some(PublicKey([8; 32]));
        let theirs =
            (all + 1..=u8::MAX).filter(|seed| answer_by(&mut table, *seed, id, other).is_ok()).count();
        assert!((all / 2 - 1..=all / 2).contains(&(theirs as u8)), "as many as the first one's: {theirs}");
        let of = |from| table.entries[&id].quoted.values().filter(|by| **by == from).count();
        assert_eq!((of(None), of(FROM) + of(other)), (1, QUOTES_PER_POSTING_MAX - 1));
    }

    #[test]
    fn who_fills_the_table_gives_way_to_others_and_never_to_itself() {
        let mut table = AuctionTable::default();
        let entry = || Entry {
            client: PublicKey([1; 32]),
            expires_at: Timestamp(NOW.0 + 1),
            from: Some(PublicKey([66; 32])),
            quoted: BTreeMap::new(),
        };
        for n in 0..POSTINGS_MAX as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            table.entries.insert(PostingId(id), entry());
        }
        assert_eq!(table.make_room(Some(PublicKey([66; 32])), NOW), Err(Refusal::TableFull.into()));
        assert!(post(&mut table, CLIENT, 1).is_ok());
        assert_eq!(table.entries.len(), POSTINGS_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_none_pass(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let mut table = AuctionTable::default();
            prop_assert!(table.take_posting(&bytes, &NETWORK, NOW, FROM).is_err());
            prop_assert!(table.take_quote(&bytes, &NETWORK, NOW, FROM).is_err());
        }

        #[test]
        fn no_changed_byte_passes(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let mut bytes = wire::encode(&posting(CLIENT, 1));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(AuctionTable::default().take_posting(&bytes, &NETWORK, NOW, FROM).is_err());
        }
    }
}
