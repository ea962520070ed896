//! Two owners of one partition over one embedded log: promotion, fencing, restart.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Failure, Handle, Keyspaces, Master, Owner, OwnerSettings, Partition, Parts, Reply, Schemas,
    Store, View,
};
use affinity_log::embedded::{EmbeddedLog, EmbeddedOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::{KeepRequests, RequestSettings};
use affinity_types::codec::Encode;
use affinity_types::{Clock, Epoch, EventTime, ManualClock, PartitionId, RequestId};
use tokio::sync::oneshot;

const SUM: Store<str, i64> = Store::new("sum");

struct Adder;

#[derive(Clone, Copy)]
struct Add(i64);

impl Encode for Add {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing to add")]
struct Nothing;

impl Partition for Adder {
    const STORES: &'static [&'static str] = &["sum"];
    type Command = Add;
    type Query = ();
    type Answer = i64;
    type Error = Nothing;

    fn command(&self, cx: &mut Master<'_>, Add(by): &Add) -> Result<i64, Nothing> {
        if *by == 0 {
            return Err(Nothing);
        }
        let sum = cx.get(&SUM, "sum").unwrap_or(0) + by;
        cx.put(&SUM, "sum", &sum);
        Ok(sum)
    }

    fn query(&self, cx: &View<'_>, (): &()) -> Result<i64, Nothing> {
        Ok(cx.get(&SUM, "sum").unwrap_or(0))
    }
}

type Node = (Owner<Adder>, Handle<Adder>);

struct World {
    log: Arc<EmbeddedLog>,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
}

impl World {
    fn open(folder: &Path) -> World {
        let clock = Arc::new(ManualClock::at(EventTime(1_700_000_000_000)));
        let log = EmbeddedLog::open(folder, EmbeddedOptions::default(), clock.clone()).unwrap();
        World { log: Arc::new(log), clock, coordinator: MemoryCoordinator::new() }
    }

    async fn node(&self, name: &str) -> Node {
        let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
        let topic = self.log.create_topic("sums", spec).await.unwrap().id;
        let requests = RequestSettings { request_window_entries: 2, ..RequestSettings::default() };
        let parts = Parts {
            place: TopicPartition::new("sums", PartitionId(0)),
            topic,
            name: PartitionName::new("sums", PartitionId(0)),
            node: NodeId::new(name),
            log: Arc::clone(&self.log) as Arc<dyn Log>,
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(MemoryStore::new(Limits::default())),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::new(Keyspaces::default()),
            seed: name.bytes().map(u64::from).sum(),
            settings: OwnerSettings { requests, ..OwnerSettings::default() },
        };
        Owner::new(Adder, parts).unwrap()
    }
}

/// Polls owners, waiting for the log's thread in between, until something is so.
async fn until(nodes: &mut [&mut Node], so: impl Fn(&[&mut Node]) -> bool) {
    let guard = async {
        while !so(nodes) {
            for (owner, _) in nodes.iter_mut() {
                let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
            }
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), guard).await.is_ok();
    assert!(in_time, "it never comes: {:?}", nodes.iter().map(|node| node.1.status()).collect::<Vec<_>>());
}

async fn promote(node: &mut Node, epoch: u64) {
    node.1.order(Control::Promote);
    until(&mut [node], |nodes| nodes[0].1.status().serving == Some(Epoch(epoch))).await;
}

async fn add(node: &mut Node, by: i64, request: Option<RequestId>) -> Reply<i64, Nothing> {
    let (send, mut receive) = oneshot::channel();
    node.1.command(Add(by), request, None, Some(send)).unwrap();
    let mut answer = None;
    let guard = async {
        while answer.is_none() {
            let _ = node.0.poll(&mut Context::from_waker(Waker::noop()));
            answer = receive.try_recv().ok();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), guard).await.expect("no answer comes");
    // What was answered goes to the memstore when there is nothing more urgent.
    let _ = node.0.poll(&mut Context::from_waker(Waker::noop()));
    answer.unwrap()
}

fn request(sequence: u64, issued: EventTime) -> RequestId {
    RequestId { client: 7, sequence, issued: Some(issued) }
}

#[tokio::test]
async fn a_standby_tails_is_promoted_and_the_old_master_finds_itself_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let (mut old, mut new) = (world.node("old").await, world.node("new").await);
    promote(&mut old, 1).await;
    assert_eq!(add(&mut old, 5, None).await, Ok(5));

    let end = old.1.status().next;
    until(&mut [&mut new], |nodes| nodes[0].1.status().next == end).await;
    assert_eq!(new.0.dump().unwrap(), old.0.dump().unwrap(), "at equal offset, state is equal");
    assert_eq!(add(&mut new, 1, None).await, Err(Failure::Unavailable), "a standby is none to ask");

    promote(&mut new, 2).await;
    assert_eq!(old.1.status().serving, Some(Epoch(1)), "nobody has told the old one");
    assert_eq!(add(&mut old, 1, None).await, Err(Failure::Unknown), "it finds itself fenced");
    assert_eq!(old.1.status().serving, None);
    assert_eq!(add(&mut new, 2, None).await, Ok(7), "what the fenced one tried is not there");
}

#[tokio::test]
async fn a_fenced_master_answers_no_read() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let (mut old, mut new) = (world.node("old").await, world.node("new").await);
    promote(&mut old, 1).await;
    promote(&mut new, 2).await;
    assert_eq!(add(&mut new, 3, None).await, Ok(3));
    let (send, mut receive) = oneshot::channel();
    old.1.query((), None, send).unwrap();
    until(&mut [&mut old], |nodes| nodes[0].1.status().serving.is_none()).await;
    assert_eq!(receive.try_recv().unwrap(), Err(Failure::Unavailable));
}

#[tokio::test]
async fn the_first_answer_outlives_promotion_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let issued = world.clock.now();
    let (mut old, mut new) = (world.node("old").await, world.node("new").await);
    promote(&mut old, 1).await;
    assert_eq!(add(&mut old, 5, Some(request(1, issued))).await, Ok(5));
    assert_eq!(add(&mut old, 4, None).await, Ok(9));

    promote(&mut new, 2).await;
    assert_eq!(add(&mut new, 5, Some(request(1, issued))).await, Ok(5), "not added again");
    assert_eq!(add(&mut new, 6, Some(request(1, issued))).await, Err(Failure::Conflict));
    assert_eq!(add(&mut new, 0, Some(request(2, issued))).await, Err(Failure::Handler(Nothing)));

    drop((old, new));
    let World { log, .. } = world;
    Arc::try_unwrap(log).map_err(|_| "somebody holds the log").unwrap().close();
    let world = World::open(folder.path());
    let mut again = world.node("again").await;
    promote(&mut again, 3).await;
    assert_eq!(add(&mut again, 5, Some(request(1, issued))).await, Ok(5));
    assert_eq!(add(&mut again, 1, None).await, Ok(10));

    // The window has room for two: the oldest raises the floor.
    for sequence in 3..=4 {
        add(&mut again, 1, Some(request(sequence, issued.plus_ms(sequence)))).await.unwrap();
    }
    assert_eq!(add(&mut again, 5, Some(request(1, issued))).await, Err(Failure::RequestExpired));
}
