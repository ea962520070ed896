//! The batch: what becomes visible together.

use affinity_types::Offset;
use bytes::Bytes;

use crate::value::EPOCH_MAX;
use crate::{Checkpoint, Error, Limits, Result, StoreId, Value};

/// What the log remembers of one request, opaque to the store. Its place in the log is its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEntry {
    /// An offset of the group that answered the request.
    pub offset: Offset,
    /// Id, hash and result, as the owner encodes them.
    pub bytes: Bytes,
}

/// Changes of several stores, the place in the log that is reached with them, and the request ids that they answered:
/// applied whole or not at all. It borrows keys and values; nothing is copied before the store takes it.
///
/// Later changes of a key win over earlier ones of the same batch. A batch without changes moves the checkpoint on.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    pub(crate) from: Offset,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) changes: Vec<Change<'a>>,
    pub(crate) requests: Vec<RequestEntry>,
    pub(crate) evict_below: Offset,
}

#[derive(Clone, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) store: StoreId,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<Value<'a>>,
}

impl<'a> Batch<'a> {
    /// An empty batch of the records at `from` up to `checkpoint.next`. Where the store stands must be `from`; an empty
    /// store stands anywhere.
    #[must_use]
    pub fn new(from: Offset, checkpoint: Checkpoint) -> Batch<'a> {
        Batch { from, checkpoint, changes: Vec::new(), requests: Vec::new(), evict_below: Offset::ZERO }
    }

    /// Sets the place in the log that is reached, if it was not known when the batch was begun.
    pub fn set_checkpoint(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = checkpoint;
    }

    /// Makes room for `changes` more changes.
    pub fn reserve(&mut self, changes: usize) {
        self.changes.reserve(changes);
    }

    /// Gives `key` a new value.
    pub fn put(&mut self, store: StoreId, key: &'a [u8], value: Value<'a>) {
        self.changes.push(Change { store, key, value: Some(value) });
    }

    /// Removes `key`, which need not be there.
    pub fn remove(&mut self, store: StoreId, key: &'a [u8]) {
        self.changes.push(Change { store, key, value: None });
    }

    /// Its changes so far, in their order: store, key and new value.
    pub fn changes(&self) -> impl Iterator<Item = (StoreId, &'a [u8], Option<&Value<'a>>)> {
        self.changes.iter().map(|change| (change.store, change.key, change.value.as_ref()))
    }

    /// Adds a request to the window. Offsets rise from call to call and lie within the batch.
    pub fn remember(&mut self, request: RequestEntry) {
        self.requests.push(request);
    }

    /// Forgets the requests of the window before `offset`. What an earlier batch forgot stays forgotten.
    pub fn forget_requests_before(&mut self, offset: Offset) {
        self.evict_below = self.evict_below.max(offset);
    }

    /// Whether a store that stands at `current` can take the batch. A store asks before it changes anything.
    pub(crate) fn check(&self, current: Option<&Checkpoint>, limits: &Limits) -> Result<()> {
        if let Some(current) = current {
            if current.next != self.from {
                return Err(Error::NotContiguous { next: current.next, from: self.from });
            }
            if current.topic != self.checkpoint.topic {
                return Err(Error::Contradiction("is of another topic than the store"));
            }
            if current.epoch > self.checkpoint.epoch {
                return Err(Error::Contradiction("is of an older epoch than the store"));
            }
        }
        if self.checkpoint.next < self.from {
            return Err(Error::Contradiction("ends before it begins"));
        }
        let within = |offset| self.from <= offset && offset < self.checkpoint.next;
        if !self.requests.iter().all(|r| within(r.offset))
            || !self.requests.is_sorted_by(|a, b| a.offset < b.offset)
        {
            return Err(Error::Contradiction("has requests outside of it or out of order"));
        }
        fits("attachment", self.checkpoint.attachment.len(), limits.attachment_max_bytes)?;
        self.requests.iter().try_for_each(|r| fits("request", r.bytes.len(), limits.value_max_bytes))?;
        self.changes.iter().try_for_each(|change| change.check(limits))
    }
}

impl Change<'_> {
    fn check(&self, limits: &Limits) -> Result<()> {
        if self.store > StoreId::LAST || self.store == StoreId::DUE {
            return Err(Error::StoreReserved(self.store));
        }
        fits("key", self.key.len(), limits.key_max_bytes)?;
        let Some(value) = &self.value else { return Ok(()) };
        if value.version().epoch > EPOCH_MAX {
            return Err(Error::EpochOutOfRange(value.version().epoch));
        }
        fits("value", value.bytes().len(), limits.value_max_bytes)
    }
}

fn fits(what: &'static str, length: usize, max: usize) -> Result<()> {
    if length <= max { Ok(()) } else { Err(Error::TooLong { what, length, max }) }
}
