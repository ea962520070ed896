//! A disk that is full or fails: what is refused, what is unknown, and how the log goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use affinity_log::embedded::EmbeddedLog;
use affinity_log::{AppendError, Cleanup, Log, Outcome, TopicPartition, next_ack};
use affinity_types::{EventTime, ManualClock};

use super::odd_disk::OddDisk;
use super::owner::{
    Owner, SEGMENT, compacted, create, files, folder_bytes, kept, open, open_on, options, read, record,
};

/// Appends until a group does not land; answers its outcome and how many have landed.
async fn fill(owner: &mut Owner, from: u64, most: u64) -> (Outcome, u64) {
    for n in from..most {
        let group = owner.group(vec![record(&format!("k{n}"), vec![7; 2_000])]);
        let outcome = owner.outcome(&group).await;
        if !matches!(outcome, Outcome::Appended { .. }) {
            return (outcome, n);
        }
    }
    panic!("the disk is never full");
}

/// Appends one record again and again until the log takes it. That it is asked to compact has it look for space at once.
async fn insist(log: &EmbeddedLog, owner: &mut Owner, key: &str) {
    loop {
        let group = owner.group(vec![record(key, vec![7; 2_000])]);
        match owner.outcome(&group).await {
            Outcome::Appended { .. } => return,
            outcome => assert_eq!(outcome, Outcome::Refused),
        }
        if log.compact().is_err() {
            tokio::task::yield_now().await;
        }
    }
}

/// What hangs is told apart from what is slow.
async fn or_hangs<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

/// A log that has just refused an append since its disk has only room for so many bytes.
pub(crate) async fn filled(
    room: u64,
    cleanup: Cleanup,
) -> (tempfile::TempDir, OddDisk, EmbeddedLog, Owner, u64) {
    let folder = tempfile::tempdir().unwrap();
    let disk = OddDisk::new(folder.path());
    let log = open_on(Arc::new(disk.clone())).unwrap();
    let place = create(&log, 1, cleanup).await.remove(0);
    let mut owner = Owner::take_over(&log, &place, 1).await;
    disk.set_room(Some(room));
    let (outcome, landed) = fill(&mut owner, 0, 5_000).await;
    assert_eq!(outcome, Outcome::Refused);
    (folder, disk, log, owner, landed)
}

/// All records that landed are there, before and after the log is opened again.
async fn nothing_is_lost(log: EmbeddedLog, folder: &Path, landed: u64) {
    let place = TopicPartition::new("t", affinity_types::PartitionId(0));
    let before = read(&log, &place).await;
    for n in 0..landed {
        let key = format!("k{n}");
        assert!(before.iter().any(|found| found.key == key), "{key} of {landed} was acknowledged");
    }
    log.close();
    assert_eq!(read(&open(folder), &place).await, before);
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_takes_them_under_the_same_epoch_when_there_is_space() {
    // There is room for a segment or not, for what compaction writes or not: wherever the disk is full.
    for room in [0, 100_000, 300_000, 700_000, 1_000_000, 1_300_000] {
        or_hangs(async {
            let (folder, disk, log, mut owner, landed) = filled(room, kept()).await;
            let group = owner.group(vec![record("again", vec![7; 2_000])]);
            assert_eq!(owner.outcome(&group).await, Outcome::Refused, "room {room}");
            disk.set_room(None);
            insist(&log, &mut owner, "again").await;
            nothing_is_lost(log, folder.path(), landed).await;
        })
        .await;
    }
}

#[tokio::test]
async fn groups_in_flight_when_the_disk_is_full_are_refused_one_by_one() {
    or_hangs(async {
        let (_folder, disk, log, mut owner, _) = filled(300_000, kept()).await;
        let groups: Vec<_> =
            (0..5).map(|_| owner.group(vec![record("in flight", vec![7; 50_000])])).collect();
        groups.iter().for_each(|group| owner.writer.append(group).unwrap());
        for group in &groups {
            let ack = next_ack(&mut *owner.writer).await;
            assert_eq!((ack.sequence, ack.outcome), (group.version.sequence, Outcome::Refused));
        }
        disk.set_room(None);
        insist(&log, &mut owner, "later").await;
        drop(log);
    })
    .await;
}

#[tokio::test]
async fn compaction_that_fails_for_want_of_space_leaves_nothing_behind() {
    or_hangs(async {
        let (folder, disk, log, _, _) = filled(300_000, kept()).await;
        for _ in 0..3 {
            assert!(log.compact().is_err(), "there is no space for a sorted file");
        }
        let names = files(folder.path(), "sorted-");
        disk.set_room(None);
        // The first try may meet what was noted before there was space.
        while log.compact().is_err() {}
        let (used, taken) = (log.usage(), folder_bytes(folder.path()));
        let spares = files(folder.path(), "spare-").len() as u64 * u64::from(SEGMENT);
        assert!(taken < used.journal + used.sorted + spares + 4_096, "{taken} bytes, {used:?}, {names:?}");
    })
    .await;
}

#[tokio::test]
async fn deleting_a_topic_makes_room_on_a_full_disk() {
    or_hangs(async {
        let folder = tempfile::tempdir().unwrap();
        let disk = OddDisk::new(folder.path());
        let log = open_on(Arc::new(disk.clone())).unwrap();
        let place = create(&log, 1, kept()).await.remove(0);
        let spec = affinity_log::TopicSpec { partitions: 1, cleanup: kept() };
        log.create_topic("other", spec).await.unwrap();
        let other = TopicPartition::new("other", affinity_types::PartitionId(0));
        let mut owner = Owner::take_over(&log, &other, 1).await;
        for n in 0..500 {
            owner.send(&format!("k{n}"), vec![7; 2_000]).await;
        }
        owner.settle().await;
        log.compact().unwrap();
        let mut owner = Owner::take_over(&log, &place, 1).await;
        disk.set_room(Some(20_000));
        assert_eq!(fill(&mut owner, 0, 5_000).await.0, Outcome::Refused);
        log.delete_topic("other").await.unwrap();
        insist(&log, &mut owner, "again").await;
    })
    .await;
}

#[tokio::test]
async fn retention_makes_room_on_a_full_disk() {
    or_hangs(async {
        let folder = tempfile::tempdir().unwrap();
        let disk = OddDisk::new(folder.path());
        let clock = Arc::new(ManualClock::at(EventTime(1)));
        let log = EmbeddedLog::open_on(Arc::new(disk.clone()), options(), Arc::clone(&clock) as _).unwrap();
        let cleanup = Cleanup::Delete { retention: Some(Duration::from_secs(60)), retention_bytes: None };
        let place = create(&log, 1, cleanup).await.remove(0);
        let mut owner = Owner::take_over(&log, &place, 1).await;
        disk.set_room(Some(1_400_000));
        assert_eq!(fill(&mut owner, 0, 5_000).await.0, Outcome::Refused);
        clock.advance_ms(120_000);
        owner.time = EventTime(120_001);
        insist(&log, &mut owner, "again").await;
    })
    .await;
}

#[tokio::test]
async fn closing_does_not_wait_for_compaction_that_fails() {
    or_hangs(async {
        let (folder, _, log, mut owner, landed) = filled(300_000, compacted()).await;
        let group = owner.group(vec![record("last", vec![7; 50_000])]);
        owner.writer.append(&group).unwrap();
        log.close();
        assert_eq!(next_ack(&mut *owner.writer).await.outcome, Outcome::Refused);
        nothing_is_lost(open(folder.path()), folder.path(), landed).await;
    })
    .await;
}

#[tokio::test]
async fn a_failed_sync_leaves_the_outcome_unknown_and_taking_over_again_works() {
    or_hangs(async {
        let folder = tempfile::tempdir().unwrap();
        let disk = OddDisk::new(folder.path());
        let log = open_on(Arc::new(disk.clone())).unwrap();
        let place = create(&log, 1, compacted()).await.remove(0);
        let mut owner = Owner::take_over(&log, &place, 1).await;
        owner.put("k", "before").await;
        disk.fail_syncs(true);
        let group = owner.group(vec![record("k", "unknown")]);
        assert_eq!(owner.outcome(&group).await, Outcome::Unknown);
        let next = owner.group(vec![record("k", "late")]);
        assert_eq!(owner.writer.append(&next), Err(AppendError::Lost));
        assert!(log.compact().is_err(), "while syncs fail no segment can be ended");
        disk.fail_syncs(false);
        let mut owner = Owner::take_over(&log, &place, 2).await;
        owner.put("k", "after").await;
        let values = |found: Vec<super::owner::Found>| -> Vec<_> {
            found.into_iter().filter(|found| found.key == "k").map(|found| found.value.unwrap()).collect()
        };
        let before = read(&log, &place).await;
        assert_eq!(values(before.clone()), [&b"before"[..], b"after"], "the unknown group was cut off");
        log.close();
        let log = open(folder.path());
        assert_eq!(read(&log, &place).await, before);
        assert_eq!(log.recovery().torn, None);
    })
    .await;
}
