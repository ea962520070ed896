//! Reading.

use std::sync::Arc;

use affinity_types::{EventTime, Group, Offset, PartitionId};

use super::Subject;
use super::bell::{Bell, side_by_side};
use super::owner::{Owner, groups, place, read_batch, read_from, record};
use crate::{BoxFuture, ErrorKind, TopicPartition, next_batch};

pub(super) async fn a_tail_begins_with_the_group_that_contains_its_offset(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "within", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    // The base of the group that each offset lies in: the barrier is at 0.
    let mut base_of = vec![Offset(0)];
    for records in [3, 1, 5, 2, 1] {
        let group = owner.group(now, (0..records).map(|n| record(&format!("k{n}"), "v")).collect());
        let base = owner.appended(&group).await;
        base_of.extend(vec![base; records]);
    }
    let all = read_from(&*log, &place, Offset::ZERO).await;
    for (from, base) in (0..).map(Offset).zip(base_of) {
        let read = read_from(&*log, &place, from).await;
        assert_eq!(read[0].base, base, "reading from {from}");
        assert_eq!(read, all[all.len() - read.len()..], "reading from {from}");
    }
}

pub(super) async fn a_waiting_tail_is_woken(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "woken", 2).await;
    let other = TopicPartition { partition: PartitionId(1), ..place.clone() };
    let mut tails = Vec::new();
    for _ in 0..3 {
        tails.push(log.tail(&place, Offset::ZERO).await.expect("the end can be tailed"));
    }
    let mut elsewhere = log.tail(&other, Offset::ZERO).await.expect("the end can be tailed");
    let mut owner = Owner::open(&*log, &place, 1).await;
    for n in 0..5 {
        let mut bells = Vec::new();
        for tail in &mut tails {
            // Only the last waker counts.
            let bell = Arc::new(Bell::default());
            assert!(Arc::new(Bell::default()).poll(|cx| tail.poll_batch(cx)).is_pending());
            assert!(bell.poll(|cx| tail.poll_batch(cx)).is_pending(), "there is nothing new");
            bells.push(bell);
        }
        let group = if n == 0 { owner.barrier(now) } else { owner.group(now, vec![record("k", "v")]) };
        let at = owner.appended(&group).await;
        for (tail, bell) in tails.iter_mut().zip(bells) {
            bell.heard().await;
            let mut read = Vec::new();
            read_batch(&mut **tail, at, &mut read).await;
            assert_eq!(groups(read), std::slice::from_ref(&group));
        }
        assert!(Arc::new(Bell::default()).poll(|cx| elsewhere.poll_batch(cx)).is_pending());
    }
}

pub(super) async fn a_tail_outside_of_the_log_is_out_of_range(subject: &dyn Subject) {
    let log = subject.log();
    let place = place(subject, "outside", 1).await;
    let kind_at = async |from| log.tail(&place, Offset(from)).await.err().map(|error| error.kind());
    assert_eq!(kind_at(0).await, None, "the end of an empty log can be tailed");
    assert_eq!(kind_at(1).await, Some(ErrorKind::OutOfRange));
    let _owner = Owner::take_over(subject, &place, 1).await;
    assert_eq!(kind_at(1).await, None);
    assert_eq!(kind_at(2).await, Some(ErrorKind::OutOfRange));
    assert_eq!(kind_at(u64::MAX).await, Some(ErrorKind::OutOfRange));
}

pub(super) async fn a_time_finds_the_first_group_that_is_not_older(subject: &dyn Subject) {
    let (log, now) = (subject.log(), subject.now());
    let place = place(subject, "times", 1).await;
    let find = async |ms: i64| {
        log.offset_at(&place, EventTime(now.0 + ms)).await.expect("it is there").map(|at| at.0)
    };
    assert_eq!(find(0).await, None, "nothing is in the log");
    let mut owner = Owner::take_over(subject, &place, 1).await;
    for (ms, base) in [(10, 1), (30, 3), (20, 5), (40, 7)] {
        let group = owner.group(now.plus_ms(ms), vec![record("a", "1"), record("b", "2")]);
        assert_eq!(owner.appended(&group).await, Offset(base));
    }
    for (ms, found) in [
        (-1000, Some(0)),
        (0, Some(0)),
        (1, Some(1)),
        (10, Some(1)),
        (11, Some(3)),
        (20, Some(3)),
        (25, Some(3)),
        (30, Some(3)),
        (31, Some(7)),
        (40, Some(7)),
        (41, None),
    ] {
        assert_eq!(find(ms).await, found, "{ms} ms after the start");
    }
}

pub(super) async fn many_writers_and_readers_see_the_same(subject: &dyn Subject) {
    const PARTITIONS: u32 = 8;
    const READERS: usize = 3;
    const GROUPS: u64 = 150;
    let now = subject.now();
    let first = place(subject, "crowd", PARTITIONS).await;
    let mut running: Vec<BoxFuture<'_, ()>> = Vec::new();
    for partition in (0..PARTITIONS).map(PartitionId) {
        let place = TopicPartition { partition, ..first.clone() };
        // Two records in each group behind the barrier.
        let end = Offset(1 + 2 * GROUPS);
        for reader in 0..READERS {
            let place = place.clone();
            running.push(Box::pin(async move {
                let mut tail = subject.log().tail(&place, Offset::ZERO).await.expect("it can be tailed");
                let (mut next, mut read) = (Offset::ZERO, Vec::new());
                while next < end {
                    next = read_batch(&mut *tail, next, &mut read).await;
                }
                assert_eq!(read.len() as u64, 1 + GROUPS, "reader {reader} of {place}");
                assert!(
                    read.iter().zip(&read[1..]).all(|(a, b)| a.next == b.base),
                    "reader {reader} of {place}"
                );
                let theirs = place.partition.to_string();
                let mine = |group: &Group| {
                    group.records.last().and_then(|r| r.value.clone()) == Some(theirs.clone().into())
                };
                assert!(groups(read)[1..].iter().all(mine), "reader {reader} of {place}");
            }));
        }
        running.push(Box::pin(async move {
            let mut owner = Owner::take_over(subject, &place, 1).await;
            let group = |owner: &mut Owner, n: u64| {
                let key = format!("mine{}", n % 10);
                owner.group(
                    now,
                    vec![record(&key, &n.to_string()), record("mine", &place.partition.to_string())],
                )
            };
            let sent: Vec<Group> = (0..GROUPS).map(|n| group(&mut owner, n)).collect();
            owner.append_all(&sent).await;
        }));
    }
    side_by_side(running).await;
    for partition in (0..PARTITIONS).map(PartitionId) {
        let place = TopicPartition { partition, ..first.clone() };
        let mut tail = subject.log().tail(&place, Offset::ZERO).await.expect("it can be tailed");
        let batch = next_batch(&mut *tail).await.expect("it can be read");
        assert_eq!(batch.end(), Offset(1 + 2 * GROUPS));
    }
}
