//! Whole partitions under every fault, by seed.
//!
//! `AFFINITY_SEED=n cargo test -p affinity-simulation --test owner one_seed -- --nocapture` tells a run again, line by line.
//! `AFFINITY_SEEDS=n` runs so many seeds.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod builds;
mod clients;
mod clocks;
mod counts;
mod echoes;
mod entries;
mod faults;
mod finish;
mod history;
mod lists;
mod scanning;
mod stores;
mod trace;
mod watching;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use affinity_keyspace::Protection;

use counts::Counts;
use trace::Trace;
use world::World;

const SEEDS: u64 = 2_000;
const STEPS: usize = 3_000;
/// Lines of a failing run that are shown.
const LINES: usize = 40;

fn run(seed: u64, removed: Option<Protection>, trace: &Trace) -> Counts {
    let mut world = World::new(seed, removed, trace.clone());
    (0..STEPS).for_each(|_| world.step());
    world.finish()
}

fn failure_of(seed: u64, removed: Option<Protection>, trace: &Trace) -> Result<Counts, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, removed, trace))).map_err(|failure| {
        let text = failure.downcast_ref::<String>().cloned();
        text.or_else(|| failure.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

/// A failing seed once more, with what came before its end.
fn tell(seed: u64, failure: &str) -> String {
    let trace = Trace::keeping();
    let again = failure_of(seed, None, &trace).err();
    let same =
        if again.as_deref() == Some(failure) { "the same again" } else { "ANOTHER END the second time" };
    let lines = trace.last(LINES).join("\n  ");
    format!(
        "seed {seed}: {failure}\n  … {lines}\n{same}; all of it: AFFINITY_SEED={seed} cargo test -p affinity-simulation \
         --test owner one_seed -- --nocapture\n"
    )
}

#[test]
fn nothing_is_lost_doubled_or_stale_under_any_fault() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = number("AFFINITY_SEEDS").unwrap_or(SEEDS);
    let mut failing = Vec::new();
    let mut all = Counts::default();
    for seed in 0..seeds {
        match failure_of(seed, None, &Trace::default()) {
            Ok(counts) => all.add(&counts),
            Err(failure) => failing.push(tell(seed, &failure)),
        }
        if failing.len() == 3 {
            break;
        }
    }
    assert!(failing.is_empty(), "failing seeds:\n{}", failing.join("\n"));
    println!("{all:?}");
    assert!(seeds < SEEDS || all.each_at_least(100), "the runs are vacuous: {all:?}");
}

/// What cannot be run again cannot be mended.
#[test]
fn a_seed_has_one_trace() {
    let hash = |seed| {
        let trace = Trace::default();
        run(seed, None, &trace);
        trace.hash()
    };
    let hashes: Vec<u64> = (0..50).map(hash).collect();
    assert_eq!(hashes, (0..50).map(hash).collect::<Vec<_>>());
    let mut different = hashes.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), hashes.len(), "seeds have traces of their own");
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
        P::IndexInBatch,
        P::RequestWindow,
        P::ReplyAfterAck,
        P::TakeOverOrder,
        P::ExpiryByDelete,
        P::AppliedRecord,
        P::ClearAfterDone,
        P::ScanSnapshot,
    ];
    let found = all.map(|p| {
        let failure = |seed| failure_of(seed, Some(p), &Trace::default()).err().map(|why| (seed, why));
        (p, (0..SEEDS).find_map(failure))
    });
    std::panic::set_hook(quiet);
    for (protection, how) in &found {
        println!("{protection:?}: {how:?}");
    }
    assert!(found.iter().all(|(_, how)| how.is_some()), "not found: {found:#?}");
}

#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("AFFINITY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let trace = Trace::keeping();
        let end = failure_of(seed, None, &trace);
        trace.last(usize::MAX).iter().for_each(|line| println!("{line}"));
        println!("trace {:016x}: {end:?}", trace.hash());
        assert!(end.is_ok(), "seed {seed} fails");
    }
}
