//! Owners over a log that does not fence, where leases and gates count.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Failure, Handle, Keyspaces, Master, Owner, OwnerSettings, Partition, Parts, Reads, Reply,
    Schemas, Store, View,
};
use affinity_log::memory::{Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Batch, Checkpoint, Limits, MemStore, MemoryStore, Value};
use affinity_state::{KeepRequests, Update, WatchEnded};
use affinity_types::{
    Attributes, Clock, Epoch, EventTime, Group, Key, ManualClock, Offset, PartitionId, Record, RequestId,
    Sequence, Version, control,
};
use bytes::Bytes;
use tokio::sync::oneshot;

const SUM: Store<str, i64> = Store::new("sum");

const OTHER: Store<str, i64> = Store::new("other");

struct Adder;

impl Adder {
    /// Writes a key that is too long beside the sum.
    const TOO_LONG: i64 = -1;
    /// Writes another store alone.
    const OTHER: i64 = -2;
    /// Adds one and sends an event.
    const LOUD: i64 = -3;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("never")]
struct Never;

impl Partition for Adder {
    const STORES: &'static [&'static str] = &["sum", "other"];
    type Command = i64;
    type Query = ();
    type Answer = i64;
    type Error = Never;

    fn command(&self, cx: &mut Master<'_>, by: &i64) -> Result<i64, Never> {
        match *by {
            Adder::TOO_LONG => cx.put(&SUM, "x".repeat(32 << 10).as_str(), &1),
            Adder::OTHER => {
                cx.put(&OTHER, "k", &1);
                return Ok(0);
            }
            Adder::LOUD => cx.send(&SUM, "sum", &"loud".to_owned()),
            _ => {}
        }
        let by = if *by < 0 { 1 } else { *by };
        let sum = cx.get(&SUM, "sum").unwrap_or(0) + by;
        cx.put(&SUM, "sum", &sum);
        Ok(sum)
    }

    fn query(&self, cx: &View<'_>, (): &()) -> Result<i64, Never> {
        Ok(cx.get(&SUM, "sum").unwrap_or(0))
    }
}

type Node = (Owner<Adder>, Handle<Adder>);

struct World {
    log: MemoryLog,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    settings: OwnerSettings,
    place: TopicPartition,
}

impl World {
    fn new(settings: OwnerSettings) -> World {
        let log = MemoryLog::new(MemoryOptions { fencing: Fencing::Off, ..MemoryOptions::default() });
        let clock = Arc::new(ManualClock::at(EventTime(1_700_000_000_000)));
        let place = TopicPartition::new("sums", PartitionId(0));
        World { log, clock, coordinator: MemoryCoordinator::new(), settings, place }
    }

    async fn node(&self, name: &str) -> Node {
        self.node_with(name, MemoryStore::new(Limits::default())).await
    }

    async fn node_with(&self, name: &str, store: MemoryStore) -> Node {
        let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
        let parts = Parts {
            place: self.place.clone(),
            topic: self.log.create_topic("sums", spec).await.unwrap().id,
            name: PartitionName::new("sums", PartitionId(0)),
            node: NodeId::new(name),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(store),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::new(Keyspaces::default()),
            seed: name.bytes().map(u64::from).sum(),
            settings: self.settings.clone(),
        };
        Owner::new(Adder, parts).unwrap()
    }
}

/// Polls an owner until it has nothing more to do.
fn settle(node: &mut Node) {
    for _ in 0..100 {
        let _ = node.0.poll(&mut Context::from_waker(Waker::noop()));
    }
}

fn promote(node: &mut Node) {
    node.1.order(Control::Promote);
    settle(node);
    assert_eq!(node.1.status().phase, "serving");
}

fn ask(node: &mut Node, request: Option<RequestId>) -> oneshot::Receiver<Reply<i64, Never>> {
    let (reply, answer) = oneshot::channel();
    node.1.command(1, request, None, Some(reply)).unwrap();
    settle(node);
    answer
}

fn read(node: &mut Node) -> oneshot::Receiver<Reply<i64, Never>> {
    let (reply, answer) = oneshot::channel();
    node.1.query((), None, reply).unwrap();
    settle(node);
    answer
}

#[tokio::test]
async fn a_retry_of_a_gated_write_waits_for_the_gate_too() {
    let world = World::new(OwnerSettings::default());
    let (mut old, mut new) = (world.node("old").await, world.node("new").await);
    promote(&mut old);
    assert_eq!(ask(&mut old, None).try_recv(), Ok(Ok(1)));
    promote(&mut new);
    let id = RequestId { client: 1, sequence: 1, issued: Some(world.clock.now()) };
    let mut first = ask(&mut new, Some(id));
    let mut again = ask(&mut new, Some(id));
    assert_eq!(read(&mut old).try_recv(), Ok(Ok(1)), "its lease holds");
    assert!(first.try_recv().is_err(), "an earlier lease holds");
    assert!(again.try_recv().is_err(), "an earlier lease holds, for a retry as well");
    world.clock.advance_ms(1000);
    settle(&mut new);
    assert_eq!((first.try_recv(), again.try_recv()), (Ok(Ok(2)), Ok(Ok(2))));
}

#[tokio::test]
async fn a_read_whose_proof_is_refused_gets_another() {
    let world = World::new(OwnerSettings { reads: Reads::Strict, ..OwnerSettings::default() });
    let mut node = world.node("one").await;
    promote(&mut node);
    world.log.inject(world.log.channels(&world.place)[0], Fault::Refuse);
    let mut first = read(&mut node);
    assert!(first.try_recv().is_err(), "not at once: a log that refuses is not asked without a pause");
    world.clock.advance_ms(OwnerSettings::default().retry_ms);
    settle(&mut node);
    assert_eq!(first.try_recv(), Ok(Ok(0)));
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(0)));
}

#[tokio::test]
async fn a_watch_ends_with_its_owner() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.node("one").await;
    promote(&mut node);
    let mut begun = node.1.begin_watch("sum", Bytes::from_static(b"sum")).unwrap();
    settle(&mut node);
    let mut watch = begun.try_recv().unwrap().unwrap().watch;
    drop(node);
    let next = watch.poll_next(&mut Context::from_waker(Waker::noop()));
    assert_eq!(next, Poll::Ready(Err(WatchEnded)));
}

#[tokio::test]
async fn a_store_that_was_reopened_knows_of_a_lease() {
    let world = World::new(OwnerSettings::default());
    let mut old = world.node("old").await;
    promote(&mut old);
    assert_eq!(ask(&mut old, None).try_recv(), Ok(Ok(1)));
    let (next, entries) = old.0.dump().unwrap();
    let topic = world.log.topic("sums").await.unwrap().unwrap().id;
    let checkpoint = Checkpoint::new(topic, next, Epoch(1), world.clock.now());
    let mut batch = Batch::new(Offset::ZERO, checkpoint);
    for (store, key, version, value) in &entries {
        batch.put(*store, key, Value::new(value, *version));
    }
    let mut store = MemoryStore::new(Limits::default());
    store.apply(&batch).unwrap();
    let mut new = world.node_with("new", store).await;
    promote(&mut new);
    let mut written = ask(&mut new, None);
    assert_eq!(read(&mut old).try_recv(), Ok(Ok(1)), "its lease holds");
    assert!(written.try_recv().is_err(), "an earlier lease holds");
    world.clock.advance_ms(1000);
    settle(&mut new);
    assert_eq!(written.try_recv(), Ok(Ok(2)));
}

#[tokio::test]
async fn a_key_that_no_store_takes_changes_nothing() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.node("one").await;
    promote(&mut node);
    let (reply, mut answer) = oneshot::channel();
    node.1.command(Adder::TOO_LONG, None, None, Some(reply)).unwrap();
    settle(&mut node);
    assert!(matches!(answer.try_recv(), Ok(Err(Failure::TooLarge { .. }))));
    assert_eq!(ask(&mut node, None).try_recv(), Ok(Ok(1)), "the partition goes on");
}

#[tokio::test]
async fn a_repair_of_what_never_was_tells_nobody() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.node("one").await;
    promote(&mut node);
    let mut begun = node.1.begin_watch("sum", Bytes::from_static(b"sum")).unwrap();
    settle(&mut node);
    let mut watch = begun.try_recv().unwrap().unwrap().watch;
    let record = Record::new(Key::copy_from(b"sum"), Some(Bytes::from_static(&[0; 8])));
    let version = Version::new(Epoch(0), Sequence(9));
    let group =
        Group { version, time: EventTime(0), attributes: Attributes::default(), records: vec![record] };
    world.log.zombie(&world.place, &group).unwrap();
    // The next append shows the gap, and the repair lands behind it.
    let mut other = node.1.begin_watch("other", Bytes::from_static(b"k")).unwrap();
    let (reply, mut answer) = oneshot::channel();
    node.1.command(Adder::OTHER, None, None, Some(reply)).unwrap();
    settle(&mut node);
    world.clock.advance_ms(1000);
    settle(&mut node);
    assert_eq!(answer.try_recv(), Ok(Ok(0)));
    assert!(other.try_recv().is_ok());
    assert!(watch.poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(ask(&mut node, None).try_recv(), Ok(Ok(1)), "the stale value counts for nothing");
}

#[tokio::test]
async fn events_keep_their_place_among_changes_that_are_found_in_a_gap() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.node("one").await;
    promote(&mut node);
    let mut begun = node.1.begin_watch("sum", Bytes::from_static(b"sum")).unwrap();
    settle(&mut node);
    let mut watch = begun.try_recv().unwrap().unwrap().watch;
    // Somebody writes between two groups, so the second is found by reading before its own outcome is told.
    let no_op = control::no_op_group(Version::new(Epoch(0), Sequence(9)), EventTime(0), 1);
    world.log.zombie(&world.place, &no_op).unwrap();
    for command in [Adder::LOUD, 1] {
        node.1.command(command, None, None, None).unwrap();
    }
    settle(&mut node);
    let mut told = Vec::new();
    while let Poll::Ready(Ok(update)) = watch.poll_next(&mut Context::from_waker(Waker::noop())) {
        told.push(update);
    }
    let value = |sequence, value: i64| Update::Value {
        value: Some(value.to_be_bytes().to_vec().into()),
        version: Version::new(Epoch(1), Sequence(sequence)),
    };
    let event = Update::Event(Bytes::from_static(b"loud"));
    let skipped = [event.clone(), value(3, 2)];
    assert!(told == [value(2, 1), event, value(3, 2)] || told == skipped, "{told:?}");
}
