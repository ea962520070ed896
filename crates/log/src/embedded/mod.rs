//! The embedded log: one journal on the local disk for all partitions of a node. The default for one machine.
//!
//! # How it works
//! ```text
//!   owners ── append ──▶ queue ──▶ committer: one write, one fdatasync, for all that waited
//!      ▲                              │ journal-…: segments, group commits in the order of time
//!      └── outcomes ◀─────────────────┤
//!   readers ◀── woken ────────────────┘
//!                                     compactor: sorted-…: groups by partition, superseded records gone
//! ```
//! One thread commits, so at most one group commit is ever unsynced; another compacts. The folder's [`Disk`] is a small
//! trait, so that tests crash it at every step. `docs/adr/0002-embedded-log.md` settles the bytes and the reasons.
//!
//! # What it promises
//! - An acknowledged group is on the disk, as far as `fdatasync` means that.
//! - After a crash, a group commit that never became whole is cut off and [reported](EmbeddedLog::recovery). A bad one with a
//!   good one behind it was whole once: opening refuses the folder and names file and byte. Nothing is skipped.
//! - A failed write or sync makes its groups' outcomes unknown; the durable part of the segment is copied to a new file
//!   and synced there before anything else is written, since the page cache may pretend to hold what the disk does not.
//! - A full disk refuses appends ([`Outcome::Refused`](crate::Outcome::Refused)); they are taken again when there is space.
//! - It fences as [`Prepared`] describes and knows its newest writer at once: one process has the folder, by a lock.
//! - Compaction has no lag. A reader sees of each key the newest record and maybe older ones; request ids stay for the
//!   topic's `request_window`, deletions for its `delete_retention`. Under endless overwriting the folder stays within twice
//!   the live data and four segments; if compaction falls behind, appends wait.
//! - Files carry a format version. A build reads its own and all earlier ones, and refuses later ones by name.

mod committer;
mod compactor;
mod disk;
mod frame;
mod head;
mod keys;
mod manifest;
mod options;
mod protection;
mod queue;
mod recovery;
mod retention;
mod segment;
mod shelf;
mod slot;
mod sorted;
mod sorting;
mod spares;
mod survivors;
mod tail;
#[cfg(test)]
mod tests;
mod threads;
mod writer;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use affinity_types::{Clock, EventTime, Offset, TopicId};

pub use disk::{Disk, Fill, LogFile, OsDisk};
pub use options::EmbeddedOptions;
pub use recovery::Recovery;

use self::lookup::first_at;
use self::manifest::TopicEntry;
use self::queue::Queue;
use self::shelf::Shelf;
use self::slot::{Slot, SlotState};
use self::tail::EmbeddedTail;
use self::threads::Threads;
use self::writer::EmbeddedPrepared;
use crate::{
    Bounds, BoxFuture, Error, ErrorKind, Limits, Log, Prepared, Tail, Topic, TopicPartition, TopicSpec,
};

mod lookup;

/// A log in a folder of the local disk: see the [module](self).
///
/// Dropping it, or [`close`](EmbeddedLog::close), writes what was appended and ends its threads; its writers are finished
/// then, its readers find nothing new.
pub struct EmbeddedLog {
    shelf: Arc<Shelf>,
    queue: Arc<Queue>,
    threads: Threads,
    recovery: Recovery,
    limits: Limits,
    _lock: Box<dyn Any + Send + Sync>,
}

/// What the folder takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In segments of the journal, preallocated space included.
    pub journal: u64,
    /// In sorted files.
    pub sorted: u64,
}

impl EmbeddedLog {
    /// Most partitions of all topics together; a topic beyond is refused.
    pub const PARTITIONS_MAX: u32 = 1_000_000;

    /// Opens the log in the folder at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// `Invalid` for settings that are not possible and for a folder that holds something else; `Unavailable` if another
    /// process has it, or as the operating system says; `Corrupt` if files are missing, damaged, of another folder or of
    /// a later format, with the file and the place.
    pub fn open(path: &Path, options: EmbeddedOptions, clock: Arc<dyn Clock>) -> Result<EmbeddedLog, Error> {
        let disk = OsDisk::new(path).map_err(|error| {
            let message = format!("the log's folder {} cannot be made: {error}", path.display());
            Error::new(ErrorKind::Unavailable, message).caused_by(error)
        })?;
        EmbeddedLog::open_on(Arc::new(disk), options, clock)
    }

    /// Opens the log on a disk of the caller's.
    ///
    /// # Errors
    /// As [`open`](EmbeddedLog::open).
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: EmbeddedOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<EmbeddedLog, Error> {
        if let Some(problem) = options.problem() {
            return Err(Error::new(ErrorKind::Invalid, problem));
        }
        let lock = disk.lock().map_err(|error| {
            let taken = error.kind() == std::io::ErrorKind::WouldBlock;
            let what = if taken {
                "is in use by another process".into()
            } else {
                format!("cannot be locked: {error}")
            };
            Error::new(ErrorKind::Unavailable, format!("the log's folder {} {what}", disk.place()))
        })?;
        let limits = Limits {
            group_bytes_max: options.group_bytes_max as usize,
            in_flight_max: options.in_flight_max as usize,
        };
        let queue = Arc::new(Queue::new(options.pending_bytes_max, options.segment_bytes as usize / 2));
        let (shelf, committer, recovery) = recovery::open(disk, clock, options)?;
        let threads = Threads::start(&shelf, &queue, committer)?;
        Ok(EmbeddedLog { shelf, queue, threads, recovery, limits, _lock: lock })
    }

    /// What opening found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What the folder takes now.
    pub fn usage(&self) -> Usage {
        let files = self.shelf.files();
        Usage {
            journal: files.segments.iter().map(|segment| segment.file.length().unwrap_or(0)).sum(),
            sorted: files.sorted.iter().map(|shelved| shelved.file.length).sum(),
        }
    }

    /// Ends the journal's segment and waits until compaction has nothing left to do: for tests, benchmarks and before a
    /// backup. Blocks the thread.
    ///
    /// # Errors
    /// `Unavailable` if the disk does not let it.
    pub fn compact(&self) -> Result<(), Error> {
        self.threads.compact()
    }

    /// Writes what was appended, ends the threads and marks the journal's end, so that the next opening need not look
    /// for torn groups. Blocks the thread.
    pub fn close(self) {
        drop(self);
    }

    fn slot(&self, place: &TopicPartition) -> Result<Arc<Slot>, Error> {
        let first = {
            let manifest = self.shelf.manifest();
            let entry = manifest.topic(&place.topic);
            entry.filter(|e| place.partition.0 < e.topic.spec.partitions).map(|e| e.first_slot)
        };
        let slot = first.and_then(|first| self.shelf.slot(first + place.partition.0));
        slot.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no partition {place}")))
    }

    fn create(&self, name: &str, spec: &TopicSpec) -> Result<Topic, Error> {
        Topic::validate(name, spec)?;
        let partitions: u32 =
            self.shelf.manifest().topics.iter().map(|entry| entry.topic.spec.partitions).sum();
        if spec.partitions > EmbeddedLog::PARTITIONS_MAX.saturating_sub(partitions) {
            let message = format!(
                "topic {name}: a folder has {} partitions at most, of all topics together",
                EmbeddedLog::PARTITIONS_MAX
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let failed = |error| self.change_failed(&format!("topic {name} cannot be created"), error);
        let id = self.shelf.disk.fresh_id().map_err(failed)?;
        let add = |manifest: &mut manifest::Manifest| {
            if let Some(entry) = manifest.topic(name) {
                return Err(entry.topic.clone());
            }
            let topic = Topic { id: TopicId(id), name: name.into(), spec: spec.clone() };
            let entry = TopicEntry { topic, first_slot: manifest.next_slot };
            let next = manifest.next_slot.checked_add(spec.partitions);
            manifest.next_slot = next.expect("four billion partitions are not made in a folder's life");
            manifest.topics.push(entry.clone());
            Ok(entry)
        };
        let existing = self.shelf.manifest().topic(name).map(|entry| entry.topic.clone());
        let added = match existing {
            Some(topic) => Err(topic),
            None => self
                .shelf
                .change(add, |_, added| {
                    if let Ok(entry) = added {
                        recovery::add_topic(&self.shelf, entry, |_| SlotState::default());
                    }
                })
                .map_err(failed)?,
        };
        match added {
            Ok(entry) => Ok(entry.topic),
            Err(topic) if topic.spec == *spec => Ok(topic),
            Err(topic) => {
                let message = format!("topic {name} is there as {:?}, not as {spec:?}", topic.spec);
                Err(Error::new(ErrorKind::Conflict, message))
            }
        }
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        let remove = |manifest: &mut manifest::Manifest| {
            let at = manifest.topics.iter().position(|entry| &*entry.topic.name == name)?;
            let entry = manifest.topics.remove(at);
            let slots = entry.first_slot..entry.first_slot + entry.topic.spec.partitions;
            manifest.starts.retain(|(slot, _)| !slots.contains(slot));
            Some(entry)
        };
        let leave = |_: &manifest::Manifest, removed: &Option<TopicEntry>| {
            if let Some(entry) = removed {
                self.shelf.remove_slots(entry.first_slot, entry.topic.spec.partitions);
            }
        };
        match self.shelf.change(remove, leave) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Error::new(ErrorKind::NotFound, format!("there is no topic {name}"))),
            Err(error) => Err(self.change_failed(&format!("topic {name} cannot be deleted"), error)),
        }
    }

    /// A change of the topics failed: if it may be on the disk all the same, its outcome is unknown.
    fn change_failed(&self, what: &str, error: std::io::Error) -> Error {
        let kind = if self.shelf.in_doubt() { ErrorKind::Unknown } else { ErrorKind::Unavailable };
        Error::new(kind, format!("{what}: {error}")).caused_by(error)
    }
}

impl Log for EmbeddedLog {
    fn create_topic<'a>(&'a self, name: &'a str, spec: TopicSpec) -> BoxFuture<'a, Result<Topic, Error>> {
        Box::pin(async move { self.create(name, &spec) })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Topic>, Error>> {
        Box::pin(async move { Ok(self.shelf.manifest().topic(name).map(|entry| entry.topic.clone())) })
    }

    fn delete_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.delete(name) })
    }

    fn bounds<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, Error>> {
        Box::pin(async move {
            let slot = self.slot(place)?;
            let state = slot.state();
            Ok(Bounds { start: state.start, end: state.end, newest: state.newest })
        })
    }

    fn offset_at<'a>(
        &'a self,
        place: &'a TopicPartition,
        time: EventTime,
    ) -> BoxFuture<'a, Result<Option<Offset>, Error>> {
        Box::pin(async move { first_at(&self.shelf, &*self.slot(place)?, time) })
    }

    fn prepare<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Box<dyn Prepared>, Error>> {
        Box::pin(async move {
            let slot = self.slot(place)?;
            let (queue, limits) = (Arc::clone(&self.queue), self.limits);
            let preparation = slot.prepare();
            Ok(Box::new(EmbeddedPrepared { slot, queue, limits, preparation }) as Box<dyn Prepared>)
        })
    }

    fn tail<'a>(
        &'a self,
        place: &'a TopicPartition,
        from: Offset,
    ) -> BoxFuture<'a, Result<Box<dyn Tail>, Error>> {
        Box::pin(async move {
            let slot = self.slot(place)?;
            let state = slot.state();
            let (start, end) = (state.start, state.end);
            drop(state);
            if from < start || from > end {
                let message =
                    format!("{place}: offset {from} is not between the start {start} and the end {end}");
                return Err(Error::new(ErrorKind::OutOfRange, message));
            }
            Ok(Box::new(EmbeddedTail::new(Arc::clone(&self.shelf), slot, from)) as Box<dyn Tail>)
        })
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}
