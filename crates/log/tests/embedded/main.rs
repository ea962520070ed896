//! The embedded log on a real disk: the conformance suite, restarts, and what is refused.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod full_disk;
mod limits;
mod odd_disk;
mod owner;
mod processes;
mod refusals;
mod remembered;
mod replay;
mod restarts;
mod space;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_log::conformance::{Case, Subject};
use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{BoxFuture, Log, TopicPartition};
use affinity_types::{Clock, EventTime, ManualClock};
use tempfile::TempDir;

/// An embedded log in a folder of its own, with a clock that is moved by hand.
struct EmbeddedSubject {
    folder: TempDir,
    clock: Arc<ManualClock>,
    log: Mutex<Option<Arc<EmbeddedLog>>>,
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> EmbeddedLog {
    let options =
        EmbeddedOptions { segment_bytes: 8 << 20, in_flight_max: 256, ..EmbeddedOptions::default() };
    EmbeddedLog::open(folder, options, Arc::clone(clock) as Arc<dyn Clock>).unwrap()
}

impl EmbeddedSubject {
    fn new() -> EmbeddedSubject {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(EventTime(1_700_000_000_000)));
        let log = Mutex::new(Some(Arc::new(open(folder.path(), &clock))));
        EmbeddedSubject { folder, clock, log }
    }

    fn embedded(&self) -> Arc<EmbeddedLog> {
        Arc::clone(self.log.lock().unwrap().as_ref().unwrap())
    }
}

impl Subject for EmbeddedSubject {
    fn log(&self) -> Arc<dyn Log> {
        self.embedded()
    }

    fn fences(&self) -> bool {
        true
    }

    fn knows_newest(&self) -> bool {
        true
    }

    fn now(&self) -> EventTime {
        self.clock.now()
    }

    fn advance(&self, by: Duration) -> BoxFuture<'_, bool> {
        self.clock.advance_ms(by.as_millis().try_into().unwrap());
        Box::pin(std::future::ready(true))
    }

    fn reopen(&self) -> BoxFuture<'_, bool> {
        let mut log = self.log.lock().unwrap();
        drop(Arc::try_unwrap(log.take().unwrap()).map_err(|_| "the case still holds the log").unwrap());
        *log = Some(Arc::new(open(self.folder.path(), &self.clock)));
        Box::pin(std::future::ready(true))
    }

    fn compact<'a>(&'a self, _: &'a TopicPartition) -> BoxFuture<'a, bool> {
        self.embedded().compact().unwrap();
        Box::pin(std::future::ready(true))
    }

    fn retain<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, bool> {
        self.compact(place)
    }
}

mod conformance {
    use super::{Case, Duration, EmbeddedSubject};

    fn run(case: &Case) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let run =
            async { tokio::time::timeout(Duration::from_secs(60), case.run(&EmbeddedSubject::new())).await };
        runtime.block_on(run).expect("it hangs");
    }

    affinity_log::log_conformance!(run);
}
