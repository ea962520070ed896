//! Closing and opening again.

use affinity_types::{Epoch, Offset, PartitionId};

use super::Subject;
use super::owner::{Owner, place, read_all, read_from, record};
use crate::{ErrorKind, TopicPartition};

pub(super) async fn what_was_acknowledged_outlasts_reopening(subject: &dyn Subject) {
    let now = subject.now();
    let first = place(subject, "kept", 3).await;
    let gone = place(subject, "deleted", 1).await;
    let mut before = Vec::new();
    for partition in (0..3).map(PartitionId) {
        let place = TopicPartition { partition, ..first.clone() };
        let mut owner = Owner::take_over(subject, &place, 1).await;
        let records =
            |n: u32| (0..n % 4 + 1).map(|i| record(&format!("k{i}"), &"v".repeat(n as usize * 11))).collect();
        let sent: Vec<_> =
            (0..40 * partition.0).map(|n| owner.group(now.plus_ms(n.into()), records(n))).collect();
        owner.append_all(&sent).await;
        let bounds = subject.log().bounds(&place).await.expect("it is there");
        before.push((place.clone(), bounds, read_all(&*subject.log(), &place).await));
    }
    subject.log().delete_topic(&gone.topic).await.expect("it can be deleted");
    let topic = subject.log().topic(&first.topic).await.expect("one can ask");
    for _ in 0..2 {
        if !subject.reopen().await {
            return;
        }
        let log = subject.log();
        assert_eq!(log.topic(&first.topic).await.expect("one can ask"), topic);
        assert_eq!(log.topic(&gone.topic).await.expect("one can ask"), None);
        for (place, bounds, groups) in &before {
            assert_eq!(log.bounds(place).await.expect("it is there"), *bounds, "{place}");
            assert!(&read_all(&*log, place).await == groups, "{place} holds other groups than before");
            let last = groups.last().expect("there is the barrier");
            assert_eq!(read_from(&*log, place, last.base).await, std::slice::from_ref(last), "{place}");
        }
    }
}

pub(super) async fn a_writer_goes_on_after_reopening(subject: &dyn Subject) {
    let now = subject.now();
    let place = place(subject, "goes-on", 1).await;
    let mut end = 0;
    for epoch in 1..=4 {
        let mut owner = Owner::open(&*subject.log(), &place, epoch).await;
        let barrier = owner.barrier(now);
        let group = owner.group(now, vec![record("k", "v"), record("l", "v")]);
        assert_eq!(owner.appended(&barrier).await, Offset(end));
        assert_eq!(owner.appended(&group).await, Offset(end + 1));
        end += 3;
        drop(owner);
        if !subject.reopen().await {
            return;
        }
        if subject.knows_newest() && epoch > 1 {
            let prepared = subject.log().prepare(&place).await.expect("it can be prepared");
            let kind = prepared.open(Epoch(epoch - 1)).await.err().map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::Fenced), "epochs outlast reopening");
        }
    }
    assert_eq!(read_all(&*subject.log(), &place).await.len(), 8);
}
