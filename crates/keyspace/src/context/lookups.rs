//! Look-ups of indices, over pending changes and those of the command itself.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeBounds};

use affinity_memstore::{At, Scan, StoreId};
use affinity_state::IndexChange;
use affinity_state::indices::{Unindexable, ValueChange, entry_prefix, index_key_of, split_entry};
use affinity_types::EventTime;
use affinity_types::codec::{Decode, Encode};
use affinity_types::format::Format;
use bytes::Bytes;

use super::{Change, Master, View};
use crate::failure::{Failure, Never};
use crate::index::{Index, OwnedKey};

/// Most entries that one look-up gives: a greater limit counts as this one.
pub const LOOK_UP_MAX: usize = 10_000;

/// Shows an entry and when it expires.
type Show<'s> = dyn FnMut(&[u8], Option<EventTime>) -> ControlFlow<()> + 's;

/// Bounds of entries.
type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl<'a> View<'a> {
    /// The keys whose values have this index key, in the order of their bytes, at most `limit`.
    pub fn by<K: OwnedKey + ?Sized, V, I: Encode>(
        &self,
        index: &Index<K, V, I>,
        key: &I,
        limit: usize,
    ) -> Vec<K::Owned> {
        self.keys(index, of_key(key, None), &[], limit)
    }

    /// The same, behind a key: the rest of a longer answer.
    pub fn by_after<K: OwnedKey + ?Sized, V, I: Encode>(
        &self,
        index: &Index<K, V, I>,
        key: &I,
        after: &K,
        limit: usize,
    ) -> Vec<K::Owned> {
        let after = self.key_format(index).to_bytes(after);
        self.keys(index, of_key(key, Some(&after)), &[], limit)
    }

    /// Index keys within a range and the keys that have them, ordered by both, at most `limit`. The rest is found by
    /// [`by_after`](View::by_after) for the last index key, and behind it.
    pub fn by_range<K: OwnedKey + ?Sized, V, I: Encode + Decode>(
        &self,
        index: &Index<K, V, I>,
        range: impl RangeBounds<I>,
        limit: usize,
    ) -> Vec<(I, K::Owned)> {
        self.pairs(index, of_range(&range), &[], limit)
    }

    fn keys<K: OwnedKey + ?Sized, V, I>(
        &self,
        index: &Index<K, V, I>,
        range: Range,
        own: &[Change],
        limit: usize,
    ) -> Vec<K::Owned> {
        let (name, format) = (index.name(), self.key_format(index));
        let key = |entry: &Vec<u8>| {
            let (_, key) = split_entry(entry)?;
            format.decode(key).map_err(|error| self.fail(format!("a key of index {name}: {error}"))).ok()
        };
        self.look_up_index(name, range, own, limit).iter().filter_map(key).collect()
    }

    fn pairs<K: OwnedKey + ?Sized, V, I: Decode>(
        &self,
        index: &Index<K, V, I>,
        range: Range,
        own: &[Change],
        limit: usize,
    ) -> Vec<(I, K::Owned)> {
        let (name, format) = (index.name(), self.key_format(index));
        let pair = |entry: &Vec<u8>| {
            let (prefix, key) = split_entry(entry)?;
            let pair = I::decode(&index_key_of(prefix)).and_then(|i| Ok((i, format.decode(key)?)));
            pair.map_err(|error| self.fail(format!("an entry of index {name}: {error}"))).ok()
        };
        self.look_up_index(name, range, own, limit).iter().filter_map(pair).collect()
    }

    /// How the keys of an index's store look.
    fn key_format<K: ?Sized, V, I>(&self, index: &Index<K, V, I>) -> &'a Format {
        let names = self.state.names();
        names.id(index.store_name()).map_or(&Format::Plain, |store| &names.format(store).key)
    }

    /// Entries within a range as this command has left them so far; those of expired values do not count.
    fn look_up_index(&self, name: &'static str, range: Range, own: &[Change], limit: usize) -> Vec<Vec<u8>> {
        let Some((store, index)) = self.ready_index(name) else { return Vec::new() };
        let own = match self.index_changes(own) {
            Ok(changes) => changes,
            Err(failure) => {
                self.refuse(failure);
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        let limit = limit.min(LOOK_UP_MAX);
        if limit > 0 {
            self.entries(index, range, &own, &mut |entry, expires| {
                let alive = split_entry(entry).is_some_and(|(_, key)| self.is_alive(store, key, expires));
                if alive {
                    found.push(entry.to_vec());
                }
                if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        found
    }

    /// The store that an index is about and that of its entries, if it has all of them.
    fn ready_index(&self, name: &'static str) -> Option<(StoreId, StoreId)> {
        match self.state.indices().get(name) {
            None => self.fail(format!("index {name} is not among the partition's")),
            Some(index) if index.is_ready() => return Some((index.store(), index.id())),
            Some(_) => self.refuse(Failure::IndexBuilding { index: name }),
        }
        None
    }

    /// Shows entries of an index within a range, in their order, expired or not.
    fn entries(&self, index: StoreId, (from, to): Range, own: &[IndexChange], show: &mut Show<'_>) {
        let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        let mut over = BTreeMap::new();
        self.pending.entries(index, bounds, &mut |entry, sequence, put| {
            self.saw.set(self.saw.get().max(Some(sequence)));
            over.insert(entry.clone(), put);
        });
        let within = |change: &&IndexChange| {
            change.index == index && RangeBounds::<[u8]>::contains(&bounds, &change.entry[..])
        };
        over.extend(own.iter().filter(within).map(|change| (change.entry.clone(), change.put)));
        let mut over = over.into_iter().peekable();
        let scan = Scan::range(index, bounds.0, bounds.1);
        let mut ended = false;
        let scanned = self.state.memstore().scan(At::Newest, &scan, &mut |entry, value| {
            while let Some((newer, put)) = over.next_if(|(newer, _)| newer[..] < *entry) {
                if let Some(expires) = put {
                    show(&newer, expires)?;
                }
            }
            let put =
                over.next_if(|(newer, _)| newer[..] == *entry).map_or(Some(value.expires()), |(_, put)| put);
            let shown = put.map_or(ControlFlow::Continue(()), |expires| show(entry, expires));
            ended = shown.is_break();
            shown
        });
        match scanned {
            Err(error) => self.fail(error),
            Ok(affinity_memstore::Scanned::Until(_)) => {}
            Ok(affinity_memstore::Scanned::All) => {
                let rest = over.filter_map(|(entry, put)| Some((entry, put?)));
                let _ = rest.into_iter().try_for_each(|(entry, expires)| show(&entry, expires));
            }
        }
    }

    /// What becomes of entries with changes that a command makes.
    fn index_changes(&self, changes: &[Change]) -> Result<Vec<IndexChange>, Failure<Never>> {
        let indices = self.state.indices();
        let mut all = Vec::new();
        for Change { store, key, value, times } in
            changes.iter().filter(|change| indices.covers(change.store))
        {
            let key_max = self.state.memstore().limits().key_max_bytes;
            let new = value.as_ref().map(|value| (&value[..], times.expires));
            let changed = if let Some((old, _, expires)) = self.pending.pending(*store, key) {
                let old = old.as_ref().map(|old| (&old[..], expires));
                indices.changes(&ValueChange { store: *store, key, old, new }, key_max)
            } else {
                let old = self.state.get(*store, key).map_err(|error| Failure::Corrupt(error.to_string()))?;
                let old = old.as_ref().map(|value| (value.bytes(), value.expires()));
                indices.changes(&ValueChange { store: *store, key, old, new }, key_max)
            };
            all.extend(changed.map_err(refusal)?);
        }
        Ok(all)
    }

    /// Whether an entry that comes to a unique index is the only one of its index key.
    fn check_unique(&self, name: &'static str, changes: &[IndexChange]) -> Result<(), Failure<Never>> {
        let Some(index) = self.state.indices().get(name) else { return Ok(()) };
        let puts = changes.iter().filter(|change| change.index == index.id() && change.put.is_some());
        for IndexChange { entry, .. } in puts {
            if !index.is_ready() {
                return Err(Failure::IndexBuilding { index: name });
            }
            let Some((prefix, _)) = split_entry(entry) else { continue };
            let mut alone = true;
            self.entries(index.id(), of_prefix(prefix.to_vec(), None), changes, &mut |other, _| {
                alone &= other == entry;
                if alone { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if !alone {
                return Err(Failure::NotUnique { index: name });
            }
        }
        Ok(())
    }
}

impl Master<'_> {
    /// As [`View::by`], with what this command has changed so far.
    pub fn by<K: OwnedKey + ?Sized, V, I: Encode>(
        &self,
        index: &Index<K, V, I>,
        key: &I,
        limit: usize,
    ) -> Vec<K::Owned> {
        self.view.keys(index, of_key(key, None), &self.changes, limit)
    }

    /// As [`View::by_after`], with what this command has changed so far.
    pub fn by_after<K: OwnedKey + ?Sized, V, I: Encode>(
        &self,
        index: &Index<K, V, I>,
        key: &I,
        after: &K,
        limit: usize,
    ) -> Vec<K::Owned> {
        let after = self.view.key_format(index).to_bytes(after);
        self.view.keys(index, of_key(key, Some(&after)), &self.changes, limit)
    }

    /// As [`View::by_range`], with what this command has changed so far.
    pub fn by_range<K: OwnedKey + ?Sized, V, I: Encode + Decode>(
        &self,
        index: &Index<K, V, I>,
        range: impl RangeBounds<I>,
        limit: usize,
    ) -> Vec<(I, K::Owned)> {
        self.view.pairs(index, of_range(&range), &self.changes, limit)
    }

    /// What becomes of entries with all that this command changes; a failure if a unique index does not allow it.
    pub(super) fn indexed(&self, unique: &[&'static str]) -> Result<Vec<IndexChange>, Failure<Never>> {
        let changes = self.view.index_changes(&self.changes)?;
        for name in unique {
            self.view.check_unique(name, &changes)?;
        }
        Ok(changes)
    }
}

fn refusal(why: Unindexable) -> Failure<Never> {
    match why {
        Unindexable::TooLong { bytes, max, .. } => Failure::TooLarge { bytes, max },
        Unindexable::TooMany(_) => Failure::Invalid("a value has more keys of an index than it may have"),
        Unindexable::Value { .. } => Failure::Corrupt(why.to_string()),
    }
}

/// The entries that begin with a prefix, behind the one of a key.
fn of_prefix(prefix: Vec<u8>, after: Option<&Bytes>) -> Range {
    let to = Bound::Excluded(behind(prefix.clone()));
    match after {
        None => (Bound::Included(prefix), to),
        Some(key) => (Bound::Excluded([&prefix, &key[..]].concat()), to),
    }
}

fn of_key(index_key: &impl Encode, after: Option<&Bytes>) -> Range {
    of_prefix(entry_prefix(&index_key.to_bytes()), after)
}

fn of_range<I: Encode>(range: &impl RangeBounds<I>) -> Range {
    let prefix = |key: &I| entry_prefix(&key.to_bytes());
    let from = match range.start_bound() {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Included(prefix(key)),
        Bound::Excluded(key) => Bound::Included(behind(prefix(key))),
    };
    let to = match range.end_bound() {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(key) => Bound::Excluded(behind(prefix(key))),
        Bound::Excluded(key) => Bound::Excluded(prefix(key)),
    };
    (from, to)
}

/// What is greater than all that begin with a prefix, which ends with 0 in all cases.
fn behind(mut prefix: Vec<u8>) -> Vec<u8> {
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}
