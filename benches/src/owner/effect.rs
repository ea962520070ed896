//! Effects from partition to partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use affinity_keyspace::Handle;
use affinity_log::Log;
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::values::Command;
use super::values::Values;
use super::write::{ASKS, KEYS, put};
use super::{Serving, ask_all, key, runtime};
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
    let came = Arc::new(AtomicU64::new(0));
    let handlers = || Values::<false> { passed: Arc::clone(&came) };
    let serving = runtime.block_on(Serving::start_with(&log, PARTITIONS, handlers))?;
    let mut passed = 0;
    run.pair("groups/s", 0.65, |side, _| match side {
        Side::Ours => {
            passed += u64::from(ASKS);
            effects(&runtime, &serving.handles, &came, passed)
        }
        Side::Bare => ask_all(&runtime, &serving.handles, ASKS, |n| put(n, KEYS)),
    })?;
    runtime.block_on(serving.end());
    Ok(())
}

/// Sends effects until `passed` have come in all.
fn effects(
    runtime: &Runtime,
    handles: &[Handle<Values>],
    came: &AtomicU64,
    passed: u64,
) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let pass = |n| Command::Pass(key(u64::from(n % KEYS)), Bytes::from_static(&[0xa5; VALUE_BYTES]));
    ask_all(runtime, handles, ASKS, pass)?;
    let idle = || handles.iter().all(|handle| handle.status().pending == 0);
    while came.load(Ordering::Relaxed) < passed || !idle() {
        std::thread::park_timeout(std::time::Duration::from_micros(200));
    }
    Ok(watch.rate(2 * ASKS as usize))
}
