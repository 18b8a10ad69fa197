//! The records in memory.

use std::{collections::BTreeMap, sync::Arc};

use super::change::{self, CHANGE_HEAD_BYTES, Change, Kind};

/// Live records, and the bytes that they take in a log.
#[derive(Default)]
pub(super) struct Table {
    records: BTreeMap<(Kind, Vec<u8>), Arc<[u8]>>,
    bytes: usize,
}

fn size(key: &[u8], value: &[u8]) -> usize {
    CHANGE_HEAD_BYTES + key.len() + value.len()
}

impl Table {
    /// Makes the changes of a commit; `None`, having changed nothing, if these are not the bytes of one.
    pub(super) fn apply(&mut self, body: &[u8]) -> Option<()> {
        for change in change::decode(body)? {
            let (kind, key, value) = match change {
                Change::Put { kind, key, value } => (kind, key, Some(value)),
                Change::Delete { kind, key } => (kind, key, None),
            };
            self.set(kind, key, value);
        }
        Some(())
    }

    fn set(&mut self, kind: Kind, key: &[u8], value: Option<&[u8]>) {
        let key = (kind, key.to_vec());
        if let Some(old) = self.records.remove(&key) {
            self.bytes -= size(&key.1, &old);
        }
        if let Some(value) = value {
            self.bytes += size(&key.1, value);
            self.records.insert(key, value.into());
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, kind: Kind, key: &[u8]) -> Option<Arc<[u8]>> {
        self.records.get(&(kind, key.to_vec())).cloned()
    }

    pub(super) fn list(&self, kind: Kind, prefix: &[u8]) -> Vec<(Vec<u8>, Arc<[u8]>)> {
        self.records
            .range((kind, prefix.to_vec())..)
            .take_while(|((of, key), _)| *of == kind && key.starts_with(prefix))
            .map(|((_, key), value)| (key.clone(), Arc::clone(value)))
            .collect()
    }

    /// Commits that make this table from an empty one, each at most `max` bytes; a single record always fits.
    pub(super) fn commits(&self, max: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut records = self.records.iter().peekable();
        std::iter::from_fn(move || {
            let mut changes = Vec::new();
            let mut bytes = 0;
            while let Some(((kind, key), value)) =
                records.next_if(|((_, key), value)| bytes == 0 || bytes + size(key, value) <= max)
            {
                bytes += size(key, value);
                changes.push(Change::Put { kind: *kind, key, value });
            }
            let body = change::encode(&changes).expect("a record fits a commit, as it did when it came");
            (!body.is_empty()).then_some(body)
        })
    }
}
