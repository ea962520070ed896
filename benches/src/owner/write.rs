//! Asks that write.

use std::sync::Arc;

use affinity_log::Log;
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::values::{Command, Values, number};
use super::{ASKERS, Serving, ask_all, key, open_loop, runtime};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch, median};
use crate::log::bare::BareLog;
use crate::log::{FRAME_BYTES, PARTITIONS, VALUE_BYTES, open};

/// Many keys.
pub(crate) const WRITE_MANY_KEYS: Bench = Bench {
    name: "write-many-keys",
    about: "asks that write 256 B, 64 in flight over 16 partitions, against write and fdatasync of each gathered group",
    quick: true,
    run: |run| many_keys(run, KEYS, 0.75),
};

/// So many keys that compaction writes several times what the journal does, through the same disk. The bare side never
/// gives space back.
pub(crate) const WRITE_MUCH_STATE: Bench = Bench {
    name: "write-much-state",
    about: "the same with 320 000 keys of 256 B, all overwritten: what compaction of as much state costs the writers",
    quick: false,
    run: |run| many_keys(run, 320_000, 0.65),
};

/// One key.
pub(crate) const WRITE_HOT_KEY: Bench = Bench {
    name: "write-hot-key",
    about: "asks that read and write one key of 256 B, 64 in flight, against writes of many keys of one partition",
    quick: true,
    run: hot_key,
};

pub(super) const ASKS: u32 = 96_000;
/// Keys of all partitions: what is overwritten is compacted meanwhile.
pub(super) const KEYS: u32 = 20_000;

fn many_keys(run: &mut Run<'_>, keys: u32, goal: f64) -> Result<(), Failure> {
    let put = move |n| put(n, keys);
    let runtime = runtime()?;
    let dir = run.fresh_dir()?;
    let log: Arc<dyn Log> = Arc::new(open(&dir.path().join("log"))?);
    let serving = runtime.block_on(Serving::<Values>::start(&log, PARTITIONS))?;
    let bare = Arc::new(BareLog::create(dir.path())?);
    let mut peaks = Vec::new();
    run.pair("writes/s", goal, |side, _| match side {
        Side::Ours => {
            let rate = ask_all(&runtime, &serving.handles, ASKS, put)?;
            peaks.push(rate);
            Ok(rate)
        }
        Side::Bare => bare_side(&runtime, &bare),
    })?;
    open_loop::measure(run, &runtime, &serving.handles, median(peaks) / 2.0, put)?;
    runtime.block_on(serving.end());
    Ok(())
}

fn hot_key(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let dir = run.fresh_dir()?;
    let log: Arc<dyn Log> = Arc::new(open(dir.path())?);
    let serving = runtime.block_on(Serving::<Values>::start(&log, 1))?;
    let mut asked = 0;
    run.pair("writes/s", 0.85, |side, _| match side {
        Side::Ours => {
            asked += u64::from(ASKS);
            ask_all(&runtime, &serving.handles, ASKS, |_| Command::Add(Bytes::from_static(b"the hot key")))
        }
        Side::Bare => ask_all(&runtime, &serving.handles, ASKS, |n| put(n, KEYS)),
    })?;
    let value = runtime.block_on(serving.handles[0].read(Bytes::from_static(b"the hot key")))?;
    let counted = value.as_deref().map_or(0, number);
    if counted != asked {
        return Err(format!("{asked} asks have added up to {counted}").into());
    }
    runtime.block_on(serving.end());
    Ok(())
}

/// A put of a value that is there already, as the bare side's bytes are.
pub(super) fn put(n: u32, keys: u32) -> Command {
    Command::Put(key(u64::from(n % keys)), Bytes::from_static(&[0xa5; VALUE_BYTES]))
}

fn bare_side(runtime: &Runtime, bare: &Arc<BareLog>) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..ASKERS {
            let bare = Arc::clone(bare);
            tasks.spawn(async move {
                let frame = [0xa5; FRAME_BYTES];
                for _ in 0..ASKS / ASKERS {
                    bare.append(&frame).await.map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<(), _>>()
    })?;
    Ok(watch.rate(ASKS as usize))
}
