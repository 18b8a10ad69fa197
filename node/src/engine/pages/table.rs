//! The pages of one text, given back when it ends, and the memory that all texts of an engine share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{
    super::device::{PAGE, PageId},
    PagePool,
    prefix::PrefixKey,
};

/// Told when memory was given back.
pub type OnFreed = dyn Fn() + Send + Sync;

/// The memory for keys and values of all texts on an engine.
#[derive(Clone)]
pub struct Pages(Arc<Shared>);

struct Shared {
    page_bytes: usize,
    pool: Mutex<PagePool>,
    listeners: Mutex<Vec<Weak<OnFreed>>>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("page_bytes", &self.0.page_bytes).field("pool", &self.0.pool).finish()
    }
}

impl Pages {
    /// As many pages of `page_bytes` bytes as `bytes` hold.
    ///
    /// # Panics
    /// If `page_bytes` is zero.
    pub fn new(bytes: usize, page_bytes: usize) -> Self {
        let pool = Mutex::new(PagePool::new(bytes / page_bytes));
        Self(Arc::new(Shared { page_bytes, pool, listeners: Mutex::default() }))
    }

    /// Bytes of all pages.
    pub fn limit(&self) -> usize {
        self.pool().limit() * self.0.page_bytes
    }

    /// Bytes that texts use or were promised.
    pub fn used(&self) -> usize {
        let pool = self.pool();
        (pool.used() + pool.promised()) * self.0.page_bytes
    }

    /// Bytes kept for texts that begin as an earlier one did; they go when memory is short.
    pub fn kept(&self) -> usize {
        self.pool().idle() * self.0.page_bytes
    }

    /// Whether a text of `positions` positions fits when there is no other.
    pub fn could_hold(&self, positions: usize) -> bool {
        positions.div_ceil(PAGE) <= self.pool().limit()
    }

    /// Room for a text of up to `positions` positions, whose first full pages have the keys `prefix`; nothing
    /// while there is no such room.
    pub fn admit(&self, prefix: &[PrefixKey], positions: usize) -> Option<PageTable> {
        let pages = positions.div_ceil(PAGE);
        let ids = self.pool().admit(prefix, pages)?;
        let (kept, promised) = (ids.len(), pages - ids.len());
        Some(PageTable { pages: self.clone(), kept, published: kept, promised, ids })
    }

    /// Calls `listener` whenever memory was given back, for as long as it lives.
    pub fn on_freed(&self, listener: &Arc<OnFreed>) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    fn pool(&self) -> MutexGuard<'_, PagePool> {
        // Whoever panicked holding it broke a promise of its own; the books are checked at every step.
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pages of one text.
#[derive(Debug)]
pub struct PageTable {
    pages: Pages,
    ids: Vec<PageId>,
    /// Pages that were there when the text was admitted.
    kept: usize,
    /// Pages that have their key.
    published: usize,
    /// Pages that may still be taken.
    promised: usize,
}

impl PageTable {
    /// The pages, first to last.
    pub fn ids(&self) -> &[PageId] {
        &self.ids
    }

    /// Positions at the start that were computed before, for an earlier text.
    pub fn reused(&self) -> usize {
        self.kept * PAGE
    }

    /// Bytes used or promised, those of shared pages among them.
    pub fn bytes(&self) -> usize {
        (self.ids.len() + self.promised) * self.pages.0.page_bytes
    }

    /// Takes pages until there is one for each of `positions` positions.
    ///
    /// # Panics
    /// If that is more than the text was admitted for.
    pub fn grow(&mut self, positions: usize) {
        let missing = positions.div_ceil(PAGE).saturating_sub(self.ids.len());
        self.promised = self.promised.checked_sub(missing).expect("a text stays within what it asked for");
        let mut pool = self.pages.pool();
        self.ids.extend((0..missing).map(|_| pool.take()));
    }

    /// Lets texts to come use the first full pages, which have the keys `prefix`. What is on them must have
    /// been computed.
    ///
    /// # Panics
    /// If there are more keys than pages.
    pub fn publish(&mut self, prefix: &[PrefixKey]) {
        if prefix.len() <= self.published {
            return;
        }
        let mut pool = self.pages.pool();
        let new = self.published..prefix.len();
        new.for_each(|at| pool.publish(self.ids[at], prefix[at]));
        self.published = prefix.len();
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        self.pages.pool().give_back(&self.ids, self.promised);
        let listeners = self.pages.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener());
    }
}
