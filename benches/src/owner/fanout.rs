//! One change, many watchers.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use affinity_log::Log;
use affinity_log::memory::MemoryLog;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::values::{Command, STORE, Values};
use super::{Serving, key, runtime};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch};

/// One key with many watchers. The log is in memory, so that the disk, which the bare side does not have, does not count.
pub(crate) const WATCH_FANOUT: Bench = Bench {
    name: "watch-fanout",
    about: "one change until 10 000 awaiting tasks have seen it, log in memory, against tokio::sync::watch",
    quick: true,
    run,
};

const WATCHERS: usize = 10_000;
const CHANGES: usize = 50;

/// Counts who has seen a change.
#[derive(Default)]
struct Seen {
    left: AtomicUsize,
    all: Notify,
}

impl Seen {
    fn saw(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all.notify_one();
        }
    }
}

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    run.pair("wakes/s", 0.7, |side, _| match side {
        Side::Ours => ours(&runtime),
        Side::Bare => bare(&runtime),
    })
}

fn ours(runtime: &Runtime) -> Result<f64, Failure> {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
    let serving = runtime.block_on(Serving::<Values>::start(&log, 1))?;
    let handle = serving.handles[0].clone();
    let (seen, mut tasks) = (Arc::new(Seen::default()), JoinSet::new());
    for _ in 0..WATCHERS {
        let mut watched = runtime.block_on(handle.watch(STORE, key(0)))?;
        let seen = Arc::clone(&seen);
        let watching = async move {
            while watched.watch.next().await.is_ok() {
                seen.saw();
            }
        };
        tasks.spawn_on(watching, runtime.handle());
    }
    let rate = changes(runtime, seen, move || {
        let handle = handle.clone();
        async move { handle.ask(Command::Add(key(0))).await.map(drop).map_err(|failure| failure.to_string()) }
    })?;
    runtime.block_on(tasks.shutdown());
    runtime.block_on(serving.end());
    Ok(rate)
}

fn bare(runtime: &Runtime) -> Result<f64, Failure> {
    let (send, receive) = watch::channel(0_u64);
    let (seen, mut tasks) = (Arc::new(Seen::default()), JoinSet::new());
    for _ in 0..WATCHERS {
        let (mut receive, seen) = (receive.clone(), Arc::clone(&seen));
        let watching = async move {
            while receive.changed().await.is_ok() {
                std::hint::black_box(*receive.borrow_and_update());
                seen.saw();
            }
        };
        tasks.spawn_on(watching, runtime.handle());
    }
    let send = Arc::new(send);
    let rate = changes(runtime, seen, move || {
        send.send_modify(|n| *n += 1);
        std::future::ready(Ok(()))
    })?;
    runtime.block_on(tasks.shutdown());
    Ok(rate)
}

/// Makes a change again and again when all have seen the one before; a first one that is not measured finds all waiting.
fn changes<F>(
    runtime: &Runtime,
    seen: Arc<Seen>,
    change: impl Fn() -> F + Send + 'static,
) -> Result<f64, Failure>
where
    F: Future<Output = Result<(), String>> + Send,
{
    let driver = runtime.spawn(async move {
        let mut measured = Stopwatch::start();
        for round in 0..=CHANGES {
            seen.left.store(WATCHERS, Ordering::Release);
            change().await?;
            seen.all.notified().await;
            if round == 0 {
                measured = Stopwatch::start();
            }
        }
        Ok::<_, String>(measured.rate(CHANGES * WATCHERS))
    });
    Ok(runtime.block_on(driver)??)
}
