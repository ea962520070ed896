//! The embedded log on a real disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{Cleanup, Log, Outcome, TopicPartition, TopicSpec, Writer, next_ack, next_batch};
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, SystemClock, Version,
    control,
};

fn open(path: &Path) -> EmbeddedLog {
    let options =
        EmbeddedOptions { segment_bytes: 256 << 10, group_bytes_max: 64 << 10, ..Default::default() };
    EmbeddedLog::open(path, options, Arc::new(SystemClock)).unwrap()
}

fn put(epoch: u64, sequence: u64, key: &str, value: Option<Vec<u8>>) -> Group {
    let record = Record::new(Key::copy_from(key.as_bytes()), value.map(Into::into));
    Group {
        version: Version::new(Epoch(epoch), Sequence(sequence)),
        time: EventTime(1),
        attributes: Attributes::default(),
        records: vec![record],
    }
}

async fn take_over(log: &EmbeddedLog, place: &TopicPartition, epoch: u64) -> Box<dyn Writer> {
    let mut writer = log.prepare(place).await.unwrap().open(Epoch(epoch)).await.unwrap();
    writer.append(&control::barrier_group(Epoch(epoch), EventTime(1), 300, 1)).unwrap();
    assert!(matches!(next_ack(&mut *writer).await.outcome, Outcome::Appended { .. }));
    writer
}

async fn keys(log: &EmbeddedLog, place: &TopicPartition) -> Vec<(u64, String, usize)> {
    let end = log.bounds(place).await.unwrap().end;
    let mut tail = log.tail(place, Offset::ZERO).await.unwrap();
    let mut found = Vec::new();
    let mut next = Offset::ZERO;
    while next < end {
        let batch = next_batch(&mut *tail).await.unwrap();
        for group in batch.groups() {
            for record in group.records() {
                let key = String::from_utf8_lossy(record.key()).into_owned();
                found.push((record.offset().0, key, record.value().map_or(0, <[u8]>::len)));
            }
        }
        next = batch.next();
    }
    found
}

#[tokio::test]
async fn the_newest_of_every_key_outlives_compaction_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let place = TopicPartition::new("t", PartitionId(1));
    let mut next = 1;
    for epoch in 1..=4 {
        let log = open(folder.path());
        log.create_topic("t", TopicSpec { partitions: 2, cleanup: Cleanup::default() }).await.unwrap();
        let mut writer = take_over(&log, &place, epoch).await;
        for round in 0..3000u64 {
            let group =
                put(epoch, round + 1, &format!("k{}", round % 7), Some(vec![7; 500 + epoch as usize]));
            writer.append(&group).unwrap();
            let ack = next_ack(&mut *writer).await;
            assert_eq!(ack.outcome, Outcome::Appended { first: Offset(next), next: Offset(next + 1) });
            next += 1;
        }
        if epoch == 3 {
            log.compact().unwrap();
        }
        let found = keys(&log, &place).await;
        assert!(found.iter().any(|(offset, _, _)| *offset == next - 1));
        let newest: Vec<_> =
            found.iter().rev().take(7).map(|(_, key, value)| (key.clone(), *value)).collect();
        for k in 0..7 {
            assert!(newest.contains(&(format!("k{k}"), 500 + epoch as usize)), "{newest:?}");
        }
        if epoch == 3 {
            assert!(found.len() < 20, "{} records are left", found.len());
            let usage = log.usage();
            assert!(usage.journal + usage.sorted < 3 * (256 << 10), "{usage:?}");
        }
        log.close();
        next += 1;
    }
    let _ = Duration::ZERO;
}
