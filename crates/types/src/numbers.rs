//! Numbers with a name, so that an offset is never taken for an epoch.

use std::fmt;

/// Place of a record in one partition of the log, counted from 0. A group takes as many offsets as it has records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Offset = Offset(0);

    /// The offset `records` further on.
    #[must_use]
    pub fn advance(self, records: u64) -> Offset {
        Offset(self.0 + records)
    }
}

/// Number of a mastership. It grows with every take-over of a partition; 0 is no mastership of ours: the records of
/// strangers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of records that carry no header of ours.
    pub const NONE: Epoch = Epoch(0);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// Number of a group within its epoch: strictly increasing in the order of the log, not always dense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence of an epoch's first group, its barrier.
    pub const FIRST: Sequence = Sequence(0);

    /// The sequence after this one.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

/// Version of a value: the epoch and sequence of the group that decided it. It grows with every change of a key and is
/// the entity tag that clients see. A record of a stranger has the version (0, offset).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The mastership that decided the value.
    pub epoch: Epoch,
    /// The group within it.
    pub sequence: Sequence,
}

impl Version {
    /// The version of `sequence` under `epoch`.
    #[must_use]
    pub const fn new(epoch: Epoch, sequence: Sequence) -> Version {
        Version { epoch, sequence }
    }

    /// The version of a record at `offset` that carries no header of ours.
    #[must_use]
    pub const fn foreign(offset: Offset) -> Version {
        Version { epoch: Epoch::NONE, sequence: Sequence(offset.0) }
    }
}

/// Number of a partition within its topic, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

/// A moment in wall-clock time: milliseconds since 1970-01-01T00:00:00Z, negative before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// The moment `ms` milliseconds later, held within the range of the type.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> EventTime {
        EventTime(self.0.saturating_add_unsigned(ms))
    }

    /// The moment `ms` milliseconds earlier, held within the range of the type.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> EventTime {
        EventTime(self.0.saturating_sub_unsigned(ms))
    }
}

/// Identity of a topic: a random number given at its creation. A topic deleted and created again under its name is
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(pub u128);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

macro_rules! display_number {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_number!(Offset, Epoch, Sequence, PartitionId, EventTime);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}
