//! What opening refuses, and what the operator is told.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{Error, ErrorKind, Log, TopicPartition, TopicSpec};
use affinity_types::{EventTime, PartitionId, SystemClock};
use tempfile::TempDir;

use super::full_disk::filled;
use super::odd_disk::OddDisk;
use super::owner::{
    Owner, create, files, folder_bytes, kept, open, open_on, options, read, try_open, try_read,
};

/// The folder as a crash now would leave it. Nothing may be under way but a sorted file that comes to nothing.
fn snapshot(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in files(folder, "").into_iter().filter(|name| name != "lock") {
        let copied = fs::copy(folder.join(&name), copy.path().join(&name));
        assert!(copied.is_ok() || name.starts_with("sorted-"), "{name}: {copied:?}");
    }
    copy
}

const LAST: &str = "the last value of all";
/// Time of what was appended last.
const LATE: EventTime = EventTime(2);

/// A folder after a crash: sorted files, and a journal whose last segment has no end.
async fn crashed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let places = create(&log, 4, kept()).await;
    let mut owners = Vec::new();
    for place in &places {
        owners.push(Owner::take_over(&log, place, 1).await);
    }
    for n in 0..1_000 {
        owners[n % 4].send(&format!("k{n}"), vec![7; 900]).await;
    }
    for owner in &mut owners {
        owner.settle().await;
    }
    log.compact().unwrap();
    for n in 0..30 {
        owners[n % 4].put(&format!("late{n}"), vec![7; 900]).await;
    }
    owners[0].put("last", LAST.repeat(100)).await;
    snapshot(folder.path())
}

fn first(folder: &Path, kind: &str) -> String {
    files(folder, kind).remove(0)
}

fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(folder.join(name)).unwrap();
    change(&mut bytes);
    fs::write(folder.join(name), bytes).unwrap();
}

fn flip(folder: &Path, name: &str, at: usize) {
    edit(folder, name, |bytes| bytes[at] ^= 4);
}

/// The same in a file that a log has open.
fn flip_open(folder: &Path, name: &str, at: u64) {
    let file = fs::File::options().read(true).write(true).open(folder.join(name)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

/// The folder is refused with a text that has all these words.
fn refused(folder: &Path, kind: ErrorKind, words: &[&str]) {
    assert_says(try_open(folder).map(drop).unwrap_err(), kind, words);
}

fn assert_says(error: Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in {:?}", error.to_string());
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_durable_block_of_the_journal_is_refused_with_file_and_byte() {
    let folder = crashed().await;
    let name = first(folder.path(), "journal-");
    for at in [64, 64 + 24, 64 + 24 + 100] {
        let copy = snapshot(folder.path());
        flip(copy.path(), &name, at);
        refused(copy.path(), ErrorKind::Corrupt, &[&name, "damaged at byte 64", "was whole once"]);
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_sorted_file_is_refused_on_opening_or_reading_with_the_file() {
    let folder = crashed().await;
    let name = first(folder.path(), "sorted-");
    let length = fs::metadata(folder.path().join(&name)).unwrap().len();
    let mut reading = 0;
    for at in (0..length).step_by(4_999).chain([0, 20, length - 1, length - 17]) {
        let copy = snapshot(folder.path());
        flip(copy.path(), &name, usize::try_from(at).unwrap());
        let error = match try_open(copy.path()) {
            Err(error) => error,
            Ok(log) => {
                reading += 1;
                let mut found = None;
                for partition in 0..4 {
                    found = found
                        .or(try_read(&log, &TopicPartition::new("t", PartitionId(partition))).await.err());
                }
                found.unwrap_or_else(|| panic!("byte {at} is not missed"))
            }
        };
        assert_says(error, ErrorKind::Corrupt, &[&name]);
    }
    assert!(reading > 10, "most bytes are found on reading");
}

#[tokio::test]
async fn a_reader_says_again_and_again_where_the_damage_is() {
    let folder = crashed().await;
    let name = first(folder.path(), "sorted-");
    flip(folder.path(), &name, 1_000);
    let log = open(folder.path());
    let mut tail =
        log.tail(&TopicPartition::new("t", PartitionId(0)), affinity_types::Offset::ZERO).await.unwrap();
    for _ in 0..3 {
        let error = affinity_log::next_batch(&mut *tail).await.map(drop).unwrap_err();
        assert_says(error, ErrorKind::Corrupt, &[&name, "byte 64 "]);
    }
}

/// A log with a group of the time `LATE` in partition 0, in the segment that is written to, and the name of that.
async fn going_on(folder: &Path) -> (EmbeddedLog, String) {
    let log = open(folder);
    let mut owner = Owner::take_over(&log, &TopicPartition::new("t", PartitionId(0)), 2).await;
    owner.time = LATE;
    owner.put("late", vec![7; 2_000]).await;
    (log, files(folder, "journal-").pop().unwrap())
}

#[tokio::test]
async fn a_place_in_time_behind_damage_is_refused_with_file_and_byte() {
    let folder = crashed().await;
    let (log, journal) = going_on(folder.path()).await;
    for (name, time) in [(first(folder.path(), "sorted-"), EventTime(1)), (journal, LATE)] {
        flip_open(folder.path(), &name, 1_000);
        let error = log.offset_at(&TopicPartition::new("t", PartitionId(0)), time).await.unwrap_err();
        assert_says(error, ErrorKind::Corrupt, &[&name, "byte "]);
    }
}

#[tokio::test]
async fn compaction_that_meets_damage_says_where_it_is() {
    let folder = crashed().await;
    let (log, name) = going_on(folder.path()).await;
    flip_open(folder.path(), &name, 1_000);
    let error = log.compact().unwrap_err();
    assert_says(error, ErrorKind::Unavailable, &["compaction has failed", &name, "byte "]);
}

#[tokio::test]
async fn a_damaged_manifest_is_refused() {
    let folder = crashed().await;
    flip(folder.path(), "manifest", 40);
    refused(folder.path(), ErrorKind::Corrupt, &["manifest is damaged"]);
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_reported() {
    let folder = crashed().await;
    let name = files(folder.path(), "journal-").pop().unwrap();
    let place = TopicPartition::new("t", PartitionId(0));
    let whole = read(&open(snapshot(folder.path()).path()), &place).await;
    assert_eq!(whole.last().unwrap().key, "last");
    edit(folder.path(), &name, |bytes| {
        let at = bytes.windows(LAST.len()).position(|window| window == LAST.as_bytes()).unwrap();
        bytes.truncate(at + 700);
    });
    let log = open(folder.path());
    let (file, byte) = log.recovery().torn.clone().unwrap();
    assert_eq!(file, name);
    assert!(byte > 20_000, "it was cut where the last group commit began: {byte}");
    assert_eq!(read(&log, &place).await, whole[..whole.len() - 1]);
    log.close();
    assert_eq!(open(folder.path()).recovery().torn, None, "once");
}

#[tokio::test]
async fn a_missing_file_is_refused_by_name() {
    let folder = crashed().await;
    for name in files(folder.path(), "journal-").into_iter().chain(files(folder.path(), "sorted-")) {
        let copy = snapshot(folder.path());
        fs::remove_file(copy.path().join(&name)).unwrap();
        refused(copy.path(), ErrorKind::Corrupt, &[&name, "is missing"]);
    }
}

/// A segment ends only when there is another one: that one is missed, even if it is the newest.
#[tokio::test]
async fn the_newest_segment_is_missed() {
    // There is room for a second segment, but none for sorting the first.
    let (folder, _, _log, _, _) = filled(300_000, kept()).await;
    let segments = files(folder.path(), "journal-");
    assert_eq!(segments.len(), 2);
    assert!(try_open(snapshot(folder.path()).path()).is_ok());
    let copy = snapshot(folder.path());
    fs::remove_file(copy.path().join(&segments[1])).unwrap();
    refused(copy.path(), ErrorKind::Corrupt, &[&segments[1], "is missing"]);
}

#[tokio::test]
async fn an_older_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let place = create(&log, 1, kept()).await.remove(0);
    let with_one_topic = fs::read(folder.path().join("manifest")).unwrap();
    let spec = TopicSpec { partitions: 1, cleanup: kept() };
    log.create_topic("other", spec).await.unwrap();
    let other = TopicPartition::new("other", PartitionId(0));
    Owner::take_over(&log, &other, 1).await.put("k", "v").await;
    let copy = snapshot(folder.path());
    fs::write(copy.path().join("manifest"), &with_one_topic).unwrap();
    refused(copy.path(), ErrorKind::Corrupt, &["journal-", "old one"]);

    let before = fs::read(folder.path().join("manifest")).unwrap();
    let mut owner = Owner::take_over(&log, &place, 1).await;
    for n in 0..500 {
        owner.put(&format!("k{n}"), vec![7; 2_000]).await;
    }
    log.compact().unwrap();
    let copy = snapshot(folder.path());
    fs::write(copy.path().join("manifest"), before).unwrap();
    refused(copy.path(), ErrorKind::Corrupt, &["journal-0000000000000001 is missing", "old one"]);
}

#[tokio::test]
async fn a_file_of_another_folder_is_refused() {
    let (folder, other) = (crashed().await, crashed().await);
    for kind in ["journal-", "sorted-"] {
        let copy = snapshot(folder.path());
        let name = first(folder.path(), kind);
        fs::copy(other.path().join(first(other.path(), kind)), copy.path().join(&name)).unwrap();
        refused(copy.path(), ErrorKind::Corrupt, &[&name, "belongs to another folder"]);
    }
}

#[tokio::test]
async fn a_segment_under_the_name_of_another_is_refused() {
    let folder = crashed().await;
    let name = first(folder.path(), "journal-");
    let next = files(folder.path(), "journal-").len() as u64;
    let number = u64::from_str_radix(&name["journal-".len()..], 16).unwrap() + next;
    let other = format!("journal-{number:016x}");
    fs::copy(folder.path().join(&name), folder.path().join(&other)).unwrap();
    refused(folder.path(), ErrorKind::Corrupt, &[&other, "under the name of file"]);
}

#[tokio::test]
async fn a_later_format_is_refused_by_number() {
    let folder = crashed().await;
    let segment = first(folder.path(), "journal-");
    let sorted = first(folder.path(), "sorted-");
    for name in ["manifest", &segment, &sorted] {
        let copy = snapshot(folder.path());
        edit(copy.path(), name, |bytes| bytes[8] = 9);
        refused(copy.path(), ErrorKind::Corrupt, &[name, "format 9", "reads up to 1"]);
    }
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letters.txt"), "dear").unwrap();
    refused(folder.path(), ErrorKind::Invalid, &["letters.txt", "holds no log"]);
    assert_eq!(fs::read(folder.path().join("letters.txt")).unwrap(), b"dear");
    assert!(files(folder.path(), "manifest").is_empty());
}

#[tokio::test]
async fn a_log_without_its_manifest_is_left_alone() {
    let folder = crashed().await;
    fs::remove_file(folder.path().join("manifest")).unwrap();
    let before = folder_bytes(folder.path());
    refused(folder.path(), ErrorKind::Invalid, &["no manifest"]);
    assert!(folder_bytes(folder.path()) - before < 20, "but for the lock nothing was written");
}

#[test]
fn a_path_that_is_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "text").unwrap();
    refused(&path, ErrorKind::Unavailable, &["cannot be made", &path.display().to_string()]);
}

#[test]
fn a_folder_that_cannot_be_read_or_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OddDisk::new(folder.path());
    disk.deny_listing();
    let error = open_on(Arc::new(disk)).map(drop).unwrap_err();
    assert_says(error, ErrorKind::Unavailable, &["cannot be listed", "permission denied"]);

    let disk = OddDisk::new(folder.path());
    disk.set_room(Some(0));
    let error = open_on(Arc::new(disk)).map(drop).unwrap_err();
    assert_says(error, ErrorKind::Unavailable, &["cannot be written", &folder.path().display().to_string()]);

    let disk = OddDisk::new(folder.path());
    disk.set_room(Some(1_000));
    let error = open_on(Arc::new(disk)).map(drop).unwrap_err();
    assert_says(error, ErrorKind::Unavailable, &["no room for a segment"]);
}

#[test]
fn settings_that_are_not_possible_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let good = options;
    for (name, options) in [
        ("segment_bytes", EmbeddedOptions { segment_bytes: (64 << 10) - 1, ..good() }),
        ("segment_bytes", EmbeddedOptions { segment_bytes: (1 << 30) + 1, ..good() }),
        ("group_bytes_max", EmbeddedOptions { group_bytes_max: 0, ..good() }),
        ("group_bytes_max", EmbeddedOptions { group_bytes_max: (64 << 10) + 1, ..good() }),
        ("in_flight_max", EmbeddedOptions { in_flight_max: 0, ..good() }),
        ("pending_bytes_max", EmbeddedOptions { pending_bytes_max: 0, ..good() }),
        ("read_bytes", EmbeddedOptions { read_bytes: 0, ..good() }),
        ("compaction_map_bytes", EmbeddedOptions { compaction_map_bytes: 1_023, ..good() }),
    ] {
        let error = EmbeddedLog::open(folder.path(), options, Arc::new(SystemClock)).map(drop).unwrap_err();
        assert_says(error, ErrorKind::Invalid, &[name]);
    }
}
