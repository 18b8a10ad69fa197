//! Damage to bytes that were sound: small enough to get past the first check, odd enough to matter at the
//! second.

use super::corpus::Corpus;
use crate::sim::rng::Rng;

/// Changes of one input, mostly; sometimes many more.
const CHANGES_MAX: u64 = 4;
/// Places tried when looking for a length field.
const FIELD_TRIES: u64 = 24;
/// Numbers at which code changes its mind, cut to the width of a field.
const EDGES: [u64; 18] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    1 << 20,
    1 << 24,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    i64::MAX.cast_unsigned(),
    u64::MAX - 1,
    u64::MAX,
];

/// Makes inputs from entries of a corpus.
#[derive(Clone, Debug)]
pub(super) struct Mutator {
    rng: Rng,
    words: &'static [&'static str],
    len_max: usize,
}

/// One kind of damage.
type Change = fn(&mut Mutator, &mut Vec<u8>, &Corpus);

const CHANGES: [Change; 13] = [
    Mutator::flip_bit,
    Mutator::set_byte,
    Mutator::set_number,
    Mutator::nudge_number,
    Mutator::inflate_length,
    Mutator::resize_content,
    Mutator::truncate,
    Mutator::delete,
    Mutator::insert,
    Mutator::repeat,
    Mutator::splice,
    Mutator::cross_over,
    Mutator::insert_word,
];

impl Mutator {
    /// A mutator whose inputs have at most `len_max` bytes; `words` are put in as they are.
    pub(super) fn new(rng: Rng, words: &'static [&'static str], len_max: usize) -> Self {
        Self { rng, words, len_max }
    }

    /// The next input.
    pub(super) fn next(&mut self, corpus: &Corpus) -> Vec<u8> {
        let mut input = corpus.pick(&mut self.rng).to_vec();
        let most = if self.rng.one_in(16) { 8 * CHANGES_MAX } else { CHANGES_MAX };
        for _ in 0..=self.rng.below(most) {
            let change = CHANGES[self.index(CHANGES.len())];
            change(self, &mut input, corpus);
            input.truncate(self.len_max);
        }
        input
    }

    fn index(&mut self, end: usize) -> usize {
        self.rng.below(end as u64) as usize
    }

    /// A place in `bytes`, or behind its end.
    fn place(&mut self, bytes: &[u8]) -> usize {
        self.index(bytes.len() + 1)
    }

    /// A part of `bytes`, short ones preferred.
    fn part(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.place(bytes);
        let room = bytes.len() - start;
        let most = if self.rng.one_in(4) { room } else { room.min(16) };
        start..start + self.index(most + 1)
    }

    fn edge(&mut self) -> u64 {
        EDGES[self.index(EDGES.len())]
    }

    /// Bytes of a number: 1, 2, 4 or 8.
    fn width(&mut self) -> usize {
        1 << self.rng.below(4)
    }

    /// A place of `width` bytes; `None` if there is no room.
    fn field(&mut self, bytes: &[u8], width: usize) -> Option<usize> {
        let places = (bytes.len() + 1).checked_sub(width).filter(|places| *places > 0)?;
        Some(self.index(places))
    }
}

/// The changes. They stand in one table, so they have one signature.
#[expect(clippy::ptr_arg, reason = "some changes grow the input, and all have one signature")]
impl Mutator {
    fn flip_bit(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        if let Some(at) = self.field(bytes, 1) {
            bytes[at] ^= 1 << self.rng.below(8);
        }
    }

    fn set_byte(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        if let Some(at) = self.field(bytes, 1) {
            bytes[at] = self.rng.bits() as u8;
        }
    }

    fn set_number(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let (width, number) = (self.width(), self.edge());
        if let Some(at) = self.field(bytes, width) {
            put(bytes, at, width, number);
        }
    }

    fn nudge_number(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let (width, by) = (self.width(), self.rng.below(9));
        if let Some(at) = self.field(bytes, width) {
            let number = get(bytes, at, width).wrapping_add(by).wrapping_sub(4);
            put(bytes, at, width, number);
        }
    }

    /// A number that could be the length of what follows it.
    fn length_field(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        for _ in 0..FIELD_TRIES {
            let width = [2, 4, 8][self.index(3)];
            let at = self.field(bytes, width)?;
            let (number, behind) = (get(bytes, at, width), bytes.len() - at - width);
            if number > 0 && number <= behind as u64 {
                return Some((at, width));
            }
        }
        None
    }

    /// Lets a length claim what is not there.
    fn inflate_length(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let Some((at, width)) = self.length_field(bytes) else { return };
        let behind = (bytes.len() - at - width) as u64;
        let number = match self.rng.below(4) {
            0 => self.edge(),
            1 => behind + self.rng.below(3),
            2 => get(bytes, at, width) << self.rng.below(24),
            _ => get(bytes, at, width) + 1 + self.rng.below(8),
        };
        put(bytes, at, width, number);
    }

    /// Changes a length and the bytes it counts together, so that the rest still lies where it is looked for.
    fn resize_content(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let Some((at, width)) = self.length_field(bytes) else { return };
        let (start, len) = (at + width, get(bytes, at, width));
        let by = 1 + self.rng.below(8);
        if self.rng.one_in(2) {
            let new = self.rng.bytes(by as usize);
            bytes.splice(start..start, new);
            put(bytes, at, width, len + by);
        } else {
            let gone = by.min(len);
            bytes.drain(start..start + gone as usize);
            put(bytes, at, width, len - gone);
        }
    }

    fn truncate(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let end = self.place(bytes);
        bytes.truncate(end);
    }

    fn delete(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let part = self.part(bytes);
        bytes.drain(part);
    }

    fn insert(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let (at, len) = (self.place(bytes), self.index(17));
        let new = if self.rng.one_in(2) { self.rng.bytes(len) } else { vec![self.rng.bits() as u8; len] };
        bytes.splice(at..at, new);
    }

    /// A part many times over: nesting, and lists that grow.
    fn repeat(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        let part = self.part(bytes);
        let most = if self.rng.one_in(8) { 4_096 } else { 8 };
        let room = self.len_max.saturating_sub(bytes.len()) / part.len().max(1);
        let times = (1 + self.index(most)).min(room);
        let repeated = bytes[part.clone()].repeat(times);
        bytes.splice(part.end..part.end, repeated);
    }

    fn splice(&mut self, bytes: &mut Vec<u8>, corpus: &Corpus) {
        let other = corpus.pick(&mut self.rng);
        let (from, to) = (self.part(other), self.part(bytes));
        bytes.splice(to, other[from].iter().copied());
    }

    fn cross_over(&mut self, bytes: &mut Vec<u8>, corpus: &Corpus) {
        let other = corpus.pick(&mut self.rng);
        let (end, start) = (self.place(bytes), self.place(other));
        bytes.truncate(end);
        bytes.extend_from_slice(&other[start..]);
    }

    fn insert_word(&mut self, bytes: &mut Vec<u8>, _: &Corpus) {
        if self.words.is_empty() {
            return;
        }
        let word = self.words[self.index(self.words.len())];
        let part = self.part(bytes);
        let to = if self.rng.one_in(2) { part } else { part.start..part.start };
        bytes.splice(to, word.bytes());
    }
}

/// The little-endian number of `width` bytes at `at`.
fn get(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Writes the low `width` bytes of `number` at `at`, little-endian.
fn put(bytes: &mut [u8], at: usize, width: usize, number: u64) {
    bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutator() -> Mutator {
        Mutator::new(Rng::new(3), &["word"], 64)
    }

    #[test]
    fn every_change_works_on_anything_and_changes_something() {
        let entries = [vec![], vec![5], b"\x03\0\0\0\0\0\0\0abc, and more bytes behind them".to_vec()];
        let corpus = Corpus::new(entries.to_vec());
        for (place, change) in CHANGES.into_iter().enumerate() {
            let mut mutator = mutator();
            let mut changed = 0;
            for _ in 0..200 {
                for entry in &entries {
                    let mut bytes = entry.clone();
                    change(&mut mutator, &mut bytes, &corpus);
                    changed += usize::from(bytes != *entry);
                }
            }
            assert!(changed > 50, "change {place} made {changed} of 600 inputs different");
        }
    }

    #[test]
    fn inputs_stay_within_their_bound() {
        let corpus = Corpus::new(vec![vec![1; 60], vec![2; 64]]);
        let mut mutator = mutator();
        assert!((0..5_000).all(|_| mutator.next(&corpus).len() <= 64));
    }

    #[test]
    fn resized_content_keeps_its_length_right() {
        let mut entry = vec![20, 0];
        entry.extend([b'x'; 20]);
        let mut mutator = mutator();
        let mut sound = 0;
        for _ in 0..100 {
            let mut bytes = entry.clone();
            mutator.resize_content(&mut bytes, &Corpus::new(vec![vec![]]));
            let holds = bytes.len() == 2 + get(&bytes, 0, 2) as usize;
            sound += usize::from(holds && bytes != entry);
        }
        assert!(sound > 20, "{sound} of 100 were resized as a whole");
    }

    #[test]
    fn numbers_are_little_endian() {
        let mut bytes = vec![0; 5];
        put(&mut bytes, 1, 4, 0x1234_5678_9abc_def0);
        assert_eq!(bytes, [0, 0xf0, 0xde, 0xbc, 0x9a]);
        assert_eq!(get(&bytes, 1, 4), 0x9abc_def0);
    }
}
