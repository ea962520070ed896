//! Compaction and retention.

use std::time::Duration;

use affinity_types::{Attributes, EventTime, Group, InputPosition, Key, Offset, Request, RequestId};

use super::Subject;
use super::owner::{
    Owner, Read, compacted, deletion, newest, place_with, read_all, read_batch, read_from, record,
};
use crate::{Cleanup, ErrorKind, Log, TopicPartition, TopicSpec, next_batch};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keys that [`churn`] writes.
const KEYS: usize = 23;

/// Groups that write and delete the same keys over and over, about 16 KiB each.
fn churn(owner: &mut Owner, time: EventTime, count: usize) -> Vec<Group> {
    let group = |n: usize| {
        let written = (0..n % 3 + 1).map(|i| {
            let value = format!("{n} {}", "x".repeat(16_384 / (n % 3 + 1)));
            record(&format!("k{}", (n * 7 + i) % KEYS), &value)
        });
        let deleted = n.is_multiple_of(5).then(|| deletion(&format!("k{}", (n * 3 + 1) % KEYS)));
        owner.group(time, written.chain(deleted).collect())
    };
    (0..count).map(group).collect()
}

/// Groups that write keys of their own, and delete them: what is deleted and never written again is remembered too.
fn gone(owner: &mut Owner, time: EventTime) -> [Group; 2] {
    let keys = || (0..5).map(|n| format!("gone{n}"));
    let written = keys().map(|key| record(&key, "soon gone")).collect();
    let deleted = keys().map(|key| deletion(&key)).collect();
    [owner.group(time, written), owner.group(time, deleted)]
}

/// Compacts until nothing more can come of it; whether the subject can.
async fn compact(subject: &dyn Subject, place: &TopicPartition) -> bool {
    for _ in 0..3 {
        if !subject.compact(place).await {
            return false;
        }
    }
    true
}

/// What is read is what was written, less some records.
fn assert_left_of(read: &[Read], written: &[Group]) {
    for Read { group, .. } in read {
        let whole = written.iter().find(|whole| whole.version == group.version).expect("it was written");
        assert_eq!(group.time, whole.time);
        assert!(
            group.records.iter().all(|record| whole.records.contains(record)),
            "{} has other records",
            group.version
        );
    }
}

fn records(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.records.len()).sum()
}

fn left(read: &[Read]) -> impl Iterator<Item = &Group> {
    read.iter().map(|read| &read.group)
}

pub(super) async fn compaction_keeps_the_newest_record_of_every_key(subject: &dyn Subject) {
    let place = compacted(subject, "compacted", 1).await;
    let mut owner = Owner::open(&*subject.log(), &place, 1).await;
    let mut written = vec![owner.barrier(subject.now())];
    written.extend(gone(&mut owner, subject.now()));
    written.extend(churn(&mut owner, subject.now(), 90));
    owner.append_all(&written).await;
    if !subject.advance(DAY).await {
        return;
    }
    let more = churn(&mut owner, subject.now(), 40);
    owner.append_all(&more).await;
    written.extend(more);
    let bounds = subject.log().bounds(&place).await.expect("it is there");
    if !compact(subject, &place).await {
        return;
    }
    let read = read_all(&*subject.log(), &place).await;
    assert_left_of(&read, &written);
    assert_eq!(newest(left(&read)), newest(&written), "also deletions, which are remembered");
    let left: usize = read.iter().map(|read| read.group.records.len()).sum();
    assert!(left < records(&written), "compaction has forgotten nothing");
    assert_eq!(subject.log().bounds(&place).await.expect("it is there"), bounds);

    // Reading from anywhere gives the same groups.
    for read in read.iter().step_by(9) {
        let again = read_from(&*subject.log(), &place, read.base).await;
        assert_eq!(&again[0], read, "from {}", read.base);
        let behind = read_from(&*subject.log(), &place, read.next).await;
        assert_eq!(behind, again[1..], "from {}", read.next);
    }
}

pub(super) async fn a_forgotten_deletion_brings_nothing_back(subject: &dyn Subject) {
    let cleanup = Cleanup::Compact { delete_retention: HOUR, request_window: Duration::from_secs(600) };
    let place = place_with(subject, "forgotten", TopicSpec { partitions: 1, cleanup }).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let deleted = |n: usize| format!("k{n}");
    let values = churn(&mut owner, subject.now(), 40);
    owner.append_all(&values).await;
    let all = (0..KEYS).map(|n| deletion(&deleted(n))).collect();
    let deletions = owner.group(subject.now(), all);
    owner.appended(&deletions).await;
    for round in 0..4 {
        if !subject.advance(3 * HOUR).await {
            return;
        }
        let other: Vec<Group> =
            (0..20).map(|_| owner.group(subject.now(), vec![record("other", &"y".repeat(16_384))])).collect();
        owner.append_all(&other).await;
        if !compact(subject, &place).await {
            return;
        }
        let read = read_all(&*subject.log(), &place).await;
        let newest = newest(left(&read));
        for n in 0..KEYS {
            let found = newest.get(&Key::copy_from(deleted(n).as_bytes()));
            assert!(found.is_none_or(|(_, record)| record.value.is_none()), "round {round}: key {n} is back");
        }
        assert_eq!(
            newest.get(&Key::from_static(b"other")).map(|(version, _)| *version),
            other.last().map(|g| g.version)
        );
    }
}

pub(super) async fn a_reader_amid_compaction_sees_the_newest_of_every_key(subject: &dyn Subject) {
    let log = subject.log();
    let place = compacted(subject, "amid", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let mut written = churn(&mut owner, subject.now(), 100);
    written.extend(gone(&mut owner, subject.now()));
    owner.append_all(&written).await;
    let mut tail = log.tail(&place, Offset::ZERO).await.expect("it can be tailed");
    let mut read = Vec::new();
    let mut next = read_batch(&mut *tail, Offset::ZERO, &mut read).await;
    if !subject.advance(DAY).await {
        return;
    }
    let more = churn(&mut owner, subject.now(), 40);
    owner.append_all(&more).await;
    written.extend(more);
    if !compact(subject, &place).await {
        return;
    }
    let end = log.bounds(&place).await.expect("it is there").end;
    while next < end {
        next = read_batch(&mut *tail, next, &mut read).await;
    }
    let read = &read[1..];
    assert_left_of(read, &written);
    assert_eq!(newest(left(read)), newest(&written));
}

fn with_request(group: Group, n: u64) -> Group {
    let id = RequestId { client: 77, sequence: n, issued: n.is_multiple_of(2).then_some(group.time) };
    let request = Some(Request { id, hash: n, result: format!("answer {n}").into() });
    Group { attributes: Attributes { request, positions: Vec::new() }, ..group }
}

pub(super) async fn requests_are_remembered_within_their_window(subject: &dyn Subject) {
    let place = compacted(subject, "requests", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let asked: Vec<Group> =
        (0..).zip(churn(&mut owner, subject.now(), 30)).map(|(n, group)| with_request(group, n)).collect();
    owner.append_all(&asked).await;
    // All of their records are superseded.
    let later = churn(&mut owner, subject.now(), 90);
    owner.append_all(&later).await;
    for minutes in [0, 4, 4] {
        if minutes > 0 && !subject.advance(Duration::from_secs(60 * minutes)).await {
            return;
        }
        if !compact(subject, &place).await {
            return;
        }
        let read = read_all(&*subject.log(), &place).await;
        for group in &asked {
            let found = left(&read).find(|found| found.version == group.version);
            assert_eq!(found.map(|found| &found.attributes), Some(&group.attributes));
        }
    }
}

pub(super) async fn the_newest_group_keeps_its_attributes(subject: &dyn Subject) {
    let place = compacted(subject, "attributes", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let before = churn(&mut owner, subject.now(), 90);
    owner.append_all(&before).await;
    let group = owner.group(subject.now(), vec![deletion("k1"), deletion("k2")]);
    let mut last = with_request(group, 1);
    last.attributes.positions.push(InputPosition { input: "clicks".into(), offset: Offset(99) });
    owner.appended(&last).await;
    for _ in 0..2 {
        if !(subject.advance(30 * DAY).await && compact(subject, &place).await) {
            return;
        }
        let read = read_all(&*subject.log(), &place).await;
        let found = read.last().expect("the newest group is there");
        assert_eq!((found.group.version, &found.group.attributes), (last.version, &last.attributes));
        assert_eq!(found.next, subject.log().bounds(&place).await.expect("it is there").end);
    }
}

pub(super) async fn retention_moves_the_start(subject: &dyn Subject) {
    let by_time = Cleanup::Delete { retention: Some(HOUR), retention_bytes: None };
    let by_size = Cleanup::Delete { retention: None, retention_bytes: Some(512 << 10) };
    for (name, cleanup, passed) in [("by-time", by_time, 2 * HOUR), ("by-size", by_size, Duration::ZERO)] {
        let place = place_with(subject, name, TopicSpec { partitions: 1, cleanup }).await;
        let log = subject.log();
        let mut owner = Owner::take_over(subject, &place, 1).await;
        let old = churn(&mut owner, subject.now(), 60);
        owner.append_all(&old).await;
        let mut tail = log.tail(&place, Offset::ZERO).await.expect("it can be tailed");
        if !passed.is_zero() && !subject.advance(passed).await {
            continue;
        }
        let new = churn(&mut owner, subject.now(), 20);
        owner.append_all(&new).await;
        let before = read_all(&*log, &place).await;
        if !subject.retain(&place).await {
            continue;
        }
        assert_retained(&*log, &place, &before).await;
        let kind = next_batch(&mut *tail).await.err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::OutOfRange), "{name}: a reader that was overtaken is told");
        let first_new = new[0].version;
        let read = read_from(&*log, &place, log.bounds(&place).await.expect("it is there").start).await;
        assert!(read[0].group.version <= first_new, "{name}: what is young and small enough stays");
    }
}

/// What is left is the end of what was there, and what is gone is out of range.
async fn assert_retained(log: &dyn Log, place: &TopicPartition, before: &[Read]) {
    let bounds = log.bounds(place).await.expect("it is there");
    assert!(bounds.start > Offset::ZERO, "{place}: retention has forgotten nothing");
    assert_eq!(Some(bounds.end), before.last().map(|read| read.next));
    let read = read_from(log, place, bounds.start).await;
    assert_eq!(read, before[before.len() - read.len()..], "{place}");
    assert_eq!(
        read.first().map(|read| read.base),
        Some(bounds.start),
        "{place}: the start is a whole group's"
    );
    for gone in [Offset::ZERO, Offset(bounds.start.0 - 1)] {
        let kind = log.tail(place, gone).await.err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::OutOfRange), "{place}: offset {gone} is gone");
    }
    let found = log.offset_at(place, EventTime(i64::MIN)).await.expect("it is there");
    assert_eq!(found, Some(bounds.start), "{place}");
}
