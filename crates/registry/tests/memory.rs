//! The memory backend runs the conformance suite.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::sync::Arc;
use std::time::Duration;

use affinity_registry::conformance::{Backend, Case, Loss};
use affinity_registry::{BoxFuture, Fault, MemoryRegistry, SchemaRegistry};

struct Memory(MemoryRegistry);

impl Backend for Memory {
    fn registry(&self) -> Arc<dyn SchemaRegistry> {
        Arc::new(self.0.clone())
    }

    fn lose(&self, what: Loss) -> bool {
        self.0.inject(match what {
            Loss::Answer => Fault::AnswerLost,
            Loss::Request => Fault::RequestLost,
        });
        true
    }

    fn refuse(&self) -> bool {
        self.0.inject(Fault::Refused);
        true
    }

    /// The registry lives in another process, so to say: opening it again is having another handle.
    fn reopen(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// Runs a future to its end on one thread; one that hangs fails.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await }).expect("it hangs")
}

fn run(case: &Case) {
    block_on(case.run(&Memory(MemoryRegistry::new())));
}

affinity_registry::registry_conformance!(run);

#[test]
fn all_cases_run_one_after_another_too() {
    block_on(affinity_registry::conformance::run(async || Memory(MemoryRegistry::new())));
}
