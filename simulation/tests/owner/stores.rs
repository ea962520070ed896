//! Stores that outlive their owner: what was applied is there after a crash, or what an older checkpoint had.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_memstore::{
    At, Batch, Checkpoint, Disk, DiskSettings, Expiring, Facts, Limits, MemStore, MemoryStore, RequestEntry,
    Result, Scan, Scanned, Snapshot, Status, StoreId, Value, Visit,
};
use affinity_types::{EventTime, Offset, TopicId};

use crate::lists::STORES;

/// Where a node's store stays while the node does not run.
pub(crate) enum Place {
    /// In memory, quickly.
    Memory { newest: Arc<Mutex<MemoryStore>>, older: Option<Box<MemoryStore>> },
    /// In a database on disk, with everything that this takes.
    Disk(Database),
}

impl Place {
    pub(crate) fn memory() -> Place {
        let newest = Arc::new(Mutex::new(MemoryStore::new(Limits::default())));
        Place::Memory { newest, older: None }
    }

    /// Remembers what is there now, to fall back to.
    pub(crate) fn checkpoint(&mut self) {
        if let Place::Memory { newest, older } = self {
            *older = Some(Box::new(copy(&newest.lock().unwrap())));
        }
    }

    /// The newest batches are lost, those since the checkpoint. Says whether there is one.
    pub(crate) fn fall_back(&mut self) -> bool {
        let Place::Memory { newest, older: Some(older) } = self else { return false };
        *newest = Arc::new(Mutex::new(copy(older)));
        true
    }

    /// Everything is lost.
    pub(crate) fn wipe(&mut self) {
        match self {
            Place::Memory { .. } => *self = Place::memory(),
            Place::Disk(database) => database.disk.set_aside(NAME).unwrap(),
        }
    }

    /// Opens the store as it is.
    pub(crate) fn open(&self, topic: TopicId, end: Offset) -> Box<dyn MemStore> {
        match self {
            Place::Memory { newest, .. } => {
                let memory = copy(&newest.lock().unwrap());
                Box::new(KeptStore { memory, disk: Arc::clone(newest) })
            }
            Place::Disk(database) => {
                let facts =
                    Facts { topic, start: Offset::ZERO, end, now: EventTime(0), delete_retention: None };
                Box::new(database.disk.open_store(NAME, Limits::default(), &facts).unwrap().store)
            }
        }
    }
}

const NAME: &str = "lists.0";

/// A database, and its folder, which goes with it.
pub(crate) struct Database {
    disk: Disk,
    folder: PathBuf,
}

impl Database {
    /// An empty one; `name` tells it from those of other runs in this process.
    pub(crate) fn new(name: &str) -> Database {
        let folder = format!("owner-{}-{:?}-{name}", std::process::id(), std::thread::current().id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(folder);
        let _ = std::fs::remove_dir_all(&folder);
        let (disk, _) = Disk::open(&folder, DiskSettings::default()).unwrap();
        Database { disk, folder }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A store in memory that writes every batch to its disk too.
pub(crate) struct KeptStore {
    memory: MemoryStore,
    disk: Arc<Mutex<MemoryStore>>,
}

/// What a store holds, as another one: applied as one batch.
fn copy(store: &MemoryStore) -> MemoryStore {
    let mut copy = MemoryStore::new(Limits::default());
    let Some(checkpoint) = store.checkpoint() else { return copy };
    let mut entries = Vec::new();
    // Those of the system too, which have the highest numbers.
    for id in (0..STORES).chain(65_000..=StoreId::LAST.0).map(StoreId) {
        let visit: &mut Visit<'_> = &mut |key, value| {
            let (version, expires) = (value.version(), value.expires());
            entries.push((id, key.to_vec(), value.into_bytes(), version, expires));
            std::ops::ControlFlow::Continue(())
        };
        store.scan(At::Newest, &Scan::all(id), visit).unwrap();
    }
    let mut batch = Batch::new(Offset::ZERO, checkpoint.clone());
    for (id, key, bytes, version, expires) in &entries {
        batch.put(*id, key, Value::new(bytes, *version).expiring(*expires));
    }
    store.requests().unwrap().into_iter().for_each(|request| batch.remember(request));
    copy.apply(&batch).unwrap();
    copy
}

impl MemStore for KeptStore {
    fn limits(&self) -> &Limits {
        self.memory.limits()
    }

    fn checkpoint(&self) -> Option<&Checkpoint> {
        self.memory.checkpoint()
    }

    fn requests(&self) -> Result<Vec<RequestEntry>> {
        self.memory.requests()
    }

    fn get_at(&self, at: At<'_>, store: StoreId, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.memory.get_at(at, store, key)
    }

    fn scan(&self, at: At<'_>, scan: &Scan, visit: &mut Visit<'_>) -> Result<Scanned> {
        self.memory.scan(at, scan, visit)
    }

    fn due_from(&self) -> Option<EventTime> {
        self.memory.due_from()
    }

    fn due(&self, now: EventTime, most: usize) -> Result<Vec<Expiring>> {
        self.memory.due(now, most)
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<()> {
        self.disk.lock().unwrap().apply(batch)?;
        self.memory.apply(batch)
    }

    fn open_snapshot(&mut self, now: Duration) -> Result<Snapshot> {
        self.memory.open_snapshot(now)
    }

    fn close_snapshot(&mut self, snapshot: Snapshot) {
        self.memory.close_snapshot(snapshot);
    }

    fn close_aged(&mut self, now: Duration) -> usize {
        self.memory.close_aged(now)
    }

    fn status(&self) -> Status {
        self.memory.status()
    }
}
