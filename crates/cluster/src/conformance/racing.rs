//! Several candidates for a partition.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use affinity_types::Epoch;

use super::Subject;
use super::candidate::{Candidate, mastership, place, read, side_by_side, won, yield_once};
use crate::{BoxFuture, Cas, Revision, Seen};

/// Every order in which candidates can do their steps: whose turn it is, one after another.
fn orders(left: &mut [usize], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if left.iter().all(|steps| *steps == 0) {
        all.push(order.clone());
    }
    for whose in 0..left.len() {
        if left[whose] > 0 {
            left[whose] -= 1;
            order.push(whose);
            orders(left, order, all);
            order.pop();
            left[whose] += 1;
        }
    }
}

/// Lets candidates do their steps in every order, each on a partition of its own. An attempt wins if and only if none has won
/// since its candidate read.
async fn in_every_order(subject: &dyn Subject, keyspace: &str, candidates: usize, steps: usize) {
    let mut all = Vec::new();
    orders(&mut vec![steps; candidates], &mut Vec::new(), &mut all);
    for (number, order) in (0..).zip(all) {
        let place = place(subject, keyspace, number);
        let mut running: Vec<_> = (0..candidates).map(|number| Candidate::new(subject, number)).collect();
        let mut there = Seen::default();
        for whose in &order {
            let Some((new, seen, cas)) = running[*whose].step(&place).await else { continue };
            if seen != there {
                assert_eq!(cas, Cas::Lost(there.clone()), "order {order:?}: {new:?} is late");
                continue;
            }
            let Cas::Won(revision) = cas else {
                panic!("order {order:?}: {new:?} lost against nobody: {cas:?}")
            };
            there = Seen { mastership: new, revision };
        }
        assert_ne!(there, Seen::default(), "order {order:?}: somebody has won");
        assert_eq!(read(&*subject.coordinator(), &place).await, there, "order {order:?}");
    }
}

pub(super) async fn two_candidates_in_any_order_leave_one_winner(subject: &dyn Subject) {
    // Each twice, so that losers come back: 70 orders.
    in_every_order(subject, "two", 2, 4).await;
}

pub(super) async fn three_candidates_in_any_order_leave_one_winner(subject: &dyn Subject) {
    // 90 orders.
    in_every_order(subject, "three", 3, 2).await;
}

pub(super) async fn of_many_racing_candidates_one_wins_each_revision(subject: &dyn Subject) {
    const CANDIDATES: usize = 12;
    const ATTEMPTS: usize = 15;
    let place = place(subject, "many", 0);
    // By what was expected: who won, and what was there then.
    let winners: Mutex<BTreeMap<Revision, Seen>> = Mutex::default();
    let losses: Mutex<Vec<(Revision, Seen)>> = Mutex::default();
    let race = async |number| {
        let mut candidate = Candidate::new(subject, number);
        for _ in 0..2 * ATTEMPTS {
            let step = candidate.step(&place).await;
            yield_once().await;
            let Some((new, seen, cas)) = step else { continue };
            match cas {
                Cas::Won(revision) => {
                    let won = Seen { mastership: new, revision };
                    let other = winners.lock().expect("nobody panics").insert(seen.revision, won.clone());
                    assert_eq!(other, None, "{won:?} has won a revision that was won before");
                }
                Cas::Lost(there) => losses.lock().expect("nobody panics").push((seen.revision, there)),
            }
        }
    };
    side_by_side((0..CANDIDATES).map(|number| Box::pin(race(number)) as _).collect()).await;

    let winners = winners.into_inner().expect("nobody panics");
    let mut history = vec![Seen::default()];
    while let Some(next) = history.last().and_then(|last| winners.get(&last.revision)) {
        history.push(next.clone());
    }
    assert_eq!(history.len(), winners.len() + 1, "each winner follows the one before");
    let epochs: Vec<_> = history.iter().map(|seen| seen.mastership.epoch).collect();
    assert_eq!(epochs, (0..).map(Epoch).take(epochs.len()).collect::<Vec<_>>());
    assert_eq!(history.last(), Some(&read(&*subject.coordinator(), &place).await));
    for (expected, there) in losses.into_inner().expect("nobody panics") {
        assert!(there.revision > expected, "revision {expected} lost against {there:?}");
        assert!(history.contains(&there), "{there:?} was never won");
    }
}

pub(super) async fn reads_never_go_back(subject: &dyn Subject) {
    const READERS: usize = 6;
    const CHANGES: u64 = 40;
    let place = place(subject, "back", 0);
    // The newest revision that anybody was told: no call that begins later may tell of an older one.
    let told = AtomicU64::new(0);
    let write = async || {
        let coordinator = subject.coordinator();
        let mut seen = Seen::default();
        for epoch in 1..=CHANGES {
            let new = mastership(epoch, "writer", u128::from(epoch));
            seen = won(&*coordinator, &place, seen.revision, &new).await;
            told.fetch_max(seen.revision.0, Ordering::SeqCst);
            yield_once().await;
        }
    };
    let follow = async || {
        let coordinator = subject.coordinator();
        let mut epoch = Epoch::NONE;
        while epoch < Epoch(CHANGES) {
            let before = Revision(told.load(Ordering::SeqCst));
            let seen = read(&*coordinator, &place).await;
            assert!(seen.revision >= before, "{seen:?} was read after revision {before} was told");
            assert!(seen.mastership.epoch >= epoch, "{seen:?} was read after epoch {epoch}");
            told.fetch_max(seen.revision.0, Ordering::SeqCst);
            epoch = seen.mastership.epoch;
            yield_once().await;
        }
    };
    let mut running: Vec<BoxFuture<'_, ()>> = vec![Box::pin(write())];
    for _ in 0..READERS {
        running.push(Box::pin(follow()));
    }
    side_by_side(running).await;
}
