//! Answers that do not come.

use std::future::poll_fn;
use std::task::Poll;

use super::candidate::{attempt, mastership, place, read, won};
use super::{Loss, Subject};
use crate::{Cas, Coordinator, ErrorKind, Mastership, PartitionName, Revision, Seen, resolve, settled};

/// Does a compare-and-set, the partition's first, whose answer is lost. Whether the subject can do that.
async fn lost(
    subject: &dyn Subject,
    loss: Loss,
    coordinator: &dyn Coordinator,
    place: &PartitionName,
    new: &Mastership,
) -> bool {
    if !subject.lose(loss) {
        return false;
    }
    let answer = coordinator.compare_and_set(place, Revision::NONE, new.clone()).await;
    assert_eq!(answer.map_err(|error| error.kind()), Err(ErrorKind::Unknown), "{loss:?}");
    true
}

pub(super) async fn a_repeated_attempt_is_done_once(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "repeated", 0);
    let new = mastership(1, "a", 1);
    let seen = won(&*coordinator, &place, Revision::NONE, &new).await;
    for _ in 0..2 {
        assert_eq!(attempt(&*coordinator, &place, Revision::NONE, &new).await, Cas::Lost(seen.clone()));
        let resolved = resolve(&*coordinator, &place, Revision::NONE, &new).await.expect("it is answered");
        assert_eq!(resolved, Cas::Won(seen.revision));
        assert_eq!(read(&*coordinator, &place).await, seen);
    }
}

pub(super) async fn a_lost_answer_is_found_by_its_attempt(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "answer", 0);
    let new = mastership(1, "a", 1);
    if !lost(subject, Loss::Answer, &*coordinator, &place, &new).await {
        return;
    }
    let seen = read(&*subject.coordinator(), &place).await;
    assert_eq!(seen.mastership, new);
    let won = Cas::Won(seen.revision);
    assert_eq!(settled(&seen, Revision::NONE, new.attempt), Some(won.clone()));
    let resolved = resolve(&*coordinator, &place, Revision::NONE, &new).await.expect("it is answered");
    assert_eq!(resolved, won);
}

pub(super) async fn a_lost_request_can_be_repeated(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "request", 0);
    let new = mastership(1, "a", 1);
    if !lost(subject, Loss::Request, &*coordinator, &place, &new).await {
        return;
    }
    let seen = read(&*coordinator, &place).await;
    assert_eq!(settled(&seen, Revision::NONE, new.attempt), None, "it is open");
    let resolved = resolve(&*coordinator, &place, Revision::NONE, &new).await.expect("it is answered");
    let seen = read(&*coordinator, &place).await;
    assert_eq!((resolved, seen.mastership), (Cas::Won(seen.revision), new));
}

pub(super) async fn a_late_request_wins_once_or_loses(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    // What is done between the attempt and the moment at which it lands.
    for (number, between) in (0..).zip(["nothing", "the same attempt", "another attempt"]) {
        let place = place(subject, "late", number);
        let (new, other) = (mastership(1, "a", 1), mastership(1, "b", 2));
        if !lost(subject, Loss::Time, &*coordinator, &place, &new).await {
            return;
        }
        assert_eq!(settled(&read(&*coordinator, &place).await, Revision::NONE, new.attempt), None);
        let expected = match between {
            "the same attempt" => Some(won(&*coordinator, &place, Revision::NONE, &new).await),
            "another attempt" => Some(won(&*coordinator, &place, Revision::NONE, &other).await),
            _ => None,
        };
        subject.land().await;
        let seen = read(&*coordinator, &place).await;
        if let Some(expected) = expected {
            assert_eq!(seen, expected, "{between}: it came too late");
        }
        let resolved = resolve(&*coordinator, &place, Revision::NONE, &new).await.expect("it is answered");
        let won = Cas::Won(seen.revision);
        let outcome = if between == "another attempt" { Cas::Lost(seen) } else { won };
        assert_eq!(resolved, outcome, "{between}");
    }
}

pub(super) async fn a_lost_answer_followed_by_another_is_lost(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "followed", 0);
    let new = mastership(1, "a", 1);
    if !lost(subject, Loss::Answer, &*coordinator, &place, &new).await {
        return;
    }
    let first = read(&*coordinator, &place).await;
    let second = won(&*coordinator, &place, first.revision, &mastership(2, "b", 2)).await;
    let lost = Cas::Lost(second.clone());
    assert_eq!(settled(&second, Revision::NONE, new.attempt), Some(lost.clone()));
    let resolved = resolve(&*coordinator, &place, Revision::NONE, &new).await.expect("it is answered");
    assert_eq!(resolved, lost);
}

pub(super) async fn a_dropped_call_is_done_whole_or_not_at_all(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    for polls in 0..4 {
        let place = place(subject, "dropped", polls);
        let new = mastership(1, "a", 1);
        let mut call = coordinator.compare_and_set(&place, Revision::NONE, new.clone());
        for _ in 0..polls {
            let ready = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
            if ready {
                break;
            }
        }
        drop(call);
        let seen = read(&*coordinator, &place).await;
        if polls == 0 {
            assert_eq!(seen, Seen::default(), "it has not begun");
        }
        let resolved = resolve(&*coordinator, &place, Revision::NONE, &new).await.expect("it is answered");
        subject.land().await;
        let seen = read(&*coordinator, &place).await;
        assert_eq!((resolved, &seen.mastership), (Cas::Won(seen.revision), &new), "{polls} polls");
    }
}

pub(super) async fn an_unavailable_call_does_nothing(subject: &dyn Subject) {
    let coordinator = subject.coordinator();
    let place = place(subject, "unavailable", 0);
    let new = mastership(1, "a", 1);
    if !subject.refuse() {
        return;
    }
    let kind = coordinator.read(&place).await.err().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Unavailable));
    assert!(subject.refuse());
    let answer = coordinator.compare_and_set(&place, Revision::NONE, new.clone()).await;
    assert_eq!(answer.map_err(|error| error.kind()), Err(ErrorKind::Unavailable));
    subject.land().await;
    assert_eq!(read(&*coordinator, &place).await, Seen::default());
    won(&*coordinator, &place, Revision::NONE, &new).await;
}
