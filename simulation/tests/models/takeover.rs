//! Taking over: in which order of its tasks somebody always becomes the master.

use affinity_simulation::models::explore::explore;
use affinity_simulation::models::takeover::Takeover;
use affinity_simulation::models::takeover::Task::{self, Barrier, Cas, InitProducer, ReadCoordinator};

/// What an exploration must count.
struct Counts {
    states: usize,
    ends: usize,
    without_master: usize,
}

fn check(order: [Task; 4], candidates: usize, expected: Counts) {
    let report = explore(&Takeover { order, candidates }, 10_000);
    assert!(report.complete);
    assert!(report.violations.is_empty(), "two writers: {:#?}", report.violations);
    assert_eq!(report.states, expected.states);
    assert_eq!(report.ends, expected.ends);
    assert_eq!(report.bad_ends, expected.without_master, "{:#?}", report.bad_end);
}

#[test]
fn a_producer_epoch_between_read_and_cas_always_leaves_a_master() {
    let order = [ReadCoordinator, InitProducer, Cas, Barrier];
    check(order, 2, Counts { states: 62, ends: 8, without_master: 0 });
    check(order, 3, Counts { states: 1_424, ends: 69, without_master: 0 });
}

#[test]
fn a_producer_epoch_after_the_cas_can_leave_no_master() {
    let order = [ReadCoordinator, Cas, InitProducer, Barrier];
    check(order, 2, Counts { states: 68, ends: 10, without_master: 2 });
    check(order, 3, Counts { states: 1_859, ends: 171, without_master: 66 });
}

#[test]
fn a_producer_epoch_before_the_read_can_leave_no_master() {
    let order = [InitProducer, ReadCoordinator, Cas, Barrier];
    check(order, 2, Counts { states: 81, ends: 12, without_master: 2 });
    check(order, 3, Counts { states: 3_157, ends: 225, without_master: 78 });
}
