//! The embedded log against what it stands on: a preallocated file and `fdatasync`, and the page cache.

mod append;
pub(crate) mod bare;
mod read;

pub(crate) use append::{LOG_APPEND, LOG_APPEND_1};
pub(crate) use read::LOG_READ;

use std::path::Path;
use std::sync::Arc;

use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{Cleanup, Log, Outcome, TopicPartition, TopicSpec, Writer, next_ack};
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, PartitionId, Record, Sequence, SystemClock, Version, control,
};

use crate::harness::Failure;

pub(crate) const PARTITIONS: u32 = 16;
pub(crate) const KEY_BYTES: usize = 16;
pub(crate) const VALUE_BYTES: usize = 256;
/// What the embedded log writes for a group of one such record: the bare side writes as much.
pub(crate) const FRAME_BYTES: usize = 334;

pub(crate) fn open(dir: &Path) -> Result<EmbeddedLog, Failure> {
    Ok(EmbeddedLog::open(dir, EmbeddedOptions::default(), Arc::new(SystemClock))?)
}

pub(crate) fn topic_of(partition: u32) -> TopicPartition {
    TopicPartition::new("bench", PartitionId(partition))
}

/// A partition's owner: numbers its groups and has them appended.
pub(crate) struct Owner {
    pub(crate) writer: Box<dyn Writer>,
    group: Group,
}

impl Owner {
    pub(crate) async fn take_over(log: &EmbeddedLog, partition: u32) -> Result<Owner, Failure> {
        let spec = TopicSpec { partitions: PARTITIONS, cleanup: Cleanup::default() };
        log.create_topic("bench", spec).await?;
        let mut writer = log.prepare(&topic_of(partition)).await?.open(Epoch(1)).await?;
        writer.append(&control::barrier_group(Epoch(1), EventTime(0), 300, 1))?;
        match next_ack(&mut *writer).await.outcome {
            Outcome::Appended { .. } => {}
            other => return Err(format!("the barrier was {other:?}").into()),
        }
        let version = Version::new(Epoch(1), Sequence(0));
        let record = Record::new(Key::default(), Some(vec![0xa5; VALUE_BYTES].into()));
        let group =
            Group { version, time: EventTime(0), attributes: Attributes::default(), records: vec![record] };
        Ok(Owner { writer, group })
    }

    /// The same, of values of another size.
    pub(crate) fn with_values_of(mut self, bytes: usize) -> Owner {
        self.group.records[0].value = Some(vec![0xa5; bytes].into());
        self
    }

    /// Appends the next group, with key number `key`.
    pub(crate) fn append(&mut self, key: u64) -> Result<(), Failure> {
        let mut bytes = [0; KEY_BYTES];
        bytes[..8].copy_from_slice(&key.to_be_bytes());
        self.group.records[0].key = Key::copy_from(&bytes);
        self.group.version.sequence = self.group.version.sequence.next();
        self.writer.append(&self.group)?;
        Ok(())
    }

    pub(crate) async fn acknowledged(&mut self) -> Result<(), Failure> {
        match next_ack(&mut *self.writer).await.outcome {
            Outcome::Appended { .. } => Ok(()),
            other => Err(format!("an append was {other:?}").into()),
        }
    }
}
