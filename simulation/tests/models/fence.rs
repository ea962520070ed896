//! Fencing: variants of two masters, then more of everything for the rules that hold.

use affinity_simulation::models::fence::{
    Acks, BarrierKeys, Broker, Compaction, Crashes, Fence, Key, Readers, Repair, Tailing, Violation,
};

use crate::{assert_breaks, assert_holds};

/// Two writes at the first master and one at the second, all of one key.
fn one_key() -> Vec<Vec<Key>> {
    vec![vec![Key::X, Key::X], vec![Key::X]]
}

#[test]
fn v0_without_fencing_a_zombie_changes_the_log_behind_the_new_masters_back() {
    let fence = Fence {
        readers: Readers::TakeAll,
        acks: Acks::Unchecked,
        tailing: Tailing::OnlyAtTakeOver,
        repair: Repair::Never,
        compaction: Compaction::Free,
        ..Fence::by_rules(one_key())
    };
    assert_eq!(assert_breaks(&fence, Violation::MasterDiffers, 8), 304);
}

#[test]
fn v1_without_the_contiguity_check_a_zombie_acks_what_readers_ignore() {
    let fence = Fence { acks: Acks::Unchecked, ..Fence::by_rules(one_key()) };
    assert_eq!(assert_breaks(&fence, Violation::AckedWriteIgnored, 8), 864);
}

#[test]
fn v2_without_repair_compaction_loses_a_value() {
    let (repair, compaction) = (Repair::Never, Compaction::Free);
    let fence = Fence { repair, compaction, ..Fence::by_rules(one_key()) };
    assert_eq!(assert_breaks(&fence, Violation::CompactionChangedMeaning, 10), 418);
}

#[test]
fn v2b_without_repair_compaction_of_what_the_master_has_observed_loses_a_value_too() {
    let (repair, compaction) = (Repair::Never, Compaction::Observed);
    let fence = Fence { repair, compaction, ..Fence::by_rules(one_key()) };
    assert_eq!(assert_breaks(&fence, Violation::CompactionChangedMeaning, 12), 320);
}

#[test]
fn v3_compaction_before_the_repair_loses_a_value() {
    let fence = Fence { compaction: Compaction::Free, ..Fence::by_rules(one_key()) };
    assert_eq!(assert_breaks(&fence, Violation::CompactionChangedMeaning, 10), 1_653);
}

#[test]
fn v4_filter_check_repair_and_lag_hold() {
    assert_holds(&Fence::by_rules(one_key()), 953);
}

#[test]
fn v4s_with_one_key_for_all_barriers_a_stale_one_shadows_the_newer() {
    let fence = Fence { barrier_keys: BarrierKeys::Shared, ..Fence::by_rules(one_key()) };
    assert_eq!(assert_breaks(&fence, Violation::CompactionChangedMeaning, 10), 1_607);
}

#[test]
fn v5_a_log_that_fences_needs_neither_repair_nor_lag() {
    assert_holds(&Fence::by_broker(one_key()), 156);
}

#[test]
fn v5s_a_log_that_fences_needs_no_contiguity_check() {
    assert_holds(&Fence { acks: Acks::Unchecked, ..Fence::by_broker(one_key()) }, 156);
}

#[test]
fn v5n_a_log_that_fences_needs_no_filter_in_readers() {
    let (readers, acks) = (Readers::TakeAll, Acks::Unchecked);
    assert_holds(&Fence { readers, acks, ..Fence::by_broker(one_key()) }, 156);
}

#[test]
fn v6_the_rules_hold_for_three_masters_that_crash() {
    let writes = vec![vec![Key::X, Key::Y], vec![Key::X], vec![Key::Y]];
    let fence = Fence { crashes: Crashes::Anytime, ..Fence::by_rules(writes) };
    assert_holds(&fence, 2_124_054);
}

#[test]
fn v7_the_rules_hold_for_more_writes_of_two_keys() {
    let writes = vec![vec![Key::X, Key::Y, Key::X], vec![Key::Y, Key::X]];
    let fence = Fence { crashes: Crashes::Anytime, ..Fence::by_rules(writes) };
    assert_holds(&fence, 17_063);
}

#[test]
fn a_log_that_fences_holds_for_three_masters_that_crash() {
    let writes = vec![vec![Key::X, Key::Y], vec![Key::X], vec![Key::Y]];
    let (readers, acks, broker) = (Readers::TakeAll, Acks::Unchecked, Broker::Fences);
    let fence = Fence { readers, acks, broker, crashes: Crashes::Anytime, ..Fence::by_broker(writes) };
    assert_holds(&fence, 5_033);
}
