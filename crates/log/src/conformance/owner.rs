//! What the cases share: an owner that appends, and the log read back.

use std::collections::BTreeMap;

use affinity_types::control;
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, Version,
};

use super::Subject;
use crate::{
    AppendError, Cleanup, GroupRef, Log, Outcome, TopicPartition, TopicSpec, Writer, next_ack, next_batch,
};

/// The schema id of control records in the cases.
pub(super) const CONTROL: u32 = 7;

/// Creates a topic that forgets nothing and answers its first partition.
pub(super) async fn place(subject: &dyn Subject, name: &str, partitions: u32) -> TopicPartition {
    let cleanup = Cleanup::Delete { retention: None, retention_bytes: None };
    place_with(subject, name, TopicSpec { partitions, cleanup }).await
}

/// Creates a compacted topic and answers its first partition.
pub(super) async fn compacted(subject: &dyn Subject, name: &str, partitions: u32) -> TopicPartition {
    place_with(subject, name, TopicSpec { partitions, cleanup: Cleanup::default() }).await
}

/// Creates a topic and answers its first partition.
pub(super) async fn place_with(subject: &dyn Subject, name: &str, spec: TopicSpec) -> TopicPartition {
    let name = format!("{}{name}", subject.prefix());
    subject.log().create_topic(&name, spec).await.expect("a topic can be created");
    TopicPartition::new(name, PartitionId(0))
}

/// The owner of a partition, who numbers its groups.
pub(super) struct Owner {
    pub(super) writer: Box<dyn Writer>,
    next: Sequence,
}

impl Owner {
    /// Prepares and opens, but appends nothing.
    pub(super) async fn open(log: &dyn Log, place: &TopicPartition, epoch: u64) -> Owner {
        let prepared = log.prepare(place).await.expect("a partition can be prepared");
        Owner::new(prepared.open(Epoch(epoch)).await.expect("nobody is newer"))
    }

    /// The owner that has this writer, which has appended nothing.
    pub(super) fn new(writer: Box<dyn Writer>) -> Owner {
        Owner { writer, next: Sequence::FIRST }
    }

    /// Prepares, opens and appends the barrier.
    pub(super) async fn take_over(subject: &dyn Subject, place: &TopicPartition, epoch: u64) -> Owner {
        let mut owner = Owner::open(&*subject.log(), place, epoch).await;
        let barrier = owner.barrier(subject.now());
        owner.appended(&barrier).await;
        owner
    }

    /// The first group.
    pub(super) fn barrier(&mut self, time: EventTime) -> Group {
        self.next = Sequence::FIRST.next();
        control::barrier_group(self.writer.epoch(), time, 300, CONTROL)
    }

    /// The next group.
    pub(super) fn group(&mut self, time: EventTime, records: Vec<Record>) -> Group {
        let version = Version::new(self.writer.epoch(), self.next);
        self.next = self.next.next();
        Group { version, time, attributes: Attributes::default(), records }
    }

    /// Appends a group and waits for its outcome; nothing else may be in flight.
    pub(super) async fn outcome(&mut self, group: &Group) -> Outcome {
        self.writer.append(group).expect("the group is as it should be");
        let ack = next_ack(&mut *self.writer).await;
        assert_eq!(ack.sequence, group.version.sequence, "acknowledgements come in the order of the appends");
        ack.outcome
    }

    /// Appends a group that must land; answers where.
    pub(super) async fn appended(&mut self, group: &Group) -> Offset {
        match self.outcome(group).await {
            Outcome::Appended { first, next } => {
                assert_eq!(
                    next,
                    first.advance(group.records.len() as u64),
                    "its records have consecutive offsets"
                );
                first
            }
            other => panic!("group {} came to {other:?}", group.version),
        }
    }

    /// Appends many groups that must land, as many in flight as the log takes.
    pub(super) async fn append_all(&mut self, groups: &[Group]) {
        let mut due = groups.iter();
        let mut take = async |writer: &mut dyn Writer| {
            let (ack, group) = (next_ack(writer).await, due.next().expect("an outcome for each append"));
            assert_eq!(ack.sequence, group.version.sequence);
            assert!(matches!(ack.outcome, Outcome::Appended { .. }), "{} came to {ack:?}", group.version);
        };
        for group in groups {
            while let Err(error) = self.writer.append(group) {
                assert_eq!(error, AppendError::Full, "group {} is as it should be", group.version);
                take(&mut *self.writer).await;
            }
        }
        while self.writer.in_flight() > 0 {
            take(&mut *self.writer).await;
        }
    }

    /// Whether the writer is finished, as far as it tells.
    pub(super) fn is_lost(&mut self, time: EventTime) -> bool {
        let group = self.group(time, vec![record("late", "")]);
        self.writer.append(&group) == Err(AppendError::Lost)
    }
}

/// A group that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) base: Offset,
    pub(super) next: Offset,
    /// The group with the records that are left.
    pub(super) group: Group,
}

impl Read {
    fn new(group: GroupRef<'_>) -> Read {
        let records = group.records().map(|record| {
            let attributes = record.attributes().expect("attributes that were written can be read");
            Record {
                kind: record.kind(),
                key: Key::copy_from(record.key()),
                value: record.value_shared(),
                event_time: attributes.event_time,
                expires: attributes.expires,
                repairs: attributes.repairs,
            }
        });
        let records: Vec<Record> = records.collect();
        let places: Vec<(Offset, u16)> =
            group.records().map(|record| (record.offset(), record.index())).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "records come in the order of the log");
        assert!(places.iter().all(|(at, index)| *at == group.base().advance(u64::from(*index))));
        assert!(places.iter().all(|(at, _)| *at < group.next()));
        let attributes = group.attributes().expect("attributes that were written can be read");
        Read {
            base: group.base(),
            next: group.next(),
            group: Group { version: group.version(), time: group.time(), attributes, records },
        }
    }
}

/// All groups from `from` to the end that the log has now.
pub(super) async fn read_from(log: &dyn Log, place: &TopicPartition, from: Offset) -> Vec<Read> {
    let end = log.bounds(place).await.expect("the partition is there").end;
    read_range(log, place, from, end).await
}

/// All groups from `from` on that begin before `end`.
pub(super) async fn read_range(
    log: &dyn Log,
    place: &TopicPartition,
    from: Offset,
    end: Offset,
) -> Vec<Read> {
    let mut groups = Vec::new();
    if from < end {
        let mut tail = log.tail(place, from).await.expect("the offset is in the log");
        let mut next = from;
        while next < end {
            next = read_batch(&mut *tail, next, &mut groups).await;
        }
    }
    groups.retain(|read: &Read| read.base < end);
    groups
}

/// Reads one batch and answers where reading goes on.
pub(super) async fn read_batch(tail: &mut dyn crate::Tail, from: Offset, groups: &mut Vec<Read>) -> Offset {
    let batch = next_batch(tail).await.expect("what is in the log can be read");
    let read: Vec<Read> = batch.groups().map(Read::new).collect();
    assert!(!read.is_empty(), "a batch has at least one group");
    assert!(read.iter().is_sorted_by(|a, b| a.next <= b.base), "groups come in order and do not overlap");
    assert!(batch.next() > from, "reading goes on");
    assert!(read.iter().all(|group| group.next <= batch.next()) && batch.next() <= batch.end());
    groups.extend(read);
    batch.next()
}

/// All groups of a partition that was never cleaned up.
pub(super) async fn read_all(log: &dyn Log, place: &TopicPartition) -> Vec<Read> {
    read_from(log, place, Offset::ZERO).await
}

/// The groups alone.
pub(super) fn groups(read: Vec<Read>) -> Vec<Group> {
    read.into_iter().map(|read| read.group).collect()
}

/// The newest record of every key, and its version.
pub(super) fn newest<'a>(groups: impl IntoIterator<Item = &'a Group>) -> BTreeMap<Key, (Version, Record)> {
    let mut newest = BTreeMap::new();
    for group in groups {
        for record in &group.records {
            newest.insert(record.key.clone(), (group.version, record.clone()));
        }
    }
    newest
}

/// A plain record.
pub(super) fn record(key: &str, value: &str) -> Record {
    Record::new(Key::copy_from(key.as_bytes()), Some(value.to_owned().into()))
}

/// A record that deletes.
pub(super) fn deletion(key: &str) -> Record {
    Record::new(Key::copy_from(key.as_bytes()), None)
}
