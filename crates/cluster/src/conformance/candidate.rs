//! Candidates, and what they do to a partition.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use affinity_types::{Epoch, PartitionId};

use super::Subject;
use crate::{
    AttemptId, BoxFuture, Cas, Coordinator, ErrorKind, Mastership, NodeId, PartitionName, Revision, Seen,
};

/// A partition of the case's keyspace.
pub(super) fn place(subject: &dyn Subject, keyspace: &str, partition: u32) -> PartitionName {
    PartitionName::new(subject.prefix() + keyspace, PartitionId(partition))
}

/// `node` under `epoch`, by attempt number `attempt`.
pub(super) fn mastership(epoch: u64, node: &str, attempt: u128) -> Mastership {
    Mastership { epoch: Epoch(epoch), owner: Some(NodeId::new(node)), attempt: AttemptId(attempt) }
}

pub(super) async fn read(coordinator: &dyn Coordinator, place: &PartitionName) -> Seen {
    coordinator.read(place).await.expect("it can be read")
}

pub(super) async fn attempt(
    coordinator: &dyn Coordinator,
    place: &PartitionName,
    expected: Revision,
    new: &Mastership,
) -> Cas {
    coordinator.compare_and_set(place, expected, new.clone()).await.expect("it is answered")
}

/// Does a compare-and-set that must win; what is there then.
pub(super) async fn won(
    coordinator: &dyn Coordinator,
    place: &PartitionName,
    expected: Revision,
    new: &Mastership,
) -> Seen {
    match attempt(coordinator, place, expected, new).await {
        Cas::Won(revision) => Seen { mastership: new.clone(), revision },
        Cas::Lost(seen) => panic!("{new:?} expected revision {expected} and lost against {seen:?}"),
    }
}

/// Does a compare-and-set that must be refused for what it is.
pub(super) async fn invalid(
    coordinator: &dyn Coordinator,
    place: &PartitionName,
    expected: Revision,
    new: &Mastership,
) {
    match coordinator.compare_and_set(place, expected, new.clone()).await {
        Err(error) if error.kind() == ErrorKind::Invalid => {}
        other => panic!("{new:?} at {place} is invalid, and came to {other:?}"),
    }
}

/// A candidate for mastership, step by step: it reads, then tries to win, then reads again, and so on. Between a read and
/// the attempt it would prepare its writer.
pub(super) struct Candidate {
    coordinator: Arc<dyn Coordinator>,
    number: usize,
    /// Attempts so far.
    attempts: u64,
    seen: Option<Seen>,
}

impl Candidate {
    pub(super) fn new(subject: &dyn Subject, number: usize) -> Candidate {
        Candidate { coordinator: subject.coordinator(), number, attempts: 0, seen: None }
    }

    /// Does its next step. Of an attempt: what it put, what it expected and what it came to.
    pub(super) async fn step(&mut self, place: &PartitionName) -> Option<(Mastership, Seen, Cas)> {
        let Some(seen) = self.seen.take() else {
            self.seen = Some(read(&*self.coordinator, place).await);
            return None;
        };
        self.attempts += 1;
        let id = (self.number as u128) << 64 | u128::from(self.attempts);
        let node = format!("candidate-{}", self.number);
        let new = mastership(seen.mastership.epoch.next().0, &node, id);
        let cas = attempt(&*self.coordinator, place, seen.revision, &new).await;
        Some((new, seen, cas))
    }
}

/// Runs futures side by side to their ends.
pub(super) async fn side_by_side(mut running: Vec<BoxFuture<'_, ()>>) {
    poll_fn(|cx| {
        running.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Lets the others go on.
pub(super) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
