//! What expires, and when: entries in the memstore beside the values, in the order of their times.
//!
//! ```text
//!   value    store 1, "ada" = …, expires 1700          due    1 | 1700 | store 1 | "ada"
//!   flag                                                      0 | store 1: values of this store expire, or did
//! ```
//!
//! An entry is there exactly while its value is, and changes with it in one batch, whoever applies the log. So a store on disk has its
//! entries after a restart, and whoever asks what is due reads nothing that is not. Time is the owner's: nothing here is
//! removed because of it.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, ControlFlow};

use affinity_memstore::{At, Batch, MemStore, Scan, StoreId, Value};
use affinity_types::{EventTime, Version};
use bytes::Bytes;
use hashbrown::DefaultHashBuilder;

use crate::{Result, indices};

/// The store of the entries.
const DUE: StoreId = StoreId(StoreId::LAST.0 - 2);

const FLAG: u8 = 0;
const ENTRY: u8 = 1;

/// A value that expires: where it is, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Its store.
    pub store: StoreId,
    /// Its key there.
    pub key: Bytes,
    /// From when on it no longer counts.
    pub expires: EventTime,
}

/// What is known of the entries without reading them.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Stores whose values expire, or did: only there an older value has to be looked at when it is replaced.
    stores: BTreeSet<StoreId>,
    /// No entry is earlier.
    first: Option<EventTime>,
}

impl Due {
    /// Reads the flags and the first entry, however many there are.
    pub(crate) fn open(memstore: &dyn MemStore) -> Result<Due> {
        let mut due = Due::default();
        memstore.scan(At::Newest, &Scan::prefix(DUE, &[FLAG]), &mut |key, _| {
            due.stores.extend(key.get(1..3).and_then(store_of));
            ControlFlow::Continue(())
        })?;
        memstore.scan(At::Newest, &entries().limit(1), &mut |key, _| {
            due.first = read_entry(key).map(|entry| entry.expires);
            ControlFlow::Break(())
        })?;
        Ok(due)
    }

    /// No value expires before this; `None` if none does at all.
    pub(crate) fn first(&self) -> Option<EventTime> {
        self.first
    }

    /// Gathers what changes with a batch.
    pub(crate) fn changes<'a>(&self) -> DueChanges<'a> {
        DueChanges { stores: self.stores.clone(), newest: HashMap::default() }
    }

    /// The batch is in the memstore.
    pub(crate) fn applied(&mut self, entries: &DueEntries) {
        self.stores.extend(&entries.begun);
        if let Some(earliest) = entries.earliest {
            self.first = Some(self.first.map_or(earliest, |first| first.min(earliest)));
        }
    }

    /// The values that have expired at `now`, earliest first, `most` of them.
    pub(crate) fn take(
        &mut self,
        memstore: &dyn MemStore,
        now: EventTime,
        most: usize,
    ) -> Result<Vec<Expiring>> {
        let mut due = Vec::new();
        let Some(first) = self.first.filter(|first| *first <= now) else { return Ok(due) };
        // Behind what was removed before: a store on disk has to step over that.
        let from = time_key(first);
        let scan = Scan::range(DUE, Bound::Included(&from), Bound::Unbounded).limit(most.max(1));
        let mut next = None;
        memstore.scan(At::Newest, &scan, &mut |key, _| {
            let Some(entry) = read_entry(key) else { return ControlFlow::Continue(()) };
            next.get_or_insert(entry.expires);
            if entry.expires > now {
                return ControlFlow::Break(());
            }
            due.push(entry);
            ControlFlow::Continue(())
        })?;
        self.first = next;
        Ok(due)
    }
}

/// What a batch changes of values that expire, or of the stores where some do: of each key the newest.
pub(crate) struct DueChanges<'a> {
    stores: BTreeSet<StoreId>,
    newest: HashMap<(StoreId, &'a [u8]), Option<EventTime>, DefaultHashBuilder>,
}

impl<'a> DueChanges<'a> {
    /// A key is given a value that expires, or one that does not, or none.
    pub(crate) fn note(&mut self, store: StoreId, key: &'a [u8], expires: Option<EventTime>) {
        // Entries of indices expire with their values.
        if indices::is_index(store) {
            return;
        }
        if expires.is_some() {
            self.stores.insert(store);
        } else if self.stores.is_empty() || !self.stores.contains(&store) {
            return;
        }
        self.newest.insert((store, key), expires);
    }
}

/// Entries to be written and removed with a batch.
#[derive(Default)]
pub(crate) struct DueEntries {
    /// Their keys, one behind the other: where each ends, and whether it is written.
    keys: Vec<u8>,
    ends: Vec<(usize, bool)>,
    begun: Vec<StoreId>,
    earliest: Option<EventTime>,
}

impl DueEntries {
    /// What has to change for `changes` over what the memstore holds.
    pub(crate) fn of(due: &Due, changes: &DueChanges<'_>, memstore: &dyn MemStore) -> Result<DueEntries> {
        let mut entries = DueEntries::default();
        for ((store, key), expires) in &changes.newest {
            let known = due.stores.contains(store);
            let before =
                if known { memstore.get(*store, key)?.and_then(|value| value.expires()) } else { None };
            if before == *expires {
                continue;
            }
            if let Some(before) = before {
                entries.push(before, *store, key, false);
            }
            if let Some(expires) = *expires {
                entries.push(expires, *store, key, true);
                entries.earliest = Some(entries.earliest.map_or(expires, |earliest| earliest.min(expires)));
            }
        }
        for store in changes.stores.difference(&due.stores) {
            entries.keys.push(FLAG);
            entries.keys.extend_from_slice(&store.0.to_be_bytes());
            entries.ends.push((entries.keys.len(), true));
            entries.begun.push(*store);
        }
        Ok(entries)
    }

    fn push(&mut self, expires: EventTime, store: StoreId, key: &[u8], written: bool) {
        self.keys.extend_from_slice(&time_key(expires));
        self.keys.extend_from_slice(&store.0.to_be_bytes());
        self.keys.extend_from_slice(key);
        self.ends.push((self.keys.len(), written));
    }

    /// Adds them to the batch.
    pub(crate) fn put<'a>(&'a self, batch: &mut Batch<'a>) {
        batch.reserve(self.ends.len());
        let mut from = 0;
        for (end, written) in &self.ends {
            let key = &self.keys[from..*end];
            from = *end;
            if *written {
                batch.put(DUE, key, Value::new(&[], Version::default()));
            } else {
                batch.remove(DUE, key);
            }
        }
    }
}

/// All entries.
pub(crate) fn entries() -> Scan {
    Scan::prefix(DUE, &[ENTRY])
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
            let mut entries = DueEntries::default();
            entries.push(time, StoreId(7), b"key", true);
            entries.keys
        });
        assert!(keys.is_sorted());
        for (key, expires) in keys.iter().zip(times) {
            let expected = Expiring { store: StoreId(7), key: Bytes::from_static(b"key"), expires };
            assert_eq!(read_entry(key), Some(expected));
            assert_eq!(read_entry(&key[..10]), None);
        }
    }
}
