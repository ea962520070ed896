//! What the memory backend does as Kafka does: strangers, compaction by offset, deletions that are forgotten late.

use std::time::Duration;

use affinity_log::memory::{MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, ErrorKind, Log, TopicPartition, TopicSpec, next_batch};
use affinity_types::wire::{HEADER_VERSION, WireError};
use affinity_types::{Attributes, Epoch, EventTime, Group, InputPosition, Key, Offset, PartitionId, Record};
use affinity_types::{RecordKind, Sequence, Version};

use super::block_on;

const NOW: EventTime = EventTime(1_700_000_000_000);
const ALL: Offset = Offset(u64::MAX);

/// A log whose compaction has no lag, with deletions remembered for a second.
async fn free() -> (MemoryLog, TopicPartition) {
    with_lag(Duration::ZERO, Duration::ZERO).await
}

async fn with_lag(compaction_lag: Duration, request_window: Duration) -> (MemoryLog, TopicPartition) {
    let log = MemoryLog::new(MemoryOptions { compaction_lag, ..MemoryOptions::default() });
    let cleanup = Cleanup::Compact { delete_retention: Duration::from_secs(1), request_window };
    log.create_topic("t", TopicSpec { partitions: 1, cleanup }).await.unwrap();
    (log, TopicPartition::new("t", PartitionId(0)))
}

/// A group that writes each of the keys, or deletes those in capitals; it carries its own sequence as a position.
fn group(epoch: u64, sequence: u64, keys: &str) -> Group {
    let record = |key: char| {
        let value = key.is_lowercase().then(|| format!("{key}{epoch}.{sequence}").into());
        Record::new(Key::copy_from(key.to_ascii_lowercase().to_string().as_bytes()), value)
    };
    let position = InputPosition { input: "in".into(), offset: Offset(sequence) };
    Group {
        version: Version::new(Epoch(epoch), Sequence(sequence)),
        time: NOW,
        attributes: Attributes { request: None, positions: vec![position] },
        records: keys.chars().map(record).collect(),
    }
}

/// What a reader sees: of each group `base epoch.sequence`, its keys at their offsets, and whether it has its position.
async fn seen(log: &MemoryLog, place: &TopicPartition, from: u64) -> Vec<String> {
    let mut tail = log.tail(place, Offset(from)).await.unwrap();
    let batch = next_batch(&mut *tail).await.unwrap();
    let describe = |group: affinity_log::GroupRef<'_>| {
        let records = group.records().map(|record| {
            let key = String::from_utf8(record.key().to_vec()).unwrap();
            format!(" {}{}", if record.value().is_some() { key } else { key.to_uppercase() }, record.offset())
        });
        let records: String = records.collect();
        let position = if group.attributes().unwrap().positions.is_empty() { "" } else { " +" };
        format!("@{} {}{records}{position}", group.base(), group.version())
    };
    batch.groups().map(describe).collect()
}

#[test]
fn groups_are_put_together_from_the_records_that_are_left() {
    // Groups written; those seen after compaction of all but the newest record.
    let cases: &[(&[&str], &[&str])] = &[
        (&["abc", "x"], &["@0 1.0 a0 b1 c2 +", "@3 1.1 x3 +"]),
        // The first, one in the middle, the last.
        (&["abc", "a", "x"], &["@0 1.0 b1 c2 +", "@3 1.1 a3 +", "@4 1.2 x4 +"]),
        (&["abc", "b", "x"], &["@0 1.0 a0 c2 +", "@3 1.1 b3 +", "@4 1.2 x4 +"]),
        (&["abc", "c", "x"], &["@0 1.0 a0 b1", "@3 1.1 c3 +", "@4 1.2 x4 +"]),
        // All: the group is not seen.
        (&["abc", "cab", "x"], &["@3 1.1 c3 a4 b5 +", "@6 1.2 x6 +"]),
        // A key twice in one group.
        (&["aba", "x"], &["@0 1.0 b1 a2 +", "@3 1.1 x3 +"]),
        // The newest record stays, and hides nothing yet.
        (&["ab", "ba"], &["@0 1.0 a0", "@2 1.1 b2 a3 +"]),
        // A deletion stays as what it is.
        (&["ab", "A", "x"], &["@0 1.0 b1 +", "@2 1.1 A2 +", "@3 1.2 x3 +"]),
    ];
    for (written, expected) in cases {
        block_on(async move {
            let (log, place) = free().await;
            for (sequence, keys) in (0..).zip(*written) {
                log.zombie(&place, &group(1, sequence, keys)).unwrap();
            }
            let bounds = log.bounds(&place).await.unwrap();
            log.compact(&place, ALL, NOW).unwrap();
            assert_eq!(seen(&log, &place, 0).await, *expected, "{written:?}");
            assert_eq!(log.bounds(&place).await.unwrap(), bounds);
        });
    }
}

#[test]
fn reading_from_within_a_group_gives_what_is_left_of_it() {
    block_on(async {
        let (log, place) = free().await;
        for (sequence, keys) in (0..).zip(["abcd", "cd", "ef", "x"]) {
            log.zombie(&place, &group(1, sequence, keys)).unwrap();
        }
        log.compact(&place, Offset(6), NOW).unwrap();
        let first = "@0 1.0 a0 b1";
        for (from, expected) in
            [(0, first), (1, first), (2, first), (3, first), (4, "@4 1.1 c4 d5 +"), (8, "@8 1.3 x8 +")]
        {
            assert_eq!(seen(&log, &place, from).await[0], expected, "from {from}");
        }
    });
}

#[test]
fn a_group_of_which_nothing_is_left_is_passed_over() {
    block_on(async {
        let (log, place) = free().await;
        for (sequence, keys) in (0..).zip(["ab", "ab", "x"]) {
            log.zombie(&place, &group(1, sequence, keys)).unwrap();
        }
        log.compact(&place, ALL, NOW).unwrap();
        for from in 0..4 {
            assert_eq!(seen(&log, &place, from).await[0], "@2 1.1 a2 b3 +", "from {from}");
        }
    });
}

#[test]
fn a_record_of_a_stranger_is_a_group_of_its_own() {
    block_on(async {
        let (log, place) = free().await;
        let stranger = |key, value| log.stranger(&place, NOW, Key::from_static(key), value);
        log.zombie(&place, &group(1, 0, "ab")).unwrap();
        assert_eq!(stranger(b"a", Some("theirs".into())).unwrap(), Offset(2));
        stranger(b"z", None).unwrap();
        log.zombie(&place, &group(1, 1, "y")).unwrap();
        let expected = ["@0 1.0 a0 b1 +", "@2 0.2 a2", "@3 0.3 Z3", "@4 1.1 y4 +"];
        assert_eq!(seen(&log, &place, 0).await, expected);
        let mut tail = log.tail(&place, Offset(2)).await.unwrap();
        let batch = next_batch(&mut *tail).await.unwrap();
        let record = batch.groups().next().unwrap().records().next().unwrap();
        assert_eq!((record.kind(), record.value()), (RecordKind::Main, Some(&b"theirs"[..])));
    });
}

#[test]
fn compaction_goes_by_offset_and_not_by_epoch() {
    block_on(async {
        let (log, place) = free().await;
        for group in [group(2, 1, "ab"), group(1, 7, "a"), group(2, 2, "x")] {
            log.zombie(&place, &group).unwrap();
        }
        log.compact(&place, ALL, NOW).unwrap();
        let expected = ["@0 2.1 b1 +", "@2 1.7 a2 +", "@3 2.2 x3 +"];
        assert_eq!(seen(&log, &place, 0).await, expected, "the zombie's record has hidden the valid one");
    });
}

#[test]
fn compaction_stays_away_from_young_records_and_all_behind_them() {
    let lag = Duration::from_millis(10);
    // The lag of the log, the request window of the topic: the longer one counts.
    for (log_lag, window) in [(lag, Duration::ZERO), (Duration::ZERO, lag)] {
        block_on(async move {
            let (log, place) = with_lag(log_lag, window).await;
            for (n, ms) in [0, 1, 2, 9, 3, 4].into_iter().enumerate() {
                let group = Group { time: NOW.plus_ms(ms), ..group(1, n as u64, "a") };
                log.zombie(&place, &group).unwrap();
            }
            // With the clock at that many ms, so many records are forgotten.
            for (ms, forgotten) in [(0, 0), (10, 0), (11, 1), (12, 1), (18, 0), (19, 2), (99, 0)] {
                assert_eq!(log.compact(&place, ALL, NOW.plus_ms(ms)).unwrap(), forgotten, "at {ms} ms");
            }
            assert_eq!(seen(&log, &place, 0).await, ["@4 1.4 a4 +", "@5 1.5 a5 +"]);
        });
    }
}

#[test]
fn compaction_stays_below_the_offset_it_is_given() {
    block_on(async {
        let (log, place) = free().await;
        for n in 0..5 {
            log.zombie(&place, &group(1, n, "a")).unwrap();
        }
        for (up_to, forgotten) in [(0, 0), (1, 0), (2, 1), (4, 2), (5, 0), (9, 0)] {
            assert_eq!(log.compact(&place, Offset(up_to), NOW).unwrap(), forgotten, "below {up_to}");
        }
    });
}

#[test]
fn a_deletion_is_forgotten_when_it_is_old_and_was_passed_before() {
    block_on(async {
        let (log, place) = free().await;
        for (sequence, keys) in (0..).zip(["a", "A", "x"]) {
            log.zombie(&place, &group(1, sequence, keys)).unwrap();
        }
        let old = NOW.plus_ms(1001);
        // Old, but no compaction has passed it: only what it deleted goes.
        assert_eq!(log.compact(&place, ALL, old).unwrap(), 1);
        assert_eq!(log.compact(&place, ALL, NOW.plus_ms(1000)).unwrap(), 0, "it is not older than a second");
        assert_eq!(seen(&log, &place, 0).await, ["@1 1.1 A1 +", "@2 1.2 x2 +"]);
        assert_eq!(log.compact(&place, ALL, old).unwrap(), 1);
        assert_eq!(seen(&log, &place, 0).await, ["@2 1.2 x2 +"]);
    });
}

#[test]
fn the_newest_record_is_never_forgotten() {
    block_on(async {
        let (log, place) = free().await;
        log.zombie(&place, &group(1, 0, "aA")).unwrap();
        for _ in 0..3 {
            log.compact(&place, ALL, NOW.plus_ms(1 << 40)).unwrap();
        }
        assert_eq!(seen(&log, &place, 0).await, ["@0 1.0 a0 A1 +"]);
    });
}

#[test]
fn retention_forgets_whole_groups_from_the_start() {
    let second = Some(Duration::from_secs(1));
    // Groups of three records at 0, 10, 5 and 20 ms; where the log starts when the clock has gone on.
    for (retention, retention_bytes, ms, start) in [
        (second, None, 1000, 0),
        (second, None, 1001, 3),
        (second, None, 1006, 3),
        (second, None, 1011, 9),
        (second, None, 1021, 12),
        (None, Some(1 << 20), 1021, 0),
        (None, Some(0), 0, 12),
        (second, Some(0), 0, 12),
        (None, None, 1021, 0),
    ] {
        block_on(async move {
            let log = MemoryLog::default();
            let cleanup = Cleanup::Delete { retention, retention_bytes };
            log.create_topic("t", TopicSpec { partitions: 1, cleanup }).await.unwrap();
            let place = TopicPartition::new("t", PartitionId(0));
            for (n, ms) in (0..).zip([0, 10, 5, 20]) {
                log.zombie(&place, &Group { time: NOW.plus_ms(ms), ..group(1, n, "abc") }).unwrap();
            }
            assert_eq!(log.retain(&place, NOW.plus_ms(ms)).unwrap() as u64, start);
            let bounds = log.bounds(&place).await.unwrap();
            assert_eq!(
                (bounds.start, bounds.end),
                (Offset(start), Offset(12)),
                "{ms} ms {retention_bytes:?}"
            );
            assert_eq!(bounds.newest.is_none(), start == 12);
        });
    }
}

#[test]
fn retention_by_size_never_cuts_a_group() {
    block_on(async {
        for bytes in 0..400 {
            let log = MemoryLog::default();
            let cleanup = Cleanup::Delete { retention: None, retention_bytes: Some(bytes) };
            log.create_topic("t", TopicSpec { partitions: 1, cleanup }).await.unwrap();
            let place = TopicPartition::new("t", PartitionId(0));
            for n in 0..4 {
                log.zombie(&place, &group(1, n, "abc")).unwrap();
            }
            log.retain(&place, NOW).unwrap();
            assert_eq!(log.bounds(&place).await.unwrap().start.0 % 3, 0, "{bytes} bytes");
        }
    });
}

#[test]
fn a_header_that_cannot_be_read_stops_the_reader_for_good() {
    let future = WireError::UnknownVersion(HEADER_VERSION + 1);
    let before_the_start = [HEADER_VERSION, 0, 1, 1, 9, 10, 0];
    let malformed = WireError::Malformed("record header");
    for (header, cause) in
        [(&[HEADER_VERSION + 1][..], future), (&[], malformed), (&before_the_start, malformed)]
    {
        block_on(async move {
            let (log, place) = free().await;
            log.zombie(&place, &group(1, 0, "ab")).unwrap();
            log.forge(&place, NOW, Key::from_static(b"k"), header.to_vec().into()).unwrap();
            log.zombie(&place, &group(1, 1, "c")).unwrap();
            let mut tail = log.tail(&place, Offset::ZERO).await.unwrap();
            let batch = next_batch(&mut *tail).await.unwrap();
            assert_eq!((batch.groups().len(), batch.next()), (1, Offset(2)), "what lies before it is given");
            for _ in 0..2 {
                let error = next_batch(&mut *tail).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                let found = std::error::Error::source(&error).unwrap().downcast_ref::<WireError>();
                assert_eq!(found, Some(&cause));
            }
            assert_eq!(seen(&log, &place, 3).await, ["@3 1.1 c3 +"], "behind it a reader may begin");
        });
    }
}

#[test]
fn stale_bounds_stand_still() {
    block_on(async {
        let (log, place) = free().await;
        log.zombie(&place, &group(1, 0, "a")).unwrap();
        let stale = log.stale_bounds(&place).unwrap();
        log.zombie(&place, &group(1, 1, "b")).unwrap();
        assert_eq!(log.bounds(&place).await.unwrap(), stale);
        assert_eq!(seen(&log, &place, 0).await.len(), 2, "only the bounds are stale");
        assert_eq!(log.true_bounds(&place).unwrap().end, Offset(2));
        assert_eq!(log.bounds(&place).await.unwrap().end, Offset(2));
    });
}

#[test]
fn batches_end_where_they_are_full() {
    block_on(async {
        let log = MemoryLog::new(MemoryOptions { batch_bytes: 30, ..MemoryOptions::default() });
        log.create_topic("t", TopicSpec { partitions: 1, cleanup: Cleanup::default() }).await.unwrap();
        let place = TopicPartition::new("t", PartitionId(0));
        for n in 0..7 {
            log.zombie(&place, &group(1, n, "abc")).unwrap();
        }
        let mut tail = log.tail(&place, Offset::ZERO).await.unwrap();
        let mut next = 0;
        while next < 21 {
            let batch = next_batch(&mut *tail).await.unwrap();
            assert!((1..=2).contains(&batch.groups().len()));
            assert_eq!(batch.groups().next().unwrap().base(), Offset(next));
            next += 3 * batch.groups().len() as u64;
            assert_eq!((batch.next(), batch.end()), (Offset(next), Offset(21)));
        }
    });
}
