//! Keys whose last record in the log is a stale one: marked where they are read, and mended by a valid record behind it.

use std::collections::{BTreeMap, BTreeSet};

use affinity_memstore::{StoreId, Value};
use affinity_types::{Record, Version};
use bytes::Bytes;

use crate::apply::{Own, Place, State};
use crate::notes::NoteChange;
use crate::{KeepRequests, Result, indices, leases};

impl State {
    /// Keys whose last record in the log is a stale one, which hides the valid one from compaction: to be repaired by the
    /// master.
    pub fn stale(&self) -> &BTreeSet<Place> {
        &self.stale
    }

    /// The stale keys that these groups mend.
    pub(crate) fn mended(&self, groups: &[Own<'_>]) -> BTreeMap<Place, bool> {
        if self.stale.is_empty() {
            return BTreeMap::new();
        }
        let changed = groups.iter().flat_map(|group| group.changes);
        let repaired = groups.iter().flat_map(|group| group.repairs);
        let changed = changed.map(|(store, key, _)| (*store, key.clone()));
        changed.chain(repaired.cloned()).map(|place| (place, false)).collect()
    }

    /// Which marks of stale keys change in the store, if it keeps them: what is in memory alone reads the log again.
    pub(crate) fn marks(&self, changes: &BTreeMap<Place, bool>) -> Vec<NoteChange> {
        if self.keep == KeepRequests::InWindow {
            return Vec::new();
        }
        let changes = changes.iter().filter(|(place, stale)| self.stale.contains(*place) != **stale);
        let note = |((store, key), stale): (&Place, &bool)| {
            ([&store.0.to_be_bytes(), &key[..]].concat(), stale.then(Vec::new))
        };
        changes.map(note).collect()
    }

    pub(crate) fn mark(&mut self, changes: BTreeMap<Place, bool>) {
        for (place, stale) in changes {
            if stale {
                self.stale.insert(place);
            } else {
                self.stale.remove(&place);
            }
        }
    }

    /// The record that repairs a stale key: its valid value, under the version it had; of one that has none, a deletion.
    ///
    /// # Errors
    /// If the memstore cannot be read.
    pub fn repair(&self, (store, key): &Place) -> Result<Record> {
        let value = self.memstore.get(*store, key)?;
        let repairs = value.as_ref().map_or(Version::default(), Value::version);
        let expires = value.as_ref().and_then(Value::expires);
        let bytes = value.map(|value| Bytes::copy_from_slice(value.bytes()));
        let (kind, key) = self.names.key_of(*store, key);
        Ok(Record { kind, expires, repairs: Some(repairs), ..Record::new(key, bytes) })
    }
}

pub(crate) fn read_mark(key: &[u8]) -> Option<Place> {
    if indices::is_note(key) || leases::is_note(key) {
        return None;
    }
    let (store, key) = key.split_first_chunk::<2>()?;
    Some((StoreId(u16::from_be_bytes(*store)), Bytes::copy_from_slice(key)))
}
