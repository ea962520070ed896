//! Durable appends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::bare::BareLog;
use super::{FRAME_BYTES, Owner, PARTITIONS, open};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch};

/// 64 in flight over 16 partitions.
pub(crate) const LOG_APPEND: Bench = Bench {
    name: "log-append",
    about: "durable appends of 256 B, 16 partitions, 64 in flight, against write and fdatasync of each gathered group",
    quick: true,
    run: |run| {
        measure(run, Load { owners: PARTITIONS, in_flight: 4, appends: 60_000, keys: KEYS, goal: 0.85 })
    },
};

/// One at a time.
pub(crate) const LOG_APPEND_1: Bench = Bench {
    name: "log-append-1",
    about: "durable appends of 256 B, one at a time, against write and fdatasync of each",
    quick: true,
    run: |run| measure(run, Load { owners: 1, in_flight: 1, appends: 2_000, keys: KEYS, goal: 0.9 }),
};

#[derive(Clone, Copy)]
struct Load {
    owners: u32,
    /// Of each owner.
    in_flight: usize,
    /// Of all owners.
    appends: usize,
    /// Of each partition.
    keys: usize,
    goal: f64,
}

/// Keys of each partition: what is overwritten is compacted meanwhile.
const KEYS: usize = 20_000;

fn measure(run: &mut Run<'_>, load: Load) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let dir = run.fresh_dir()?;
    let log = open(&dir.path().join("log"))?;
    let mut owners = Vec::new();
    for partition in 0..PARTITIONS.min(load.owners) {
        owners.push(runtime.block_on(Owner::take_over(&log, partition))?);
    }
    let bare = Arc::new(BareLog::create(dir.path())?);
    let mut latencies = Vec::new();
    run.pair("appends/s", load.goal, |side, _| match side {
        Side::Ours => ours(&runtime, &mut owners, load, &mut latencies),
        Side::Bare => bare_side(&runtime, &bare, load),
    })?;
    figures(run, "", &mut latencies);
    // So few keys that compaction has next to nothing to write: what it costs the others in latency.
    let few = Load { keys: 10, ..load };
    let mut latencies = Vec::new();
    for _ in 0..3 {
        ours(&runtime, &mut owners, few, &mut latencies)?;
    }
    figures(run, "few-keys.", &mut latencies);
    Ok(())
}

fn figures(run: &mut Run<'_>, prefix: &str, latencies: &mut [Duration]) {
    latencies.sort_unstable();
    for (what, share) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        let at = latencies.len() * share / 1000;
        run.figure(&format!("{prefix}{what}"), "us", latencies[at].as_secs_f64() * 1e6);
    }
}

fn ours(
    runtime: &Runtime,
    owners: &mut Vec<Owner>,
    load: Load,
    latencies: &mut Vec<Duration>,
) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let each = load.appends / load.owners as usize;
    let (back, waited) = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for mut owner in owners.drain(..) {
            tasks.spawn(async move {
                let mut waited = Vec::with_capacity(each);
                let mut sent = VecDeque::new();
                for n in 0..each {
                    if sent.len() == load.in_flight {
                        owner.acknowledged().await.map_err(|e| e.to_string())?;
                        waited.extend(sent.pop_front().map(|watch: Stopwatch| watch.elapsed()));
                    }
                    owner.append((n % load.keys) as u64).map_err(|e| e.to_string())?;
                    sent.push_back(Stopwatch::start());
                }
                while let Some(watch) = sent.pop_front() {
                    owner.acknowledged().await.map_err(|e| e.to_string())?;
                    waited.push(watch.elapsed());
                }
                Ok::<_, String>((owner, waited))
            });
        }
        let (mut back, mut waited) = (Vec::new(), Vec::new());
        for result in tasks.join_all().await {
            let (owner, mut of_owner) = result?;
            back.push(owner);
            waited.append(&mut of_owner);
        }
        Ok::<_, Failure>((back, waited))
    })?;
    let rate = watch.rate(load.appends);
    *owners = back;
    latencies.extend(waited);
    Ok(rate)
}

fn bare_side(runtime: &Runtime, bare: &Arc<BareLog>, load: Load) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let each = load.appends / load.owners as usize;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..load.owners {
            let bare = Arc::clone(bare);
            tasks.spawn(async move {
                let frame = [0xa5; FRAME_BYTES];
                let mut sent = VecDeque::new();
                for _ in 0..each {
                    if sent.len() == load.in_flight {
                        wait(sent.pop_front()).await?;
                    }
                    sent.push_back(bare.append(&frame));
                }
                while let Some(receiver) = sent.pop_front() {
                    wait(Some(receiver)).await?;
                }
                Ok::<_, String>(())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()
    })?;
    Ok(watch.rate(load.appends))
}

async fn wait(receiver: Option<tokio::sync::oneshot::Receiver<()>>) -> Result<(), String> {
    match receiver {
        Some(receiver) => receiver.await.map_err(|e| e.to_string()),
        None => Ok(()),
    }
}
