//! What a partition's entry is, one caller at a time.

use affinity_types::{Epoch, PartitionId};

use super::Subject;
use super::candidate::{attempt, invalid, mastership, place, read, won};
use crate::{AttemptId, Cas, ErrorKind, Mastership, NodeId, PartitionName, Revision, Seen};

pub(super) async fn a_partition_never_taken_has_nobody(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "never", 0);
    for _ in 0..2 {
        let seen = read(&*coordinator, &place).await;
        assert_eq!(seen, Seen { mastership: Mastership::NONE, revision: Revision::NONE });
    }
}

pub(super) async fn what_was_won_is_read_back(subject: &dyn Subject) {
    let (coordinator, other) = (subject.coordinator(), subject.coordinator());
    let place = place(subject, "won", 0);
    let mut seen = Seen::default();
    for epoch in 1..5 {
        let new = mastership(epoch, "node", u128::MAX - u128::from(epoch));
        seen = won(&*coordinator, &place, seen.revision, &new).await;
        assert_eq!(read(&*coordinator, &place).await, seen);
        assert_eq!(read(&*other, &place).await, seen, "through another handle");
    }
}

pub(super) async fn names_at_the_limits_come_back(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let filled = |max: usize| format!("{:-<max$}", subject.prefix());
    let keyspaces =
        [filled(PartitionName::KEYSPACE_MAX), subject.prefix() + "...", subject.prefix() + "Aa_0-9"];
    let nodes = ["n".repeat(NodeId::BYTES_MAX), "http://[::1]:80/ä\0\n".to_owned(), "x".to_owned()];
    for (attempt, (keyspace, node)) in (1..).zip(keyspaces.into_iter().zip(nodes)) {
        let place = PartitionName::new(keyspace, PartitionId(u32::MAX));
        let seen = won(&*coordinator, &place, Revision::NONE, &mastership(1, &node, attempt)).await;
        assert_eq!(read(&*coordinator, &place).await, seen);
    }
}

pub(super) async fn names_that_cannot_be_are_invalid(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let long = "k".repeat(PartitionName::KEYSPACE_MAX + 1);
    for keyspace in ["", ".", "..", "a/b", "/", "a b", "ä", "a\0", &long] {
        let place = PartitionName::new(keyspace, PartitionId(0));
        let kind = coordinator.read(&place).await.err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Invalid), "{keyspace:?}");
        invalid(&*coordinator, &place, Revision::NONE, &mastership(1, "node", 1)).await;
    }
    let place = place(subject, "owners", 0);
    for node in [String::new(), "n".repeat(NodeId::BYTES_MAX + 1)] {
        invalid(&*coordinator, &place, Revision::NONE, &mastership(1, &node, 1)).await;
    }
    assert_eq!(read(&*coordinator, &place).await, Seen::default());
}

pub(super) async fn nobody_may_have_an_epoch(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "nobody", 0);
    let first = won(&*coordinator, &place, Revision::NONE, &mastership(1, "node", 1)).await;
    let nobody = Mastership { epoch: Epoch(2), owner: None, attempt: AttemptId(2) };
    let second = won(&*coordinator, &place, first.revision, &nobody).await;
    assert_eq!(read(&*coordinator, &place).await, second);
    invalid(&*coordinator, &place, second.revision, &mastership(2, "node", 3)).await;
    won(&*coordinator, &place, second.revision, &mastership(3, "node", 3)).await;
}

pub(super) async fn epochs_may_be_skipped_but_never_decrease(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "epochs", 0);
    invalid(&*coordinator, &place, Revision::NONE, &mastership(0, "node", 1)).await;
    let mut seen = Seen::default();
    for (attempt, epoch) in (1..).zip([7, 8, 256, 1 << 32, u64::MAX - 1, u64::MAX]) {
        seen = won(&*coordinator, &place, seen.revision, &mastership(epoch, "node", attempt)).await;
        for lower in [0, 1, 6, epoch - 1, epoch] {
            invalid(&*coordinator, &place, seen.revision, &mastership(lower, "other", 1000)).await;
        }
        assert_eq!(read(&*coordinator, &place).await, seen, "what is refused changes nothing");
    }
}

pub(super) async fn an_attempt_is_made_once(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "attempts", 0);
    invalid(&*coordinator, &place, Revision::NONE, &mastership(1, "node", AttemptId::NONE.0)).await;
    let seen = won(&*coordinator, &place, Revision::NONE, &mastership(1, "node", 1)).await;
    for attempt in [AttemptId::NONE, AttemptId(1)] {
        invalid(&*coordinator, &place, seen.revision, &mastership(2, "node", attempt.0)).await;
    }
    assert_eq!(read(&*coordinator, &place).await, seen);
}

pub(super) async fn a_stale_expectation_loses_whatever_it_brings(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "stale", 0);
    let first = won(&*coordinator, &place, Revision::NONE, &mastership(3, "a", 1)).await;
    let second = won(&*coordinator, &place, first.revision, &mastership(4, "b", 2)).await;
    for expected in [Revision::NONE, first.revision] {
        for epoch in [1, 3, 4, 5] {
            let cas = attempt(&*coordinator, &place, expected, &mastership(epoch, "c", 3)).await;
            assert_eq!(cas, Cas::Lost(second.clone()), "epoch {epoch} at revision {expected}");
        }
    }
    assert_eq!(read(&*coordinator, &place).await, second);
}

pub(super) async fn an_expectation_of_the_future_loses(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "future", 0);
    let new = mastership(1, "node", 1);
    for expected in [Revision(1), Revision(u64::MAX)] {
        let cas = attempt(&*coordinator, &place, expected, &new).await;
        assert_eq!(cas, Cas::Lost(Seen::default()), "revision {expected}");
    }
    let seen = won(&*coordinator, &place, Revision::NONE, &new).await;
    let after = Revision(seen.revision.0 + 1);
    let cas = attempt(&*coordinator, &place, after, &mastership(2, "node", 2)).await;
    assert_eq!(cas, Cas::Lost(seen));
}

pub(super) async fn revisions_grow(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "revisions", 0);
    let mut last = Revision::NONE;
    for epoch in 1..40 {
        let new = mastership(epoch, "node", u128::from(epoch));
        let revision = won(&*coordinator, &place, last, &new).await.revision;
        assert!(revision > last, "{revision} behind {last}");
        last = revision;
    }
}

pub(super) async fn partitions_have_nothing_to_do_with_each_other(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    // Names of which one begins the other, and numbers that could run together with them.
    let names = [("part", 1), ("part", 11), ("part1", 1), ("part.1", 1), ("part-1", 1), ("PART", 1)];
    let places: Vec<_> = names.iter().map(|(keyspace, number)| place(subject, keyspace, *number)).collect();
    let mut all = Vec::new();
    for (number, place) in (1..).zip(&places) {
        assert_eq!(read(&*coordinator, place).await, Seen::default(), "{place}");
        let new = mastership(number, "node", u128::from(number));
        all.push(won(&*coordinator, place, Revision::NONE, &new).await);
    }
    for (place, seen) in places.iter().zip(all) {
        assert_eq!(read(&*coordinator, place).await, seen, "{place}");
    }
}
