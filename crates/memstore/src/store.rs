//! The contract.

use std::fmt;
use std::time::Duration;

use affinity_types::EventTime;
use bytes::Bytes;

use crate::{Batch, Checkpoint, Limits, RequestEntry, Result, Scan, Scanned, Snapshot, Value, Visit};

/// Number of a store within its partition. All stores of a partition live in one memstore, so that one batch changes
/// several of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u16);

impl StoreId {
    /// The keyspace's main store.
    pub const MAIN: StoreId = StoreId(0);
    /// The last number a store may have; the one above is the memstore's own.
    pub const LAST: StoreId = StoreId(u16::MAX - 1);
    /// From here on, stores hold what is derived from the values of others, as indices are, or belongs to the system: what
    /// expires there does so with those values, and is never [`due`](MemStore::due) by itself.
    pub const DERIVED: StoreId = StoreId(65_000);
    /// Where a store on disk keeps what expires by its time: nobody else writes there.
    pub(crate) const DUE: StoreId = StoreId(StoreId::LAST.0 - 2);

    /// Whether it holds what is derived, or the system's.
    #[must_use]
    pub fn is_derived(self) -> bool {
        self >= StoreId::DERIVED
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a read sees.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// Every batch applied so far.
    Newest,
    /// Every batch applied before the snapshot was opened.
    Snapshot(&'a Snapshot),
}

/// A value that expires: where it is, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Its store.
    pub store: StoreId,
    /// Its key there.
    pub key: Bytes,
    /// From when on it no longer counts.
    pub expires: EventTime,
}

/// How a memstore fares, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Open snapshots.
    pub snapshots: usize,
    /// Overwritten values kept in memory for them.
    pub kept_values: usize,
    /// Bytes of those, keys included.
    pub kept_bytes: usize,
}

/// The lookup store of one partition: several sorted maps from key to value, version and expiry.
///
/// ```text
///   log      | 0 1 2 3 | 4 5 | 6 7 8 |  ...
///              batch     batch  batch          apply(): whole or not at all, with the place reached
///   store    |<------- checkpoint.next
///                   ^ snapshot: what the batches before it made, however many follow
/// ```
///
/// The law:
/// 1. **Derived.** A store is what the log up to `checkpoint().next` makes of an empty one. Losing it loses time only.
/// 2. **In order, without gaps.** A batch begins at the offset where the store stands, or it is refused: with
///    [`NotContiguous`](crate::Error::NotContiguous) nothing is lost and nothing happens twice.
/// 3. **Atomic.** The changes of a batch, its checkpoint and its request ids become visible together, and after any crash
///    are there together or not at all. The disk is not synced for it: a crash may take the newest batches away, from
///    the end, and the log brings them back.
/// 4. **A refused call changes nothing.**
/// 5. **Snapshots are stable** until closed, by their owner or by age; afterwards a read from one is an error, never
///    another answer.
/// 6. **Reading has no effect.** Expired values are returned like others: who owns the partition decides what they mean.
/// 7. **What expires is known by its time**, from the batch on that writes it, until one writes over it or removes it, and
///    after a restart; to tell what is due, a store does not look for it among the values.
/// 8. **One owner.** Writing takes `&mut self`; no call waits for another task, though one may wait for a disk.
pub trait MemStore: Send {
    /// Its limits.
    fn limits(&self) -> &Limits;

    /// Where the store stands: `None` while it is empty and nothing was applied.
    fn checkpoint(&self) -> Option<&Checkpoint>;

    /// The window of request ids, oldest first: what batches added and none has evicted yet.
    ///
    /// # Errors
    /// Of kinds `Unavailable` and `Corrupt`, on disk.
    fn requests(&self) -> Result<Vec<RequestEntry>>;

    /// The newest value of `key`, expired or not.
    ///
    /// # Errors
    /// Of kinds `Unavailable` and `Corrupt`, on disk.
    fn get(&self, store: StoreId, key: &[u8]) -> Result<Option<Value<'_>>> {
        self.get_at(At::Newest, store, key)
    }

    /// The value of `key` as seen at `at`, expired or not.
    ///
    /// # Errors
    /// [`SnapshotExpired`](crate::Error::SnapshotExpired); on disk also kinds `Unavailable` and `Corrupt`.
    fn get_at(&self, at: At<'_>, store: StoreId, key: &[u8]) -> Result<Option<Value<'_>>>;

    /// Shows `visit` the entries of a range in their order, as seen at `at`, until the range, the scan's limit or the
    /// visitor's patience ends. Continued from what it returns, over a snapshot, it misses nothing and shows nothing
    /// twice whatever is written in between.
    ///
    /// # Errors
    /// As for [`MemStore::get_at`].
    fn scan(&self, at: At<'_>, scan: &Scan, visit: &mut Visit<'_>) -> Result<Scanned>;

    /// No value expires before this; `None` if none does at all. Cheap, and a bound: the value that it was true for may be
    /// gone.
    fn due_from(&self) -> Option<EventTime>;

    /// The newest values that have expired at `now`, each once, `most` of them, at least one: fewer are all there are.
    /// Those that did so first come first, but for some milliseconds. They stay due until a batch changes them.
    ///
    /// # Errors
    /// Of kinds `Unavailable` and `Corrupt`, on disk.
    fn due(&self, now: EventTime, most: usize) -> Result<Vec<Expiring>>;

    /// Applies a batch as a whole.
    ///
    /// # Errors
    /// Kinds `Invalid` and `Conflict` when the batch breaks a limit or does not follow; on disk also `Unavailable`.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<()>;

    /// Opens a snapshot of all batches applied so far. `now` is the owner's [`elapsed`](affinity_types::Clock::elapsed)
    /// time; snapshots that are too old by it are closed first.
    ///
    /// # Errors
    /// [`TooManySnapshots`](crate::Error::TooManySnapshots).
    fn open_snapshot(&mut self, now: Duration) -> Result<Snapshot>;

    /// Closes a snapshot and forgets what was kept for it alone. An expired one may be closed as well.
    fn close_snapshot(&mut self, snapshot: Snapshot);

    /// Closes the snapshots that are older than `snapshot_age_max` at `now`, and says how many. The owner calls this from
    /// time to time; between two calls nothing ages.
    fn close_aged(&mut self, now: Duration) -> usize;

    /// How it fares.
    fn status(&self) -> Status;
}
