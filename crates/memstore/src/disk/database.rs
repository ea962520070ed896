//! The database of a node, and which of its trees is which partition's store.
//!
//! A partition's store is a tree named `<store name>.<generation>`. The highest generation is the store; setting a store
//! aside is creating the next one, which is atomic, and the ones below are what was set aside: at most
//! [`DiskSettings::set_aside_max`] are kept, for whoever wants to know what happened. A tree cannot be renamed in the
//! database, and a database for each partition would take threads, caches and a journal for each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};

use super::layout;
use super::store::DiskStore;
use crate::limits::NAME_MAX;
use crate::{Error, Facts, Found, Limits, Reason, RequestEntry, Result, Verdict, judge};

/// Settings of a node's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// Bytes of blocks that were read to keep in memory, for all stores together. Default 64 MiB.
    pub cache_max_bytes: u64,
    /// Bytes of the journal on disk, at least 64 MiB. Beyond it stores are flushed, which takes disk bandwidth and no
    /// correctness. Default 512 MiB.
    pub journal_max_bytes: u64,
    /// Bytes of a store's newest changes to keep in memory before they are flushed to a file of their own. A few times
    /// this many bytes may be in memory for each store. Default 8 MiB.
    pub memtable_max_bytes: u64,
    /// Threads that flush and compact, for all stores together. Default 2.
    pub worker_threads: usize,
    /// How many set-aside generations of a store, or of the database, are kept; older ones are deleted. Default 1.
    pub set_aside_max: usize,
}

impl Default for DiskSettings {
    fn default() -> DiskSettings {
        DiskSettings {
            cache_max_bytes: 64 << 20,
            journal_max_bytes: 512 << 20,
            memtable_max_bytes: 8 << 20,
            worker_threads: 2,
            set_aside_max: 1,
        }
    }
}

/// The database of a node: the stores of all its partitions, each with one owner.
///
/// ```
/// use affinity_memstore::{Disk, DiskSettings, Facts, Limits, MemStore, Verdict};
/// use affinity_types::{EventTime, Offset, TopicId};
///
/// let dir = tempfile::tempdir()?;
/// let (disk, damaged) = Disk::open(&dir.path().join("memstores"), DiskSettings::default())?;
/// assert_eq!(damaged, None, "nothing had to be set aside");
/// let facts = Facts {
///     topic: TopicId(1),
///     start: Offset(0),
///     end: Offset(9),
///     now: EventTime(0),
///     delete_retention: None,
/// };
/// let opened = disk.open_store("accounts.3", Limits::default(), &facts)?;
/// assert_eq!(opened.verdict, Verdict::Begin);
/// assert_eq!(opened.store.checkpoint(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Disk {
    db: fjall::Database,
    settings: DiskSettings,
    /// Names of open stores. Taken when a store is opened and closed, never to read or write one.
    open: Arc<Mutex<BTreeSet<String>>>,
}

/// A store that was opened.
#[derive(Debug)]
#[must_use = "it has the store"]
pub struct Opened {
    /// The store: where its checkpoint says after [`Verdict::Resume`], empty otherwise.
    pub store: DiskStore,
    /// What was decided, to be shown to the operator: [`Verdict::Rebuild`] has the reason.
    pub verdict: Verdict,
    /// The window of request ids, oldest first.
    pub requests: Vec<RequestEntry>,
}

impl Disk {
    /// Opens the database in the folder `path`, creating it if there is none. One that is damaged is renamed to
    /// `<path>.set-aside-<n>` and replaced by an empty one: then the second is its new name.
    ///
    /// # Errors
    /// Kind `Unavailable` when the folder cannot be used, or another process uses it.
    pub fn open(path: &Path, settings: DiskSettings) -> Result<(Disk, Option<PathBuf>)> {
        let (db, aside) = match database(path, &settings).map_err(failed) {
            Ok(db) => (db, None),
            Err(error @ Error::DatabaseDamaged(_)) => {
                let aside = set_folder_aside(path, settings.set_aside_max)?;
                tracing::warn!(
                    path = %path.display(), aside = %aside.display(), ?error,
                    "the memstore database is damaged: set aside, its stores are rebuilt from the log"
                );
                (database(path, &settings).map_err(failed)?, Some(aside))
            }
            Err(error) => return Err(error),
        };
        Ok((Disk { db, settings, open: Arc::default() }, aside))
    }

    /// Opens the store `name`, creating it if there is none. Whether one that is there may be used is [`judge`]d; if not it
    /// is set aside, replaced by an empty one, and the verdict says why.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::AlreadyOpen`], and kind `Unavailable`.
    pub fn open_store(&self, name: &str, limits: Limits, facts: &Facts) -> Result<Opened> {
        let claim = self.claim(name)?;
        let generation = self.generations(name).last().copied().unwrap_or(0);
        let tree = self.tree(name, generation)?;
        let (found, requests) = find(&tree)?;
        let verdict = judge(&found, facts);
        if let Verdict::Rebuild(reason) = &verdict {
            let tree = self.replace(name, generation, reason)?;
            let store = DiskStore::new(self.db.clone(), tree, limits, claim);
            return Ok(Opened { store, verdict, requests: Vec::new() });
        }
        let mut store = DiskStore::new(self.db.clone(), tree, limits, claim);
        store.resume(found, &requests)?;
        Ok(Opened { store, verdict, requests })
    }

    /// Sets aside the store `name`, whose owner met damage ([`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt)) and closed
    /// it: the next to open it finds it empty.
    ///
    /// # Errors
    /// As [`Disk::open_store`].
    pub fn set_aside(&self, name: &str) -> Result<()> {
        let _claim = self.claim(name)?;
        if let Some(&generation) = self.generations(name).last() {
            self.replace(name, generation, &Reason::Damaged)?;
        }
        Ok(())
    }

    /// Writes everything to the disk itself, as an orderly end of the process does. Takes as long as the disk takes.
    ///
    /// # Errors
    /// Kind `Unavailable`.
    pub fn sync(&self) -> Result<()> {
        self.db.persist(PersistMode::SyncAll).map_err(failed)
    }

    fn claim(&self, name: &str) -> Result<Claim> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Error::Name(name.to_owned()));
        }
        if !self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
            return Err(Error::AlreadyOpen(name.to_owned()));
        }
        Ok(Claim { name: name.to_owned(), open: Arc::clone(&self.open) })
    }

    /// Generations of a store, rising.
    fn generations(&self, name: &str) -> Vec<u64> {
        let names = self.db.list_keyspace_names();
        let mut generations: Vec<u64> = names.iter().filter_map(|tree| generation(tree, name)).collect();
        generations.sort_unstable();
        generations
    }

    fn tree(&self, name: &str, generation: u64) -> Result<Keyspace> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(self.settings.memtable_max_bytes);
        self.db.keyspace(&format!("{name}.{generation}"), options).map_err(failed)
    }

    /// Creates the generation after `generation` and deletes those that are set aside for too long.
    fn replace(&self, name: &str, generation: u64, reason: &Reason) -> Result<Keyspace> {
        tracing::warn!(store = name, generation, %reason, "memstore set aside, it is rebuilt from the log");
        let tree = self.tree(name, generation + 1)?;
        let aside: Vec<u64> = self.generations(name).into_iter().filter(|&g| g <= generation).collect();
        for &old in aside.iter().rev().skip(self.settings.set_aside_max) {
            self.db.delete_keyspace(self.tree(name, old)?).map_err(failed)?;
        }
        Ok(tree)
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// That a store is open; dropped with the store.
#[derive(Debug)]
pub(crate) struct Claim {
    name: String,
    open: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// What a tree holds: its place, and the window if the place can be read.
fn find(tree: &Keyspace) -> Result<(Found, Vec<RequestEntry>)> {
    let damage = |error| match error {
        Error::Damaged(_) | Error::DatabaseDamaged(_) => Ok((Found::Damaged, Vec::new())),
        error => Err(error),
    };
    let bytes = match tree.get(layout::CHECKPOINT).map_err(failed) {
        Ok(bytes) => bytes,
        Err(error) => return damage(error),
    };
    let Some(bytes) = bytes else {
        return Ok((
            if tree.first_key_value().is_none() { Found::Nothing } else { Found::NoCheckpoint },
            Vec::new(),
        ));
    };
    match layout::checkpoint(&bytes) {
        found @ Found::Checkpoint(_) => requests(tree).map(|requests| (found, requests)).or_else(damage),
        found => Ok((found, Vec::new())),
    }
}

/// The window in a tree.
pub(crate) fn requests(tree: &Keyspace) -> Result<Vec<RequestEntry>> {
    let entry = |guard: fjall::Guard| {
        let (key, value) = guard.into_inner().map_err(failed)?;
        let offset = layout::request_offset(&key).ok_or(Error::Damaged("window of request ids"))?;
        Ok(RequestEntry { offset, bytes: bytes::Bytes::copy_from_slice(&value) })
    };
    tree.prefix(layout::REQUESTS).map(entry).collect()
}

fn generation(tree: &str, name: &str) -> Option<u64> {
    tree.strip_prefix(name)?.strip_prefix('.')?.parse().ok()
}

fn database(path: &Path, settings: &DiskSettings) -> fjall::Result<fjall::Database> {
    fjall::Database::builder(path)
        .cache_size(settings.cache_max_bytes)
        .max_journaling_size(settings.journal_max_bytes)
        .worker_threads(settings.worker_threads)
        .open()
}

/// Renames a folder to the next free name beside it and deletes older ones beyond `keep`.
fn set_folder_aside(path: &Path, keep: usize) -> Result<PathBuf> {
    let io = |error: std::io::Error| Error::Database(Box::new(error));
    let mut mark = path.file_name().unwrap_or_default().to_owned();
    mark.push(".set-aside-");
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut numbers = Vec::new();
    for entry in fs::read_dir(parent).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let number = name.as_encoded_bytes().strip_prefix(mark.as_encoded_bytes());
        numbers.extend(number.and_then(|n| str::from_utf8(n).ok()?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    let aside = |number: u64| {
        let mut name = mark.clone();
        name.push(number.to_string());
        parent.join(name)
    };
    let new = aside(numbers.last().map_or(1, |last| last + 1));
    fs::rename(path, &new).map_err(io)?;
    for &old in numbers.iter().rev().skip(keep.saturating_sub(1)) {
        fs::remove_dir_all(aside(old)).map_err(io)?;
    }
    Ok(new)
}

/// Our error for one of the database: whether it is damage, or the disk and its circumstances.
pub(crate) fn failed(error: fjall::Error) -> Error {
    let damage = match &error {
        fjall::Error::Io(io) => is_damage(io),
        fjall::Error::Storage(inner) => {
            std::error::Error::source(inner).and_then(|cause| cause.downcast_ref()).is_none_or(is_damage)
        }
        fjall::Error::Poisoned | fjall::Error::Locked | fjall::Error::KeyspaceDeleted => false,
        _ => true,
    };
    if damage { Error::DatabaseDamaged(Box::new(error)) } else { Error::Database(Box::new(error)) }
}

/// Whether a file is missing or too short, in a database whose folder is there.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | UnexpectedEof | InvalidData)
}
