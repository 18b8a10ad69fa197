//! A map that is searched at every transaction: of accounts, and of names.
//!
//! Nothing that the state has for each account or name is in the caches of a core, so a look should touch as little as
//! possible. The items lie in one list, and buckets say where: each is one line of a cache, with eight places that name an
//! item by its number and by 32 bits of its key. For what a full bucket has no room for there is an ordered map, so whoever
//! makes many keys fall into one bucket finds an ordered map behind it.

use std::collections::BTreeMap;

use super::point::Point;

/// Places of a bucket.
const PLACES: usize = 8;
/// Items for each bucket, on average, at most: one bucket in twenty is full then, one in fifty has more than its places.
const LOAD: usize = 4;
/// Of a place where nothing is.
const FREE: u32 = u32::MAX;

/// Where an item is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first bits of its key's point, which also number the bucket.
    bits: u32,
    item: u32,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket([Place; PLACES]);

const EMPTY: Bucket = Bucket([Place { bits: 0, item: FREE }; PLACES]);

/// The map.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    items: Vec<(K, V)>,
    /// None before the first item, then a power of two.
    buckets: Vec<Bucket>,
    /// Items whose bucket was full when they came, and still is.
    crowded: BTreeMap<(u32, K), u32>,
}

impl<K: Point + Ord + Copy, V> Table<K, V> {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.item_of(key).map(|item| &self.items[item as usize].1)
    }

    /// Returns what was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(item) = self.item_of(&key) {
            return Some(std::mem::replace(&mut self.items[item as usize].1, value));
        }
        if self.items.len() >= LOAD * self.buckets.len() {
            self.grow();
        }
        let item = u32::try_from(self.items.len()).ok().filter(|item| *item != FREE);
        self.put(key, item.expect("no state has 2^32 records of a kind"));
        self.items.push((key, value));
        None
    }

    /// Returns what was there.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let item = self.item_of(key)?;
        self.take_out(key, item);
        let (_, value) = self.items.swap_remove(item as usize);
        if let Some((moved, _)) = self.items.get(item as usize) {
            let moved = *moved;
            *self.number_of(&moved, self.items.len() as u32) = item;
        }
        Some(value)
    }

    /// Everything, keys rising. Sorted at each call.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut items: Vec<_> = self.items.iter().map(|(key, value)| (key, value)).collect();
        items.sort_unstable_by_key(|(key, _)| *key);
        items.into_iter()
    }

    fn item_of(&self, key: &K) -> Option<u32> {
        let bits = bits(key);
        let bucket = self.buckets.get(self.bucket_of(bits))?;
        let mut is_full = true;
        for place in &bucket.0 {
            is_full &= place.item != FREE;
            if place.bits == bits
                && self.items.get(place.item as usize).is_some_and(|(found, _)| found == key)
            {
                return Some(place.item);
            }
        }
        if is_full { self.crowded.get(&(bits, *key)).copied() } else { None }
    }

    fn bucket_of(&self, bits: u32) -> usize {
        ((u64::from(bits) * self.buckets.len() as u64) >> u32::BITS) as usize
    }

    /// Says where an item is that nothing says of yet.
    fn put(&mut self, key: K, item: u32) {
        let bits = bits(&key);
        if !self.has_placed(bits, item) {
            self.crowded.insert((bits, key), item);
        }
    }

    /// Whether the bucket had room.
    fn has_placed(&mut self, bits: u32, item: u32) -> bool {
        let bucket = self.bucket_of(bits);
        let free = self.buckets[bucket].0.iter_mut().find(|place| place.item == FREE);
        free.map(|place| *place = Place { bits, item }).is_some()
    }

    /// Says nothing more of where the item is. Another that its bucket had no room for has now.
    fn take_out(&mut self, key: &K, item: u32) {
        let bits = bits(key);
        if self.crowded.remove(&(bits, *key)).is_some() {
            return;
        }
        *self.number_of(key, item) = FREE;
        let bucket = self.bucket_of(bits);
        let next = self.crowded.range((first_bits_of(bucket, self.buckets.len()), K::LEAST)..).next();
        if let Some((&(bits, key), &item)) = next
            && self.bucket_of(bits) == bucket
        {
            self.crowded.remove(&(bits, key));
            self.put(key, item);
        }
    }

    /// Where it is said that the item of this key has this number.
    fn number_of(&mut self, key: &K, item: u32) -> &mut u32 {
        let bits = bits(key);
        let bucket = self.bucket_of(bits);
        match self.buckets[bucket].0.iter_mut().find(|place| place.item == item) {
            Some(place) => &mut place.item,
            None => self
                .crowded
                .get_mut(&(bits, *key))
                .expect("every item is in its bucket, or crowded out of it"),
        }
    }

    /// Twice as many buckets. The places of one go to two that lie side by side.
    fn grow(&mut self) {
        let buckets = (2 * self.buckets.len()).max(1);
        let old = std::mem::replace(&mut self.buckets, vec![EMPTY; buckets]);
        for place in old.iter().flat_map(|bucket| &bucket.0).filter(|place| place.item != FREE) {
            assert!(self.has_placed(place.bits, place.item), "a bucket has room for those of another");
        }
        // Those that stay are in order, so that their map is built at once.
        let crowded = std::mem::take(&mut self.crowded).into_iter();
        self.crowded = crowded.filter(|((bits, _), item)| !self.has_placed(*bits, *item)).collect();
    }
}

fn bits(key: &impl Point) -> u32 {
    (key.point() >> u32::BITS) as u32
}

/// The lowest bits of a key of this bucket, of so many: a power of two.
fn first_bits_of(bucket: usize, buckets: usize) -> u32 {
    (((bucket as u64) << u32::BITS) / buckets as u64) as u32
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { items: Vec::new(), buckets: Vec::new(), crowded: BTreeMap::new() }
    }
}

impl<K: Point + Ord + Copy, V> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(items: T) -> Self {
        let mut table = Self::default();
        for (key, value) in items {
            table.insert(key, value);
        }
        table
    }
}

impl<K: Point + Ord + Copy, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.items.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Point + Ord + Copy, V: Eq> Eq for Table<K, V> {}

#[cfg(test)]
mod tests {
    use gridhour_protocol::signed::PublicKey;
    use proptest::prelude::*;

    use super::*;

    fn key(first: u16, last: u8) -> PublicKey {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&first.to_be_bytes());
        bytes[31] = last;
        PublicKey(bytes)
    }

    proptest! {
        /// Whatever is done to both: the same answers, the same order, the same number. Few firsts crowd the buckets.
        #[test]
        fn it_is_an_ordered_map(
            firsts in prop::sample::select(vec![1u16, 3, 400]),
            acts in prop::collection::vec((0u8..3, any::<u16>(), any::<u8>(), any::<u8>()), 0..600),
        ) {
            let (mut table, mut map) = (Table::<_, _>::default(), BTreeMap::new());
            for (act, first, last, value) in acts {
                let key = key((first % firsts).wrapping_mul(151), last % 60);
                let before = match act {
                    0 => (table.remove(&key), map.remove(&key)),
                    _ => (table.insert(key, value), map.insert(key, value)),
                };
                prop_assert_eq!(before.0, before.1);
                prop_assert_eq!((table.get(&key), table.len()), (map.get(&key), map.len()));
            }
            prop_assert!(map.iter().all(|(key, value)| table.get(key) == Some(value)));
            prop_assert!(table.iter().eq(map.iter()));
            prop_assert_eq!(map.into_iter().collect::<Table<_, _>>(), table);
        }
    }

    #[test]
    fn keys_that_crowd_one_bucket_are_in_an_ordered_map() {
        let mut table: Table<_, _> = (0..200).map(|last| (key(9, last), last)).collect();
        assert_eq!(table.crowded.len(), 200 - PLACES);
        for last in 0..200 {
            assert_eq!(
                table.remove(&key(9, last)),
                Some(last),
                "its place is another's, if one was crowded out"
            );
        }
        assert_eq!((table.len(), table.crowded.len()), (0, 0));
    }
}
