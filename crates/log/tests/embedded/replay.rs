//! What is read to replay a partition and to start a node, and readers while compaction runs.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};

use affinity_log::embedded::EmbeddedLog;
use affinity_log::{Log, TopicPartition};
use affinity_types::Offset;

use super::odd_disk::OddDisk;
use super::owner::{
    FRAME, Found, Owner, Random, SEGMENT, compacted, create, files, folder_bytes, kept, newest, open,
    open_on, read, read_to,
};

const PARTITIONS: u32 = 16;

/// Writes 6 MB over 16 partitions, in the order of chance.
async fn spread(log: &EmbeddedLog) -> Vec<TopicPartition> {
    let places = create(log, PARTITIONS, compacted()).await;
    let mut owners = Vec::new();
    for place in &places {
        owners.push(Owner::take_over(log, place, 1).await);
    }
    let mut random = Random(16);
    for n in 0..6_000 {
        let owner = &mut owners[usize::try_from(random.below(16)).unwrap()];
        let length = 500 + usize::try_from(random.below(1_000)).unwrap();
        owner.send(&format!("k{n}"), vec![7; length]).await;
    }
    for owner in &mut owners {
        owner.settle().await;
    }
    places
}

fn bytes(found: &[Found]) -> u64 {
    found.iter().map(|found| found.value.as_ref().map_or(0, Vec::len) as u64 + FRAME).sum()
}

/// Bytes read for replaying a partition, in percent of its own.
async fn amplification(log: &EmbeddedLog, disk: &OddDisk, place: &TopicPartition) -> u64 {
    disk.take_read();
    let found = read(log, place).await;
    assert!(found.len() > 200, "a partition of some size");
    disk.take_read() * 100 / bytes(&found)
}

#[tokio::test]
async fn replaying_one_of_16_partitions_reads_at_most_twice_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let places = spread(&log).await;
    assert!(folder_bytes(folder.path()) > 20 * u64::from(SEGMENT), "the log is much larger than a segment");
    log.compact().unwrap();
    log.close();
    // With a part of the log in the journal still, and with all of it sorted.
    let disk = OddDisk::new(folder.path());
    let log = open_on(Arc::new(disk.clone())).unwrap();
    log.compact().unwrap();
    let mut owner = Owner::take_over(&log, &places[3], 2).await;
    for n in 0..40 {
        owner.put(&format!("late{n}"), vec![7; 1_000]).await;
    }
    for (when, compact) in [("in part", false), ("all", true)] {
        if compact {
            log.compact().unwrap();
        }
        for place in &places {
            let percent = amplification(&log, &disk, place).await;
            println!("{when} sorted, {place}: {percent} % of its bytes are read");
            assert!(percent <= 200, "{when} sorted: {percent} % of the bytes of {place} are read");
        }
    }
}

#[tokio::test]
async fn starting_a_node_reads_the_log_once_for_all_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let places = spread(&log).await;
    log.compact().unwrap();
    log.close();
    let disk = OddDisk::new(folder.path());
    let log = open_on(Arc::new(disk.clone())).unwrap();
    let mut replayed = 0;
    for place in &places {
        replayed += bytes(&read(&log, place).await);
    }
    let (read, taken) = (disk.take_read(), folder_bytes(folder.path()));
    println!("{read} bytes read for {replayed} bytes of all partitions in a folder of {taken}");
    assert!(read <= taken + u64::from(SEGMENT), "{read} bytes of {taken} are read");
}

#[tokio::test]
async fn compaction_reads_what_is_kept_once_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OddDisk::new(folder.path());
    let log = open_on(Arc::new(disk.clone())).unwrap();
    let place = create(&log, 1, kept()).await.remove(0);
    let mut owner = Owner::take_over(&log, &place, 1).await;
    let segments = 40;
    for n in 0..segments * u64::from(SEGMENT) / 4_000 {
        owner.send(&format!("k{n}"), vec![7; 4_000]).await;
    }
    owner.settle().await;
    log.compact().unwrap();
    let (read, taken) = (disk.take_read(), folder_bytes(folder.path()));
    println!("{read} bytes read for {taken} bytes kept");
    assert!(read <= taken, "{read} bytes read for {taken} bytes kept");
}

async fn overwrite(log: &EmbeddedLog, place: &TopicPartition, epoch: u64) {
    let mut owner = Owner::take_over(log, place, epoch).await;
    for n in 0..1_500 {
        owner.send(&format!("k{n}"), format!("{epoch}{}", "v".repeat(900)).into_bytes()).await;
    }
    owner.settle().await;
    log.compact().unwrap();
}

fn sorted(folder: &Path) -> Vec<String> {
    files(folder, "sorted-")
}

#[tokio::test]
async fn a_reader_goes_on_while_compaction_replaces_all_files_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let place = create(&log, 1, compacted()).await.remove(0);
    overwrite(&log, &place, 1).await;
    let (first, first_files) = (read(&log, &place).await, sorted(folder.path()));
    let mut tail = log.tail(&place, Offset::ZERO).await.unwrap();
    let mut found = read_to(&mut *tail, Offset(100)).await.unwrap();
    assert!(found.len() < first.len() / 2, "the reader is in the middle");
    overwrite(&log, &place, 2).await;
    overwrite(&log, &place, 3).await;
    let left = sorted(folder.path());
    assert!(first_files.iter().all(|name| !left.contains(name)), "all files were replaced: {first_files:?}");
    let end = log.bounds(&place).await.unwrap().end;
    found.extend(read_to(&mut *tail, end).await.unwrap());
    assert_eq!(found[..first.len()], first[..], "what it had begun to read it reads to the end");
    assert!(found.is_sorted_by(|a, b| a.offset < b.offset));
    assert_eq!(newest(&found), newest(&read(&log, &place).await));
}

#[tokio::test]
async fn a_reader_that_stands_still_in_the_journal_sees_no_recycled_segment() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let place = create(&log, 1, compacted()).await.remove(0);
    let mut owner = Owner::take_over(&log, &place, 1).await;
    owner.put("first", "value").await;
    let mut tail = log.tail(&place, Offset::ZERO).await.unwrap();
    let mut found = read_to(&mut *tail, Offset(1)).await.unwrap();
    // The segment that the reader stands in is sorted, and its successors are, many times over.
    for n in 0..2_000 {
        owner.send(&format!("k{}", n % 50), vec![7; 1_000]).await;
    }
    owner.settle().await;
    log.compact().unwrap();
    let end = log.bounds(&place).await.unwrap().end;
    found.extend(read_to(&mut *tail, end).await.unwrap());
    assert!(found.is_sorted_by(|a, b| a.offset < b.offset));
    assert_eq!(newest(&found), newest(&read(&log, &place).await));
}

/// Files of the folder that are open although they have no name any more.
fn nameless(folder: &Path) -> Vec<String> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let names = open.map(|target| target.to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with(&*folder.to_string_lossy()) && name.ends_with(" (deleted)"))
        .collect()
}

#[tokio::test]
async fn readers_that_wait_at_the_end_keep_no_files_that_compaction_has_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let places = create(&log, 2, compacted()).await;
    let mut idle = Owner::take_over(&log, &places[1], 1).await;
    let mut tails = Vec::new();
    for epoch in 1..=3 {
        overwrite(&log, &places[0], epoch).await;
        idle.put("k", "v").await;
        let mut tail = log.tail(&places[1], Offset::ZERO).await.unwrap();
        let end = log.bounds(&places[1]).await.unwrap().end;
        read_to(&mut *tail, end).await.unwrap();
        assert!(tail.poll_batch(&mut Context::from_waker(Waker::noop())).is_pending(), "it waits");
        tails.push((tail, end));
    }
    overwrite(&log, &places[0], 4).await;
    assert_eq!(nameless(folder.path()), Vec::<String>::new());
    // They go on where they were.
    idle.put("k", "last").await;
    for (mut tail, end) in tails {
        let found = read_to(&mut *tail, log.bounds(&places[1]).await.unwrap().end).await.unwrap();
        assert!(found.first().unwrap().offset >= end.0);
        assert_eq!(newest(&found)["k"], Some(b"last".to_vec()));
    }
}
