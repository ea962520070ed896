//! How much of the disk the folder takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use affinity_log::{Cleanup, Log, TopicPartition};
use affinity_types::{EventTime, ManualClock, Offset};

use super::owner::{
    FRAME, Owner, Random, SEGMENT, compacted, create, folder_bytes, newest, open, open_at, read, record,
};

const VALUE: u64 = 900;

/// Endless overwriting of a number of keys.
struct Load {
    name: &'static str,
    /// Live data in percent of a segment.
    live_percent: u64,
    /// Of a hundred writes so many go to a tenth of the keys.
    hot: u64,
    partitions: u32,
    writes: u64,
}

impl Load {
    fn keys(&self) -> u64 {
        u64::from(SEGMENT) * self.live_percent / 100 / (VALUE + FRAME)
    }

    /// Overwrites and samples what the folder takes; the answer is the most, less what is allowed.
    async fn run(&self, folder: &Path) -> (u64, u64) {
        let log = open(folder);
        let places = create(&log, self.partitions, compacted()).await;
        let mut owners = Vec::new();
        for place in &places {
            owners.push(Owner::take_over(&log, place, 1).await);
        }
        let mut random = Random(self.live_percent + self.hot);
        let mut live = BTreeMap::new();
        let (mut most, mut excess) = (0, i64::MIN);
        for n in 0..self.writes + self.keys() {
            let hot = random.below(100) < self.hot;
            let key = match n.checked_sub(self.writes) {
                // At the end every key once more, so that cold ones are tried too.
                Some(key) => key,
                None if hot => random.below(self.keys() / 10 + 1),
                None => random.below(self.keys()),
            };
            let length = VALUE / 2 + random.below(VALUE);
            let at = usize::try_from(key % u64::from(self.partitions)).unwrap();
            owners[at].send(&format!("k{key}"), vec![7; usize::try_from(length).unwrap()]).await;
            live.insert(key, length + FRAME);
            if n.is_multiple_of(16) {
                // What is on its way counts as written by those who send it: the bound is on what has landed.
                for owner in &mut owners {
                    owner.settle().await;
                }
                let (taken, live) = (folder_bytes(folder), live.values().sum::<u64>());
                most = most.max(taken);
                let allowed = 2 * live + 4 * u64::from(SEGMENT);
                excess = excess.max(taken.cast_signed() - allowed.cast_signed());
            }
        }
        for owner in &mut owners {
            owner.settle().await;
        }
        let live: u64 = live.values().sum();
        let factor = (most.saturating_sub(4 * u64::from(SEGMENT))) as f64 / live as f64;
        println!("{}: live {live}, most {most}, factor beyond 4 segments {factor:.2}", self.name);
        assert!(excess <= 0, "{}: {excess} bytes more than 2 x live + 4 segments", self.name);
        log.close();
        (live, folder_bytes(folder))
    }
}

#[tokio::test]
async fn space_stays_within_twice_the_live_data_and_four_segments_under_endless_overwriting() {
    let load =
        |name, live_percent, hot, partitions, writes| Load { name, live_percent, hot, partitions, writes };
    for load in [
        load("a third of a segment, uniform", 30, 0, 3, 6_000),
        load("one segment, uniform", 100, 0, 3, 6_000),
        load("one segment, hot and cold", 100, 90, 3, 6_000),
        load("three segments, uniform", 300, 0, 5, 8_000),
        load("three segments, hot and cold", 300, 90, 1, 8_000),
        load("eight segments, uniform", 800, 0, 4, 10_000),
        load("eight segments, hot and cold", 800, 95, 4, 10_000),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (live, taken) = load.run(folder.path()).await;
        assert!(taken <= 2 * live + 4 * u64::from(SEGMENT), "{}: {taken} bytes at the end", load.name);
    }
}

#[tokio::test]
async fn many_appends_at_once_do_not_fill_the_disk_before_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let places = create(&log, 4, compacted()).await;
    let mut owners = Vec::new();
    for place in &places {
        owners.push(Owner::take_over(&log, place, 1).await);
    }
    let mut most = 0;
    for n in 0..8_000 {
        let at = n % owners.len();
        owners[at].send(&format!("k{}", n % 40), vec![7; 4_000]).await;
        most = most.max(folder_bytes(folder.path()));
    }
    for owner in &mut owners {
        owner.settle().await;
    }
    let allowed = 2 * 40 * (4_000 + FRAME) + 4 * u64::from(SEGMENT);
    assert!(most <= allowed, "{most} bytes, {allowed} are allowed");
    drop(log);
}

/// A log with a topic that forgets its oldest records, and much in it; each record is a second later.
async fn aged(
    folder: &Path,
    clock: &Arc<ManualClock>,
    cleanup: Cleanup,
) -> (super::owner::Found, TopicPartition) {
    let log = open_at(folder, clock);
    let place = create(&log, 1, cleanup).await.remove(0);
    let mut owner = Owner::take_over_at(&log, &place, 7, EventTime(0)).await;
    for n in 0..3_000i64 {
        owner.time = EventTime(n * 1_000);
        owner.send(&format!("k{n}"), vec![7; 900]).await;
    }
    owner.settle().await;
    clock.jump_to(EventTime(3_000_000));
    log.compact().unwrap();
    let found = read(&log, &place).await.remove(0);
    log.close();
    (found, place)
}

#[tokio::test]
async fn retention_by_time_frees_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(EventTime(0)));
    let cleanup = Cleanup::Delete { retention: Some(Duration::from_secs(300)), retention_bytes: None };
    let (first, _) = aged(folder.path(), &clock, cleanup).await;
    let n: u64 = first.key[1..].parse().unwrap();
    assert!((2_600..=2_700).contains(&n), "all of the last 300 seconds is there, and little more: {n}");
    assert!(folder_bytes(folder.path()) < 3 * u64::from(SEGMENT), "{}", folder_bytes(folder.path()));
}

#[tokio::test]
async fn retention_by_size_frees_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(EventTime(0)));
    let cleanup = Cleanup::Delete { retention: None, retention_bytes: Some(200_000) };
    let (first, _) = aged(folder.path(), &clock, cleanup).await;
    let n: u64 = first.key[1..].parse().unwrap();
    let left = (3_000 - n) * 960;
    assert!((150_000..=200_000).contains(&left), "{left} bytes are left");
    assert!(folder_bytes(folder.path()) < 3 * u64::from(SEGMENT), "{}", folder_bytes(folder.path()));
}

#[tokio::test]
async fn a_partition_of_which_all_is_too_old_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(EventTime(0)));
    let cleanup = Cleanup::Delete { retention: Some(Duration::from_secs(300)), retention_bytes: None };
    let (_, place) = aged(folder.path(), &clock, cleanup).await;
    clock.advance_ms(1_000_000_000);
    let end = Offset(3_001);
    for opened in 0..2 {
        let log = open_at(folder.path(), &clock);
        log.compact().unwrap();
        let bounds = log.bounds(&place).await.unwrap();
        assert_eq!((bounds.start, bounds.end), (end, end), "opened for the {opened}. time");
        assert_eq!(bounds.newest, Some(EventTime(2_999_000)));
        assert!(folder_bytes(folder.path()) < 3 * u64::from(SEGMENT), "nothing is left");
        let stale = log.prepare(&place).await.unwrap().open(affinity_types::Epoch(7)).await;
        assert!(stale.is_err(), "epoch 7 was there already");
        log.close();
    }
    let log = open_at(folder.path(), &clock);
    let mut owner = Owner::take_over_at(&log, &place, 8, affinity_types::Clock::now(&*clock)).await;
    let group = owner.group(vec![record("new", "value")]);
    assert_eq!(owner.appended(&group).await, end.advance(1));
    assert_eq!(newest(&read(&log, &place).await)["new"], Some(b"value".to_vec()));
}

#[tokio::test]
async fn a_deleted_topic_leaves_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let places = create(&log, 2, compacted()).await;
    for place in &places {
        let mut owner = Owner::take_over(&log, place, 1).await;
        for n in 0..1_000 {
            owner.send(&format!("k{n}"), vec![7; 900]).await;
        }
        owner.settle().await;
    }
    log.delete_topic("t").await.unwrap();
    log.compact().unwrap();
    let usage = log.usage();
    assert_eq!(usage.sorted, 0, "{usage:?}");
    assert!(folder_bytes(folder.path()) <= 2 * u64::from(SEGMENT) + 4_096);
}
