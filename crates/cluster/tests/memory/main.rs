//! The memory backend: the conformance suite, at once and over a network that keeps no order, and each fault.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod faults;
mod network;

use std::sync::Arc;
use std::time::Duration;

use affinity_cluster::conformance::{Case, Loss, Subject};
use affinity_cluster::memory::{Delivery, Fault, MemoryCoordinator, Stage};
use affinity_cluster::{BoxFuture, Coordinator};

use network::Network;

/// A coordinator in memory, perhaps behind a network.
struct MemorySubject {
    coordinator: MemoryCoordinator,
    network: Option<Network>,
}

impl MemorySubject {
    fn new() -> MemorySubject {
        MemorySubject { coordinator: MemoryCoordinator::new(), network: None }
    }

    /// One whose calls are held, and moved in an order that `seed` decides.
    fn behind_a_network(seed: u64) -> MemorySubject {
        let coordinator = MemoryCoordinator::new();
        coordinator.deliver(Delivery::Manual);
        let network = Some(Network::new(coordinator.clone(), seed));
        MemorySubject { coordinator, network }
    }
}

impl Subject for MemorySubject {
    fn coordinator(&self) -> Arc<dyn Coordinator> {
        match &self.network {
            None => Arc::new(self.coordinator.clone()),
            Some(network) => Arc::new(network.clone()),
        }
    }

    fn lose(&self, what: Loss) -> bool {
        self.coordinator.inject(match what {
            Loss::Answer => Fault::AnswerLost,
            Loss::Request => Fault::RequestLost,
            Loss::Time => Fault::RequestDelayed,
        });
        true
    }

    fn refuse(&self) -> bool {
        self.coordinator.fail_calls(1);
        true
    }

    fn land(&self) -> BoxFuture<'_, ()> {
        for call in self.coordinator.held() {
            assert!(call.stage != Stage::GivenUp || self.coordinator.perform(call.id));
        }
        Box::pin(std::future::ready(()))
    }

    /// The coordinator lives in other processes, so to say: opening it again is having another handle.
    fn reopen(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// Runs a future to its end on one thread; one that hangs fails.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await }).expect("it hangs")
}

mod conformance {
    use super::{Case, MemorySubject, block_on};

    mod at_once {
        use super::*;
        fn run(case: &Case) {
            block_on(case.run(&MemorySubject::new()));
        }
        affinity_cluster::coordinator_conformance!(run);
    }

    mod over_a_network {
        use super::*;
        fn run(case: &Case) {
            for seed in 0..20 {
                // Shown if it fails.
                println!("seed {seed}");
                block_on(case.run(&MemorySubject::behind_a_network(seed)));
            }
        }
        affinity_cluster::coordinator_conformance!(run);
    }
}

#[test]
fn all_cases_run_one_after_another_too() {
    block_on(affinity_cluster::conformance::run(async || MemorySubject::new()));
}
