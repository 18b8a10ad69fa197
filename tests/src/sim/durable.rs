//! What a node has written and would find again after a crash: records, each batch all or nothing.
//!
//! A write that returned is durable; there is no other kind. A test counts the writes of a run and then lets
//! the power go at each of them in turn, right before it or right after, so whatever an actor did before it
//! wrote is found out.

use std::collections::BTreeMap;

/// A key, and its new value or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// The power went while the node wrote. The node must stop at once: hand it on with `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut;

/// When the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// At which write, counted from 0 over the node's whole life.
    pub at: u64,
    /// Whether that write is kept.
    pub kept: bool,
}

/// The records of one node.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    writes: u64,
    cut: Option<Cut>,
}

impl Durable {
    /// An empty store whose power goes at `cut`.
    #[must_use]
    pub fn new(cut: Option<Cut>) -> Self {
        Self { cut, ..Self::default() }
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// If the power goes at this write; then the batch is there or not, as [`Cut::kept`] says.
    pub fn write(&mut self, batch: impl IntoIterator<Item = Change>) -> Result<(), PowerCut> {
        let cut = self.cut.filter(|cut| cut.at == self.writes);
        self.writes += 1;
        if cut.is_none_or(|cut| cut.kept) {
            for (key, value) in batch {
                match value {
                    Some(value) => self.records.insert(key, value),
                    None => self.records.remove(&key),
                };
            }
        }
        if cut.is_some() { Err(PowerCut) } else { Ok(()) }
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key).map(Vec::as_slice)
    }

    /// Keys that begin with `prefix`, and their values, keys rising.
    pub fn under<'d>(&'d self, prefix: &'d [u8]) -> impl Iterator<Item = (&'d [u8], &'d [u8])> {
        let from = self.records.range(prefix.to_vec()..);
        from.take_while(move |(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.as_slice(), v.as_slice()))
    }

    /// Writes so far: the points at which the power can go.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_goes_once_and_the_batch_is_there_or_not() {
        for kept in [false, true] {
            let mut store = Durable::new(Some(Cut { at: 1, kept }));
            let batch = |value: u8| [(b"a".to_vec(), Some(vec![value])), (b"b".to_vec(), Some(vec![value]))];
            assert_eq!(store.write(batch(1)), Ok(()));
            assert_eq!(store.write(batch(2)), Err(PowerCut));
            let found: Vec<_> = store.under(b"").map(|(_, value)| value[0]).collect();
            assert_eq!(found, if kept { [2, 2] } else { [1, 1] });
            assert_eq!(store.write([(b"a".to_vec(), None)]), Ok(()));
            assert_eq!(store.get(b"a"), None);
        }
    }
}
