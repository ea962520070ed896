//! Topics.

use std::sync::Arc;
use std::time::Duration;

use affinity_types::{Offset, PartitionId};

use super::Subject;
use super::bell::Bell;
use super::owner::{Owner, place, record};
use crate::{Cleanup, ErrorKind, Outcome, Topic, TopicPartition, TopicSpec, next_ack, next_batch};

fn kind<T>(answer: Result<T, crate::Error>) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

pub(super) async fn a_topic_is_created_once_and_found(subject: &dyn Subject) {
    let log = subject.log();
    let retained =
        Cleanup::Delete { retention: Some(Duration::from_secs(3600)), retention_bytes: Some(1 << 30) };
    for (name, cleanup) in [("compacted", Cleanup::default()), ("retained_1.x-Y", retained)] {
        let name = format!("{}{name}", subject.prefix());
        let spec = TopicSpec { partitions: 3, cleanup };
        assert_eq!(log.topic(&name).await.expect("one can ask"), None, "it is not there before");
        let topic = log.create_topic(&name, spec.clone()).await.expect("it can be created");
        assert_eq!((&*topic.name, &topic.spec), (&*name, &spec));
        assert_eq!(log.topic(&name).await.expect("one can ask"), Some(topic.clone()));
        let again = log.create_topic(&name, spec.clone()).await.expect("as it is, it is found");
        assert_eq!(again, topic);

        let more = TopicSpec { partitions: 4, ..spec.clone() };
        let days = Duration::from_secs(24 * 3600);
        let cleanup = Cleanup::Compact { delete_retention: days, request_window: days };
        for other in [more, TopicSpec { cleanup, ..spec.clone() }] {
            assert_eq!(kind(log.create_topic(&name, other).await), Some(ErrorKind::Conflict));
        }
        assert_eq!(log.topic(&name).await.expect("one can ask"), Some(topic), "a conflict changes nothing");
    }
}

pub(super) async fn a_topic_as_it_cannot_be_is_invalid(subject: &dyn Subject) {
    let log = subject.log();
    let long = "x".repeat(Topic::NAME_MAX + 1);
    let names = ["", ".", "..", "a/b", "a b", "ä", "a\0", &long].map(|name| (name, 1));
    let numbers = [("zero", 0), ("many", Topic::PARTITIONS_MAX + 1)];
    for (name, partitions) in names.into_iter().chain(numbers) {
        let spec = TopicSpec { partitions, cleanup: Cleanup::default() };
        assert_eq!(
            kind(log.create_topic(name, spec).await),
            Some(ErrorKind::Invalid),
            "{name:?} {partitions}"
        );
    }
}

pub(super) async fn a_topic_made_again_is_another_one(subject: &dyn Subject) {
    let log = subject.log();
    let place = place(subject, "again", 2).await;
    let first = log.topic(&place.topic).await.expect("one can ask").expect("it is there");
    let mut owner = Owner::take_over(subject, &place, 5).await;
    let group = owner.group(subject.now(), vec![record("a", "1")]);
    owner.appended(&group).await;

    log.delete_topic(&place.topic).await.expect("it can be deleted");
    assert_eq!(log.topic(&place.topic).await.expect("one can ask"), None);
    let second = log.create_topic(&place.topic, first.spec.clone()).await.expect("the name is free");
    assert_ne!(second.id, first.id);
    let bounds = log.bounds(&place).await.expect("it is there");
    assert_eq!((bounds.start, bounds.end, bounds.newest), (Offset::ZERO, Offset::ZERO, None));

    // Its epochs are its own, and the old writer is not its writer.
    let group = owner.group(subject.now(), vec![record("a", "2")]);
    if owner.writer.append(&group).is_ok() {
        assert_eq!(next_ack(&mut *owner.writer).await.outcome, Outcome::Fenced);
    }
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let group = owner.group(subject.now(), vec![record("a", "3")]);
    assert_eq!(owner.appended(&group).await, Offset(1));
}

pub(super) async fn deleting_a_topic_ends_its_writers_and_readers(subject: &dyn Subject) {
    let log = subject.log();
    let place = place(subject, "gone", 1).await;
    let mut owner = Owner::take_over(subject, &place, 1).await;
    let mut tail = log.tail(&place, Offset(1)).await.expect("the end can be tailed");
    let bell = Arc::new(Bell::default());
    assert!(bell.poll(|cx| tail.poll_batch(cx)).is_pending());
    let prepared = log.prepare(&place).await.expect("it can be prepared");

    log.delete_topic(&place.topic).await.expect("it can be deleted");
    bell.heard().await;
    assert_eq!(kind(next_batch(&mut *tail).await), Some(ErrorKind::NotFound));
    let group = owner.group(subject.now(), vec![record("a", "1")]);
    if owner.writer.append(&group).is_ok() {
        assert_eq!(next_ack(&mut *owner.writer).await.outcome, Outcome::Fenced);
    }
    assert!(owner.is_lost(subject.now()));
    match prepared.open(affinity_types::Epoch(2)).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced),
        Ok(writer) => {
            let mut late = Owner::new(writer);
            let barrier = late.barrier(subject.now());
            if late.writer.append(&barrier).is_ok() {
                assert_eq!(next_ack(&mut *late.writer).await.outcome, Outcome::Fenced);
            }
        }
    }
}

pub(super) async fn what_is_not_there_is_not_found(subject: &dyn Subject) {
    let log = subject.log();
    let there = place(subject, "there", 2).await;
    let beyond = TopicPartition::new(there.topic, PartitionId(2));
    let elsewhere = TopicPartition::new(format!("{}nowhere", subject.prefix()), PartitionId(0));
    for place in [beyond, elsewhere.clone()] {
        assert_eq!(kind(log.bounds(&place).await), Some(ErrorKind::NotFound), "{place}");
        assert_eq!(kind(log.offset_at(&place, subject.now()).await), Some(ErrorKind::NotFound), "{place}");
        assert_eq!(kind(log.tail(&place, Offset::ZERO).await), Some(ErrorKind::NotFound), "{place}");
        assert_eq!(kind(log.prepare(&place).await), Some(ErrorKind::NotFound), "{place}");
    }
    assert_eq!(kind(log.delete_topic(&elsewhere.topic).await), Some(ErrorKind::NotFound));
}
