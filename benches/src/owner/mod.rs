//! The owner of a partition against what it stands on: the log's disk, a map, tokio's own channels.
//!
//! Owners run as tasks of a runtime of two workers, as the composition root runs them.

mod effect;
mod fanout;
mod index;
mod memory;
mod open_loop;
mod read;
mod replay;
mod scan;
mod ttl;
mod values;
mod write;

pub(crate) use effect::EFFECT;
pub(crate) use fanout::WATCH_FANOUT;
pub(crate) use index::INDEX_WRITE;
pub(crate) use memory::MEMORY;
pub(crate) use read::READ;
pub(crate) use replay::REPLAY;
pub(crate) use scan::SCAN;
pub(crate) use ttl::TTL;
pub(crate) use write::{WRITE_HOT_KEY, WRITE_MANY_KEYS, WRITE_MUCH_STATE};

use std::sync::Arc;

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{Coordinator, NodeId, PartitionName};
use affinity_keyspace::{Control, Handle, Keyspaces, Links, Owner, OwnerSettings, Partition, Parts, Schemas};
use affinity_log::embedded::EmbeddedLog;
use affinity_log::{Cleanup, Log, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::KeepRequests;
use affinity_types::{Clock, PartitionId, SystemClock};
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use self::values::Values;
use crate::harness::{Failure, Stopwatch};
use crate::log::{self, KEY_BYTES, PARTITIONS, topic_of};

/// Asks in flight.
const ASKERS: u32 = 64;

fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?)
}

/// Key number `n`, far from its neighbours; as [`fill`] writes it.
fn key(n: u64) -> Bytes {
    let mut bytes = [0; KEY_BYTES];
    bytes[..8].copy_from_slice(&spread(n).to_be_bytes());
    Bytes::copy_from_slice(&bytes)
}

/// The same numbers in another order.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Owners of a keyspace, each in a task of its own.
struct Serving<P: Partition> {
    handles: Vec<Handle<P>>,
    keyspaces: Arc<Keyspaces>,
    owners: JoinSet<()>,
}

impl<P: Partition> Serving<P> {
    /// Starts owners with empty stores in memory, and promotes them.
    async fn promote(
        log: &Arc<dyn Log>,
        partitions: u32,
        handlers: impl Fn() -> P,
    ) -> Result<Serving<P>, Failure> {
        let spec = TopicSpec { partitions: PARTITIONS, cleanup: Cleanup::default() };
        let topic = log.create_topic("bench", spec).await?.id;
        let coordinator: Arc<dyn Coordinator> = Arc::new(MemoryCoordinator::new());
        let keyspaces = Arc::new(Keyspaces::default());
        let mut serving = Serving { handles: Vec::new(), keyspaces, owners: JoinSet::new() };
        for partition in 0..partitions {
            let links = Arc::clone(&serving.keyspaces) as Arc<dyn Links>;
            let parts = Parts {
                place: topic_of(partition),
                topic,
                name: PartitionName::new("bench", PartitionId(partition)),
                node: NodeId::new("node"),
                log: Arc::clone(log),
                coordinator: Arc::clone(&coordinator),
                memstore: Box::new(MemoryStore::new(Limits::default())),
                keep_requests: KeepRequests::InWindow,
                clock: Arc::new(SystemClock),
                schemas: Schemas { control: 1, store_key: 2, effect: 3 },
                links,
                seed: u64::from(partition),
                settings: OwnerSettings::default(),
            };
            let (owner, handle) = Owner::new(handlers(), parts)?;
            // Before it runs, so that it takes no ask as a standby.
            handle.order(Control::Promote);
            serving
                .owners
                .spawn(owner.run(|at| tokio::time::sleep(at.saturating_sub(SystemClock.elapsed()))));
            serving.handles.push(handle);
        }
        serving.keyspaces.add("bench", serving.handles.iter().cloned());
        Ok(serving)
    }

    /// Ends the owners, and what they hold.
    async fn end(self) {
        self.keyspaces.close();
        drop(self.handles);
        self.owners.join_all().await;
    }
}

impl<const INDEXED: bool> Serving<Values<INDEXED>> {
    /// Starts owners, and waits until all serve.
    async fn start(log: &Arc<dyn Log>, partitions: u32) -> Result<Serving<Values<INDEXED>>, Failure> {
        Serving::start_with(log, partitions, Values::default).await
    }

    /// The same with handlers that share something.
    async fn start_with(
        log: &Arc<dyn Log>,
        partitions: u32,
        handlers: impl Fn() -> Values<INDEXED>,
    ) -> Result<Serving<Values<INDEXED>>, Failure> {
        let serving = Serving::promote(log, partitions, handlers).await?;
        for handle in &serving.handles {
            serves(handle).await?;
        }
        Ok(serving)
    }
}

/// Asks from tasks that each wait for their answer, `asks` in all; the tasks' numbers and those of the asks go over the partitions.
fn ask_all<P: Partition>(
    runtime: &Runtime,
    handles: &[Handle<P>],
    asks: u32,
    command: impl Fn(u32) -> P::Command + Copy + Send + 'static,
) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for asker in 0..ASKERS {
            let handle = handles[asker as usize % handles.len()].clone();
            tasks.spawn(async move {
                for n in 0..asks / ASKERS {
                    let answer = handle.ask(command(n * ASKERS + asker)).await;
                    answer.map_err(|failure| failure.to_string())?;
                }
                Ok::<_, String>(())
            });
        }
        tasks.join_all().await.into_iter().collect::<Result<(), _>>()
    })?;
    Ok(watch.rate(asks as usize))
}

/// Waits for a first answer: a candidate lets messages wait until it serves.
async fn serves<const INDEXED: bool>(handle: &Handle<Values<INDEXED>>) -> Result<(), String> {
    handle.read(key(0)).await.map(drop).map_err(|failure| failure.to_string())
}

/// Writes `records` keys to the first `partitions` partitions, in turns, and sorts the log.
async fn fill(log: &EmbeddedLog, partitions: u32, records: u64, value_bytes: usize) -> Result<(), Failure> {
    const IN_FLIGHT: usize = 512;
    let mut owners = Vec::new();
    for partition in 0..partitions {
        owners.push(log::Owner::take_over(log, partition).await?.with_values_of(value_bytes));
    }
    for n in 0..records / u64::from(partitions) {
        for owner in &mut owners {
            if owner.writer.in_flight() == IN_FLIGHT {
                owner.acknowledged().await?;
            }
            owner.append(spread(n))?;
        }
    }
    for owner in &mut owners {
        while owner.writer.in_flight() > 0 {
            owner.acknowledged().await?;
        }
    }
    Ok(log.compact()?)
}
