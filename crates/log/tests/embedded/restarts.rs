//! Compaction and restarts, many times over.

use std::path::Path;
use std::sync::Arc;

use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{Cleanup, Log, Outcome, TopicPartition, TopicSpec, Writer, next_ack, next_batch};
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, SystemClock, Version,
    control,
};

const SEGMENT: u32 = 256 << 10;

fn open(path: &Path) -> EmbeddedLog {
    let options =
        EmbeddedOptions { segment_bytes: SEGMENT, group_bytes_max: SEGMENT / 4, ..Default::default() };
    EmbeddedLog::open(path, options, Arc::new(SystemClock)).unwrap()
}

fn put(epoch: u64, sequence: u64, key: &str, value: Vec<u8>) -> Group {
    let record = Record::new(Key::copy_from(key.as_bytes()), Some(value.into()));
    let version = Version::new(Epoch(epoch), Sequence(sequence));
    Group { version, time: EventTime(1), attributes: Attributes::default(), records: vec![record] }
}

async fn take_over(log: &EmbeddedLog, place: &TopicPartition, epoch: u64) -> Box<dyn Writer> {
    let mut writer = log.prepare(place).await.unwrap().open(Epoch(epoch)).await.unwrap();
    writer.append(&control::barrier_group(Epoch(epoch), EventTime(1), 300, 1)).unwrap();
    assert!(matches!(next_ack(&mut *writer).await.outcome, Outcome::Appended { .. }));
    writer
}

/// Offset, key and length of the value of every record that is left.
async fn records(log: &EmbeddedLog, place: &TopicPartition) -> Vec<(u64, String, usize)> {
    let end = log.bounds(place).await.unwrap().end;
    let mut tail = log.tail(place, Offset::ZERO).await.unwrap();
    let mut found = Vec::new();
    let mut next = Offset::ZERO;
    while next < end {
        let batch = next_batch(&mut *tail).await.unwrap();
        for record in batch.groups().flat_map(|group| group.records()) {
            let key = String::from_utf8_lossy(record.key()).into_owned();
            found.push((record.offset().0, key, record.value().map_or(0, <[u8]>::len)));
        }
        next = batch.next();
    }
    found
}

#[tokio::test]
async fn the_newest_of_every_key_outlives_compaction_and_restart() {
    const KEYS: usize = 7;
    let folder = tempfile::tempdir().unwrap();
    let place = TopicPartition::new("t", PartitionId(1));
    let mut end = 0;
    for epoch in 1..=4u16 {
        let log = open(folder.path());
        log.create_topic("t", TopicSpec { partitions: 2, cleanup: Cleanup::default() }).await.unwrap();
        let mut writer = take_over(&log, &place, epoch.into()).await;
        end += 1;
        let length = 500 + usize::from(epoch);
        for n in 0..1500 {
            let group = put(epoch.into(), n + 1, &format!("k{}", n % KEYS as u64), vec![7; length]);
            writer.append(&group).unwrap();
            let ack = next_ack(&mut *writer).await;
            assert_eq!(ack.outcome, Outcome::Appended { first: Offset(end), next: Offset(end + 1) });
            end += 1;
        }
        if epoch == 3 {
            log.compact().unwrap();
        }
        let found = records(&log, &place).await;
        assert_eq!(found.last().unwrap().0, end - 1);
        let newest: Vec<_> =
            found.iter().rev().take(KEYS).map(|(_, key, value)| (key.as_str(), *value)).collect();
        for k in 0..KEYS {
            assert!(newest.contains(&(format!("k{k}").as_str(), length)), "{newest:?}");
        }
        if epoch == 3 {
            assert!(found.len() < 20, "{} records are left", found.len());
            let usage = log.usage();
            assert!(usage.journal + usage.sorted < 3 * u64::from(SEGMENT), "{usage:?}");
        }
        log.close();
    }
}
