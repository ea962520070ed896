//! From the log to a store that serves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use affinity_log::embedded::EmbeddedLog;
use affinity_log::{Log, next_batch};
use affinity_types::Offset;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::values::Values;
use super::{Serving, fill, key, runtime, serves};
use crate::harness::{Bench, Failure, Run, Side, Stopwatch, median};
use crate::log::{KEY_BYTES, PARTITIONS, VALUE_BYTES, open, topic_of};

/// A million records.
pub(crate) const REPLAY: Bench = Bench {
    name: "replay",
    about: "1 million records of 256 B from the log to stores in memory that serve, 16 partitions, against decoding them \
            into BTreeMap<Box<[u8]>, Box<[u8]>>",
    quick: true,
    run,
};

const RECORDS: usize = 1_000_000;

type Map = BTreeMap<Box<[u8]>, Box<[u8]>>;

fn run(run: &mut Run<'_>) -> Result<(), Failure> {
    let runtime = runtime()?;
    let dir = run.fresh_dir()?;
    let log = Arc::new(open(dir.path())?);
    runtime.block_on(fill(&log, PARTITIONS, RECORDS as u64, VALUE_BYTES))?;
    let mut waits = Vec::new();
    run.pair("records/s", 0.75, |side, _| match side {
        Side::Ours => ours(&runtime, &log, &mut waits),
        Side::Bare => bare(&runtime, &log),
    })?;
    run.figure("others-wait", "ms", median(waits));
    drop(log);
    let empty = run.fresh_dir()?;
    first_answer(run, &runtime, "empty", empty.path())?;
    first_answer(run, &runtime, "million", dir.path())
}

fn ours(runtime: &Runtime, log: &Arc<EmbeddedLog>, waits: &mut Vec<f64>) -> Result<f64, Failure> {
    let log: Arc<dyn Log> = Arc::<EmbeddedLog>::clone(log);
    let (stop, other) = oneshot::channel();
    let other = runtime.spawn(longest_wait(other));
    let watch = Stopwatch::start();
    let serving = runtime.block_on(Serving::<Values>::start(&log, PARTITIONS))?;
    let rate = watch.rate(RECORDS);
    drop(stop);
    waits.push(runtime.block_on(other)?.as_secs_f64() * 1e3);
    let last = key(RECORDS as u64 / u64::from(PARTITIONS) - 1);
    for handle in &serving.handles {
        let value = runtime.block_on(handle.read(last.clone()))?;
        if value.is_none_or(|value| value.len() != VALUE_BYTES) {
            return Err("the last key is not there".into());
        }
    }
    runtime.block_on(serving.end());
    Ok(rate)
}

/// How long a task that has something to do every few milliseconds waits for its turn at most.
async fn longest_wait(mut stop: oneshot::Receiver<()>) -> Duration {
    const REST: Duration = Duration::from_millis(2);
    let mut longest = Duration::ZERO;
    while stop.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        let watch = Stopwatch::start();
        tokio::time::sleep(REST).await;
        longest = longest.max(watch.elapsed().saturating_sub(REST));
    }
    longest
}

fn bare(runtime: &Runtime, log: &Arc<EmbeddedLog>) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    let maps = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for partition in 0..PARTITIONS {
            let log = Arc::clone(log);
            tasks.spawn(async move { read_map(&log, partition).await.map_err(|error| error.to_string()) });
        }
        tasks.join_all().await.into_iter().collect::<Result<Vec<Map>, _>>()
    })?;
    let rate = watch.rate(RECORDS);
    let records: usize = maps.iter().map(Map::len).sum();
    if records != RECORDS {
        return Err(format!("{records} keys were read").into());
    }
    Ok(rate)
}

async fn read_map(log: &EmbeddedLog, partition: u32) -> Result<Map, affinity_log::Error> {
    let place = topic_of(partition);
    let end = log.bounds(&place).await?.end;
    let mut tail = log.tail(&place, Offset::ZERO).await?;
    let (mut map, mut next) = (Map::new(), Offset::ZERO);
    while next < end {
        let batch = next_batch(&mut *tail).await?;
        for record in batch.groups().flat_map(|group| group.records()) {
            if let (KEY_BYTES, Some(value)) = (record.key().len(), record.value()) {
                map.insert(Box::from(record.key()), Box::from(value));
            }
        }
        next = batch.next();
    }
    Ok(map)
}

/// How long it takes from opening the log to the first answer of a partition, and of the last one.
fn first_answer(run: &mut Run<'_>, runtime: &Runtime, what: &str, dir: &Path) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let log: Arc<dyn Log> = Arc::new(open(dir)?);
    let (serving, first) = runtime.block_on(async {
        let serving = Serving::promote(&log, PARTITIONS, Values::<false>::default).await?;
        let mut answers = JoinSet::new();
        let handles = serving.handles.clone();
        for handle in handles {
            answers.spawn(async move { serves(&handle).await });
        }
        answers.join_next().await.ok_or("there are partitions")???;
        let first = watch.elapsed();
        answers.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok::<_, Failure>((serving, first))
    })?;
    let all = watch.elapsed();
    run.figure(&format!("first-answer.{what}"), "ms", first.as_secs_f64() * 1e3);
    run.figure(&format!("all-answer.{what}"), "ms", all.as_secs_f64() * 1e3);
    runtime.block_on(serving.end());
    Ok(())
}
