//! The lease: what each of its rules is for, then longer runs of those that hold.

use affinity_simulation::models::lease::{Anchor, Gate, Held, Lease, StaleRead, Writer};

use crate::{assert_breaks, assert_holds};

#[test]
fn without_a_gate_the_old_master_answers_what_the_successor_has_overwritten() {
    let lease = Lease { gate: Gate::None, ..Lease::by_rules(4) };
    assert_breaks(&lease, StaleRead(Writer::Old), 7);
}

#[test]
fn a_lease_from_the_acknowledgement_on_outlives_the_gate() {
    let lease = Lease { anchor: Anchor::Acked, ..Lease::by_rules(4) };
    assert_breaks(&lease, StaleRead(Writer::Old), 13);
}

#[test]
fn a_successor_that_holds_acks_only_exposes_a_write_the_old_master_has_not_seen_acknowledged() {
    let lease = Lease { gate: Gate::FromBarrier, held: Held::Acks, ..Lease::by_rules(4) };
    assert_breaks(&lease, StaleRead(Writer::Old), 8);
}

#[test]
fn a_gate_from_the_barrier_on_holds() {
    assert_holds(&Lease { gate: Gate::FromBarrier, ..Lease::by_rules(4) }, 4_166);
}

#[test]
fn a_gate_from_the_last_record_on_holds() {
    assert_holds(&Lease::by_rules(4), 4_166);
}

#[test]
fn a_gate_from_the_last_record_on_holds_with_no_ops() {
    assert_holds(&Lease { old_no_ops: 1, ..Lease::by_rules(4) }, 67_289);
}

#[test]
fn a_gate_from_the_barrier_on_holds_with_no_ops() {
    assert_holds(&Lease { gate: Gate::FromBarrier, old_no_ops: 1, ..Lease::by_rules(4) }, 67_289);
}

#[test]
fn a_gate_from_the_last_record_on_holds_for_longer() {
    assert_holds(&Lease { old_writes: 2, ..Lease::by_rules(5) }, 67_112);
}
