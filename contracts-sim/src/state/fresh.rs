//! What one block changes: a small map that is made for every block, filled by its transactions, and read in the order in
//! which they came.
//!
//! A block names a few thousand keys at most, and a map of trees spends more on its nodes than on the looks. So the items
//! lie in one list, and a table of their places is searched from where a key's bits point to. Whoever makes all keys of a
//! block point to one place makes each look go through all of them: for the largest block that is less work than checking
//! its signatures.

use super::point::Point;

/// Places of the smallest table.
const PLACES_MIN: usize = 64;
/// A place where nothing is.
const FREE: u32 = u32::MAX;
/// The map. Equal if it was filled with the same, in the same order.
#[derive(Clone, Debug)]
pub(super) struct Fresh<K, V> {
    items: Vec<(K, V)>,
    /// Places of items, a power of two of them, at most half of them taken; none before the first item.
    places: Vec<u32>,
}

impl<K: Point, V> Fresh<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let at = self.search(key).ok()?;
        Some(&self.items.get(at)?.1)
    }

    /// Replaces what was there. A new key comes last.
    ///
    /// # Panics
    /// Over 2^32 keys: more than a block changes.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if 2 * (self.items.len() + 1) > self.places.len() {
            self.spread_over((2 * self.places.len()).max(PLACES_MIN));
        }
        match self.search(&key) {
            Ok(at) => self.items[at].1 = value,
            Err(place) => {
                self.places[place] = u32::try_from(self.items.len()).expect("a block changes fewer records");
                self.items.push((key, value));
            }
        }
    }

    /// Makes room for so many more keys at once.
    pub(super) fn reserve(&mut self, more: usize) {
        if more == 0 {
            return;
        }
        self.items.reserve(more);
        let places = (2 * (self.items.len() + more)).next_power_of_two().max(PLACES_MIN);
        if places > self.places.len() {
            self.spread_over(places);
        }
    }

    /// Everything, in the order in which the keys first came.
    pub(super) fn items(&self) -> &[(K, V)] {
        &self.items
    }

    /// [`Fresh::items`], as maps give them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.items.iter().map(|(key, value)| (key, value))
    }

    /// Over so many places: a power of two.
    fn spread_over(&mut self, places: usize) {
        self.places.clear();
        self.places.resize(places, FREE);
        for (at, (key, _)) in (0..).zip(&self.items) {
            let mut place = Self::first(key, places);
            while self.places[place] != FREE {
                place = (place + 1) & (places - 1);
            }
            self.places[place] = at;
        }
    }

    /// Where the item is, or the free place where the search ended.
    fn search(&self, key: &K) -> Result<usize, usize> {
        let places = self.places.len();
        if places == 0 {
            return Err(0);
        }
        let mut place = Self::first(key, places);
        loop {
            let at = self.places[place] as usize;
            match self.items.get(at) {
                None => return Err(place),
                Some((found, _)) if found == key => return Ok(at),
                Some(_) => place = (place + 1) & (places - 1),
            }
        }
    }

    /// `places` is a power of two from 2 on.
    fn first(key: &K, places: usize) -> usize {
        (key.point() >> (u64::BITS - places.ilog2())) as usize
    }
}

impl<K, V> Default for Fresh<K, V> {
    fn default() -> Self {
        Self { items: Vec::new(), places: Vec::new() }
    }
}

impl<K: Point, V> FromIterator<(K, V)> for Fresh<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(items: T) -> Self {
        let mut map = Self::default();
        items.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Fresh<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl<K: Eq, V: Eq> Eq for Fresh<K, V> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridhour_protocol::signed::PublicKey;
    use proptest::prelude::*;

    use super::*;
    use crate::state::TxKey;

    fn key(first: u16, nonce: u64) -> TxKey {
        let mut sender = [7; 32];
        sender[..2].copy_from_slice(&first.to_be_bytes());
        TxKey { sender: PublicKey(sender), nonce }
    }

    proptest! {
        /// Whatever is put in: the same answers as of an ordered map, and each key where it first came.
        #[test]
        fn it_is_a_map_in_the_order_of_coming(
            puts in prop::collection::vec((0u16..20, 0u64..20, any::<u8>()), 0..400),
        ) {
            let (mut map, mut ordered, mut came) = (Fresh::default(), BTreeMap::new(), Vec::new());
            for (first, nonce, value) in puts {
                let key = key(first, nonce);
                prop_assert_eq!(map.get(&key), ordered.get(&key));
                if ordered.insert(key, value).is_none() {
                    came.push(key);
                }
                map.insert(key, value);
                map.reserve(usize::from(value) % 4 * 16);
                prop_assert_eq!(map.get(&key), Some(&value));
            }
            let expected: Vec<_> = came.iter().map(|key| (key, &ordered[key])).collect();
            prop_assert!(map.iter().eq(expected.iter().copied()));
            prop_assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<Fresh<_, _>>(), map);
        }

        /// Keys that all point to the last place are found all the same, round the end.
        #[test]
        fn keys_that_point_to_one_place_are_found(count in 1u8..200) {
            let key = |n: u8| PublicKey(std::array::from_fn(|at| if at == 31 { n } else { 255 }));
            let map: Fresh<_, _> = (0..count).map(|n| (key(n), n)).collect();
            for n in 0..=u8::MAX {
                prop_assert_eq!(map.get(&key(n)).copied(), (n < count).then_some(n));
            }
        }
    }
}
