//! Applying the log.
//!
//! ```text
//!   log     g(1.0 barrier) g(1.1) g(1.2) g(2.0 barrier) g(1.3) g(2.1) …
//!                                                        └ stale: epoch 1 after epoch 2 began. Ignored by everybody; the
//!                                                          master of epoch 2 writes the keys it hit again (a repair)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use affinity_log::{Batch as LogBatch, GroupRef};
use affinity_memstore::{
    At, Batch, Checkpoint, Expiring, MemStore, RequestEntry, Scan, Snapshot, StoreId, Value,
};
use affinity_types::control::Control;
use affinity_types::varint;
use affinity_types::wire::{self, WireError};
use affinity_types::{Attributes, Epoch, EventTime, Offset, Record, RecordKind, Request, TopicId, Version};
use bytes::Bytes;

use crate::indices::{self, IndexDefinition, Indices};
use crate::leases::{Lease, read_lease};
use crate::notes::{LOCAL, NoteChange, put_notes};
use crate::requests::{NEVER, RequestSettings};
use crate::stale::read_mark;
use crate::{Error, Heard, HeardValue, PendingValue, Requests, Result, StoreNames};

/// Most requests that are forgotten for their age between two batches: a store on disk has to remove each.
const FORGOTTEN_MAX: usize = 1024;

/// Begins the attachment of a store's checkpoint if the store has the window of requests too; the window's floor follows, if
/// there is one.
const WINDOW_KEPT: u8 = 1;

/// What applying noticed, group by group, in the order of the log.
#[derive(Debug)]
pub enum Noted<'a> {
    /// A mastership began: the first barrier of a higher epoch.
    Barrier {
        /// Its epoch.
        epoch: Epoch,
        /// Offset of the barrier.
        offset: Offset,
    },
    /// A second barrier of the epoch that is under way: ignored.
    SecondBarrier {
        /// Its epoch.
        epoch: Epoch,
        /// Offset of the barrier.
        offset: Offset,
    },
    /// A group was applied.
    Applied {
        /// Its version.
        version: Version,
    },
    /// A valid record changed a key, or repaired it.
    Written {
        /// Its store.
        store: StoreId,
        /// The key in it.
        key: &'a [u8],
        /// The version that the key has now.
        version: Version,
        /// Whether nothing but the record's place has changed.
        repair: bool,
    },
}

/// A group of one's own that was acknowledged.
#[derive(Debug)]
pub struct Own<'a> {
    /// Offset of its first record.
    pub first: Offset,
    /// Offset behind its last.
    pub next: Offset,
    /// Its version.
    pub version: Version,
    /// Its timestamp.
    pub time: EventTime,
    /// What it changed, entries of indices included: [`Indices::changes`] has said which when the group was decided.
    pub changes: &'a [(StoreId, Bytes, PendingValue)],
    /// Keys that it repaired.
    pub repairs: &'a [Place],
    /// The request it answers.
    pub request: Option<&'a Request>,
}

/// A store, and a key in it.
pub type Place = (StoreId, Bytes);

/// Whether request ids are written into the memstore: one on disk brings them back after a restart, for one in memory
/// they would only be kept twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepRequests {
    /// In the memstore too.
    InStore,
    /// In the window only.
    InWindow,
}

/// A partition's state at an offset of its log.
pub struct State {
    pub(crate) memstore: Box<dyn MemStore>,
    pub(crate) names: StoreNames,
    topic: TopicId,
    pub(crate) keep: KeepRequests,
    next: Offset,
    epoch: Epoch,
    time: EventTime,
    requests: Requests,
    /// How many of them were forgotten for their age since the last batch, which is to tell the memstore.
    forgotten: usize,
    positions: BTreeMap<String, Offset>,
    pub(crate) leases: BTreeMap<Epoch, Lease>,
    /// Keys whose last record in the log is a stale one.
    pub(crate) stale: BTreeSet<Place>,
    indices: Indices,
    /// What a listener is still to hear, if there is one.
    pub(crate) heard: Option<Vec<Heard>>,
    #[cfg(feature = "mutants")]
    unfiltered: bool,
    /// Entries of indices that a second batch is to change, if they are not changed with the values.
    #[cfg(feature = "mutants")]
    late_entries: Option<Vec<crate::IndexChange>>,
}

impl State {
    /// The state that `memstore` holds: of an empty one, that of an empty log.
    ///
    /// # Errors
    /// If what the memstore holds cannot be read.
    pub fn open(
        memstore: Box<dyn MemStore>,
        names: StoreNames,
        topic: TopicId,
        settings: RequestSettings,
        keep: KeepRequests,
    ) -> Result<State> {
        let mut requests = Requests::new(settings);
        if let Some(checkpoint) = memstore.checkpoint() {
            let floor = read_floor(checkpoint, &requests);
            let unreadable = |source| Error::Unreadable { offset: checkpoint.next, source };
            requests.raise_floor(floor.map_err(unreadable)?);
        }
        for entry in memstore.requests()? {
            let (time, request) =
                read_entry(&entry).map_err(|source| Error::Unreadable { offset: entry.offset, source })?;
            requests.note(&request, entry.offset, time);
        }
        let (next, epoch, time) = memstore
            .checkpoint()
            .map_or((Offset::ZERO, Epoch::NONE, EventTime(i64::MIN)), |c| (c.next, c.epoch, c.time));
        let (positions, mut leases) = (BTreeMap::new(), BTreeMap::new());
        let mut stale = BTreeSet::new();
        memstore.scan(At::Newest, &Scan::all(LOCAL), &mut |key, value| {
            leases.extend(read_lease(key, value.bytes()));
            stale.extend(read_mark(key));
            ControlFlow::Continue(())
        })?;
        Ok(State {
            memstore,
            names,
            topic,
            keep,
            next,
            epoch,
            time,
            requests,
            forgotten: 0,
            positions,
            leases,
            stale,
            indices: Indices::default(),
            heard: None,
            #[cfg(feature = "mutants")]
            unfiltered: false,
            #[cfg(feature = "mutants")]
            late_entries: None,
        })
    }

    /// Gives the state its indices, before anything is applied: one that the memstore has in another version is built anew by
    /// [`build_indices`](State::build_indices), one that is not among them is dropped.
    ///
    /// # Errors
    /// If what the memstore holds cannot be read, or there are too many.
    ///
    /// # Panics
    /// If there are more than [`INDICES_MAX`](indices::INDICES_MAX), or two of one name.
    pub fn define_indices(&mut self, definitions: Vec<IndexDefinition>) -> Result<()> {
        self.indices = Indices::open(&*self.memstore, LOCAL, definitions)?;
        Ok(())
    }

    /// The indices.
    pub fn indices(&self) -> &Indices {
        &self.indices
    }

    /// Goes on building or dropping indices, by at most `most` values or entries.
    ///
    /// # Errors
    /// If the memstore cannot be read or does not take the changes.
    pub fn build_indices(&mut self, most: usize) -> Result<()> {
        let changes = self.indices.step(&*self.memstore, most)?;
        let notes = self.indices.notes();
        let mut batch = self.batch(self.next, self.epoch, self.time);
        put_notes(&notes, &mut batch);
        changes.iter().for_each(|change| change.put_into(&mut batch));
        self.memstore.apply(&batch)?;
        self.indices.noted();
        self.applied(std::iter::empty());
        Ok(())
    }

    /// Takes the epoch filter away.
    #[cfg(feature = "mutants")]
    pub fn without_epoch_filter(&mut self) {
        self.unfiltered = true;
    }

    /// Lets entries of indices change later than the values in the log: with the next batch or call of this.
    ///
    /// # Errors
    /// If the memstore does not take them.
    #[cfg(feature = "mutants")]
    pub fn with_late_entries(&mut self) -> Result<()> {
        let late = self.late_entries.replace(Vec::new()).unwrap_or_default();
        let mut batch = self.batch(self.next, self.epoch, self.time);
        late.iter().for_each(|change| change.put_into(&mut batch));
        if !late.is_empty() {
            self.memstore.apply(&batch)?;
        }
        Ok(())
    }

    fn filters(&self) -> bool {
        #[cfg(feature = "mutants")]
        return !self.unfiltered;
        #[cfg(not(feature = "mutants"))]
        true
    }

    /// The next offset to apply.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The highest epoch seen.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The latest timestamp in the log.
    pub fn time(&self) -> EventTime {
        self.time
    }

    /// The stores' names.
    pub fn names(&self) -> &StoreNames {
        &self.names
    }

    /// The window of request ids.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Forgets requests that are older than the window at `now`, some now and some after the next batch.
    pub fn evict_requests(&mut self, now: EventTime) {
        self.forgotten += self.requests.evict(now, FORGOTTEN_MAX - self.forgotten);
    }

    /// A batch up to a place in the log, in which the memstore forgets the requests that the window has forgotten.
    fn batch<'a>(&self, next: Offset, epoch: Epoch, time: EventTime) -> Batch<'a> {
        let mut batch = Batch::new(self.next, self.checkpoint(next, epoch, time));
        batch.forget_requests_before(self.requests.oldest().unwrap_or(self.next));
        batch
    }

    /// The floor goes with what is forgotten: after a restart a request that was is still expired, and not new.
    fn checkpoint(&self, next: Offset, epoch: Epoch, time: EventTime) -> Checkpoint {
        let attachment = match self.keep {
            KeepRequests::InStore => attachment_of(self.requests.floor()),
            KeepRequests::InWindow => Bytes::new(),
        };
        Checkpoint { attachment, ..Checkpoint::new(self.topic, next, epoch, time) }
    }

    /// The batch is in the memstore: so are its requests in the window then, and the log's time has come.
    fn applied<'a>(&mut self, requests: impl Iterator<Item = (Offset, EventTime, &'a Request)>) {
        self.forgotten = 0;
        for (offset, time, request) in requests {
            self.requests.note(request, offset, time);
        }
        self.evict_requests(self.time);
    }

    /// How far the partition has read its inputs.
    pub fn positions(&self) -> &BTreeMap<String, Offset> {
        &self.positions
    }

    /// The value of a key as the log has it.
    ///
    /// # Errors
    /// If the memstore cannot be read.
    pub fn get(&self, store: StoreId, key: &[u8]) -> Result<Option<Value<'_>>> {
        Ok(self.memstore.get(store, key)?)
    }

    /// The memstore.
    pub fn memstore(&self) -> &dyn MemStore {
        &*self.memstore
    }

    /// Opens a snapshot of what is applied: see [`MemStore::open_snapshot`].
    ///
    /// # Errors
    /// If as many are open as may be.
    pub fn open_snapshot(&mut self, now: Duration) -> affinity_memstore::Result<Snapshot> {
        self.memstore.open_snapshot(now)
    }

    /// Closes a snapshot, which may have expired.
    pub fn close_snapshot(&mut self, snapshot: Snapshot) {
        self.memstore.close_snapshot(snapshot);
    }

    /// Applies groups that were read from the log at `received`, and tells `note` what it noticed, in their order and
    /// before any of them is visible.
    ///
    /// # Errors
    /// If a group cannot be read or the memstore does not take it: nothing of the batch is applied then.
    pub fn apply(
        &mut self,
        log: &LogBatch,
        received: Duration,
        mut note: impl FnMut(Noted<'_>),
    ) -> Result<()> {
        #[cfg(feature = "mutants")]
        if self.late_entries.is_some() {
            self.with_late_entries()?;
        }
        let mut reached = Reached {
            epoch: self.epoch,
            time: self.time,
            received,
            requests: Vec::new(),
            marks: BTreeMap::new(),
            heard: Vec::new(),
            leases: Vec::new(),
        };
        let mut batch = self.batch(self.next, self.epoch, self.time);
        batch.reserve(log.groups().len());
        let from = self.next;
        for group in log.groups().filter(|group| group.next() > from) {
            let unreadable = |source| Error::Unreadable { offset: group.base(), source };
            self.apply_group(group, &mut reached, &mut batch, &mut note).map_err(unreadable)?;
        }
        let next = log.next().max(self.next);
        batch.set_checkpoint(self.checkpoint(next, reached.epoch, reached.time));
        if self.keep == KeepRequests::InStore {
            for (offset, time, request) in &reached.requests {
                batch.remember(entry_of(*offset, *time, request));
            }
        }
        let marks = self.marks(&reached.marks);
        put_notes(&marks, &mut batch);
        #[cfg_attr(not(feature = "mutants"), expect(unused_mut, reason = "only a mutant takes them away"))]
        let (notes, mut entries) = (self.indices.notes(), self.indices.follow(&batch, &*self.memstore)?);
        #[cfg(feature = "mutants")]
        if let Some(late) = &mut self.late_entries {
            *late = std::mem::take(&mut entries);
        }
        put_notes(&notes, &mut batch);
        put_notes(&reached.leases, &mut batch);
        entries.iter().for_each(|change| change.put_into(&mut batch));
        let heard = self.recall(std::mem::take(&mut reached.heard))?;
        self.memstore.apply(&batch)?;
        self.hear(heard);
        (self.next, self.epoch, self.time) = (next, reached.epoch, reached.time);
        self.indices.noted();
        self.mark(reached.marks);
        self.applied(reached.requests.iter().map(|(offset, time, request)| (*offset, *time, request)));
        Ok(())
    }

    /// Puts a group's changes into `batch` if it is valid.
    fn apply_group<'a>(
        &mut self,
        group: GroupRef<'a>,
        reached: &mut Reached,
        batch: &mut Batch<'a>,
        note: &mut impl FnMut(Noted<'_>),
    ) -> std::result::Result<(), WireError> {
        let version = group.version();
        if version.epoch < reached.epoch && self.filters() {
            for record in group.records() {
                let place = self.names.place(record.kind(), record.key());
                // One that is longer than any key here hides none.
                let key_max = self.memstore.limits().key_max_bytes - size_of::<StoreId>();
                if let Some((store, key)) = place.filter(|(_, key)| key.len() <= key_max) {
                    reached.marks.insert((store, Bytes::copy_from_slice(key)), true);
                }
            }
            return Ok(());
        }
        for record in group.records() {
            let barrier = match record.kind() {
                RecordKind::Control => Control::parse(record.key())?.barrier_epoch(),
                _ => None,
            };
            if let Some(epoch) = barrier {
                let offset = record.offset();
                if epoch <= reached.epoch {
                    note(Noted::SecondBarrier { epoch, offset });
                    return Ok(());
                }
                let value = record.value().map(Control::parse).transpose()?;
                self.begin_lease(epoch, value.and_then(|value| value.lease_ms()).unwrap_or(0), reached);
                note(Noted::Barrier { epoch, offset });
                continue;
            }
            let Some((store, key)) = self.names.place(record.kind(), record.key()) else { continue };
            if !self.stale.is_empty() || !reached.marks.is_empty() {
                reached.marks.insert((store, Bytes::copy_from_slice(key)), false);
            }
            let plain = record.encoded_attributes().is_empty();
            let attributes = if plain { wire::RecordAttributes::default() } else { record.attributes()? };
            let repair = attributes.repairs.is_some();
            let version = attributes.repairs.unwrap_or(version);
            match record.value() {
                None => batch.remove(store, key),
                Some(value) => {
                    batch.put(store, key, Value::new(value, version).expiring(attributes.expires));
                }
            }
            if self.heard.is_some() && !repair && !indices::is_system(store) {
                let value =
                    |bytes| HeardValue { bytes: Bytes::copy_from_slice(bytes), expires: attributes.expires };
                let (key, new) = (Bytes::copy_from_slice(key), record.value().map(value));
                reached.heard.push(Heard { store, key, old: None, new, version, time: group.time() });
            }
            note(Noted::Written { store, key, version, repair });
        }
        if !group.encoded_attributes().is_empty() {
            let Attributes { request, positions } = group.attributes()?;
            reached.requests.extend(request.map(|request| (group.base(), group.time(), request)));
            self.positions.extend(positions.into_iter().map(|p| (p.input, p.offset)));
        }
        reached.epoch = reached.epoch.max(version.epoch);
        reached.time = reached.time.max(group.time());
        if let Some(lease) = self.leases.get_mut(&version.epoch) {
            lease.heard = reached.received;
        }
        note(Noted::Applied { version });
        Ok(())
    }

    /// Applies groups of one's own that were acknowledged, contiguously, as one step.
    ///
    /// # Errors
    /// If the memstore does not take them.
    ///
    /// # Panics
    /// If they do not follow what was applied before.
    pub fn apply_own(&mut self, groups: &[Own<'_>]) -> Result<()> {
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return Ok(()) };
        #[cfg(feature = "mutants")]
        if self.late_entries.is_some() {
            self.with_late_entries()?;
        }
        assert_eq!(first.first, self.next, "acknowledgements are applied without a gap");
        let time = groups.iter().map(|group| group.time).max().map_or(self.time, |time| time.max(self.time));
        let mended = self.mended(groups);
        let (marks, notes) = (self.marks(&mended), self.indices.notes());
        let mut batch = self.batch(last.next, last.version.epoch, time);
        put_notes(&marks, &mut batch);
        put_notes(&notes, &mut batch);
        batch.reserve(groups.iter().map(|group| group.changes.len()).sum());
        for group in groups {
            for (store, key, change) in group.changes {
                match &change.value {
                    None => batch.remove(*store, key),
                    Some(value) => {
                        let version =
                            if indices::is_index(*store) { Version::default() } else { change.version };
                        batch.put(*store, key, Value::new(value, version).expiring(change.expires));
                    }
                }
            }
            if let (Some(request), KeepRequests::InStore) = (group.request, self.keep) {
                batch.remember(entry_of(group.first, group.time, request));
            }
        }
        let heard = self.recall(self.heard_of(groups))?;
        self.memstore.apply(&batch)?;
        self.hear(heard);
        (self.next, self.epoch, self.time) = (last.next, last.version.epoch, time);
        self.indices.noted();
        self.mark(mended);
        self.applied(groups.iter().filter_map(|group| Some((group.first, group.time, group.request?))));
        Ok(())
    }

    /// What a listener is to hear of groups of one's own.
    fn heard_of(&self, groups: &[Own<'_>]) -> Vec<Heard> {
        if self.heard.is_none() {
            return Vec::new();
        }
        let changes =
            groups.iter().flat_map(|group| group.changes.iter().map(move |change| (group.time, change)));
        let changes = changes.filter(|(_, (store, ..))| !indices::is_system(*store));
        let heard = |(time, (store, key, change)): (EventTime, &(StoreId, Bytes, PendingValue))| {
            let (new, version) = (HeardValue::of(change), change.version);
            Heard { store: *store, key: key.clone(), old: None, new, version, time }
        };
        changes.map(heard).collect()
    }

    fn hear(&mut self, heard: Vec<Heard>) {
        if let Some(all) = &mut self.heard {
            all.extend(heard);
        }
    }

    /// Moves on over stale records of others, which changed nothing.
    ///
    /// # Errors
    /// If the memstore does not take the checkpoint.
    pub fn skip_to(&mut self, next: Offset) -> Result<()> {
        self.memstore.apply(&self.batch(next, self.epoch, self.time))?;
        self.next = next;
        self.applied(std::iter::empty());
        Ok(())
    }

    /// No value expires before this, as [`MemStore::due_from`] says.
    pub fn due_from(&self) -> Option<EventTime> {
        self.memstore.due_from()
    }

    /// The values that have expired at `now`, `most` of them, as [`MemStore::due`] says.
    ///
    /// # Errors
    /// If the memstore cannot be read.
    pub fn due(&self, now: EventTime, most: usize) -> Result<Vec<Expiring>> {
        Ok(self.memstore.due(now, most)?)
    }

    /// The record that deletes a value since it has expired; when it did rides along as the cause.
    #[must_use]
    pub fn expiry(&self, expired: &Expiring) -> Record {
        let (kind, key) = self.names.key_of(expired.store, &expired.key);
        Record { kind, expires: Some(expired.expires), ..Record::new(key, None) }
    }
}

/// Where applying a batch has come.
pub(crate) struct Reached {
    epoch: Epoch,
    time: EventTime,
    pub(crate) received: Duration,
    requests: Vec<(Offset, EventTime, Request)>,
    /// Keys that became stale, or are no more.
    marks: BTreeMap<Place, bool>,
    /// What a listener is to hear.
    heard: Vec<Heard>,
    /// Notes of leases that began, or are forgotten.
    pub(crate) leases: Vec<NoteChange>,
}

/// A request as the memstore keeps it: the time of its group, then its attribute's bytes.
fn entry_of(offset: Offset, time: EventTime, request: &Request) -> RequestEntry {
    let mut bytes = time.0.to_le_bytes().to_vec();
    let attributes = Attributes { request: Some(request.clone()), ..Attributes::default() };
    wire::put_group_attributes(&mut bytes, &attributes);
    RequestEntry { offset, bytes: bytes.into() }
}

fn read_entry(entry: &RequestEntry) -> std::result::Result<(EventTime, Request), WireError> {
    let malformed = WireError::Malformed("remembered request");
    let (time, attributes) = entry.bytes.split_first_chunk::<8>().ok_or(malformed)?;
    let request = wire::group_attributes(attributes)?.request.ok_or(malformed)?;
    Ok((EventTime(i64::from_le_bytes(*time)), request))
}

fn attachment_of(floor: EventTime) -> Bytes {
    let mut bytes = vec![WINDOW_KEPT];
    if floor > NEVER {
        varint::put_signed(&mut bytes, floor.0);
    }
    bytes.into()
}

/// The floor of the window that a store has. If it was last written by an owner that did not keep the window in it, any
/// request of that time may be missing.
fn read_floor(checkpoint: &Checkpoint, requests: &Requests) -> std::result::Result<EventTime, WireError> {
    let malformed = WireError::Malformed("attachment of the checkpoint");
    match checkpoint.attachment.split_first() {
        None => Ok(requests.latest_issue(checkpoint.time)),
        Some((&WINDOW_KEPT, [])) => Ok(NEVER),
        Some((&WINDOW_KEPT, mut floor)) => match varint::take_signed(&mut floor) {
            Some(time) if floor.is_empty() => Ok(EventTime(time)),
            _ => Err(malformed),
        },
        Some(_) => Err(malformed),
    }
}
