//! The part of the second ledger that keeps reservations: every slot by itself, in plain numbers.

use std::collections::BTreeMap;

use gridhour_contracts_sim::harness::{Chain, Deal, key};
use gridhour_protocol::{
    id::ReservationId,
    market::reservation::ReservationOffer,
    units::{GpuNs, Millis, Timestamp},
};
use proptest::prelude::*;

const MINUTE_MS: u64 = 60_000;
const SLOT_MINUTES: u64 = 10;
const ANSWER_MINUTES: u64 = 2;
/// Of a slot: 3.6 seconds at a credit an hour.
const PRICE: u64 = 1_000;
/// Those who have a device that can be reserved.
pub(crate) const PROVIDERS: [u8; 2] = [1, 2];

#[derive(Clone, Debug)]
pub(crate) enum ReserveStep {
    Book {
        client: u8,
        provider: u8,
        in_minutes: u64,
        slots: u16,
        standby: u16,
        notice: u64,
        ladder: Vec<u16>,
    },
    Demand {
        which: usize,
        by: u8,
    },
    Answer {
        which: usize,
        by: u8,
    },
    Draw {
        which: usize,
        by: u8,
        hold: u64,
    },
    GiveUp {
        which: usize,
        by: u8,
    },
    Settle {
        which: usize,
        by: u8,
    },
}

impl ReserveStep {
    /// Which reservation it is about, and who makes it.
    pub(crate) fn place(&self) -> (usize, u8) {
        match *self {
            Self::Demand { which, by }
            | Self::Answer { which, by }
            | Self::Draw { which, by, .. }
            | Self::GiveUp { which, by }
            | Self::Settle { which, by } => (which, by),
            Self::Book { client, .. } => (0, client),
        }
    }
}

/// Mostly the one who buys in these histories.
pub(crate) fn client() -> impl Strategy<Value = u8> {
    prop_oneof![12 => Just(3u8), 1 => 1..=3u8]
}

/// Mostly the one who sells.
pub(crate) fn provider() -> impl Strategy<Value = u8> {
    prop_oneof![9 => Just(1u8), 3 => Just(2u8), 1 => 1..=3u8]
}

pub(crate) fn reserve_step() -> impl Strategy<Value = ReserveStep> {
    let which = || prop_oneof![3 => Just(0usize), 1 => 0..3usize];
    let ladder = prop_oneof![Just(vec![100, 500]), Just(vec![333]), Just(vec![1, 999, 2_000])];
    let times = (0..3u64, 1..5u16, 0..30u64);
    prop_oneof![
        4 => (client(), provider(), times, 0..=1_000u16, ladder)
            .prop_map(|(client, provider, (in_minutes, slots, notice), standby, ladder)| {
                ReserveStep::Book { client, provider, in_minutes, slots, standby, notice, ladder }
            }),
        4 => (which(), client()).prop_map(|(which, by)| ReserveStep::Demand { which, by }),
        3 => (which(), provider()).prop_map(|(which, by)| ReserveStep::Answer { which, by }),
        8 => (which(), client(), 0..600u64)
            .prop_map(|(which, by, hold)| ReserveStep::Draw { which, by, hold }),
        1 => (which(), client()).prop_map(|(which, by)| ReserveStep::GiveUp { which, by }),
        2 => (which(), 1..=3u8).prop_map(|(which, by)| ReserveStep::Settle { which, by }),
    ]
}

/// Who is paid what, and what is gone for ever.
#[derive(Default)]
pub(crate) struct Due {
    pub(crate) paid: Vec<(u8, u64)>,
    pub(crate) burned: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Coming,
    Delivered,
    Missed,
    GivenUp,
}

#[derive(Clone)]
struct Slot {
    begin: u64,
    drawn: u64,
    /// The last moment for an answer, and whether there was one.
    call: Option<(u64, bool)>,
    fate: Fate,
}

impl Slot {
    fn end(&self) -> u64 {
        self.begin + SLOT_MINUTES * MINUTE_MS
    }

    fn is_missed(&self, now: u64) -> bool {
        self.call.is_some_and(|(until, answered)| !answered && now > until)
    }
}

#[derive(Clone)]
struct Reserved {
    offer: ReservationOffer,
    client: u8,
    provider: u8,
    slots: Vec<Slot>,
    /// What every further miss costs.
    rungs: Vec<u64>,
}

impl Reserved {
    fn coming(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.fate == Fate::Coming)
    }

    fn held(&self) -> u64 {
        let slots: u64 = self.coming().map(|(_, slot)| PRICE - slot.drawn).sum();
        let bond = if self.coming().next().is_some() { self.rungs.iter().sum() } else { 0 };
        slots + bond
    }

    fn running(&self, now: u64) -> Option<usize> {
        self.coming().next().filter(|(_, slot)| slot.begin <= now).map(|(at, _)| at)
    }

    /// One slot after the other, until one is neither missed nor over.
    fn touch(&mut self, now: u64) -> Due {
        let mut due = Due::default();
        for at in 0..self.slots.len() {
            let slot = self.slots[at].clone();
            let before = self.held();
            match slot.fate {
                Fate::Coming if slot.is_missed(now) => {
                    self.slots[at].fate = Fate::Missed;
                    due.burned += self.rungs.remove(0);
                    due.paid.push((self.client, PRICE - slot.drawn));
                    if self.rungs.is_empty() {
                        self.drop_from(at + 1, &mut due);
                    }
                }
                Fate::Coming if now >= slot.end() => {
                    self.slots[at].fate = Fate::Delivered;
                    due.paid.extend(self.split(at, PRICE - slot.drawn));
                }
                Fate::Coming => break,
                _ => continue,
            }
            if before > 0 && self.coming().next().is_none() {
                due.paid.push((self.provider, self.rungs.iter().sum()));
            }
        }
        due
    }

    fn drop_from(&mut self, first: usize, due: &mut Due) {
        for slot in self.slots[first..].iter_mut().filter(|slot| slot.fate == Fate::Coming) {
            slot.fate = Fate::GivenUp;
            due.paid.push((self.client, PRICE));
        }
    }

    /// What was not worked for in a slot that is over.
    fn split(&self, slot: usize, amount: u64) -> [(u8, u64); 2] {
        let missed = self.slots[slot].fate == Fate::Missed;
        let standby = if missed { 0 } else { amount * u64::from(self.offer.standby) / 1_000 };
        [(self.provider, standby), (self.client, amount - standby)]
    }

    fn give_up(&mut self, now: u64) -> Option<Due> {
        let last = now + self.offer.notice.0;
        let first = self.coming().find(|(_, slot)| slot.begin > last).map(|(at, _)| at)?;
        let mut due = Due::default();
        self.drop_from(first, &mut due);
        if self.coming().next().is_none() {
            due.paid.push((self.provider, self.rungs.iter().sum()));
        }
        Some(due)
    }
}

/// All reservations, of one device for each provider.
#[derive(Default)]
pub(crate) struct Reservations(Vec<Reserved>);

/// The deal whose device is reserved: not the one that is staked otherwise.
pub(crate) fn deal(chain: &Chain, client: u8, provider: u8) -> Deal {
    let mut deal = Deal::new(chain, &key(client), &key(provider));
    deal.advert.device.name = "reserved".into();
    deal
}

impl Reservations {
    /// The place of the reservation that a step means.
    pub(crate) fn place(&self, which: usize) -> Option<usize> {
        // Counted from the latest, since most others are over.
        self.0.len().checked_sub(1).map(|last| last - which % self.0.len())
    }

    pub(crate) fn id(&self, at: usize) -> ReservationId {
        self.0[at].offer.id()
    }

    pub(crate) fn parties(&self, at: usize) -> (u8, u8) {
        (self.0[at].client, self.0[at].provider)
    }

    /// What each holds.
    pub(crate) fn held(&self) -> impl Iterator<Item = (ReservationId, u64)> {
        self.0.iter().map(|reserved| (reserved.offer.id(), reserved.held()))
    }

    /// Whether the slot still runs.
    pub(crate) fn runs(&self, at: usize, slot: usize, now: u64) -> bool {
        let mut reserved = self.0[at].clone();
        reserved.touch(now);
        reserved.running(now) == Some(slot)
    }

    pub(crate) fn offer(&self, chain: &Chain, step: &ReserveStep) -> (Deal, ReservationOffer) {
        let ReserveStep::Book { client, provider, in_minutes, slots, standby, notice, ladder } = step else {
            unreachable!("a booking")
        };
        let deal = deal(chain, *client, *provider);
        let starts_at = Timestamp(chain.now().0 + in_minutes * MINUTE_MS);
        let offer = ReservationOffer {
            starts_at,
            accept_until: starts_at,
            slot: Millis(SLOT_MINUTES * MINUTE_MS),
            slots: *slots,
            capacity: GpuNs(3_600_000_000),
            standby: *standby,
            answer_within: Millis(ANSWER_MINUTES * MINUTE_MS),
            notice: Millis(notice * MINUTE_MS),
            ladder: ladder.clone(),
            nonce: self.0.len() as u64,
            ..deal.reservation()
        };
        (deal, offer)
    }

    /// Books, if both have the money and nobody else the device; what each pays.
    pub(crate) fn book(
        &mut self,
        step: &ReserveStep,
        offer: ReservationOffer,
        balances: &BTreeMap<u8, u64>,
    ) -> Option<[(u8, u64); 2]> {
        let ReserveStep::Book { client, provider, slots, ladder, .. } = step else {
            unreachable!("a booking")
        };
        let slot = |number: u64| Slot {
            begin: offer.starts_at.0 + number * SLOT_MINUTES * MINUTE_MS,
            drawn: 0,
            call: None,
            fate: Fate::Coming,
        };
        let slots: Vec<Slot> = (0..u64::from(*slots)).map(slot).collect();
        let rungs: Vec<u64> = ladder.iter().map(|rung| PRICE * u64::from(*rung) / 1_000).collect();
        let (price, bond) = (PRICE * slots.len() as u64, rungs.iter().sum());
        let has = |who: &u8, amount| balances.get(who).copied().unwrap_or(0) >= amount;
        let known = client != provider && PROVIDERS.contains(provider);
        let own = self.0.iter().filter(|other| other.provider == *provider);
        let clashes = own
            .flat_map(Reserved::coming)
            .any(|(_, other)| slots.iter().any(|slot| other.begin < slot.end() && slot.begin < other.end()));
        if !known || clashes || !has(client, price) || !has(provider, bond) {
            return None;
        }
        self.0.push(Reserved { offer, client: *client, provider: *provider, slots, rungs });
        Some([(*client, price), (*provider, bond)])
    }

    /// Makes a change to one that was touched before, if `change` says yes.
    fn with(
        &mut self,
        at: usize,
        now: u64,
        change: impl FnOnce(&mut Reserved) -> Option<Due>,
    ) -> Option<Due> {
        let mut next = self.0[at].clone();
        let mut due = next.touch(now);
        let more = change(&mut next)?;
        due.paid.extend(more.paid);
        due.burned += more.burned;
        self.0[at] = next;
        Some(due)
    }

    pub(crate) fn demand(&mut self, at: usize, by: u8, now: u64) -> Option<Due> {
        self.with(at, now, |reserved| {
            let slot = reserved.running(now).filter(|_| by == reserved.client)?;
            let slot = &mut reserved.slots[slot];
            let until = now + ANSWER_MINUTES * MINUTE_MS;
            let first = slot.call.is_none() && until < slot.end();
            first.then(|| slot.call = Some((until, false)))?;
            Some(Due::default())
        })
    }

    pub(crate) fn answer(&mut self, at: usize, by: u8, now: u64) -> Option<Due> {
        self.with(at, now, |reserved| {
            let slot = reserved.running(now).filter(|_| by == reserved.provider)?;
            let (_, answered) = reserved.slots[slot].call.as_mut().filter(|(_, answered)| !*answered)?;
            *answered = true;
            Some(Due::default())
        })
    }

    pub(crate) fn give_up(&mut self, at: usize, by: u8, now: u64) -> Option<Due> {
        self.with(at, now, |reserved| reserved.give_up(now).filter(|_| by == reserved.client))
    }

    pub(crate) fn settle(&mut self, at: usize, now: u64) -> Option<Due> {
        let coming = self.0[at].coming().count();
        self.with(at, now, |reserved| (reserved.coming().count() < coming).then(Due::default))
    }

    /// Takes a hold from the slot that runs; which that is.
    pub(crate) fn draw(&mut self, at: usize, amount: u64, now: u64) -> Option<(usize, Due)> {
        let mut slot = 0;
        let due = self.with(at, now, |reserved| {
            slot = reserved.running(now)?;
            let drawn = &mut reserved.slots[slot].drawn;
            *drawn = Some(*drawn + amount).filter(|drawn| *drawn <= PRICE)?;
            Some(Due::default())
        })?;
        Some((slot, due))
    }

    /// Until when a session of the slot that runs may be used.
    pub(crate) fn slot_end(&self, at: usize, now: u64) -> u64 {
        let mut reserved = self.0[at].clone();
        reserved.touch(now);
        reserved.running(now).map_or(0, |slot| reserved.slots[slot].end())
    }

    /// What an ended session did not use.
    pub(crate) fn give_back(&mut self, at: usize, slot: usize, rest: u64) -> Vec<(u8, u64)> {
        let reserved = &mut self.0[at];
        if reserved.slots[slot].fate == Fate::Coming {
            reserved.slots[slot].drawn -= rest;
            return Vec::new();
        }
        reserved.split(slot, rest).to_vec()
    }
}
