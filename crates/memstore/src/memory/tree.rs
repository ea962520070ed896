//! One store: the newest values, and those that were overwritten under the eyes of a snapshot.
//!
//! ```text
//! batch        1        2        3        4        5          snapshot S, opened after batch 2, sees
//! newest   k = a                 b        c                   a: the value that the first batch behind S replaced
//! kept                     (k,3)=a                            b is not kept: no snapshot could see it
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter::{Peekable, from_fn};
use std::ops::Bound;

use affinity_types::EventTime;

use super::ahead::ahead;
use super::key::CompactKey;
use crate::scan::show;
use crate::{Direction, Result, Scan, Scanned, StoreId, Value, Visit};

/// Version, expiry and value in one allocation.
pub(crate) type Record = Box<[u8]>;

/// Name of an overwritten value: its key, and the batch that overwrote it.
pub(crate) type KeptKey = (CompactKey, u64);

/// When a change happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Era {
    /// The batch that changes.
    pub(crate) batch: u64,
    /// The batch that the newest open snapshot still sees.
    pub(crate) newest_snapshot: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tree {
    newest: BTreeMap<CompactKey, Record>,
    /// `None` where there was no value.
    kept: BTreeMap<KeptKey, Option<Record>>,
}

/// The record of `value`, in one allocation of its size.
pub(crate) fn record(value: &Value<'_>, head: &mut Vec<u8>) -> Record {
    head.clear();
    value.put_head(head);
    join(head, value.bytes())
}

fn join(head: &[u8], bytes: &[u8]) -> Record {
    let mut record = Vec::with_capacity(head.len() + bytes.len());
    record.extend_from_slice(head);
    record.extend_from_slice(bytes);
    record.into_boxed_slice()
}

fn value(record: &Record) -> Value<'_> {
    Value::in_record(record).expect("written by this store, in memory")
}

impl Tree {
    pub(crate) fn len(&self) -> usize {
        self.newest.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        let record = match CompactKey::inline(key) {
            Some(key) => self.newest.get(&key),
            None => self.newest.get(key),
        };
        record.map(value)
    }

    /// The value of `key` after batch `batch`, which an open snapshot sees.
    pub(crate) fn get_after(&self, key: &[u8], batch: u64) -> Option<Value<'_>> {
        if self.kept.is_empty() {
            return self.get(key);
        }
        match self.kept.range((CompactKey::new(key), batch + 1)..).next() {
            Some(((kept, _), record)) if kept.as_ref() == key => record.as_ref().map(value),
            _ => self.get(key),
        }
    }

    /// Gives `key` a value. Where the size stays, the allocation does. Says when the value before would have expired.
    pub(crate) fn put(&mut self, key: &[u8], value: &Value<'_>, head: &mut Vec<u8>) -> Option<EventTime> {
        head.clear();
        value.put_head(head);
        let bytes = value.bytes();
        match self.newest.entry(CompactKey::new(key)) {
            Entry::Vacant(entry) => {
                entry.insert(join(head, bytes));
                None
            }
            Entry::Occupied(mut entry) => {
                let record = entry.get_mut();
                let expired = Value::expires_in_record(record);
                if record.len() == head.len() + bytes.len() {
                    let (old_head, old_bytes) = record.split_at_mut(head.len());
                    old_head.copy_from_slice(head);
                    old_bytes.copy_from_slice(bytes);
                } else {
                    *record = join(head, bytes);
                }
                expired
            }
        }
    }

    /// Says when the value would have expired.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<EventTime> {
        let removed = match CompactKey::inline(key) {
            Some(key) => self.newest.remove(&key),
            None => self.newest.remove(key),
        };
        removed.and_then(|record| Value::expires_in_record(&record))
    }

    /// Writes or removes `key` and keeps what it had if a snapshot can see it: then the bytes of that. Says too when that would
    /// have expired.
    pub(crate) fn write_keeping(
        &mut self,
        key: &[u8],
        record: Option<Record>,
        era: Era,
    ) -> (Option<EventTime>, Option<usize>) {
        let key = CompactKey::new(key);
        let old = match record {
            Some(record) => self.newest.insert(key.clone(), record),
            None => self.newest.remove(&key),
        };
        let expired = old.as_ref().and_then(|record| Value::expires_in_record(record));
        // What was written behind the newest snapshot overwrote something then, which was kept then: nobody sees it.
        let unseen = (key.clone(), era.newest_snapshot + 1)..=(key.clone(), era.batch);
        if self.kept.range(unseen).next().is_some() {
            return (expired, None);
        }
        let bytes = kept_bytes(&key, old.as_ref());
        self.kept.insert((key, era.batch), old);
        (expired, Some(bytes))
    }

    /// Drops a kept value and says its bytes.
    pub(crate) fn forget_kept(&mut self, name: &KeptKey) -> usize {
        let record = self.kept.remove(name).expect("listed once for each kept value");
        kept_bytes(&name.0, record.as_ref())
    }

    /// See [`MemStore::scan`](crate::MemStore::scan); the range of `scan` is not void.
    pub(crate) fn scan(&self, after: Option<u64>, scan: &Scan, visit: &mut Visit<'_>) -> Result<Scanned> {
        let entry = |(key, record)| Ok((key, value(record)));
        let newest = self.newest.range::<[u8], _>(scan.bounds());
        let Some(batch) = after.filter(|_| !self.kept.is_empty()) else {
            return match scan.direction {
                Direction::Forward => show(ahead(newest).map(entry), scan.limit, visit),
                Direction::Backward => show(ahead(newest.rev()).map(entry), scan.limit, visit),
            };
        };
        let kept = self.kept.range(kept_bounds(scan));
        match scan.direction {
            Direction::Forward => {
                let kept = first_behind(kept, batch).peekable();
                let merged = merge(newest.peekable(), kept, |a, b| a < b);
                show(ahead(merged).map(entry), scan.limit, visit)
            }
            Direction::Backward => {
                let kept = first_behind_backward(kept.rev().peekable(), batch).peekable();
                let merged = merge(newest.rev().peekable(), kept, |a, b| a > b);
                show(ahead(merged).map(entry), scan.limit, visit)
            }
        }
    }
}

/// What a kept value takes, near enough: its bytes, and its places in the map and in the list of all that is kept.
fn kept_bytes(key: &CompactKey, record: Option<&Record>) -> usize {
    const PLACES: usize = size_of::<(KeptKey, Option<Record>)>() + size_of::<(StoreId, KeptKey)>();
    PLACES + 2 * key.heap_bytes() + record.map_or(0, |record| record.len())
}

fn kept_bounds(scan: &Scan) -> (Bound<KeptKey>, Bound<KeptKey>) {
    let (from, to) = scan.bounds();
    let from = match from {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included((CompactKey::new(key), 0)),
        Bound::Excluded(key) => Bound::Excluded((CompactKey::new(key), u64::MAX)),
    };
    let to = match to {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included((CompactKey::new(key), u64::MAX)),
        Bound::Excluded(key) => Bound::Excluded((CompactKey::new(key), 0)),
    };
    (from, to)
}

type Kept<'a> = (&'a KeptKey, &'a Option<Record>);

/// Of each key what the first batch behind `batch` overwrote, in rising order.
fn first_behind<'a>(
    mut kept: impl Iterator<Item = Kept<'a>>,
    batch: u64,
) -> impl Iterator<Item = (&'a CompactKey, Option<&'a Record>)> {
    let mut last = None;
    from_fn(move || {
        let ((key, _), record) = kept.find(|((key, by), _)| *by > batch && last != Some(key))?;
        last = Some(key);
        Some((key, record.as_ref()))
    })
}

/// The same in falling order, of entries in falling order.
fn first_behind_backward<'a>(
    mut kept: Peekable<impl Iterator<Item = Kept<'a>>>,
    batch: u64,
) -> impl Iterator<Item = (&'a CompactKey, Option<&'a Record>)> {
    from_fn(move || {
        let ((key, _), mut record) = kept.find(|((_, by), _)| *by > batch)?;
        while let Some((_, earlier)) = kept.next_if(|((other, by), _)| other == key && *by > batch) {
            record = earlier;
        }
        Some((key, record.as_ref()))
    })
}

/// The newest entries, with the kept ones in place of those of the same key; `before` is the order of both.
fn merge<'a>(
    mut newest: Peekable<impl Iterator<Item = (&'a CompactKey, &'a Record)>>,
    mut kept: Peekable<impl Iterator<Item = (&'a CompactKey, Option<&'a Record>)>>,
    before: impl Fn(&CompactKey, &CompactKey) -> bool,
) -> impl Iterator<Item = (&'a CompactKey, &'a Record)> {
    from_fn(move || {
        loop {
            let Some((kept_key, _)) = kept.peek() else { return newest.next() };
            match newest.peek() {
                Some((key, _)) if before(key, kept_key) => return newest.next(),
                Some((key, _)) if key == kept_key => newest.next(),
                _ => None,
            };
            let (key, record) = kept.next().expect("peeked at");
            if let Some(record) = record {
                return Some((key, record));
            }
        }
    })
}
