//! The shelf: which files hold what, one picture for all threads. Every change of it is one step on the disk and in
//! memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use affinity_types::{Clock, Offset};

use super::disk::Disk;
use super::head::{FileHead, FileKind};
use super::manifest::{self, Manifest, SortedEntry};
use super::options::EmbeddedOptions;
use super::segment::{Index, Segment};
use super::slot::Slot;
use super::sorted::SortedFile;
use super::spares::{Spare, Spares};

/// Sealed segments that may wait for the compactor; the journal is not extended before there are fewer.
pub(super) const SEALED_MAX: usize = 1;

/// All files at one moment. Readers hold it while they read, so that nothing is taken from under them.
pub(super) struct FileSet {
    /// Oldest first; of each slot, offsets rise from file to file.
    pub(super) sorted: Vec<Shelved>,
    /// Oldest first; the last one is written to.
    pub(super) segments: Vec<Arc<Segment>>,
}

/// A sorted file on the shelf.
#[derive(Clone)]
pub(super) struct Shelved {
    pub(super) file: Arc<SortedFile>,
    /// Whether its keys have yet to be looked for in the files before it.
    pub(super) dirty: bool,
}

/// The folder's files and slots.
pub(super) struct Shelf {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: EmbeddedOptions,
    pub(super) journal: u128,
    manifest: Mutex<Manifest>,
    files: RwLock<Arc<FileSet>>,
    slots: RwLock<BTreeMap<u32, Arc<Slot>>>,
    pub(super) spares: Spares,
    news: Mutex<u64>,
    /// The news when a segment was put here last.
    extended: AtomicU64,
    changed: Condvar,
    doubt: Mutex<Doubt>,
}

/// A manifest was stored with an error, so that nobody knows which one the disk has.
#[derive(Default)]
struct Doubt {
    open: bool,
    /// Files that are needed if it has the new one.
    files: Vec<String>,
}

impl Shelf {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: EmbeddedOptions,
        manifest: Manifest,
        files: FileSet,
    ) -> Shelf {
        Shelf {
            spares: Spares::new(Arc::clone(&disk), options.segment_bytes),
            disk,
            clock,
            options,
            journal: manifest.journal,
            manifest: Mutex::new(manifest),
            files: RwLock::new(Arc::new(files)),
            slots: RwLock::default(),
            news: Mutex::new(0),
            extended: AtomicU64::new(0),
            changed: Condvar::new(),
            doubt: Mutex::default(),
        }
    }

    pub(super) fn files(&self) -> Arc<FileSet> {
        Arc::clone(&self.files.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn slot(&self, number: u32) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn add_slots(&self, new: impl IntoIterator<Item = Arc<Slot>>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.extend(new.into_iter().map(|slot| (slot.number, slot)));
    }

    pub(super) fn remove_slots(&self, first: u32, count: u32) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        for number in first..first + count {
            if let Some(slot) = slots.remove(&number) {
                slot.leave();
            }
        }
    }

    /// The manifest, for reading, or for a change that is stored before the guard is dropped.
    pub(super) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the manifest durably and then lets `install` do the same in memory, as one step for every other caller.
    /// After an error nothing has changed in memory; on the disk either one may be.
    pub(super) fn change<T>(
        &self,
        edit: impl FnOnce(&mut Manifest) -> T,
        install: impl FnOnce(&Manifest, &T),
    ) -> io::Result<T> {
        let mut current = self.manifest();
        let mut next = current.clone();
        let result = edit(&mut next);
        self.store(&next)?;
        *current = next;
        install(&current, &result);
        drop(current);
        self.announce();
        Ok(result)
    }

    fn doubt(&self) -> MutexGuard<'_, Doubt> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the disk may have another manifest than this.
    pub(super) fn in_doubt(&self) -> bool {
        self.doubt().open
    }

    /// Stores a manifest; the caller has the lock of the current one.
    fn store(&self, manifest: &Manifest) -> io::Result<()> {
        manifest.write(&*self.disk)?;
        if let Err(error) = manifest::put_in_place(&*self.disk) {
            self.doubt().open = true;
            self.announce();
            return Err(error);
        }
        for name in std::mem::take(&mut *self.doubt()).files {
            let _ = self.disk.remove(&name);
        }
        Ok(())
    }

    /// Stores the manifest once more if nobody knows which one the disk has. Answers whether that was so.
    pub(super) fn settle(&self) -> io::Result<bool> {
        let manifest = self.manifest();
        let open = self.doubt().open;
        if open {
            self.store(&manifest)?;
        }
        Ok(open)
    }

    /// Removes a sorted file that did not come onto the shelf, at once or when it is known that no manifest names it.
    fn discard(&self, entry: Option<SortedEntry>) {
        let Some(entry) = entry else { return };
        let name = FileKind::Sorted.name(entry.number);
        let mut doubt = self.doubt();
        if doubt.open {
            doubt.files.push(name);
        } else {
            let _ = self.disk.remove(&name);
        }
    }

    fn set_files(&self, edit: impl FnOnce(&FileSet) -> FileSet) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        *files = Arc::new(edit(&files));
    }

    /// A number for a new sorted file; never given twice while the folder is open.
    pub(super) fn sorted_number(&self) -> u64 {
        let mut manifest = self.manifest();
        manifest.next_sorted += 1;
        manifest.next_sorted - 1
    }

    /// Puts `new` in the place of `count` sorted files from `at` on, and removes those.
    pub(super) fn replace_sorted(
        &self,
        at: usize,
        count: usize,
        new: Option<SortedFile>,
        dirty: bool,
    ) -> io::Result<()> {
        let new = new.map(|file| Shelved { file: Arc::new(file), dirty });
        let entry = new.as_ref().map(|new| SortedEntry { number: new.file.number, dirty });
        let old = self.files().sorted[at..at + count].to_vec();
        let changed = self.change(
            |manifest| drop(manifest.sorted.splice(at..at + count, entry)),
            |_, ()| {
                self.set_files(|files| {
                    let mut sorted = files.sorted.clone();
                    sorted.splice(at..at + count, new);
                    FileSet { sorted, segments: files.segments.clone() }
                });
            },
        );
        changed.inspect_err(|_| self.discard(entry))?;
        for old in old {
            // What cannot be removed now, the next opening removes.
            let _ = self.disk.remove(&FileKind::Sorted.name(old.file.number));
        }
        Ok(())
    }

    /// Puts `sorted` in the place of the oldest segment.
    pub(super) fn shelve_oldest(&self, sorted: Option<SortedFile>) -> io::Result<()> {
        let oldest = Arc::clone(&self.files().segments[0]);
        let sorted = sorted.map(|file| Shelved { file: Arc::new(file), dirty: true });
        let entry = sorted.as_ref().map(|new| SortedEntry { number: new.file.number, dirty: true });
        let number = oldest.number;
        let changed = self.change(
            |manifest| {
                manifest.journal_from = number + 1;
                manifest.sorted.extend(entry);
            },
            |_, ()| {
                self.set_files(|files| FileSet {
                    sorted: files.sorted.iter().cloned().chain(sorted).collect(),
                    segments: files.segments[1..].to_vec(),
                });
            },
        );
        changed.inspect_err(|_| self.discard(entry))?;
        self.spares.retire(oldest, &FileKind::Journal.name(number));
        Ok(())
    }

    /// The first `count` sorted files are clean now.
    pub(super) fn mark_clean(&self, count: usize) -> io::Result<()> {
        self.change(
            |manifest| manifest.sorted[..count].iter_mut().for_each(|entry| entry.dirty = false),
            |_, ()| {
                self.set_files(|files| {
                    let mut sorted = files.sorted.clone();
                    sorted[..count].iter_mut().for_each(|shelved| shelved.dirty = false);
                    FileSet { sorted, segments: files.segments.clone() }
                });
            },
        )
    }

    /// Moves the first offsets of slots on.
    pub(super) fn set_starts(&self, starts: &[(Arc<Slot>, Offset)]) -> io::Result<()> {
        self.change(
            |manifest| {
                for (slot, start) in starts.iter().filter(|(slot, _)| !slot.gone()) {
                    manifest.starts.retain(|(number, _)| number != &slot.number);
                    manifest.starts.push((slot.number, *start));
                }
            },
            |_, ()| starts.iter().for_each(|(slot, start)| slot.state().start = *start),
        )
    }

    /// Puts a segment behind the last one, or in the place of the last one if it has its number.
    pub(super) fn put_segment(&self, segment: &Arc<Segment>) {
        self.set_files(|files| {
            let mut segments = files.segments.clone();
            segments.retain(|old| old.number != segment.number);
            segments.push(Arc::clone(segment));
            FileSet { sorted: files.sorted.clone(), segments }
        });
        self.announce();
        self.extended.store(self.news(), Ordering::SeqCst);
    }

    /// News from which on a look at the shelf sees the last segment.
    pub(super) fn extended(&self) -> u64 {
        self.extended.load(Ordering::SeqCst)
    }

    /// A new, empty segment, durable under its name.
    pub(super) fn create_segment(&self, number: u64, first_block: u64) -> io::Result<Arc<Segment>> {
        let Spare { name, file, recycled } = self.spares.take()?;
        let head = FileHead { kind: FileKind::Journal, journal: self.journal, number, first_block, recycled };
        let made = file
            .write_at(&head.bytes(), 0)
            .and_then(|()| file.sync())
            .and_then(|()| self.disk.rename(&name, &FileKind::Journal.name(number)))
            .and_then(|()| self.disk.sync_names());
        if let Err(error) = made {
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        let end = u32::try_from(super::head::HEAD).expect("a head is short");
        Ok(Arc::new(Segment::new(&head, file, Index { end, ..Index::default() })))
    }

    /// Makes a spare segment if there is none and no sealed one that will become it. Answers whether it did.
    pub(super) fn prepare_spare(&self) -> io::Result<bool> {
        if !self.spares.is_empty() || self.sealed() > 0 {
            return Ok(false);
        }
        self.spares.fill()?;
        // The journal went on without it meanwhile: the sealed segment becomes the spare, and two would be too many.
        if self.sealed() > 0 {
            self.spares.discard();
        }
        Ok(true)
    }

    /// Number of sealed segments.
    pub(super) fn sealed(&self) -> usize {
        self.files().segments.len().saturating_sub(1)
    }

    /// Tells whoever waits that something has changed.
    pub(super) fn announce(&self) {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// A mark to wait from.
    pub(super) fn news(&self) -> u64 {
        *self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed since `seen`, at most for `limit`.
    pub(super) fn wait(&self, seen: u64, limit: Duration) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(news, limit, |news| *news == seen);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
