//! The gate over several epochs: why the predecessor's lease is not enough, and that all earlier ones are.

use affinity_simulation::models::gate::{Gates, Owner, Releases, StaleRead, Waits};

use crate::{assert_breaks, assert_holds};

/// The first master has a longer lease than those after it.
const SHORTENED: [u8; 3] = [2, 1, 1];

#[test]
fn a_gate_for_the_predecessor_forgets_a_longer_lease_before_it() {
    let gates = Gates { waits: Waits::ForPredecessor, lengths: SHORTENED, ..Gates::by_rules() };
    assert_breaks(&gates, StaleRead(0), 11);
}

#[test]
fn a_gate_for_the_predecessor_forgets_the_lease_before_one_that_was_released() {
    let (waits, releases) = (Waits::ForPredecessor, Releases::EndOwnLease);
    let gates = Gates { waits, releases, ..Gates::by_rules() };
    assert_breaks(&gates, StaleRead(0), 15);
}

#[test]
fn a_release_that_ended_earlier_leases_too_would_end_one_that_is_held() {
    let gates = Gates { releases: Releases::EndAllLeases, ..Gates::by_rules() };
    assert_breaks(&gates, StaleRead(0), 15);
}

/// A predecessor's record comes after all of those before it: its lease ends last.
#[test]
fn a_gate_for_the_predecessor_holds_as_long_as_leases_are_alike_and_nobody_lets_go() {
    assert_holds(&Gates { waits: Waits::ForPredecessor, ..Gates::by_rules() }, 783_337);
}

#[test]
fn a_gate_for_all_earlier_epochs_holds() {
    assert_holds(&Gates::by_rules(), 783_337);
}

#[test]
fn a_gate_for_all_earlier_epochs_holds_with_a_longer_lease_before_and_releases() {
    let releases = Releases::EndOwnLease;
    assert_holds(&Gates { releases, lengths: SHORTENED, ..Gates::by_rules() }, 1_338_422);
}

#[test]
fn an_owner_that_returns_does_not_wait_for_itself() {
    let owners = [Owner::A, Owner::B, Owner::A];
    let releases = Releases::EndOwnLease;
    assert_holds(&Gates { owners, releases, lengths: SHORTENED, ..Gates::by_rules() }, 631_581);
}
