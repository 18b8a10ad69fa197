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

/// Where a name is: its group, and its leaf of the log, by which it is found there. Small, since there is one for each
/// name, and it is looked for at every transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    group: IdGroup,
    leaf: u64,
}

/// Names that count as used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecentIds {
    by_key: Table<TxKey, Place>,
    /// Leaves rising.
    groups: BTreeMap<IdGroup, Vec<RecentId>>,
}

impl RecentIds {
    pub(super) fn get(&self, key: &TxKey) -> Option<Applied> {
        let Place { group, leaf } = self.by_key.get(key)?;
        let ids = self.groups.get(group)?;
        let at = ids.binary_search_by_key(leaf, |id| id.leaf).ok()?;
        Some(ids.get(at)?.applied(group))
    }

    /// All names, a group after the other, leaves rising in each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TxKey, Applied)> {
        self.groups.iter().flat_map(|(group, ids)| ids.iter().map(|id| (id.key(), id.applied(group))))
    }

    /// Groups that no block from `height` on takes, and how many names each has.
    pub(super) fn over(&self, height: Height) -> impl Iterator<Item = (IdGroup, usize)> {
        let over = self.groups.iter().take_while(move |(group, _)| group.valid_until < height);
        over.map(|(group, ids)| (*group, ids.len()))
    }

    /// Forgets what a block forgets, and takes its names in.
    pub(super) fn absorb(&mut self, changes: &Changes) {
        changes.forgotten.iter().for_each(|(group, _)| self.forget(group));
        // Most of a block are valid equally long.
        for ids in
            changes.applied.items().chunk_by(|(_, one), (_, next)| IdGroup::of(one) == IdGroup::of(next))
        {
            self.extend(IdGroup::of(&ids[0].1), ids.iter().map(RecentId::of));
        }
    }

    /// Takes names in that are not there, leaves rising.
    fn extend(&mut self, group: IdGroup, ids: impl Iterator<Item = RecentId>) {
        let Self { by_key, groups } = self;
        let group_ids = groups.entry(group).or_default();
        for id in ids {
            by_key.insert(id.key(), Place { group, leaf: id.leaf });
            group_ids.push(id);
        }
    }

    /// Forgets a group.
    fn forget(&mut self, group: &IdGroup) {
        for id in self.groups.remove(group).unwrap_or_default() {
            self.by_key.remove(&id.key());
        }
    }

    /// Takes in what a store holds of a group: part after part, each full but the last, leaves rising, no name twice. Says
    /// whether it is.
    pub(super) fn restore(&mut self, group: IdGroup, part: usize, page: IdPage) -> bool {
        let before = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
        if before.len() != part * PAGE_IDS || page.ids.is_empty() {
            return false;
        }
        let mut last = before.last().map(|id| id.leaf);
        for id in page.ids {
            if last.is_some_and(|last| last >= id.leaf) || self.by_key.get(&id.key()).is_some() {
                return false;
            }
            last = Some(id.leaf);
            self.extend(group, std::iter::once(id));
        }
        true
    }

    /// Whether every name is in one group.
    pub(super) fn are_whole(&self) -> bool {
        self.groups.values().map(Vec::len).sum::<usize>() == self.by_key.len()
    }
}

/// A name as a group has it, and a store; the rest is in what the group is called.
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
}

impl RecentId {
    fn of((key, applied): &(TxKey, Applied)) -> Self {
        Self { sender: key.sender, nonce: key.nonce, id: applied.id, leaf: applied.leaf }
    }

    fn key(&self) -> TxKey {
        TxKey { sender: self.sender, nonce: self.nonce }
    }

    fn applied(&self, group: &IdGroup) -> Applied {
        let IdGroup { valid_until, height } = *group;
        Applied { id: self.id, height, leaf: self.leaf, valid_until }
    }
}

impl Wire for IdPage {
    const BYTES_MAX: usize = 4 * 1024;

    fn check_bounds(&self) -> Result<(), String> {
        at_most("ids", self.ids.len(), PAGE_IDS)
    }
}
