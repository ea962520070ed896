//! What an owner takes of the memory. Each figure is measured in a process of its own: memory that was freed before would
//! hide some.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::Arc;

use affinity_log::Log;
use affinity_log::memory::MemoryLog;
use affinity_state::Watch;
use affinity_types::{Clock, RequestId, SystemClock};
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::values::{Command, STORE, Values};
use super::{Serving, fill, key, runtime};
use crate::harness::{Bench, Failure, Run};
use crate::log::{PARTITIONS, open};
use crate::memstore::resident_bytes;

/// Figures alone.
pub(crate) const MEMORY: Bench = Bench {
    name: "owner-memory",
    about: "memory of an owner for each key of 16 B with 100 B, each idle watch and each remembered request",
    quick: false,
    run,
};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;
const WATCHES: u64 = 100_000;
/// As many as the window keeps by default.
const REQUESTS: u64 = 100_000;

/// What a process measures the memory of, and the folder that it may use.
const MEMORY_OF: &str = "BENCH_OWNER_MEMORY_OF";
const FOLDER: &str = "BENCH_OWNER_FOLDER";

type Measure = fn(&Runtime) -> Result<f64, Failure>;

const FIGURES: [(&str, Measure); 4] = [
    ("per-key", per_key),
    ("per-watch.own-key", |runtime| per_watch(runtime, WATCHES)),
    ("per-watch.one-key", |runtime| per_watch(runtime, 1)),
    ("per-request", per_request),
];

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    if let Ok(figure) = std::env::var(MEMORY_OF) {
        let (name, measure) =
            FIGURES.iter().find(|(name, _)| *name == figure).ok_or("there is no such figure")?;
        run.figure(name, "bytes", measure(&runtime()?)?);
        return Ok(());
    }
    let dir = run.fresh_dir()?;
    runtime()?.block_on(fill(&open(dir.path())?, PARTITIONS, KEYS, VALUE_BYTES))?;
    for (name, _) in FIGURES {
        let output = Process::new(std::env::current_exe()?)
            .args([MEMORY.name, "--json"])
            .env(MEMORY_OF, name)
            .env(FOLDER, dir.path())
            .output()?;
        let line: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        run.figure(name, "bytes", line["ours"].as_f64().ok_or("no figure")?);
    }
    Ok(())
}

/// Of partitions that serve what is in a log.
fn per_key(runtime: &Runtime) -> Result<f64, Failure> {
    let folder = PathBuf::from(std::env::var(FOLDER)?);
    let log: Arc<dyn Log> = Arc::new(open(&folder)?);
    let before = resident_bytes()?;
    let serving = runtime.block_on(Serving::<Values>::start(&log, PARTITIONS))?;
    let grown = resident_bytes()? - before;
    runtime.block_on(serving.end());
    Ok(grown / KEYS as f64)
}

/// Of watches over `keys` keys of one partition, beyond the bytes of the keys and what the callers have: the watch itself,
/// which is subtracted, and a task that waits for it, of which there is none.
fn per_watch(runtime: &Runtime, keys: u64) -> Result<f64, Failure> {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::default());
    let serving = runtime.block_on(Serving::<Values>::start(&log, 1))?;
    let mut watches = Vec::with_capacity(usize::try_from(WATCHES)?);
    let before = resident_bytes()?;
    for n in 0..WATCHES {
        watches.push(runtime.block_on(serving.handles[0].watch(STORE, key(n % keys)))?.watch);
    }
    let grown = resident_bytes()? - before;
    black_box(&watches);
    drop(watches);
    runtime.block_on(serving.end());
    let others = keys * u64::try_from(key(0).len())? + WATCHES * u64::try_from(size_of::<Watch>())?;
    Ok((grown - others as f64) / WATCHES as f64)
}

/// Of requests whose answer is a byte, all of one key.
fn per_request(runtime: &Runtime) -> Result<f64, Failure> {
    const AT_ONCE: u64 = 500;
    let folder = PathBuf::from(std::env::var(FOLDER)?).join("requests");
    let log: Arc<dyn Log> = Arc::new(open(&folder)?);
    let serving = runtime.block_on(Serving::<Values>::start(&log, 1))?;
    let ask = |from: u64, count: u64| {
        runtime.block_on(async {
            let mut answers = Vec::new();
            for sequence in from..from + count {
                let (reply, answer) = oneshot::channel();
                let request = RequestId { client: 7, sequence, issued: Some(SystemClock.now()) };
                let command = Command::Put(key(0), Bytes::from_static(&[0xa5; VALUE_BYTES]));
                serving.handles[0].command(command, Some(request), None, Some(reply))?;
                answers.push(answer);
            }
            for answer in answers {
                answer.await??;
            }
            Ok::<_, Failure>(())
        })
    };
    ask(0, AT_ONCE)?;
    let before = resident_bytes()?;
    for from in (AT_ONCE..REQUESTS).step_by(usize::try_from(AT_ONCE)?) {
        ask(from, AT_ONCE)?;
    }
    let grown = resident_bytes()? - before;
    runtime.block_on(serving.end());
    Ok(grown / (REQUESTS - AT_ONCE) as f64)
}
