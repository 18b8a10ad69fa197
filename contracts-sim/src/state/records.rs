//! The state as records of a key-value store: what changes with a block goes out, and everything comes in again.
//!
//! | key | value |
//! |---|---|
//! | `a`, account | balance, 8 bytes little-endian |
//! | `b`, budget id | [`Budget`](super::Budget), wire |
//! | `d`, owner, device id | [`Device`], wire |
//! | `k`, device id | [`Stake`], wire |
//! | `o`, order id | [`OrderBudget`], wire |
//! | `r`, reservation id | [`Reservation`](super::Reservation), wire |
//! | `s`, session id | [`Session`], wire |
//! | `t`, last valid block, block, part of it, big-endian | [`IdPage`], wire |
//! | `c` | the last block and the checkpoint that is pending after it, wire: the cursor |

use std::collections::BTreeMap;

use gridhour_protocol::{
    id::{BudgetId, DeviceId, OrderId, ReservationId, SessionId},
    signed::PublicKey,
    units::{Credits, Height},
    wire::{self, Wire, WireError},
};
use serde::{Deserialize, Serialize};

use super::{
    Applied, Changes, DeviceKey, PendingCheckpoint, State, StateRoot, Tip, TxKey, check_invariants,
    invariants::Violation,
    pending::Pending,
    recent_ids::{IdGroup, IdPage, PAGE_IDS},
    table::Table,
};
use crate::{genesis::Genesis, limits::COUNT_MAX};

/// Key of the record that says which block the others are of.
pub const CURSOR_KEY: &[u8] = b"c";

/// A key and its new value; `None` where it is to be removed.
pub type Record = (Vec<u8>, Option<Vec<u8>>);

/// Why records are not a state. The store is damaged or another network's: move it aside and replay the blocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The genesis breaks its own rules.
    #[error("the genesis is unusable: {0}")]
    Genesis(String),
    /// A key of no kind.
    #[error("a record has an unknown key of {0} bytes")]
    UnknownKey(usize),
    /// A value that cannot be read.
    #[error("a record's value cannot be read: {0}")]
    Value(#[from] WireError),
    /// The cursor is missing.
    #[error("the records have no cursor")]
    NoCursor,
    /// The records contradict each other.
    #[error("the records contradict each other: {0}")]
    Broken(#[from] Violation),
    /// The state is not the one that the cursor's checkpoint names.
    #[error("the records are not the state of the checkpoint at height {0}")]
    WrongRoot(u64),
    /// Names of recent transactions of a block that are not those before them, or not in order.
    #[error("a page of the recent ids of block {0} does not follow the one before")]
    IdPage(u64),
    /// A counter that no ledger reaches.
    #[error("the cursor counts {0} blocks or entries, which no ledger reaches")]
    Absurd(u64),
}

/// What the record of the last block is made from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cursor {
    tip: Tip,
    pending: Option<PendingCheckpoint>,
}

impl Cursor {
    /// The record: written in one batch with the changes of the block, it says up to where a store has got. Finishes a
    /// pending checkpoint, since its root cannot be found from records of later blocks.
    #[must_use]
    pub fn record(&self) -> Record {
        let pending = self.pending.as_ref().map(PendingCheckpoint::finish);
        (CURSOR_KEY.to_vec(), Some(wire::encode(&StoredCursor { tip: self.tip.clone(), pending })))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredCursor {
    tip: Tip,
    pending: Option<StateRoot>,
}

impl Wire for StoredCursor {
    const BYTES_MAX: usize = Tip::BYTES_MAX + 64;
}

impl Changes {
    /// The records that change. The cursor is not among them: see [`Cursor::record`].
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let accounts =
            self.accounts.iter().map(|(key, value)| (key_of(b'a', &key.0), value.map(balance_bytes)));
        let orders =
            self.orders.iter().map(|(id, value)| (key_of(b'o', &id.0), value.as_ref().map(wire::encode)));
        let sessions =
            self.sessions.iter().map(|(id, value)| (key_of(b's', &id.0), value.as_ref().map(wire::encode)));
        let devices =
            self.devices.iter().map(|(key, value)| (device_key(key), value.as_ref().map(wire::encode)));
        let stakes =
            self.stakes.iter().map(|(id, value)| (key_of(b'k', &id.0), value.as_ref().map(wire::encode)));
        let budgets =
            self.budgets.iter().map(|(id, value)| (key_of(b'b', &id.0), value.as_ref().map(wire::encode)));
        let of_people = accounts.chain(orders).chain(sessions).chain(budgets);
        let reservations = self.reservations.iter();
        let reservations =
            reservations.map(|(id, value)| (key_of(b'r', &id.0), value.as_ref().map(wire::encode)));
        let of_providers = devices.chain(stakes).chain(reservations);
        of_people.chain(of_providers).chain(self.id_records()).collect()
    }
}

impl Changes {
    /// The pages of new names, and those that are dropped. A block has fewer parts than 16 bits count.
    fn id_records(&self) -> Vec<Record> {
        let mut groups: BTreeMap<IdGroup, Vec<(TxKey, Applied)>> = BTreeMap::new();
        for (key, applied) in self.applied.iter() {
            groups.entry(IdGroup::of(applied)).or_default().push((*key, *applied));
        }
        let dropped = |(group, ids): &(IdGroup, usize)| {
            let (group, parts) = (*group, ids.div_ceil(PAGE_IDS));
            (0..parts).map(move |part| (id_key(&group, part), None))
        };
        let pages = groups.iter().flat_map(|(group, ids)| {
            let pages = IdPage::all(ids).enumerate();
            pages.map(|(part, page)| (id_key(group, part), Some(wire::encode(&page))))
        });
        self.forgotten.iter().flat_map(dropped).chain(pages).collect()
    }
}

impl State {
    /// What a store has to know of the last block.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { tip: self.tip.clone(), pending: self.pending_checkpoint().cloned() }
    }

    /// Every record of the state, the cursor included.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let all = Changes {
            accounts: self.accounts.iter().map(|(key, value)| (*key, Some(*value))).collect(),
            sessions: self.sessions.iter().map(|(key, value)| (*key, Some(value.clone()))).collect(),
            orders: self.orders.iter().map(|(key, value)| (*key, Some(value.clone()))).collect(),
            devices: self.devices.iter().map(|(key, value)| (*key, Some(value.clone()))).collect(),
            stakes: self.stakes.iter().map(|(key, value)| (*key, Some(value.clone()))).collect(),
            budgets: self.budgets.iter().map(|(key, value)| (*key, Some(value.clone()))).collect(),
            reservations: self.reservations().map(|(key, value)| (*key, Some(value.clone()))).collect(),
            applied: self.recent_ids.iter().collect(),
            forgotten: Vec::new(),
        };
        let mut records = all.records();
        records.push(self.cursor().record());
        records
    }

    /// The state that a store holds; records in the order of their keys.
    ///
    /// # Errors
    /// If the records cannot be read, contradict each other, or are not the state that the cursor's checkpoint names.
    pub fn from_records<K, V>(
        genesis: Genesis,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, LoadError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut state = Self::new(genesis).map_err(LoadError::Genesis)?;
        state.accounts = Table::default();
        let mut cursor = None;
        for (key, value) in records {
            state.load(key.as_ref(), value.as_ref(), &mut cursor)?;
        }
        let StoredCursor { tip, pending } = cursor.ok_or(LoadError::NoCursor)?;
        state.tip = tip;
        state.pending = pending.map(PendingCheckpoint::known).map(Pending::Hashed);
        if let Some(count) =
            [state.tip.height.0, state.tip.log.size()].into_iter().find(|count| *count > COUNT_MAX)
        {
            return Err(LoadError::Absurd(count));
        }
        check_invariants(&state)?;
        state.plant_tree();
        let of_now = [Some(state.tip.checkpoint), pending].into_iter().flatten();
        match of_now.filter(|at| at.height == state.tip.height).find(|at| at.root != state.root()) {
            Some(wrong) => Err(LoadError::WrongRoot(wrong.height.0)),
            None => Ok(state),
        }
    }

    fn load(&mut self, key: &[u8], value: &[u8], cursor: &mut Option<StoredCursor>) -> Result<(), LoadError> {
        let unknown = || LoadError::UnknownKey(key.len());
        let (kind, rest) = key.split_first().ok_or_else(unknown)?;
        if key == CURSOR_KEY {
            *cursor = Some(wire::decode(value)?);
            return Ok(());
        }
        if *kind == b't' {
            let (group, part) = group_of(rest).ok_or_else(unknown)?;
            let follows = self.recent_ids.restore(group, part, wire::decode(value)?);
            return if follows { Ok(()) } else { Err(LoadError::IdPage(group.height.0)) };
        }
        let (id, rest) = rest.split_first_chunk::<32>().ok_or_else(unknown)?;
        match (kind, rest) {
            (b'a', []) => {
                self.accounts.insert(PublicKey(*id), balance_of(value)?);
            }
            (b'o', []) => drop(self.put_order(OrderId(*id), Some(wire::decode(value)?))),
            (b's', []) => {
                self.sessions.insert(SessionId(*id), wire::decode(value)?);
            }
            (b'd', device) => {
                let device = DeviceId(device.try_into().map_err(|_| unknown())?);
                let key = DeviceKey { owner: PublicKey(*id), device };
                self.put_device(key, Some(wire::decode(value)?));
            }
            (b'b', []) => {
                self.budgets.insert(BudgetId(*id), wire::decode(value)?);
            }
            (b'k', []) => drop(self.put_stake(DeviceId(*id), Some(wire::decode(value)?))),
            (b'r', []) => drop(self.put_reservation(ReservationId(*id), Some(wire::decode(value)?))),
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn key_of(kind: u8, id: &[u8; 32]) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(id);
    key
}

fn id_key(group: &IdGroup, part: usize) -> Vec<u8> {
    let mut key = vec![b't'];
    key.extend_from_slice(&group.valid_until.0.to_be_bytes());
    key.extend_from_slice(&group.height.0.to_be_bytes());
    key.extend_from_slice(&(part as u16).to_be_bytes());
    key
}

/// The group and the part in the rest of such a key.
fn group_of(rest: &[u8]) -> Option<(IdGroup, usize)> {
    let (valid_until, rest) = rest.split_first_chunk::<8>()?;
    let (height, part) = rest.split_first_chunk::<8>()?;
    let [valid_until, height] = [valid_until, height].map(|bytes| Height(u64::from_be_bytes(*bytes)));
    let part = u16::from_be_bytes(part.try_into().ok()?);
    Some((IdGroup { valid_until, height }, part.into()))
}

fn device_key(key: &DeviceKey) -> Vec<u8> {
    let mut bytes = key_of(b'd', &key.owner.0);
    bytes.extend_from_slice(&key.device.0);
    bytes
}

fn balance_bytes(balance: Credits) -> Vec<u8> {
    balance.0.to_le_bytes().to_vec()
}

fn balance_of(value: &[u8]) -> Result<Credits, LoadError> {
    let malformed = |_| WireError::Malformed(format!("a balance of {} bytes", value.len()));
    Ok(Credits(u64::from_le_bytes(value.try_into().map_err(malformed)?)))
}
