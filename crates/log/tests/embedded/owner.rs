//! What the tests share: a log in a folder, an owner that appends, and the log read back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use affinity_log::embedded::{Disk, EmbeddedLog, EmbeddedOptions, OsDisk};
use affinity_log::{
    AppendError, Cleanup, Error, Log, Outcome, Tail, TopicPartition, TopicSpec, Writer, next_ack, next_batch,
};
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, ManualClock, Offset, PartitionId, Record, Sequence,
    SystemClock, Version, control,
};

pub(crate) const SEGMENT: u32 = 256 << 10;
/// What the framing of a group of one record takes, about.
pub(crate) const FRAME: u64 = 64;

pub(crate) fn options() -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: SEGMENT, group_bytes_max: SEGMENT / 4, ..Default::default() }
}

pub(crate) fn open(path: &Path) -> EmbeddedLog {
    open_on(Arc::new(OsDisk::new(path).unwrap())).unwrap()
}

pub(crate) fn try_open(path: &Path) -> Result<EmbeddedLog, Error> {
    EmbeddedLog::open(path, options(), Arc::new(SystemClock))
}

pub(crate) fn open_on(disk: Arc<dyn Disk>) -> Result<EmbeddedLog, Error> {
    EmbeddedLog::open_on(disk, options(), Arc::new(SystemClock))
}

pub(crate) fn open_at(path: &Path, clock: &Arc<ManualClock>) -> EmbeddedLog {
    EmbeddedLog::open(path, options(), Arc::clone(clock) as _).unwrap()
}

/// What a compacted topic and one that keeps everything are created with.
pub(crate) fn compacted() -> Cleanup {
    Cleanup::default()
}

pub(crate) fn kept() -> Cleanup {
    Cleanup::Delete { retention: None, retention_bytes: None }
}

/// Creates topic `t` and answers its partitions.
pub(crate) async fn create(log: &EmbeddedLog, partitions: u32, cleanup: Cleanup) -> Vec<TopicPartition> {
    log.create_topic("t", TopicSpec { partitions, cleanup }).await.unwrap();
    (0..partitions).map(|partition| TopicPartition::new("t", PartitionId(partition))).collect()
}

/// A record of one key.
pub(crate) fn record(key: &str, value: impl Into<Vec<u8>>) -> Record {
    Record::new(Key::copy_from(key.as_bytes()), Some(value.into().into()))
}

/// The owner of a partition, who numbers its groups.
pub(crate) struct Owner {
    pub(crate) writer: Box<dyn Writer>,
    pub(crate) time: EventTime,
    next: u64,
}

impl Owner {
    /// Takes a partition over under the next epoch, with a barrier that must land.
    pub(crate) async fn take_over(log: &EmbeddedLog, place: &TopicPartition, epoch: u64) -> Owner {
        Owner::take_over_at(log, place, epoch, EventTime(1)).await
    }

    pub(crate) async fn take_over_at(
        log: &EmbeddedLog,
        place: &TopicPartition,
        epoch: u64,
        time: EventTime,
    ) -> Owner {
        let writer = log.prepare(place).await.unwrap().open(Epoch(epoch)).await.unwrap();
        let mut owner = Owner { writer, time, next: 0 };
        let barrier = owner.barrier();
        owner.appended(&barrier).await;
        owner
    }

    pub(crate) fn barrier(&mut self) -> Group {
        self.next = 0;
        control::barrier_group(self.writer.epoch(), self.time, 300, 1)
    }

    /// The next group.
    pub(crate) fn group(&mut self, records: Vec<Record>) -> Group {
        self.next += 1;
        let version = Version::new(self.writer.epoch(), Sequence(self.next));
        Group { version, time: self.time, attributes: Attributes::default(), records }
    }

    /// Appends a group and waits for its outcome; nothing else may be in flight.
    pub(crate) async fn outcome(&mut self, group: &Group) -> Outcome {
        self.writer.append(group).unwrap();
        let ack = next_ack(&mut *self.writer).await;
        assert_eq!(ack.sequence, group.version.sequence, "outcomes come in the order of the appends");
        ack.outcome
    }

    /// Appends a group that must land, and answers where.
    pub(crate) async fn appended(&mut self, group: &Group) -> Offset {
        match self.outcome(group).await {
            Outcome::Appended { first, .. } => first,
            other => panic!("group {} came to {other:?}", group.version),
        }
    }

    /// Appends a record that must land, and answers where.
    pub(crate) async fn put(&mut self, key: &str, value: impl Into<Vec<u8>>) -> Offset {
        let group = self.group(vec![record(key, value)]);
        self.appended(&group).await
    }

    /// Appends a record without waiting; where the log takes no more, an outcome is taken first, which must be good.
    pub(crate) async fn send(&mut self, key: &str, value: Vec<u8>) {
        let group = self.group(vec![record(key, value)]);
        while let Err(error) = self.writer.append(&group) {
            assert_eq!(error, AppendError::Full);
            if self.writer.in_flight() == 0 {
                affinity_log::ready(&mut *self.writer).await.unwrap();
            } else {
                self.landed().await;
            }
        }
    }

    /// Takes an outcome, which must be good.
    async fn landed(&mut self) {
        let ack = next_ack(&mut *self.writer).await;
        assert!(matches!(ack.outcome, Outcome::Appended { .. }), "{ack:?}");
    }

    /// Waits until all has landed.
    pub(crate) async fn settle(&mut self) {
        while self.writer.in_flight() > 0 {
            self.landed().await;
        }
    }
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) key: String,
    pub(crate) value: Option<Vec<u8>>,
}

/// Reads on until `end`.
pub(crate) async fn read_to(tail: &mut dyn Tail, end: Offset) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    loop {
        let batch = next_batch(tail).await?;
        for record in batch.groups().flat_map(|group| group.records()) {
            let key = String::from_utf8_lossy(record.key()).into_owned();
            found.push(Found { offset: record.offset().0, key, value: record.value().map(<[u8]>::to_vec) });
        }
        if batch.next() >= end {
            assert!(found.is_sorted_by(|a, b| a.offset < b.offset), "in order, each once");
            return Ok(found);
        }
    }
}

/// Every record that is left.
pub(crate) async fn try_read(log: &EmbeddedLog, place: &TopicPartition) -> Result<Vec<Found>, Error> {
    let bounds = log.bounds(place).await?;
    if bounds.start == bounds.end {
        return Ok(Vec::new());
    }
    let mut tail = log.tail(place, bounds.start).await?;
    read_to(&mut *tail, bounds.end).await
}

pub(crate) async fn read(log: &EmbeddedLog, place: &TopicPartition) -> Vec<Found> {
    try_read(log, place).await.unwrap()
}

/// The newest value of every key.
pub(crate) fn newest(found: &[Found]) -> BTreeMap<String, Option<Vec<u8>>> {
    found.iter().map(|found| (found.key.clone(), found.value.clone())).collect()
}

/// Names of the folder's files that begin so, in order.
pub(crate) fn files(folder: &Path, prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

/// Bytes of all files of the folder. A file may go while it is looked at.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let lengths = files(folder, "").into_iter().filter_map(|name| folder.join(name).metadata().ok());
    lengths.map(|metadata| metadata.len()).sum()
}

/// A small deterministic generator (SplitMix64, Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }
}
