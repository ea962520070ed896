//! The backend in memory.

mod ahead;
mod calendar;
mod key;
mod tree;

use std::collections::VecDeque;
use std::time::Duration;

use affinity_types::EventTime;

use crate::batch::Change;
use crate::snapshots::Snapshots;
use crate::{At, Batch, Checkpoint, Expiring, Limits, MemStore, RequestEntry, Result};
use crate::{Scan, Scanned, Snapshot, Status, StoreId, Value, Visit};
use calendar::{Calendar, Entry, mark};
use key::CompactKey;
use tree::{Era, KeptKey, Tree};

/// Most overwritten values that are dropped when a snapshot closes; the owner has others to serve. The rest goes with the
/// next calls, two for each change that is written.
const FORGET_MAX: usize = 1024;

/// A memstore in memory, owned by the task of its partition: plain maps, no locks.
///
/// A value lies in one allocation with its version and expiry; a key of at most [`MemoryStore::INLINE_KEY_MAX`] bytes
/// lies in the map's own nodes, which is where a search looks. Writing costs a map's insertion. Only while a snapshot is
/// open, overwritten values are kept beside the map: at most one of a key for each snapshot, until the oldest snapshot
/// that can see them closes, and then dropped piece by piece.
///
/// Checkpoint and window of request ids live with the store and end with it.
#[derive(Debug)]
pub struct MemoryStore {
    limits: Limits,
    checkpoint: Option<Checkpoint>,
    requests: VecDeque<RequestEntry>,
    /// Sorted by number; a partition has few stores.
    trees: Vec<(StoreId, Tree)>,
    calendar: Calendar,
    /// Number of batches applied: what a snapshot remembers.
    batches: u64,
    snapshots: Snapshots<u64>,
    /// What is kept for snapshots, in the order in which it was overwritten.
    kept: VecDeque<(StoreId, KeptKey)>,
    kept_bytes: usize,
    /// Reused by every write.
    head: Vec<u8>,
}

impl MemoryStore {
    /// Longest key that needs no allocation of its own.
    pub const INLINE_KEY_MAX: usize = key::INLINE_MAX;

    /// An empty store.
    #[must_use]
    pub fn new(limits: Limits) -> MemoryStore {
        MemoryStore {
            limits,
            checkpoint: None,
            requests: VecDeque::new(),
            trees: Vec::new(),
            calendar: Calendar::default(),
            batches: 0,
            snapshots: Snapshots::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            head: Vec::new(),
        }
    }

    /// Number of keys in a store.
    #[must_use]
    pub fn len(&self, store: StoreId) -> usize {
        self.tree(store).map_or(0, Tree::len)
    }

    /// Whether a store has no keys.
    #[must_use]
    pub fn is_empty(&self, store: StoreId) -> bool {
        self.len(store) == 0
    }

    fn tree(&self, store: StoreId) -> Option<&Tree> {
        Self::tree_of(&self.trees, store)
    }

    fn tree_of(trees: &[(StoreId, Tree)], store: StoreId) -> Option<&Tree> {
        let place = trees.binary_search_by_key(&store, |(id, _)| *id).ok()?;
        Some(&trees[place].1)
    }

    fn tree_mut(trees: &mut Vec<(StoreId, Tree)>, store: StoreId) -> &mut Tree {
        let place = trees.binary_search_by_key(&store, |(id, _)| *id).unwrap_or_else(|place| {
            trees.insert(place, (store, Tree::default()));
            place
        });
        &mut trees[place].1
    }

    fn put_all(&mut self, batch: &Batch<'_>) {
        for change in &batch.changes {
            let tree = Self::tree_mut(&mut self.trees, change.store);
            let expired = match &change.value {
                Some(value) => tree.put(change.key, value, &mut self.head),
                None => tree.remove(change.key),
            };
            note_expiry(&mut self.calendar, change, expired);
        }
    }

    fn put_all_keeping(&mut self, batch: &Batch<'_>, newest_snapshot: u64) {
        let era = Era { batch: self.batches, newest_snapshot };
        for change in &batch.changes {
            let tree = Self::tree_mut(&mut self.trees, change.store);
            let record = change.value.as_ref().map(|value| tree::record(value, &mut self.head));
            let (expired, kept) = tree.write_keeping(change.key, record, era);
            note_expiry(&mut self.calendar, change, expired);
            if let Some(bytes) = kept {
                self.kept_bytes += bytes;
                self.kept.push_back((change.store, (CompactKey::new(change.key), era.batch)));
            }
        }
        if self.kept_bytes > self.limits.snapshot_kept_max_bytes {
            self.forget_kept(usize::MAX);
        }
        while self.kept_bytes > self.limits.snapshot_kept_max_bytes {
            self.snapshots.close_oldest();
            self.forget_kept(usize::MAX);
        }
    }

    /// Drops up to `most` values that no open snapshot can see any more, the oldest first.
    fn forget_kept(&mut self, most: usize) {
        let oldest = self.snapshots.oldest().copied().unwrap_or(u64::MAX);
        for _ in 0..most {
            let Some((store, name)) = self.kept.pop_front_if(|(_, (_, batch))| *batch <= oldest) else {
                break;
            };
            self.kept_bytes -= Self::tree_mut(&mut self.trees, store).forget_kept(&name);
        }
        if self.kept.is_empty() && self.kept.capacity() > FORGET_MAX {
            self.kept = VecDeque::new();
        }
    }
}

impl MemStore for MemoryStore {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    fn requests(&self) -> Result<Vec<RequestEntry>> {
        Ok(self.requests.iter().cloned().collect())
    }

    fn get_at(&self, at: At<'_>, store: StoreId, key: &[u8]) -> Result<Option<Value<'_>>> {
        let snapshot = match at {
            At::Newest => None,
            At::Snapshot(snapshot) => Some(*self.snapshots.view(snapshot)?),
        };
        let Some(tree) = self.tree(store) else { return Ok(None) };
        Ok(match snapshot {
            None => tree.get(key),
            Some(batch) => tree.get_after(key, batch),
        })
    }

    fn scan(&self, at: At<'_>, scan: &Scan, visit: &mut Visit<'_>) -> Result<Scanned> {
        let snapshot = match at {
            At::Newest => None,
            At::Snapshot(snapshot) => Some(*self.snapshots.view(snapshot)?),
        };
        match self.tree(scan.store) {
            Some(tree) if !scan.is_void() => tree.scan(snapshot, scan, visit),
            _ => Ok(Scanned::All),
        }
    }

    fn due_from(&self) -> Option<EventTime> {
        self.calendar.due_from()
    }

    fn due(&self, now: EventTime, most: usize) -> Result<Vec<Expiring>> {
        Ok(self.calendar.due(now, most.max(1), |entry| stands(&self.trees, entry)))
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<()> {
        batch.check(self.checkpoint.as_ref(), &self.limits)?;
        self.batches += 1;
        match self.snapshots.newest() {
            None => self.put_all(batch),
            Some(&newest) => self.put_all_keeping(batch, newest),
        }
        self.forget_kept(2 * batch.changes.len());
        self.calendar.tidy(batch.checkpoint.time, |entry| stands(&self.trees, entry));
        self.requests.extend(batch.requests.iter().cloned());
        while self.requests.pop_front_if(|r| r.offset < batch.evict_below).is_some() {}
        self.checkpoint = Some(batch.checkpoint.clone());
        Ok(())
    }

    fn open_snapshot(&mut self, now: Duration) -> Result<Snapshot> {
        self.close_aged(now);
        self.snapshots.open(self.batches, now, &self.limits)
    }

    fn close_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshots.close(snapshot);
        self.forget_kept(FORGET_MAX);
    }

    fn close_aged(&mut self, now: Duration) -> usize {
        let closed = self.snapshots.close_aged(now, &self.limits);
        self.forget_kept(FORGET_MAX);
        closed
    }

    fn status(&self) -> Status {
        Status { snapshots: self.snapshots.len(), kept_values: self.kept.len(), kept_bytes: self.kept_bytes }
    }
}

/// Notes a change in the calendar; the value that it replaces, if any, would have expired at `before`.
fn note_expiry(calendar: &mut Calendar, change: &Change<'_>, before: Option<EventTime>) {
    let expiring = change.value.as_ref().and_then(|value| Some((value.expires()?, mark(value.version()))));
    if change.store.is_derived() {
        return;
    }
    if let Some((expires, mark)) = expiring {
        calendar.rise(Entry { store: change.store, key: change.key, expires, mark });
    }
    if let Some(before) = before {
        calendar.fall(before);
    }
}

/// Whether the value that an entry of the calendar was made for is there.
fn stands(trees: &[(StoreId, Tree)], entry: &Entry<'_>) -> bool {
    let value = MemoryStore::tree_of(trees, entry.store).and_then(|tree| tree.get(entry.key));
    value.is_some_and(|value| value.expires() == Some(entry.expires) && mark(value.version()) == entry.mark)
}
