//! To whom a provider quotes, at what price, and which slots it keeps for quotes. Pure: time and load are
//! inputs.
//!
//! Who posts pays nothing for it, and a slot that is kept for somebody earns nothing meanwhile. So no more
//! than half of the slots are kept (one of one), one for each client, and a client that let its quotes lapse
//! waits before it is quoted to again: ten seconds after the first, twice as long after each further one.
//! Whoever lost to a better quote elsewhere is told nothing by that: its advert still stands.

use std::collections::BTreeMap;

use gridhour_protocol::{
    id::AdvertId,
    signed::PublicKey,
    units::{Millis, PricePerHour, Timestamp},
};

/// Clients of which it is known that they let quotes lapse; the one that did so longest ago goes first.
const CLIENTS_MAX: usize = 1_024;
/// How long a client waits after the first quote that it let lapse.
const LAPSE_WAIT: Millis = Millis(10_000);
/// The longest that it waits, and after which all is forgotten.
const LAPSE_WAIT_MAX: Millis = Millis(600_000);

/// Prices of quotes, and how long they are firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotePlan {
    /// What an idle provider asks for a reference GPU-hour: the least that it ever quotes. One above the ask
    /// means the ask.
    pub floor: PricePerHour,
    /// How long a quote is firm, and a slot kept for it: at most
    /// [`gridhour_protocol::limits::QUOTE_TTL_MS_MAX`].
    pub firm: Millis,
}

impl QuotePlan {
    /// The price when `busy` of `slots` slots are taken: from the floor, if none is, evenly up to `ask`, if
    /// all are; rounded up.
    #[must_use]
    pub fn price(&self, ask: PricePerHour, busy: u16, slots: u16) -> PricePerHour {
        let floor = self.floor.min(ask);
        let (range, slots) = (u128::from(ask.0 - floor.0), u128::from(slots.max(1)));
        let above = (range * u128::from(busy).min(slots)).div_ceil(slots);
        // No more than the range, which is of 64 bits.
        PricePerHour(floor.0.saturating_add(u64::try_from(above).unwrap_or(u64::MAX)))
    }
}

/// Why nothing is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoQuote {
    /// Every slot is taken, or kept.
    #[error("no slot is free")]
    NoFreeSlot,
    /// As many slots are kept as may be.
    #[error("{0} slots are kept for quotes already")]
    EnoughKept(usize),
    /// One is kept for this client.
    #[error("a slot is kept for this client already")]
    KeptAlready,
    /// The client let quotes lapse.
    #[error("the client let {0} quotes lapse")]
    Lapsed(u32),
}

#[derive(Debug)]
struct Kept<S> {
    client: PublicKey,
    slot: S,
}

#[derive(Clone, Copy, Debug)]
struct Lapses {
    count: u32,
    last: Timestamp,
}

impl Lapses {
    /// Ten seconds, doubled with each lapse after the first.
    fn wait(self) -> Millis {
        let doubled = LAPSE_WAIT.0.checked_shl(self.count.saturating_sub(1).min(16));
        Millis(doubled.unwrap_or(u64::MAX).min(LAPSE_WAIT_MAX.0))
    }
}

/// Quotes that stand, with what keeps a slot for each.
#[derive(Debug)]
pub(crate) struct Desk<S> {
    slots: u16,
    kept: BTreeMap<AdvertId, Kept<S>>,
    lapses: BTreeMap<PublicKey, Lapses>,
}

impl<S> Desk<S> {
    pub(crate) fn new(slots: u16) -> Self {
        Self { slots, kept: BTreeMap::new(), lapses: BTreeMap::new() }
    }

    /// Whether `client` may be quoted to now, while `free` slots are neither taken nor kept.
    pub(crate) fn admit(&self, client: &PublicKey, free: u16, now: Timestamp) -> Result<(), NoQuote> {
        if free == 0 {
            return Err(NoQuote::NoFreeSlot);
        }
        if self.kept.len() >= usize::from(self.slots / 2).max(1) {
            return Err(NoQuote::EnoughKept(self.kept.len()));
        }
        if self.kept.values().any(|kept| kept.client == *client) {
            return Err(NoQuote::KeptAlready);
        }
        match self.lapses.get(client) {
            Some(lapses) if now.since(lapses.last) < lapses.wait() => Err(NoQuote::Lapsed(lapses.count)),
            _ => Ok(()),
        }
    }

    /// Keeps `slot` for this quote.
    pub(crate) fn keep(&mut self, quote: AdvertId, client: PublicKey, slot: S) {
        self.kept.insert(quote, Kept { client, slot });
    }

    /// The slot that is kept for this quote, once, for the client to whom it was made. Until its job begins
    /// that counts as a lapse: anybody can say that it has a session.
    pub(crate) fn claim(&mut self, quote: &AdvertId, client: &PublicKey, now: Timestamp) -> Option<S> {
        if self.kept.get(quote)?.client != *client {
            return None;
        }
        let kept = self.kept.remove(quote)?;
        self.note_lapse(*client, now);
        Some(kept.slot)
    }

    /// A job of this client begins: what it let lapse is forgotten.
    pub(crate) fn came(&mut self, client: &PublicKey) {
        self.lapses.remove(client);
    }

    /// Gives up a quote for which nobody came; nothing if somebody did.
    pub(crate) fn lapse(&mut self, quote: &AdvertId, now: Timestamp) -> Option<PublicKey> {
        let client = self.kept.remove(quote)?.client;
        self.note_lapse(client, now);
        Some(client)
    }

    fn note_lapse(&mut self, client: PublicKey, now: Timestamp) {
        self.lapses.retain(|_, lapses| now.since(lapses.last) < LAPSE_WAIT_MAX);
        if self.lapses.len() >= CLIENTS_MAX && !self.lapses.contains_key(&client) {
            let oldest = self.lapses.iter().min_by_key(|(_, lapses)| lapses.last).map(|(client, _)| *client);
            oldest.map(|oldest| self.lapses.remove(&oldest));
        }
        let count = self.lapses.get(&client).map_or(0, |lapses| lapses.count);
        self.lapses.insert(client, Lapses { count: count.saturating_add(1), last: now });
    }

    /// Gives up a quote that never left; nothing is held against its client.
    pub(crate) fn withdraw(&mut self, quote: &AdvertId) {
        self.kept.remove(quote);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn client(n: u64) -> PublicKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        PublicKey(key)
    }

    fn quote(n: u8) -> AdvertId {
        AdvertId([n; 32])
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(NOW.0 + ms)
    }

    #[test]
    fn half_of_the_slots_are_kept_and_one_for_each_client() {
        let mut desk = Desk::new(4);
        assert_eq!(desk.admit(&client(1), 0, NOW), Err(NoQuote::NoFreeSlot));
        assert_eq!(desk.admit(&client(1), 4, NOW), Ok(()));
        desk.keep(quote(1), client(1), ());
        assert_eq!(desk.admit(&client(1), 3, NOW), Err(NoQuote::KeptAlready));
        desk.keep(quote(2), client(2), ());
        assert_eq!(desk.admit(&client(3), 2, NOW), Err(NoQuote::EnoughKept(2)));
        let small = Desk::<()>::new(1);
        assert_eq!(small.admit(&client(1), 1, NOW), Ok(()), "a provider of one slot quotes, too");
    }

    #[test]
    fn a_slot_is_claimed_once_and_by_its_client_alone() {
        let mut desk = Desk::new(4);
        desk.keep(quote(1), client(1), "slot");
        let mut claim = |n, who| desk.claim(&quote(n), &client(who), NOW);
        assert_eq!([claim(1, 2), claim(2, 1), claim(1, 1), claim(1, 1)], [None, None, Some("slot"), None]);
        assert_eq!(desk.lapse(&quote(1), NOW), None, "it was claimed in time");
        assert_eq!(desk.admit(&client(1), 1, NOW), Err(NoQuote::Lapsed(1)), "no job has begun");
        desk.came(&client(1));
        assert_eq!(desk.admit(&client(1), 1, NOW), Ok(()));
    }

    #[test]
    fn whoever_lets_quotes_lapse_waits_longer_each_time_until_it_comes() {
        let mut desk = Desk::new(2);
        let mut now = 0;
        for (count, wait) in [(1, 10_000), (2, 20_000), (3, 40_000)] {
            desk.keep(quote(1), client(1), ());
            assert_eq!(desk.lapse(&quote(1), at(now)), Some(client(1)));
            assert_eq!(desk.admit(&client(1), 1, at(now + wait - 1)), Err(NoQuote::Lapsed(count)));
            assert_eq!(desk.admit(&client(2), 1, at(now)), Ok(()), "others are quoted to");
            now += wait;
            assert_eq!(desk.admit(&client(1), 1, at(now)), Ok(()));
        }
        desk.came(&client(1));
        desk.keep(quote(2), client(1), ());
        desk.lapse(&quote(2), at(now));
        assert_eq!(
            desk.admit(&client(1), 1, at(now + 10_000)),
            Ok(()),
            "a job of its own began, and all is forgotten"
        );
        desk.keep(quote(3), client(3), ());
        desk.withdraw(&quote(3));
        assert_eq!(desk.admit(&client(3), 1, NOW), Ok(()), "it never heard of it");
    }

    #[test]
    fn what_is_known_of_clients_is_bounded() {
        let mut desk = Desk::new(2);
        for n in 0..3 * CLIENTS_MAX as u64 {
            desk.keep(quote(1), client(n), ());
            desk.lapse(&quote(1), at(n));
        }
        assert_eq!(desk.lapses.len(), CLIENTS_MAX);
        assert!(!desk.lapses.contains_key(&client(0)));
        let last = Lapses { count: u32::MAX, last: NOW };
        assert_eq!(last.wait(), LAPSE_WAIT_MAX);
    }

    proptest! {
        /// Never below the floor, never above the ask, never lower for being busier, and the ask when all is
        /// taken.
        #[test]
        fn a_price_is_between_floor_and_ask_and_rises_with_the_load(
            floor in any::<u64>(), ask in any::<u64>(), busy in any::<u16>(), slots in 1..=u16::MAX,
        ) {
            let plan = QuotePlan { floor: PricePerHour(floor), firm: Millis(1) };
            let price = |busy| plan.price(PricePerHour(ask), busy, slots).0;
            prop_assert!((floor.min(ask)..=ask).contains(&price(busy)));
            prop_assert!(price(busy) <= price(busy.saturating_add(1)));
            prop_assert_eq!((price(0), price(slots)), (floor.min(ask), ask));
        }

        /// Whatever happens: no more than half of the slots are kept, and no client has two.
        #[test]
        fn kept_slots_are_bounded(
            slots in 1..9u16, steps in proptest::collection::vec((0..4u8, 0..6u64, 0..20u8), 0..200),
        ) {
            let mut desk = Desk::new(slots);
            for (n, (what, who, which)) in steps.into_iter().enumerate() {
                let (who, now) = (client(who), at(n as u64 * 1_000));
                match what {
                    0 => drop(desk.claim(&quote(which), &who, now)),
                    1 => drop(desk.lapse(&quote(which), now)),
                    _ if desk.admit(&who, 1, now).is_ok() => desk.keep(quote(which), who, ()),
                    _ => {}
                }
                prop_assert!(desk.kept.len() <= usize::from(slots / 2).max(1));
                let clients: BTreeSet<_> = desk.kept.values().map(|kept| kept.client).collect();
                prop_assert_eq!(clients.len(), desk.kept.len());
            }
        }
    }
}
