//! One partition's store on disk.

use std::collections::VecDeque;
use std::time::Duration;

use affinity_types::{EventTime, Offset};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Readable, UserKey, UserValue};

use super::database::{self, Claim};
use super::due::Due;
use super::layout;
use crate::scan::show;
use crate::snapshots::Snapshots;
use crate::{At, Batch, Checkpoint, Direction, Error, Expiring, Found, Limits, MemStore};
use crate::{RequestEntry, Result, Scan, Scanned, Snapshot, Status, StoreId, Value, Visit};

/// A memstore on disk, opened by [`Disk::open_store`](crate::Disk::open_store).
///
/// A batch is one atomic batch of the database, written to the operating system at once and to the disk whenever that
/// pleases: after the process dies everything is there, after the machine dies a prefix is. A failure of the disk leaves
/// the database unusable until it is opened again; then the batch that failed is there as a whole or not at all.
///
/// Reads and writes go to the disk on the caller's thread. A write waits, 100 ms at a time, while flushes or compactions
/// of the store are far behind (four memtables, 20 files): the database's own backpressure.
#[must_use = "a store is written to by its owner"]
pub struct DiskStore {
    db: fjall::Database,
    tree: Keyspace,
    limits: Limits,
    checkpoint: Option<Checkpoint>,
    /// Offsets of the window's requests, so that eviction need not look for them on disk.
    requests: VecDeque<Offset>,
    due: Due,
    snapshots: Snapshots<fjall::Snapshot>,
    /// Reused by every write.
    key: Vec<u8>,
    record: Vec<u8>,
    /// That nobody else opens the store.
    _claim: Claim,
}

impl DiskStore {
    /// The store in `tree`, which stands where `checkpoint` says.
    pub(crate) fn new(db: fjall::Database, tree: Keyspace, limits: Limits, claim: Claim) -> DiskStore {
        let key_max_bytes = limits.key_max_bytes.min(layout::KEY_MAX);
        DiskStore {
            db,
            tree,
            limits: Limits { key_max_bytes, ..limits },
            checkpoint: None,
            requests: VecDeque::new(),
            due: Due::default(),
            snapshots: Snapshots::new(),
            key: Vec::new(),
            record: Vec::new(),
            _claim: claim,
        }
    }

    /// Takes up what was found in the tree.
    pub(crate) fn resume(&mut self, found: Found, requests: &[RequestEntry]) -> Result<()> {
        if let Found::Checkpoint(checkpoint) = found {
            self.checkpoint = Some(checkpoint);
            self.requests = requests.iter().map(|r| r.offset).collect();
            self.due = Due::open(self)?;
        }
        Ok(())
    }

    /// The database's snapshot that `at` names; `None` for the newest.
    fn view(&self, at: At<'_>) -> Result<Option<&fjall::Snapshot>> {
        match at {
            At::Newest => Ok(None),
            At::Snapshot(snapshot) => self.snapshots.view(snapshot).map(Some),
        }
    }

    fn put_changes(&mut self, batch: &Batch<'_>, items: &mut OwnedWriteBatch) {
        for change in &batch.changes {
            self.key.clear();
            layout::put_key(&mut self.key, change.store, change.key);
            let key = UserKey::from(&self.key);
            match &change.value {
                Some(value) => {
                    self.record.clear();
                    value.put_head(&mut self.record);
                    self.record.extend_from_slice(value.bytes());
                    items.insert(&self.tree, key, UserValue::from(&self.record));
                }
                None => items.remove(&self.tree, key),
            }
        }
    }

    fn put_place(&mut self, batch: &Batch<'_>, evicted: usize, items: &mut OwnedWriteBatch) {
        let added = batch.requests.iter().filter(|r| r.offset >= batch.evict_below);
        for request in added {
            items.insert(&self.tree, layout::request_key(request.offset), &*request.bytes);
        }
        for &offset in self.requests.range(..evicted) {
            items.remove(&self.tree, layout::request_key(offset));
        }
        self.record.clear();
        layout::put_checkpoint(&mut self.record, &batch.checkpoint);
        items.insert(&self.tree, layout::CHECKPOINT, UserValue::from(&self.record));
    }
}

impl MemStore for DiskStore {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    fn requests(&self) -> Result<Vec<RequestEntry>> {
        database::requests(&self.tree)
    }

    fn get_at(&self, at: At<'_>, store: StoreId, key: &[u8]) -> Result<Option<Value<'_>>> {
        let view = self.view(at)?;
        if key.len() > layout::KEY_MAX {
            return Ok(None);
        }
        // A key that is looked for mostly fits here, and needs no allocation then.
        let mut short = [0; 64];
        let mut long = Vec::new();
        let key = match short.get_mut(..layout::PREFIX + key.len()) {
            Some(place) => {
                place[..layout::PREFIX].copy_from_slice(&store.0.to_be_bytes());
                place[layout::PREFIX..].copy_from_slice(key);
                place
            }
            None => {
                layout::put_key(&mut long, store, key);
                &mut long
            }
        };
        let found = match view {
            None => self.tree.get(key),
            Some(snapshot) => snapshot.get(&self.tree, key),
        };
        found.map_err(database::failed)?.map(record_value).transpose()
    }

    fn scan(&self, at: At<'_>, scan: &Scan, visit: &mut Visit<'_>) -> Result<Scanned> {
        let view = self.view(at)?;
        if scan.store > StoreId::LAST || scan.is_void() {
            return Ok(Scanned::All);
        }
        let bounds = layout::bounds(scan);
        let entries = match view {
            None => self.tree.range(bounds),
            Some(snapshot) => snapshot.range(&self.tree, bounds),
        };
        let entry = |guard: fjall::Guard| {
            let (key, record) = guard.into_inner().map_err(database::failed)?;
            Ok((EntryKey(key), record_value(record)?))
        };
        match scan.direction {
            Direction::Forward => show(entries.map(entry), scan.limit, visit),
            Direction::Backward => show(entries.rev().map(entry), scan.limit, visit),
        }
    }

    fn due_from(&self) -> Option<EventTime> {
        self.due.first()
    }

    fn due(&self, now: EventTime, most: usize) -> Result<Vec<Expiring>> {
        self.due.take(self, now, most.max(1))
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<()> {
        batch.check(self.checkpoint.as_ref(), &self.limits)?;
        let evicted = self.requests.partition_point(|&offset| offset < batch.evict_below);
        let due = self.due.changes(batch, self)?;
        let size = batch.changes.len() + due.len() + batch.requests.len() + evicted + 1;
        let items = OwnedWriteBatch::with_capacity(self.db.clone(), size);
        let mut items = items.durability(Some(PersistMode::Buffer));
        self.put_changes(batch, &mut items);
        due.put(&self.tree, &mut items);
        self.put_place(batch, evicted, &mut items);
        items.commit().map_err(database::failed)?;
        self.due = due.applied(std::mem::take(&mut self.due), self);
        self.requests.drain(..evicted);
        self.requests.extend(batch.requests.iter().map(|r| r.offset).filter(|&o| o >= batch.evict_below));
        self.checkpoint = Some(batch.checkpoint.clone());
        Ok(())
    }

    fn open_snapshot(&mut self, now: Duration) -> Result<Snapshot> {
        self.close_aged(now);
        self.snapshots.open(self.db.snapshot(), now, &self.limits)
    }

    fn close_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshots.close(snapshot);
    }

    fn close_aged(&mut self, now: Duration) -> usize {
        self.snapshots.close_aged(now, &self.limits)
    }

    fn status(&self) -> Status {
        Status { snapshots: self.snapshots.len(), ..Status::default() }
    }
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, checkpoint) = (self.tree.name(), &self.checkpoint);
        f.debug_struct("DiskStore")
            .field("name", name)
            .field("checkpoint", checkpoint)
            .finish_non_exhaustive()
    }
}

/// The key of an entry without what says its store.
struct EntryKey(UserKey);

impl AsRef<[u8]> for EntryKey {
    fn as_ref(&self) -> &[u8] {
        &self.0[layout::PREFIX..]
    }
}

fn record_value(record: UserValue) -> Result<Value<'static>> {
    Value::of_record(record).ok_or(Error::Damaged("record"))
}
