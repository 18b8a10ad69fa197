//! Keys and values of the positions that a sequence has seen, and the memory that all sequences of an engine
//! may hold.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{cpu::attend::HeadView, fixed::Scale};

/// Memory for keys and values, shared by all sequences of an engine.
#[derive(Clone, Debug)]
pub struct KvBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
}

/// A part of a [`KvBudget`], given back when dropped.
#[derive(Debug)]
struct Reservation {
    budget: KvBudget,
    bytes: usize,
}

impl KvBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, used: AtomicUsize::new(0) }))
    }

    /// Bytes that may be held at most.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes reserved by living sequences.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let add = |used: usize| used.checked_add(bytes).filter(|total| *total <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Reservation { budget: self.clone(), bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Sizes of a cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvShape {
    /// Layers.
    pub layers: usize,
    /// Key-value heads of a layer.
    pub heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
}

impl KvShape {
    /// Bytes that one position takes.
    pub fn position_bytes(&self) -> usize {
        2 * self.layers * self.heads * (self.head_dim * size_of::<i16>() + size_of::<Scale>())
    }
}

/// Keys and values of one sequence.
#[derive(Debug)]
pub struct KvCache {
    shape: KvShape,
    capacity: usize,
    heads: Vec<Head>,
    reservation: Reservation,
}

/// What one position of one key-value head brings: codes and scale of its key, and of its value.
#[derive(Clone, Copy, Debug)]
pub struct KvEntry<'a> {
    /// The key.
    pub key: (&'a [i16], Scale),
    /// The value.
    pub value: (&'a [i16], Scale),
}

#[derive(Debug)]
struct Head {
    keys: Vec<i16>,
    key_scales: Vec<Scale>,
    values: Vec<i16>,
    value_scales: Vec<Scale>,
}

impl Head {
    fn new(capacity: usize, head_dim: usize) -> Self {
        Self {
            keys: Vec::with_capacity(capacity * head_dim),
            key_scales: Vec::with_capacity(capacity),
            values: Vec::with_capacity(capacity * head_dim),
            value_scales: Vec::with_capacity(capacity),
        }
    }
}

impl KvCache {
    /// Room for `capacity` positions, or nothing if the budget has no such room left. All of it is allocated now, so
    /// that nothing grows past the reservation; systems back the pages only as positions fill them.
    pub fn new(shape: KvShape, capacity: usize, budget: &KvBudget) -> Option<Self> {
        let reservation = budget.reserve(shape.position_bytes().checked_mul(capacity)?)?;
        let heads = (0..shape.layers * shape.heads).map(|_| Head::new(capacity, shape.head_dim)).collect();
        Some(Self { shape, capacity, heads, reservation })
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        self.reservation.bytes
    }

    /// Appends the next position of one head. The sequence counts positions against [`KvCache::capacity`].
    pub fn push(&mut self, layer: usize, head: usize, entry: KvEntry<'_>) {
        let head = &mut self.heads[layer * self.shape.heads + head];
        head.keys.extend_from_slice(entry.key.0);
        head.key_scales.push(entry.key.1);
        head.values.extend_from_slice(entry.value.0);
        head.value_scales.push(entry.value.1);
    }

    /// The first `positions` positions of one head.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn view(&self, layer: usize, head: usize, positions: usize) -> HeadView<'_> {
        let head = &self.heads[layer * self.shape.heads + head];
        let codes = positions * self.shape.head_dim;
        HeadView {
            keys: &head.keys[..codes],
            key_scales: &head.key_scales[..positions],
            values: &head.values[..codes],
            value_scales: &head.value_scales[..positions],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape = KvShape { layers: 2, heads: 3, head_dim: 4 };

    #[test]
    fn caches_share_a_budget_and_give_it_back() {
        let budget = KvBudget::new(10 * SHAPE.position_bytes());
        let first = KvCache::new(SHAPE, 6, &budget).expect("room for six");
        assert!(KvCache::new(SHAPE, 5, &budget).is_none());
        assert_eq!(budget.used(), first.bytes());
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(KvCache::new(SHAPE, 10, &budget).is_some());
        assert!(KvCache::new(SHAPE, usize::MAX, &budget).is_none());
    }

    #[test]
    fn positions_come_back_in_order() {
        let budget = KvBudget::new(1 << 20);
        let mut cache = KvCache::new(SHAPE, 4, &budget).expect("room");
        for t in 0..3i16 {
            let entry = KvEntry {
                key: (&[t; 4], Scale::from(1, i32::from(t))),
                value: (&[-t; 4], Scale::from(1, -i32::from(t))),
            };
            cache.push(1, 2, entry);
        }
        let view = cache.view(1, 2, 2);
        assert_eq!(
            (view.keys, view.values),
            (&[0, 0, 0, 0, 1, 1, 1, 1][..], &[0, 0, 0, 0, -1, -1, -1, -1][..])
        );
        assert_eq!(view.key_scales[1], Scale::from(1, 1));
    }
}
