//! Transactions that could still be sent again, by name, until the last block in which they were valid has passed.

use std::collections::BTreeMap;

use gridhour_protocol::{
    id::TxId,
    signed::PublicKey,
    units::Height,
    wire::{Wire, at_most},
};
use serde::{Deserialize, Serialize};

use super::{Applied, Changes, TxKey, table::Table};

/// Names that one record of a store holds.
pub(super) const PAGE_IDS: usize = 48;

/// Names of one block that are forgotten together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IdGroup {
    /// The last block in which they were valid.
    pub(super) valid_until: Height,
    /// Their block.
    pub(super) height: Height,
}

impl IdGroup {
    pub(super) fn of(applied: &Applied) -> Self {
        Self { valid_until: applied.valid_until, height: applied.height }
    }
}

/// Names that count as used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecentIds {
    by_key: Table<TxKey, Applied>,
    groups: BTreeMap<IdGroup, Vec<TxKey>>,
}

impl RecentIds {
    pub(super) fn get(&self, key: &TxKey) -> Option<&Applied> {
        self.by_key.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TxKey, &Applied)> {
        self.by_key.iter()
    }

    /// Takes a name in that is not there. Those of a block come in the order of the log.
    fn insert(&mut self, key: TxKey, applied: Applied) {
        self.groups.entry(IdGroup::of(&applied)).or_default().push(key);
        self.by_key.insert(key, applied);
    }

    /// Groups that no block from `height` on takes, and how many names each has.
    pub(super) fn over(&self, height: Height) -> impl Iterator<Item = (IdGroup, usize)> {
        let over = self.groups.iter().take_while(move |(group, _)| group.valid_until < height);
        over.map(|(group, keys)| (*group, keys.len()))
    }

    /// Forgets what a block forgets, and takes its names in.
    pub(super) fn absorb(&mut self, changes: &Changes) {
        changes.forgotten.iter().for_each(|(group, _)| self.forget(group));
        // Most of a block are valid equally long.
        for ids in
            changes.applied.items().chunk_by(|(_, one), (_, next)| IdGroup::of(one) == IdGroup::of(next))
        {
            let group = self.groups.entry(IdGroup::of(&ids[0].1)).or_default();
            for (key, applied) in ids {
                group.push(*key);
                self.by_key.insert(*key, *applied);
            }
        }
    }

    /// Forgets a group.
    fn forget(&mut self, group: &IdGroup) {
        for key in self.groups.remove(group).unwrap_or_default() {
            self.by_key.remove(&key);
        }
    }

    /// Takes in what a store holds of a group: part after part, each full but the last, leaves rising, no name twice. Says
    /// whether it is.
    pub(super) fn restore(&mut self, group: IdGroup, part: usize, page: IdPage) -> bool {
        let before = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
        let mut last = before.last().and_then(|key| self.get(key)).map(|applied| applied.leaf);
        if before.len() != part * PAGE_IDS || page.ids.is_empty() {
            return false;
        }
        for (key, applied) in page.into_ids(group) {
            if last.is_some_and(|last| last >= applied.leaf) || self.get(&key).is_some() {
                return false;
            }
            last = Some(applied.leaf);
            self.insert(key, applied);
        }
        true
    }

    /// Whether every name is in one group.
    pub(super) fn are_whole(&self) -> bool {
        self.groups.values().map(Vec::len).sum::<usize>() == self.by_key.len()
    }
}

/// A name as a store keeps it; the rest is in the key of its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RecentId {
    sender: PublicKey,
    nonce: u64,
    id: TxId,
    leaf: u64,
}

/// Names of one group, as many as a record holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPage {
    ids: Vec<RecentId>,
}

impl IdPage {
    /// The pages of the names of one group.
    pub(super) fn all(ids: &[(TxKey, Applied)]) -> impl Iterator<Item = Self> {
        ids.chunks(PAGE_IDS).map(|ids| Self { ids: ids.iter().map(RecentId::of).collect() })
    }

    /// The names, of which the key of the record says the rest.
    fn into_ids(self, group: IdGroup) -> impl Iterator<Item = (TxKey, Applied)> {
        self.ids.into_iter().map(move |RecentId { sender, nonce, id, leaf }| {
            let IdGroup { valid_until, height } = group;
            (TxKey { sender, nonce }, Applied { id, height, leaf, valid_until })
        })
    }
}

impl RecentId {
    fn of((key, applied): &(TxKey, Applied)) -> Self {
        Self { sender: key.sender, nonce: key.nonce, id: applied.id, leaf: applied.leaf }
    }
}

impl Wire for IdPage {
    const BYTES_MAX: usize = 4 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("ids", self.ids.len(), PAGE_IDS)
    }
}
