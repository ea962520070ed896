//! Whole partitions under every fault, by seed: `AFFINITY_SEED=n cargo test -p affinity-simulation --test owner one_seed`
//! tells a run again.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod clients;
mod clocks;
mod history;
mod lists;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use affinity_keyspace::Protection;

use world::{Counts, World};

const SEEDS: u64 = 3_000;
const STEPS: usize = 3_000;

fn run(seed: u64, removed: Option<Protection>) -> Counts {
    let mut world = World::new(seed, removed);
    (0..STEPS).for_each(|_| world.step());
    world.finish()
}

fn failure_of(seed: u64, removed: Option<Protection>) -> Result<Counts, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, removed))).map_err(|failure| {
        let text = failure.downcast_ref::<String>().cloned();
        text.or_else(|| failure.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

#[test]
fn nothing_is_lost_doubled_or_stale_under_any_fault() {
    let mut failing = Vec::new();
    let mut all = Counts::default();
    for seed in 0..SEEDS {
        match failure_of(seed, None) {
            Ok(counts) => all.add(&counts),
            Err(failure) => failing.push((seed, failure)),
        }
        if failing.len() == 3 {
            break;
        }
    }
    assert!(failing.is_empty(), "failing seeds: {failing:#?}");
    println!("{all:?}");
    assert!(all.each_at_least(100), "the runs are vacuous: {all:?}");
}

/// Without any one of its protections the owner must fail this very simulation.
#[test]
fn the_simulation_finds_a_missing_protection() {
    use Protection as P;
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let all = [
        P::Contiguity,
        P::EpochFilter,
        P::Repair,
        P::Lease,
        P::Gate,
        P::ReadRelease,
        P::RequestWindow,
        P::ReplyAfterAck,
        P::TakeOverOrder,
    ];
    let found =
        all.map(|p| (p, (0..SEEDS).find_map(|seed| failure_of(seed, Some(p)).err().map(|why| (seed, why)))));
    std::panic::set_hook(quiet);
    for (protection, how) in &found {
        println!("{protection:?}: {how:?}");
    }
    assert!(found.iter().all(|(_, how)| how.is_some()), "not found: {found:#?}");
}

#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("AFFINITY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed, None);
    }
}
