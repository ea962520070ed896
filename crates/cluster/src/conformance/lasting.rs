//! What outlasts the coordinator's own end.

use super::Subject;
use super::candidate::{attempt, mastership, place, read, won};
use crate::{Cas, Revision, Seen};

pub(super) async fn what_was_won_outlasts_reopening(subject: &dyn Subject) {
    let places = [0, 1, 2].map(|number| place(subject, "outlasts", number));
    let mut all = vec![Seen::default(); 3];
    for round in 1..4 {
        let coordinator = subject.coordinator();
        // The third is never taken.
        for (place, seen) in places.iter().zip(&mut all).take(2) {
            let new = mastership(round, "node", u128::from(round));
            *seen = won(&*coordinator, place, seen.revision, &new).await;
        }
        drop(coordinator);
        if !subject.reopen().await {
            return;
        }
        let coordinator = subject.coordinator();
        for (place, seen) in places.iter().zip(&all) {
            assert_eq!(read(&*coordinator, place).await, *seen, "{place}");
        }
    }
}

pub(super) async fn a_stale_expectation_loses_after_reopening_too(subject: &dyn Subject) {
    let place = place(subject, "stale-after", 0);
    let first = won(&*subject.coordinator(), &place, Revision::NONE, &mastership(1, "a", 1)).await;
    let second = won(&*subject.coordinator(), &place, first.revision, &mastership(2, "b", 2)).await;
    if !subject.reopen().await {
        return;
    }
    for expected in [Revision::NONE, first.revision] {
        let cas = attempt(&*subject.coordinator(), &place, expected, &mastership(3, "a", 3)).await;
        assert_eq!(cas, Cas::Lost(second.clone()), "revision {expected}");
    }
    won(&*subject.coordinator(), &place, second.revision, &mastership(3, "a", 3)).await;
}
