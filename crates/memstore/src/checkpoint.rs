//! Where a store stands in the log.

use affinity_types::{Epoch, EventTime, Offset, TopicId};
use bytes::Bytes;

/// Where a store stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The topic that the store was made from.
    pub topic: TopicId,
    /// The next offset to apply: everything before it is in the store.
    pub next: Offset,
    /// The highest epoch seen before `next`.
    pub epoch: Epoch,
    /// The log's time at `next`: that of the newest record applied, or now if the log's end was reached. What was deleted
    /// later than this may be forgotten by the log once its delete retention has passed, so the store's age counts
    /// from here. The wall clock at which an old record was applied would be wrong: deletions behind it may be older.
    pub time: EventTime,
    /// What else the owner wants to find again with the data, such as positions of inputs and the floor of its window of
    /// request ids. Written anew with every batch: keep it small.
    pub attachment: Bytes,
}

impl Checkpoint {
    /// A checkpoint without attachment.
    #[must_use]
    pub fn new(topic: TopicId, next: Offset, epoch: Epoch, time: EventTime) -> Checkpoint {
        Checkpoint { topic, next, epoch, time, attachment: Bytes::new() }
    }
}
