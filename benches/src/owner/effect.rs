//! Effects from partition to partition.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use affinity_log::Log;
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::values::Command;
use super::write::{ASKS, KEYS, ask_all, put};
use super::{Serving, key, runtime};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch};
use crate::log::{PARTITIONS, VALUE_BYTES, open};

/// Each costs two groups: the sender's, and the receiver's.
pub(crate) const EFFECT: Bench = Bench {
    name: "effect",
    about: "groups of effects of 256 B, two each, 64 senders over 16 partitions, against those of write-many-keys",
    quick: true,
    run,
};

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let dir = run.fresh_dir()?;
    let log: Arc<dyn Log> = Arc::new(open(dir.path())?);
    let serving = runtime.block_on(Serving::start(&log, PARTITIONS))?;
    let mut passed = 0;
    run.pair("groups/s", 0.65, |side, _| match side {
        Side::Ours => {
            passed += u64::from(ASKS);
            effects(&runtime, &serving, passed)
        }
        Side::Bare => ask_all(&runtime, &serving.handles, |n| put(n, KEYS)),
    })?;
    runtime.block_on(serving.end());
    Ok(())
}

/// Sends effects until `passed` have come in all.
fn effects(runtime: &Runtime, serving: &Serving, passed: u64) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let pass = |n| Command::Pass(key(u64::from(n % KEYS)), Bytes::from_static(&[0xa5; VALUE_BYTES]));
    ask_all(runtime, &serving.handles, pass)?;
    let idle = || serving.handles.iter().all(|handle| handle.status().pending == 0);
    while serving.passed.load(Ordering::Relaxed) < passed || !idle() {
        std::thread::park_timeout(std::time::Duration::from_micros(200));
    }
    Ok(watch.rate(2 * ASKS as usize))
}
