//! The memory backend: the conformance suite in every mode, and each fault.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod faults;
mod kafka;
mod walk;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_log::conformance::{Case, Subject};
use affinity_log::memory::{Fencing, MemoryLog, MemoryOptions};
use affinity_log::{BoxFuture, Log, TopicPartition};
use affinity_types::{EventTime, Offset};

/// A memory log with a clock that is moved by hand.
struct MemorySubject {
    log: MemoryLog,
    now: Mutex<EventTime>,
    fencing: Fencing,
}

impl MemorySubject {
    fn new(fencing: Fencing) -> MemorySubject {
        let log = MemoryLog::new(MemoryOptions { fencing, ..MemoryOptions::default() });
        MemorySubject { log, now: Mutex::new(EventTime(1_700_000_000_000)), fencing }
    }
}

impl Subject for MemorySubject {
    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    fn fences(&self) -> bool {
        self.fencing != Fencing::Off
    }

    fn knows_newest(&self) -> bool {
        self.fencing == Fencing::Known
    }

    fn now(&self) -> EventTime {
        *self.now.lock().unwrap()
    }

    fn advance(&self, by: Duration) -> BoxFuture<'_, bool> {
        let mut now = self.now.lock().unwrap();
        *now = now.plus_ms(by.as_millis().try_into().unwrap());
        Box::pin(std::future::ready(true))
    }

    /// The log lives in other processes, so to say: opening it again is having another handle.
    fn reopen(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    fn compact<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, bool> {
        self.log.compact(place, Offset(u64::MAX), self.now()).unwrap();
        Box::pin(std::future::ready(true))
    }

    fn retain<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, bool> {
        self.log.retain(place, self.now()).unwrap();
        Box::pin(std::future::ready(true))
    }
}

/// Runs a future to its end on one thread; one that hangs fails.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await }).expect("it hangs")
}

mod conformance {
    use super::{Case, Fencing, MemorySubject, block_on};

    mod without_fencing {
        use super::*;
        fn run(case: &Case) {
            block_on(case.run(&MemorySubject::new(Fencing::Off)));
        }
        affinity_log::log_conformance!(run);
    }

    mod fencing_at_append {
        use super::*;
        fn run(case: &Case) {
            block_on(case.run(&MemorySubject::new(Fencing::AtAppend)));
        }
        affinity_log::log_conformance!(run);
    }

    mod knowing_the_newest {
        use super::*;
        fn run(case: &Case) {
            block_on(case.run(&MemorySubject::new(Fencing::Known)));
        }
        affinity_log::log_conformance!(run);
    }
}

#[test]
fn all_cases_run_one_after_another_too() {
    block_on(affinity_log::conformance::run(async || MemorySubject::new(Fencing::AtAppend)));
}
