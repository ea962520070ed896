//! Secondary indices: which keys of a store have a value that a function gives an index key for.
//!
//! An index is derived like everything in the memstore: its entries change in the same batch as the values, and the log knows
//! nothing of them. Each index has a store of its own, numbered by the system:
//!
//! ```text
//! entry   index key, 0x00 as 0x00 0xff | 0x00 0x00 | key of the value     ->  nothing, expiring with the value
//! note    0xfffd | 'i' | number: u16   ->  1 | phase | version: u32 | name       (in the store of local marks)
//! ```
//!
//! Entries are ordered by index key, then by the value's key, and no index key's entries lie among those of another. They carry
//! no version, so that a write which leaves its index keys as they were costs the index nothing.
//!
//! The invariant: **an index that is ready holds what its function gives for the values in the memstore, no more and no less.**

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use affinity_memstore::{At, Batch, MemStore, Scan, Scanned, StoreId, Value};
use affinity_types::codec::CodecError;
use affinity_types::{EventTime, Version};
use bytes::Bytes;
use hashbrown::HashMap;
use thiserror::Error;

use crate::notes::NoteChange;
use crate::{Error, Result};

/// Most indices of a partition.
pub const INDICES_MAX: usize = 64;

/// Most index keys of one value. A command that writes a value with more is refused; of a value with more in the log, none
/// count.
pub const INDEX_KEYS_MAX: usize = 1024;

/// The first store of an index.
const FIRST: u16 = StoreId::DERIVED.0;
/// How many stores there are for indices: those of earlier versions keep theirs until they are dropped.
const SLOTS: u16 = 500;
/// Bytes of values that one step of building reads, beside the last one.
const STEP_BYTES: usize = 1 << 20;

/// Where the notes about indices lie, beside marks, which begin with the number of a keyspace's store.
const NOTES: [u8; 3] = [0xff, 0xfd, b'i'];
/// Format of a note.
const NOTE: u8 = 1;

/// Shows the index keys of a value's bytes, in any order.
pub type KeysOf = Box<dyn Fn(&[u8], &mut dyn FnMut(&[u8])) -> std::result::Result<(), CodecError> + Send>;

/// An index as its state knows it: a function over bytes.
pub struct IndexDefinition {
    /// Its name, by which it is found again.
    pub name: &'static str,
    /// The version of its function: with another one than the store's, the index is built anew.
    pub version: u32,
    /// The store of the values.
    pub store: StoreId,
    /// The function.
    pub keys: KeysOf,
}

/// Why a value has no place in an index.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unindexable {
    /// It cannot be read, or the function panicked.
    #[error("a value of index {index}: {source}")]
    Value {
        /// Name of the index.
        index: &'static str,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The function gives more keys than [`INDEX_KEYS_MAX`].
    #[error("a value has more than {INDEX_KEYS_MAX} keys of index {0}")]
    TooMany(&'static str),
    /// An entry is longer than a key of the memstore may be.
    #[error("an entry of index {index} takes {bytes} bytes: {max} are taken at most")]
    TooLong {
        /// Name of the index.
        index: &'static str,
        /// Its length.
        bytes: usize,
        /// The memstore's limit.
        max: usize,
    },
}

/// A value and its expiry, as far as indices look at it.
pub type Indexable<'a> = (&'a [u8], Option<EventTime>);

/// A value of a store that changes.
#[derive(Clone, Copy, Debug)]
pub struct ValueChange<'a> {
    /// The store.
    pub store: StoreId,
    /// The key.
    pub key: &'a [u8],
    /// What was there, expired or not.
    pub old: Option<Indexable<'a>>,
    /// What comes there.
    pub new: Option<Indexable<'a>>,
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexChange {
    /// The store of the index.
    pub index: StoreId,
    /// The entry.
    pub entry: Bytes,
    /// `None` if it leaves; otherwise when it expires, if ever.
    pub put: Option<Option<EventTime>>,
}

impl IndexChange {
    /// Puts the change into the batch that changes the value.
    pub(crate) fn put_into<'a>(&'a self, batch: &mut Batch<'a>) {
        match self.put {
            None => batch.remove(self.index, &self.entry),
            Some(expires) => {
                batch.put(self.index, &self.entry, Value::new(&[], Version::default()).expiring(expires));
            }
        }
    }
}

/// Whether a store is the system's and no keyspace's.
pub(crate) fn is_system(store: StoreId) -> bool {
    store.is_derived()
}

/// Whether a store is one of an index.
#[must_use]
pub fn is_index(store: StoreId) -> bool {
    (FIRST..FIRST + SLOTS).contains(&store.0)
}

/// What the entries of an index key begin with, and no others.
#[must_use]
pub fn entry_prefix(index_key: &[u8]) -> Vec<u8> {
    entry(index_key, b"")
}

/// The entry of a value's key, in room of its own length.
fn entry(index_key: &[u8], key: &[u8]) -> Vec<u8> {
    let zeros = index_key.iter().filter(|byte| **byte == 0).count();
    let mut prefix = Vec::with_capacity(index_key.len() + zeros + 2 + key.len());
    for byte in index_key {
        prefix.push(*byte);
        if *byte == 0 {
            prefix.push(0xff);
        }
    }
    prefix.extend_from_slice(&[0, 0]);
    prefix.extend_from_slice(key);
    prefix
}

/// Length of the prefix that an entry has in common with all of its index key.
fn prefix_length(entry: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match entry.get(at..)? {
            [0, 0, ..] => return Some(at + 2),
            [0, _, ..] => at += 2,
            [_, ..] => at += 1,
            [] => return None,
        }
    }
}

/// The prefix of an entry and the value's key behind it; `None` for bytes that are no entry.
#[must_use]
pub fn split_entry(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    entry.split_at_checked(prefix_length(entry)?)
}

/// The index key of a prefix that [`split_entry`] gave.
#[must_use]
pub fn index_key_of(prefix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len());
    let mut bytes = prefix[..prefix.len().saturating_sub(2)].iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 {
            bytes.next();
        }
    }
    key
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Ready,
    /// Values up to this key have their entries; those of others come with the next steps, or with their next change.
    Building(Option<Vec<u8>>),
}

/// An index of the state.
pub struct Index {
    definition: IndexDefinition,
    id: StoreId,
    phase: Phase,
}

impl Index {
    /// The store whose values it is about.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.definition.store
    }

    /// The store of its entries.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// Whether it has all its entries.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// The entries of a value, sorted.
    fn entries(
        &self,
        key: &[u8],
        value: &[u8],
        max: usize,
    ) -> std::result::Result<Vec<Vec<u8>>, Unindexable> {
        let name = self.definition.name;
        let mut entries = Vec::new();
        let mut count = 0;
        let read = (self.definition.keys)(value, &mut |index_key| {
            count += 1;
            if count <= INDEX_KEYS_MAX {
                entries.push(entry(index_key, key));
            }
        });
        read.map_err(|source| Unindexable::Value { index: name, source })?;
        if count > INDEX_KEYS_MAX {
            return Err(Unindexable::TooMany(name));
        }
        if let Some(bytes) = entries.iter().map(Vec::len).find(|length| *length > max) {
            return Err(Unindexable::TooLong { index: name, bytes, max });
        }
        entries.sort_unstable();
        entries.dedup();
        Ok(entries)
    }

    /// Shows what becomes of entries when the value of `key` changes. What was not indexable has none.
    fn changes(
        &self,
        &ValueChange { key, old, new, .. }: &ValueChange<'_>,
        max: usize,
        show: &mut impl FnMut(IndexChange),
    ) -> std::result::Result<(), Unindexable> {
        if old == new {
            return Ok(());
        }
        let entries = |value: Option<Indexable<'_>>| match value {
            None => Ok(Vec::new()),
            Some((bytes, _)) => self.entries(key, bytes, max),
        };
        let after = entries(new);
        let before = entries(old).unwrap_or_default();
        let (keeps, expires) = (old.map(|(_, at)| at) == new.map(|(_, at)| at), new.and_then(|(_, at)| at));
        let (kept, refused) = match after {
            Ok(entries) => (entries, Ok(())),
            Err(why) => (Vec::new(), Err(why)),
        };
        let change = |entry: Vec<u8>, put| IndexChange { index: self.id, entry: entry.into(), put };
        for entry in before.iter().filter(|entry| kept.binary_search(entry).is_err()) {
            show(change(entry.clone(), None));
        }
        for entry in kept.into_iter().filter(|entry| !keeps || before.binary_search(entry).is_err()) {
            show(change(entry, Some(expires)));
        }
        refused
    }
}

/// The indices of a partition.
#[derive(Default)]
pub struct Indices {
    defined: Vec<Index>,
    /// Stores of indices that this build does not have, or has in another version.
    dropping: Vec<StoreId>,
    /// Notes to be written with the next batch.
    notes: Vec<NoteChange>,
    skipped: u64,
}

impl Indices {
    /// The indices as the memstore's notes and the definitions say. Nothing is written: what they come to goes with the next
    /// batch.
    pub(crate) fn open(
        memstore: &dyn MemStore,
        local: StoreId,
        definitions: Vec<IndexDefinition>,
    ) -> Result<Indices> {
        assert!(definitions.len() <= INDICES_MAX, "a partition has at most {INDICES_MAX} indices");
        let mut known = BTreeMap::new();
        memstore.scan(At::Newest, &Scan::prefix(local, &NOTES), &mut |key, value| {
            known.extend(read_note(key, value.bytes()));
            ControlFlow::Continue(())
        })?;
        let mut indices = Indices::default();
        let mut free = (FIRST..FIRST + SLOTS).map(StoreId).filter(|id| !known.contains_key(id));
        let mut kept = Vec::new();
        for definition in definitions {
            let (name, version) = (definition.name, definition.version);
            let twice = indices.defined.iter().any(|index| index.definition.name == name);
            assert!(!twice, "a partition has one index {name}");
            let found = known.iter().find(|(_, note)| note.is_of(name, version));
            let (id, ready) = match found {
                Some((id, note)) => (*id, note.phase == READY),
                // Of nothing, an index is ready.
                None => (free.next().ok_or(Error::TooManyIndices)?, memstore.checkpoint().is_none()),
            };
            let phase = if ready { Phase::Ready } else { Phase::Building(None) };
            if found.is_none() {
                indices.notes.push(note(id, if ready { READY } else { BUILDING }, version, name));
            }
            kept.push(id);
            indices.defined.push(Index { definition, id, phase });
        }
        for (id, old) in known.iter().filter(|(id, _)| !kept.contains(id)) {
            indices.dropping.push(*id);
            if old.phase != DROPPING {
                indices.notes.push(note(*id, DROPPING, old.version, &old.name));
            }
        }
        Ok(indices)
    }

    /// The index `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Index> {
        self.defined.iter().find(|index| index.definition.name == name)
    }

    /// Whether there is an index of a store.
    #[must_use]
    pub fn covers(&self, store: StoreId) -> bool {
        self.defined.iter().any(|index| index.definition.store == store)
    }

    /// How many values in the log could not be indexed, since this state was opened.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether an index is to be built or dropped.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.dropping.is_empty() || self.defined.iter().any(|index| !index.is_ready())
    }

    pub(crate) fn notes(&self) -> Vec<NoteChange> {
        self.notes.clone()
    }

    /// What becomes of the entries of all indices when the value of a key changes, for one who decides the change.
    ///
    /// # Errors
    /// If an index cannot have the new value.
    pub fn changes(
        &self,
        change: &ValueChange<'_>,
        key_max_bytes: usize,
    ) -> std::result::Result<Vec<IndexChange>, Unindexable> {
        let mut changes = Vec::new();
        for index in self.defined.iter().filter(|index| index.definition.store == change.store) {
            index.changes(change, key_max_bytes, &mut |change| changes.push(change))?;
        }
        Ok(changes)
    }

    /// What becomes of entries with the changes of a batch that is still to be applied.
    pub(crate) fn follow(&mut self, batch: &Batch<'_>, memstore: &dyn MemStore) -> Result<Vec<IndexChange>> {
        let mut changes = Vec::new();
        if self.defined.is_empty() {
            return Ok(changes);
        }
        // Only the last change of a key counts: what the batch had before is never in the memstore.
        let mut last: HashMap<(StoreId, &[u8]), Option<&Value<'_>>> = HashMap::new();
        for (store, key, value) in batch.changes().filter(|(store, ..)| self.covers(*store)) {
            last.insert((store, key), value);
        }
        let max = memstore.limits().key_max_bytes;
        for ((store, key), new) in last {
            let old = memstore.get(store, key)?;
            let old = old.as_ref().map(|value| (value.bytes(), value.expires()));
            let new = new.map(|value| (value.bytes(), value.expires()));
            let change = ValueChange { store, key, old, new };
            for index in self.defined.iter().filter(|index| index.definition.store == store) {
                let shown = index.changes(&change, max, &mut |change| changes.push(change));
                skip(shown, &mut self.skipped);
            }
        }
        Ok(changes)
    }

    /// The notes are in the memstore.
    pub(crate) fn noted(&mut self) {
        self.notes.clear();
    }

    /// The next step of what there is to do: changes for a batch of their own, of at most `most` values or entries.
    pub(crate) fn step(&mut self, memstore: &dyn MemStore, most: usize) -> Result<Vec<IndexChange>> {
        let skipped = &mut self.skipped;
        if let Some(index) = self.defined.iter_mut().find(|index| !index.is_ready()) {
            let (changes, reached) = build(index, memstore, most, skipped)?;
            index.phase = match reached {
                Scanned::Until(last) => Phase::Building(Some(last)),
                Scanned::All => {
                    tracing::info!(index = index.definition.name, "built");
                    self.notes.push(note(index.id, READY, index.definition.version, index.definition.name));
                    Phase::Ready
                }
            };
            return Ok(changes);
        }
        let Some(index) = self.dropping.last().copied() else { return Ok(Vec::new()) };
        let mut changes = Vec::new();
        let scanned = memstore.scan(At::Newest, &Scan::all(index).limit(most), &mut |entry, _| {
            changes.push(IndexChange { index, entry: Bytes::copy_from_slice(entry), put: None });
            ControlFlow::Continue(())
        })?;
        if scanned == Scanned::All {
            self.dropping.pop();
            self.notes.push((note_key(index), None));
        }
        Ok(changes)
    }

    /// Compares each index that is ready with what its function makes of the values; says how many entries there are, or
    /// what is wrong. Reads everything: for tests and for those who look after a store.
    ///
    /// # Errors
    /// If the memstore cannot be read.
    pub fn verify(&self, memstore: &dyn MemStore) -> Result<std::result::Result<usize, String>> {
        let mut count = 0;
        let max = memstore.limits().key_max_bytes;
        for index in self.defined.iter().filter(|index| index.is_ready()) {
            let mut expected = BTreeMap::new();
            memstore.scan(At::Newest, &Scan::all(index.definition.store), &mut |key, value| {
                let entries = index.entries(key, value.bytes(), max).unwrap_or_default();
                expected.extend(entries.into_iter().map(|entry| (entry, value.expires())));
                ControlFlow::Continue(())
            })?;
            let mut found = BTreeMap::new();
            memstore.scan(At::Newest, &Scan::all(index.id), &mut |entry, value| {
                found.insert(entry.to_vec(), value.expires());
                ControlFlow::Continue(())
            })?;
            if let Some((entry, _)) = expected.iter().find(|(entry, at)| found.get(*entry) != Some(*at)) {
                return Ok(Err(format!("index {} lacks {}", index.definition.name, entry.escape_ascii())));
            }
            if let Some((entry, _)) = found.iter().find(|(entry, _)| !expected.contains_key(*entry)) {
                return Ok(Err(format!("index {} keeps {}", index.definition.name, entry.escape_ascii())));
            }
            count += found.len();
        }
        Ok(Ok(count))
    }
}

/// Puts the entries of some values behind the last ones.
fn build(
    index: &Index,
    memstore: &dyn MemStore,
    most: usize,
    skipped: &mut u64,
) -> Result<(Vec<IndexChange>, Scanned)> {
    let Phase::Building(behind) = &index.phase else { return Ok((Vec::new(), Scanned::All)) };
    let from = behind.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let scan = Scan::range(index.definition.store, from, Bound::Unbounded).limit(most);
    let (mut changes, mut bytes, max) = (Vec::new(), 0, memstore.limits().key_max_bytes);
    let reached = memstore.scan(At::Newest, &scan, &mut |key, value| {
        let new = Some((value.bytes(), value.expires()));
        let change = ValueChange { store: index.definition.store, key, old: None, new };
        let shown = index.changes(&change, max, &mut |change| changes.push(change));
        skip(shown, skipped);
        bytes += value.bytes().len();
        if bytes < STEP_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok((changes, reached))
}

/// What the log has is not refused for an index: it has no entries there, and somebody may look.
fn skip(shown: std::result::Result<(), Unindexable>, skipped: &mut u64) {
    if let Err(error) = shown {
        *skipped += 1;
        tracing::warn!(%error, "a value is not indexed");
    }
}

const BUILDING: u8 = 0;
const READY: u8 = 1;
const DROPPING: u8 = 2;

/// What the memstore remembers of an index.
struct Note {
    phase: u8,
    version: u32,
    name: String,
}

impl Note {
    fn is_of(&self, name: &str, version: u32) -> bool {
        self.phase != DROPPING && self.name == name && self.version == version
    }
}

fn note_key(id: StoreId) -> Vec<u8> {
    [&NOTES[..], &id.0.to_be_bytes()].concat()
}

fn note(id: StoreId, phase: u8, version: u32, name: &str) -> NoteChange {
    (note_key(id), Some([&[NOTE, phase][..], &version.to_be_bytes(), name.as_bytes()].concat()))
}

/// A note that cannot be read is one of an index to be dropped.
fn read_note(key: &[u8], value: &[u8]) -> Option<(StoreId, Note)> {
    let id = StoreId(u16::from_be_bytes(key.strip_prefix(&NOTES)?.try_into().ok()?));
    let parse = || {
        let (&[NOTE, phase], rest) = value.split_first_chunk::<2>()? else { return None };
        let (version, name) = rest.split_first_chunk::<4>()?;
        let name = std::str::from_utf8(name).ok()?.to_owned();
        Some(Note { phase, version: u32::from_be_bytes(*version), name })
    };
    let unknown = || Note { phase: DROPPING, version: 0, name: String::new() };
    Some((id, parse().unwrap_or_else(unknown)))
}

/// Whether a key of the store of local marks is a note.
pub(crate) fn is_note(key: &[u8]) -> bool {
    key.starts_with(&NOTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_are_ordered_by_index_key_then_by_key(
            a in prop::collection::vec(0u8..3, 0..6),
            b in prop::collection::vec(0u8..3, 0..6),
            (k, l) in (prop::collection::vec(0u8..3, 0..4), prop::collection::vec(0u8..3, 0..4)),
        ) {
            let entry = |index_key: &[u8], key: &[u8]| [entry_prefix(index_key), key.to_vec()].concat();
            prop_assert_eq!((&a, &k).cmp(&(&b, &l)), entry(&a, &k).cmp(&entry(&b, &l)));
            let one = entry(&a, &k);
            let (prefix, key) = split_entry(&one).unwrap();
            prop_assert_eq!((index_key_of(prefix), key), (a.clone(), &k[..]));
            prop_assert_eq!(one.starts_with(&entry_prefix(&b)), a == b);
        }
    }
}
