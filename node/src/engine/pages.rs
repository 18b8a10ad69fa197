//! Who has which page of keys and values. Pure bookkeeping: the pages themselves lie on the device.
//!
//! A text is admitted with the pages that it may come to need *promised* to it, and takes them one by one as
//! it grows, so that a text that runs never waits for memory. Full pages of texts that allow it are kept
//! behind their end, under a key of everything that led to them ([`prefix`]), and given to the next text that
//! begins the same; the one unused for longest goes first when memory is short.
//!
//! ```text
//! fresh --take--> used (by one text or more) --end, no key--> free --take--> used
//!                      ^  |
//!             admitted |  v end, with a key
//!                      idle --taken for another text, the oldest first--> used
//! ```
//!
//! Always: used + promised <= limit. Every page that is not used is fresh, free or idle, so as many as are
//! promised can be had at once.

pub mod prefix;
pub mod table;

use std::collections::{BTreeMap, HashMap};

use self::prefix::PrefixKey;
use super::device::PageId;

/// The pages of one device.
#[derive(Debug)]
pub struct PagePool {
    limit: usize,
    /// One a page that was ever taken, by its id.
    slots: Vec<Slot>,
    free: Vec<PageId>,
    used: usize,
    promised: usize,
    /// The page of each key.
    index: HashMap<PrefixKey, PageId>,
    /// Idle pages by when they fell idle.
    idle: BTreeMap<u64, PageId>,
    /// Counts the pages that fell idle.
    clock: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Texts that use the page.
    users: u32,
    key: Option<PrefixKey>,
    /// When it fell idle, if it is.
    since: u64,
}

impl PagePool {
    /// A pool of `limit` pages, none used.
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(u32::MAX as usize),
            slots: Vec::new(),
            free: Vec::new(),
            used: 0,
            promised: 0,
            index: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Pages at most.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Pages that texts use; one that several share counts once.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Pages that texts may still take.
    pub fn promised(&self) -> usize {
        self.promised
    }

    /// Pages that no text uses, kept for one that begins as theirs did.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Admits a text of up to `pages` pages, the first of which have the keys `prefix`. Gives the pages that
    /// are there already, now used by this text too, and promises the rest; or does nothing where the rest
    /// does not fit.
    pub fn admit(&mut self, prefix: &[PrefixKey], pages: usize) -> Option<Vec<PageId>> {
        let kept = prefix.iter().take(pages).map_while(|key| self.index.get(key).copied());
        let kept: Vec<PageId> = kept.collect();
        let woken = kept.iter().filter(|page| self.slot(**page).users == 0).count();
        let rest = pages - kept.len();
        if rest.checked_add(woken)? > self.limit - self.used - self.promised {
            return None;
        }
        self.promised += rest;
        kept.iter().for_each(|page| self.use_again(*page));
        Some(kept)
    }

    /// Takes one promised page for a text. What it holds is of no meaning.
    ///
    /// # Panics
    /// If none was promised.
    pub fn take(&mut self) -> PageId {
        self.promised = self.promised.checked_sub(1).expect("a text takes what was promised to it");
        let page = self.free.pop().or_else(|| self.fresh()).unwrap_or_else(|| self.evict());
        self.slot_mut(page).users = 1;
        self.used += 1;
        page
    }

    /// Puts a used page, now full, under `key`, unless another page has that key already.
    pub fn publish(&mut self, page: PageId, key: PrefixKey) {
        if self.slot(page).key.is_none() && !self.index.contains_key(&key) {
            self.index.insert(key, page);
            self.slot_mut(page).key = Some(key);
        }
    }

    /// Takes back the pages of a text, first to last, and what was promised to it beyond them.
    ///
    /// # Panics
    /// If they were never given.
    pub fn give_back(&mut self, pages: &[PageId], promised: usize) {
        self.promised = self.promised.checked_sub(promised).expect("it was promised before");
        // A page is of no use without those before it, so later ones are to go first.
        pages.iter().rev().for_each(|page| self.leave(*page));
    }

    fn leave(&mut self, page: PageId) {
        let clock = self.clock;
        let slot = self.slot_mut(page);
        slot.users = slot.users.checked_sub(1).expect("a page in use has users");
        if slot.users > 0 {
            return;
        }
        match slot.key {
            None => self.free.push(page),
            Some(_) => {
                slot.since = clock;
                self.idle.insert(clock, page);
                self.clock += 1;
            }
        }
        self.used -= 1;
    }

    fn use_again(&mut self, page: PageId) {
        let slot = self.slot_mut(page);
        slot.users += 1;
        if slot.users == 1 {
            let since = slot.since;
            self.idle.remove(&since);
            self.used += 1;
        }
    }

    /// A page that was never taken, while there are any.
    fn fresh(&mut self) -> Option<PageId> {
        // `limit` fits 32 bits.
        let page = (self.slots.len() < self.limit).then_some(PageId(self.slots.len() as u32))?;
        self.slots.push(Slot::default());
        Some(page)
    }

    /// The page that was idle for longest, no longer under its key.
    fn evict(&mut self) -> PageId {
        let (_, page) = self.idle.pop_first().expect("promised pages are fresh, free or idle");
        if let Some(key) = self.slot_mut(page).key.take() {
            self.index.remove(&key);
        }
        page
    }

    fn slot(&self, page: PageId) -> &Slot {
        &self.slots[page.0 as usize]
    }

    fn slot_mut(&mut self, page: PageId) -> &mut Slot {
        &mut self.slots[page.0 as usize]
    }
}

#[cfg(test)]
mod tests;
