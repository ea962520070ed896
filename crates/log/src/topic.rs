//! Topics: what they are called, how they are cut, and what the log forgets of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use affinity_types::{EventTime, Offset, PartitionId, TopicId};

/// What a topic is created with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Number of partitions, fixed for ever: it decides where keys live.
    pub partitions: u32,
    /// What the log may forget.
    pub cleanup: Cleanup,
}

/// What a log may forget of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// All but the newest record of each key.
    Compact {
        /// How long a deletion is remembered; a store that last read the log longer ago must be rebuilt.
        delete_retention: Duration,
        /// How long request ids and results are remembered, even where all records of their group are superseded.
        request_window: Duration,
    },
    /// The oldest records, by time or size, whichever comes first.
    Delete {
        /// Keep no record that is older, if given.
        retention: Option<Duration>,
        /// Keep no more bytes than this for each partition, if given.
        retention_bytes: Option<u64>,
    },
}

impl Default for Cleanup {
    /// Compaction; deletions are remembered for 7 days, requests for 10 minutes.
    fn default() -> Cleanup {
        let delete_retention = Duration::from_secs(7 * 24 * 3600);
        Cleanup::Compact { delete_retention, request_window: Duration::from_secs(600) }
    }
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// What it was created with.
    pub spec: TopicSpec,
}

impl Topic {
    /// Longest name of a topic, in bytes (Kafka's limit).
    pub const NAME_MAX: usize = 249;
    /// Most partitions of a topic.
    pub const PARTITIONS_MAX: u32 = 100_000;

    /// Whether a topic may be created so: its name is 1 to [`NAME_MAX`](Topic::NAME_MAX) ASCII letters, digits, `.`, `_`
    /// and `-`, and it has 1 to [`PARTITIONS_MAX`](Topic::PARTITIONS_MAX) partitions.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the reason.
    pub fn validate(name: &str, spec: &TopicSpec) -> Result<(), crate::Error> {
        let invalid = |message: String| Err(crate::Error::new(crate::ErrorKind::Invalid, message));
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty()
            || name.len() > Topic::NAME_MAX
            || !name.bytes().all(legal)
            || name == "."
            || name == ".."
        {
            return invalid(format!(
                "topic name {name:?} is not 1 to {} ASCII letters, digits, '.', '_' or '-'",
                Topic::NAME_MAX
            ));
        }
        if spec.partitions == 0 || spec.partitions > Topic::PARTITIONS_MAX {
            return invalid(format!(
                "topic {name:?} with {} partitions: 1 to {} are possible",
                spec.partitions,
                Topic::PARTITIONS_MAX
            ));
        }
        Ok(())
    }
}

/// One partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition in it.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// Partition number `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionId) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// What a partition holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can be read. Compaction leaves it alone; retention moves it.
    pub start: Offset,
    /// The offset that the next record will have: everything before it is durable.
    pub end: Offset,
    /// Time of the newest group, if there is one.
    pub newest: Option<EventTime>,
}
