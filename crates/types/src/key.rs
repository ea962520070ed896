//! The key of a record.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::{PartitionId, murmur2};

/// The serialized key of a record: the very bytes that stand in the topic, schema id included where there is one. They
/// decide the partition, so the same key under another schema id lives elsewhere. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Key {
        Key(bytes)
    }

    /// A key of bytes that live as long as the program.
    #[must_use]
    pub const fn from_static(bytes: &'static [u8]) -> Key {
        Key(Bytes::from_static(bytes))
    }

    /// A key that holds a copy of `bytes`.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Key {
        Key(Bytes::copy_from_slice(bytes))
    }

    /// The bytes, sharing their memory.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The partition among `partitions` that holds this key, as Kafka's default partitioner picks it:
    /// `(murmur2(key) & 0x7fffffff) % partitions`.
    ///
    /// # Panics
    /// If `partitions` is 0.
    #[must_use]
    pub fn partition(&self, partitions: u32) -> PartitionId {
        PartitionId((murmur2(&self.0) & i32::MAX).cast_unsigned() % partitions)
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Key {
        Key(bytes)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
