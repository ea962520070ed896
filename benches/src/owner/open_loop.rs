//! Latency at a rate that does not wait for answers.

use std::convert::Infallible;
use std::time::Duration;

use affinity_keyspace::{Handle, Reply};
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::values::{Command, Values};
use crate::harness::{Failure, Run, Stopwatch};

const SECONDS: f64 = 5.0;

/// How long the sender rests when it is ahead; an ask may go out so much later than it was due, which counts.
const REST: Duration = Duration::from_micros(200);

/// When an ask was due, and where its answer comes to.
type Sent = (Duration, oneshot::Receiver<Reply<Option<Bytes>, Infallible>>);

/// Sends `rate` writes a second over the partitions, each at its time whatever became of those before it, and notes how
/// long after that time they were answered.
pub(super) fn measure(
    run: &mut Run<'_>,
    runtime: &Runtime,
    handles: &[Handle<Values>],
    rate: f64,
    command: impl Fn(u32) -> Command,
) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let (mut collectors, mut queues) = (JoinSet::new(), Vec::new());
    for _ in handles {
        let (queue, sent) = mpsc::channel(8192);
        collectors.spawn_on(collect(watch, sent), runtime.handle());
        queues.push(queue);
    }
    let mut n = 0;
    while watch.elapsed().as_secs_f64() < SECONDS {
        let due = Duration::from_secs_f64(f64::from(n) / rate);
        if due > watch.elapsed() {
            // Not until it is due: a sender that never rests takes a processor from the owners.
            std::thread::park_timeout(REST);
            continue;
        }
        let at = n as usize % handles.len();
        let (reply, answer) = oneshot::channel();
        handles[at].command(command(n), None, None, Some(reply))?;
        queues[at].try_send((due, answer)).map_err(|_| "answers do not keep up")?;
        n += 1;
    }
    drop(queues);
    let mut latencies = Vec::new();
    for collected in runtime.block_on(collectors.join_all()) {
        latencies.append(&mut collected?);
    }
    latencies.sort_unstable();
    run.figure("half-peak", "writes/s", rate);
    for (what, share) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        let at = latencies.len() * share / 1000;
        run.figure(&format!("half-peak.{what}"), "us", latencies[at].as_secs_f64() * 1e6);
    }
    Ok(())
}

/// Waits for the answers of one partition, which come in the order of the asks.
async fn collect(watch: Stopwatch, mut sent: mpsc::Receiver<Sent>) -> Result<Vec<Duration>, String> {
    let mut latencies = Vec::new();
    while let Some((due, answer)) = sent.recv().await {
        answer.await.map_err(|error| error.to_string())?.map_err(|failure| failure.to_string())?;
        latencies.push(watch.elapsed().saturating_sub(due));
    }
    Ok(latencies)
}
