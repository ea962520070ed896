//! What expires, and when: entries in the tree beside the values, in the order of their times.
//!
//! ```text
//!   value    store 1, "ada" = …, expires 1700          due    0xfffc | 1 | 1700 | store 1 | "ada"
//!   flag                                                      0xfffc | 0 | store 1: values of it expire, or did
//! ```
//!
//! An entry is there exactly while its value is, and changes with it in one batch. So it is there after a restart, and
//! whoever asks what is due reads nothing that is not. It costs a look at the value that is written over, and up to two
//! entries more.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, ControlFlow};

use affinity_types::{EventTime, Version};
use bytes::Bytes;
use fjall::{Keyspace, OwnedWriteBatch, UserKey};

use super::layout;
use crate::{At, Batch, Expiring, MemStore, Result, Scan, StoreId, Value};

const FLAG: u8 = 0;
const ENTRY: u8 = 1;

/// What is known of the entries without reading them.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Stores whose values expire, or did: only there an older value has to be looked at when it is replaced.
    stores: BTreeSet<StoreId>,
    /// No entry is earlier.
    first: Option<EventTime>,
}

/// Entries to be written and removed with a batch.
#[derive(Default)]
pub(crate) struct DueChanges {
    /// Their keys, one behind the other: where each ends, and whether it is written.
    keys: Vec<u8>,
    ends: Vec<(usize, bool)>,
    begun: Vec<StoreId>,
    earliest: Option<EventTime>,
    /// The earliest that is removed.
    removed: Option<EventTime>,
}

impl Due {
    /// Reads the flags and the first entry, however many there are.
    pub(crate) fn open(store: &dyn MemStore) -> Result<Due> {
        let mut due = Due::default();
        store.scan(At::Newest, &Scan::prefix(StoreId::DUE, &[FLAG]), &mut |key, _| {
            due.stores.extend(key.get(1..3).and_then(store_of));
            ControlFlow::Continue(())
        })?;
        due.first = first_behind(store, None)?;
        Ok(due)
    }

    /// See [`MemStore::due_from`].
    pub(crate) fn first(&self) -> Option<EventTime> {
        self.first
    }

    /// See [`MemStore::due`].
    pub(crate) fn take(&self, store: &dyn MemStore, now: EventTime, most: usize) -> Result<Vec<Expiring>> {
        let mut due = Vec::new();
        let Some(first) = self.first.filter(|first| *first <= now) else { return Ok(due) };
        store.scan(At::Newest, &entries(Some(first)).limit(most), &mut |key, _| {
            let Some(entry) = read_entry(key) else { return ControlFlow::Continue(()) };
            if entry.expires > now {
                return ControlFlow::Break(());
            }
            due.push(entry);
            ControlFlow::Continue(())
        })?;
        Ok(due)
    }

    /// What has to change with `batch` over what the store holds.
    pub(crate) fn changes(&self, batch: &Batch<'_>, store: &dyn MemStore) -> Result<DueChanges> {
        let mut newest = HashMap::new();
        let mut begun = BTreeSet::new();
        for change in batch.changes.iter().filter(|change| !change.store.is_derived()) {
            let expires = change.value.as_ref().and_then(Value::expires);
            let known = self.stores.contains(&change.store);
            if expires.is_some() && !known {
                begun.insert(change.store);
            }
            if known || begun.contains(&change.store) {
                newest.insert((change.store, change.key), expires);
            }
        }
        let mut changes = DueChanges::default();
        for ((id, key), expires) in newest {
            let known = self.stores.contains(&id);
            let before = if known { store.get(id, key)?.and_then(|value| value.expires()) } else { None };
            if before == expires {
                continue;
            }
            if let Some(before) = before {
                changes.push(before, id, key, false);
                changes.removed = Some(changes.removed.map_or(before, |removed| removed.min(before)));
            }
            if let Some(expires) = expires {
                changes.push(expires, id, key, true);
                changes.earliest = Some(changes.earliest.map_or(expires, |earliest| earliest.min(expires)));
            }
        }
        for id in &begun {
            changes.keys.push(FLAG);
            changes.keys.extend_from_slice(&id.0.to_be_bytes());
            changes.ends.push((changes.keys.len(), true));
        }
        changes.begun.extend(begun);
        Ok(changes)
    }
}

impl DueChanges {
    fn push(&mut self, expires: EventTime, store: StoreId, key: &[u8], written: bool) {
        self.keys.extend_from_slice(&time_key(expires));
        self.keys.extend_from_slice(&store.0.to_be_bytes());
        self.keys.extend_from_slice(key);
        self.ends.push((self.keys.len(), written));
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Adds them to what is written.
    pub(crate) fn put(&self, tree: &Keyspace, items: &mut OwnedWriteBatch) {
        let (mut place, mut record) = (Vec::new(), Vec::new());
        Value::new(&[], Version::default()).put_head(&mut record);
        let mut from = 0;
        for (end, written) in &self.ends {
            place.clear();
            layout::put_key(&mut place, StoreId::DUE, &self.keys[from..*end]);
            from = *end;
            if *written {
                items.insert(tree, UserKey::from(&place), &record[..]);
            } else {
                items.remove(tree, UserKey::from(&place));
            }
        }
    }

    /// The batch is in `store`: what is known now.
    pub(crate) fn applied(self, mut due: Due, store: &dyn MemStore) -> Due {
        due.stores.extend(self.begun);
        let first = [due.first, self.earliest].into_iter().flatten().min();
        due.first = match (first, self.removed) {
            // If it cannot be read now, the earlier time still is a bound.
            (Some(first), Some(removed)) if removed <= first => {
                first_behind(store, Some(first)).unwrap_or(Some(first))
            }
            _ => first,
        };
        due
    }
}

/// The time of the first entry from `from` on: a store on disk has to step over what was removed before.
fn first_behind(store: &dyn MemStore, from: Option<EventTime>) -> Result<Option<EventTime>> {
    let mut first = None;
    store.scan(At::Newest, &entries(from).limit(1), &mut |key, _| {
        first = read_entry(key).map(|entry| entry.expires);
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// All entries, from a time on.
fn entries(from: Option<EventTime>) -> Scan {
    match from {
        None => Scan::prefix(StoreId::DUE, &[ENTRY]),
        Some(from) => Scan::range(StoreId::DUE, Bound::Included(&time_key(from)), Bound::Unbounded),
    }
}

/// How the entries of a time begin: bytes in the order of times.
fn time_key(time: EventTime) -> [u8; 9] {
    let mut key = [ENTRY; 9];
    key[1..].copy_from_slice(&(time.0 ^ i64::MIN).to_be_bytes());
    key
}

fn read_entry(key: &[u8]) -> Option<Expiring> {
    let (time, key) = key.strip_prefix(&[ENTRY])?.split_first_chunk::<8>()?;
    let (store, key) = key.split_at_checked(2)?;
    let expires = EventTime(i64::from_be_bytes(*time) ^ i64::MIN);
    Some(Expiring { store: store_of(store)?, key: Bytes::copy_from_slice(key), expires })
}

fn store_of(bytes: &[u8]) -> Option<StoreId> {
    bytes.try_into().ok().map(|bytes| StoreId(u16::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_the_order_of_their_times_and_come_back() {
        let times = [i64::MIN, -1, 0, 1, 255, 256, i64::MAX].map(EventTime);
        let keys = times.map(|time| {
            let mut changes = DueChanges::default();
            changes.push(time, StoreId(7), b"key", true);
            changes.keys
        });
        assert!(keys.is_sorted());
        for (key, expires) in keys.iter().zip(times) {
            let expected = Expiring { store: StoreId(7), key: Bytes::from_static(b"key"), expires };
            assert_eq!(read_entry(key), Some(expected));
            assert_eq!(read_entry(&key[..10]), None);
        }
    }
}
