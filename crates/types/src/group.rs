//! The group: all changes of one message, the unit that a log appends whole or not at all.

use bytes::Bytes;

use crate::{EventTime, Key, Offset, Version};

/// All changes (and effects) of one message: one atomic append. Its records take consecutive offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Epoch and sequence, given by the owner when the group was decided: the version of every value in it.
    pub version: Version,
    /// The owner's wall clock when the group was decided: the timestamp of its records in the log.
    pub time: EventTime,
    /// What belongs to the group as a whole.
    pub attributes: Attributes,
    /// The changes, at least one and at most [`Group::RECORDS_MAX`].
    pub records: Vec<Record>,
}

impl Group {
    /// Most records a group may have.
    pub const RECORDS_MAX: usize = 16_384;

    /// Bytes of keys, values and attributes together: what a log's limit on a group is held against.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        let records: usize =
            self.records.iter().map(|r| r.key.len() + r.value.as_ref().map_or(0, Bytes::len)).sum();
        let request = self.attributes.request.as_ref().map_or(0, |r| r.result.len());
        let positions: usize = self.attributes.positions.iter().map(|p| p.input.len()).sum();
        records + request + positions
    }
}

/// What belongs to a group as a whole. On Kafka it rides in the header of the group's last record, which compaction
/// never takes while the group is the newest of its partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The request that the group answers.
    pub request: Option<Request>,
    /// How far the partition has read its co-partitioned inputs.
    pub positions: Vec<InputPosition>,
}

impl Attributes {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request.is_none() && self.positions.is_empty()
    }
}

/// Identity of a write, chosen by its sender and kept through every retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The sender, a random number it keeps.
    pub client: u128,
    /// Number of the request at this sender.
    pub sequence: u64,
    /// When the sender first issued it, by its own wall clock; `None` for senders without a clock
    /// (`Idempotency-Key`).
    pub issued: Option<EventTime>,
}

/// A request as the changelog remembers it, so that a retry gets the first answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub id: RequestId,
    /// Hash of what was asked: another request under the same id is a conflict.
    pub hash: u64,
    /// The encoded answer.
    pub result: Bytes,
}

/// How far a partition has read one of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPosition {
    /// Name of the input topic.
    pub input: String,
    /// Next offset to read of the input's partition of the same number.
    pub offset: Offset,
}

/// Whose record it is. Readers of ours go by this, never by a schema id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Of the keyspace's main store: key and value plain, as anyone would write them.
    Main,
    /// Of a further store: the key is a frame of the `StoreKey` schema (see [`control`](crate::control)).
    Store,
    /// Of the system: the key is a frame of the `Control` schema (see [`control`](crate::control)).
    Control,
}

/// One change: a key and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose record it is.
    pub kind: RecordKind,
    /// The key, as it stands in the topic.
    pub key: Key,
    /// The value, as it stands in the topic; `None` deletes the key.
    pub value: Option<Bytes>,
    /// When what it tells happened, if that is known and not the group's time.
    pub event_time: Option<EventTime>,
    /// From when on the value no longer counts.
    pub expires: Option<EventTime>,
    /// A repair writes a valid value again after a stranger's record hid it: the version that the value had, and keeps.
    pub repairs: Option<Version>,
}

impl Record {
    /// A plain change of the main store.
    #[must_use]
    pub fn new(key: Key, value: Option<Bytes>) -> Record {
        Record { kind: RecordKind::Main, key, value, event_time: None, expires: None, repairs: None }
    }
}
