//! An ordered map for keys that nobody can crowd cheaply: public keys, and what begins with one.
//!
//! It is cut into shards by the first bits of the key, each an ordered map of its own. Keys are spread evenly over them, so
//! a look goes through a small map instead of a deep one. Who wants theirs to fall into one shard searches as many keys for
//! each as there are shards, and finds an ordered map there all the same.

use std::collections::BTreeMap;

use gridhour_protocol::signed::PublicKey;

use super::TxKey;

/// Bits that number the shards.
const BITS: u32 = 12;

/// A key whose first bits decide about its order first.
pub(super) trait Spread: Ord {
    /// The first 64 bits.
    fn first_bits(&self) -> u64;
}

impl Spread for PublicKey {
    #[inline]
    fn first_bits(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

impl Spread for TxKey {
    #[inline]
    fn first_bits(&self) -> u64 {
        self.sender.first_bits()
    }
}

/// The map, in 2^12 shards once anything is in it.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    shards: Vec<BTreeMap<K, V>>,
    len: usize,
}

impl<K: Spread, V> Table<K, V> {
    fn shard(key: &K) -> usize {
        (key.first_bits() >> (u64::BITS - BITS)) as usize
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(Self::shard(key))?.get(key)
    }

    /// Returns what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.shards.is_empty() {
            self.shards.resize_with(1 << BITS, BTreeMap::new);
        }
        let before = self.shards[Self::shard(&key)].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Returns what was there.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let before = self.shards.get_mut(Self::shard(key))?.remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// Everything, keys rising.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten()
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { shards: Vec::new(), len: 0 }
    }
}

impl<K: Spread, V> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(items: T) -> Self {
        let mut table = Self::default();
        for (key, value) in items {
            table.insert(key, value);
        }
        table
    }
}

impl<K: Spread, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Spread, V: Eq> Eq for Table<K, V> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(first: u16, last: u8) -> PublicKey {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&first.to_be_bytes());
        bytes[31] = last;
        PublicKey(bytes)
    }

    proptest! {
        /// Whatever is done to both: the same answers, the same order, the same number.
        #[test]
        fn it_is_an_ordered_map(
            acts in prop::collection::vec((any::<bool>(), 0u16..400, 0u8..3, any::<u8>()), 0..200),
        ) {
            let (mut table, mut map) = (Table::<_, _>::default(), BTreeMap::new());
            for (puts, first, last, value) in acts {
                // Some share a shard, most do not.
                let key = key(first.wrapping_mul(151), last);
                let before =
                    if puts { (table.insert(key, value), map.insert(key, value)) } else { (table.remove(&key), map.remove(&key)) };
                prop_assert_eq!(before.0, before.1);
                prop_assert_eq!((table.get(&key), table.len()), (map.get(&key), map.len()));
            }
            prop_assert!(table.iter().eq(map.iter()));
            prop_assert_eq!(map.into_iter().collect::<Table<_, _>>(), table);
        }
    }
}
