//! What a reader is given: whole groups, decoded into places of one shared buffer.

use affinity_types::wire::{self, RecordAttributes, WireError};
use affinity_types::{Attributes, EventTime, Offset, RecordKind, Version};
use bytes::Bytes;

/// Some whole groups of one partition in the order of the log. Keys and values are places in one buffer that they
/// share, so that a reader costs no allocation per group; a backend makes it with a [`BatchBuilder`].
#[derive(Clone, Debug, Default)]
pub struct Batch {
    data: Bytes,
    groups: Vec<GroupSlot>,
    records: Vec<RecordSlot>,
    next: Offset,
    end: Offset,
}

impl Batch {
    /// The groups, first to last.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = GroupRef<'_>> + DoubleEndedIterator {
        self.groups.iter().map(|slot| GroupRef { batch: self, slot })
    }

    /// The offset at which reading goes on.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The log's end when this was read; `end - next` is how far the reader lags.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    fn bytes(&self, slice: Slice) -> &[u8] {
        &self.data[slice.start as usize..(slice.start + slice.length) as usize]
    }
}

/// A place in a batch's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// First byte.
    pub start: u32,
    /// Number of bytes.
    pub length: u32,
}

/// What a group says of itself beside its records.
#[derive(Clone, Copy, Debug)]
pub struct GroupHead {
    /// Offset of the group's first record, whether that is still there or not.
    pub base: Offset,
    /// Epoch and sequence.
    pub version: Version,
    /// Timestamp of its records.
    pub time: EventTime,
    /// Records in it when it was appended.
    pub count: u16,
    /// Its encoded attributes.
    pub attributes: Slice,
}

#[derive(Clone, Copy, Debug)]
struct GroupSlot {
    head: GroupHead,
    first_record: u32,
    records: u32,
}

/// One record's places.
#[derive(Clone, Copy, Debug)]
pub struct RecordSlot {
    /// Whose record it is.
    pub kind: RecordKind,
    /// Place in its group, from 0.
    pub index: u16,
    /// Its key.
    pub key: Slice,
    /// Its value; `None` deletes.
    pub value: Option<Slice>,
    /// Its encoded attributes.
    pub attributes: Slice,
}

/// Collects groups into a [`Batch`].
#[derive(Debug, Default)]
pub struct BatchBuilder {
    groups: Vec<GroupSlot>,
    records: Vec<RecordSlot>,
}

impl BatchBuilder {
    /// A builder with room for about `groups` groups of a record each.
    #[must_use]
    pub fn with_capacity(groups: usize) -> BatchBuilder {
        BatchBuilder { groups: Vec::with_capacity(groups), records: Vec::with_capacity(groups) }
    }

    /// Begins the next group.
    pub fn group(&mut self, head: GroupHead) {
        let first_record = u32::try_from(self.records.len()).expect("a batch has fewer than 2^32 records");
        self.groups.push(GroupSlot { head, first_record, records: 0 });
    }

    /// Adds a record to the group begun last.
    ///
    /// # Panics
    /// If no group was begun.
    pub fn record(&mut self, record: RecordSlot) {
        self.groups.last_mut().expect("a group was begun").records += 1;
        self.records.push(record);
    }

    /// Sets the encoded attributes of the group begun last: where they ride on its last record.
    ///
    /// # Panics
    /// If no group was begun.
    pub fn attributes(&mut self, attributes: Slice) {
        self.groups.last_mut().expect("a group was begun").head.attributes = attributes;
    }

    /// Whether no group was begun yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The batch over `data`, which the slices given before point into. Reading goes on at `next`; the log ends at
    /// `end`.
    #[must_use]
    pub fn build(self, data: Bytes, next: Offset, end: Offset) -> Batch {
        Batch { data, groups: self.groups, records: self.records, next, end }
    }
}

/// A group in a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct GroupRef<'a> {
    batch: &'a Batch,
    slot: &'a GroupSlot,
}

impl<'a> GroupRef<'a> {
    /// Offset of its first record, whether compaction has left that or not.
    #[must_use]
    pub fn base(&self) -> Offset {
        self.slot.head.base
    }

    /// The offset behind its last record.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.slot.head.base.advance(u64::from(self.slot.head.count))
    }

    /// Epoch and sequence; (0, offset) for a record of a stranger.
    #[must_use]
    pub fn version(&self) -> Version {
        self.slot.head.version
    }

    /// Timestamp of its records.
    #[must_use]
    pub fn time(&self) -> EventTime {
        self.slot.head.time
    }

    /// Records in it when it was appended; compaction may have left fewer, or none.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.slot.head.count
    }

    /// What belongs to the group as a whole.
    ///
    /// # Errors
    /// If the bytes are not what `types::wire` writes, or a newer version wrote them.
    pub fn attributes(&self) -> Result<Attributes, WireError> {
        wire::group_attributes(self.encoded_attributes())
    }

    /// The attributes, encoded.
    #[must_use]
    pub fn encoded_attributes(&self) -> &'a [u8] {
        self.batch.bytes(self.slot.head.attributes)
    }

    /// The records that are left, first to last.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RecordRef<'a>> + DoubleEndedIterator + use<'a> {
        let (batch, base) = (self.batch, self.slot.head.base);
        let first = self.slot.first_record as usize;
        let slots = &batch.records[first..first + self.slot.records as usize];
        slots.iter().map(move |slot| RecordRef { batch, slot, base })
    }
}

/// A record in a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    batch: &'a Batch,
    slot: &'a RecordSlot,
    base: Offset,
}

impl<'a> RecordRef<'a> {
    /// Whose record it is.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        self.slot.kind
    }

    /// Its place in the partition.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.base.advance(u64::from(self.slot.index))
    }

    /// Its place in its group, from 0.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.slot.index
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        self.batch.bytes(self.slot.key)
    }

    /// Its value; `None` deletes the key.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.slot.value.map(|slice| self.batch.bytes(slice))
    }

    /// Its value, sharing the batch's buffer and keeping all of that alive.
    #[must_use]
    pub fn value_shared(&self) -> Option<Bytes> {
        let slice = self.slot.value?;
        Some(self.batch.data.slice(slice.start as usize..(slice.start + slice.length) as usize))
    }

    /// Event time, expiry and repair, as far as it has them.
    ///
    /// # Errors
    /// If the bytes are not what `types::wire` writes, or a newer version wrote them.
    pub fn attributes(&self) -> Result<RecordAttributes, WireError> {
        wire::record_attributes(self.batch.bytes(self.slot.attributes))
    }

    /// The attributes, encoded.
    #[must_use]
    pub fn encoded_attributes(&self) -> &'a [u8] {
        self.batch.bytes(self.slot.attributes)
    }
}
