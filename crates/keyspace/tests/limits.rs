//! What an owner promises at its limits: how many may wait for it, how long it waits for others, and that it neither spins nor
//! ends over what others do wrong.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Failure, Handle, Keyspaces, Master, Owner, OwnerSettings, Partition, Parts, Reads, Reply,
    Schemas, Store, View,
};
use affinity_log::memory::{ChannelId, Delivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{
    Batch as LogBatch, Bounds, BoxFuture, Cleanup, Error, ErrorKind, Log, Prepared, Tail, Topic,
    TopicPartition, TopicSpec,
};
use affinity_memstore::{
    At, Batch, Checkpoint, Expiring, Limits, MemStore, MemoryStore, RequestEntry, Scan, Scanned, Snapshot,
    Status, StoreId, Value, Visit,
};
use affinity_state::KeepRequests;
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::{Clock, EventTime, ManualClock, Offset, PartitionId, RequestId};
use bytes::Bytes;
use tokio::sync::oneshot;

const COUNTS: Store<str, i64> = Store::new("counts");

/// Adds one to a key.
struct Counter;

/// A key; one that is a bomb panics where it is encoded.
#[derive(Clone)]
struct Add(&'static str);

/// A count; at the numbers of the bombs it panics where it is encoded, read or copied.
#[derive(Debug, PartialEq, Eq)]
struct Count(i64);

const BOMB: &str = "bomb";
const BOMB_ENCODED: &str = "bomb encoded";
const BOMB_READ: &str = "bomb read";
const BOMB_COPIED: &str = "bomb copied";

/// Where an answer of the command with this key goes off.
fn bomb(key: &str) -> Option<i64> {
    [BOMB_ENCODED, BOMB_READ, BOMB_COPIED].iter().zip(-3..).find(|(bomb, _)| **bomb == key).map(|(_, at)| at)
}

impl Encode for Add {
    fn encode(&self, out: &mut Vec<u8>) {
        assert_ne!(self.0, BOMB, "it cannot be encoded");
        self.0.encode(out);
    }
}

impl Clone for Count {
    fn clone(&self) -> Count {
        assert_ne!(bomb(BOMB_COPIED), Some(self.0), "it cannot be copied");
        Count(self.0)
    }
}

impl Encode for Count {
    fn encode(&self, out: &mut Vec<u8>) {
        assert_ne!(bomb(BOMB_ENCODED), Some(self.0), "it cannot be encoded");
        self.0.encode(out);
    }
}

impl Decode for Count {
    fn decode(bytes: &[u8]) -> Result<Count, CodecError> {
        let count = i64::decode(bytes)?;
        assert_ne!(bomb(BOMB_READ), Some(count), "it cannot be read");
        Ok(Count(count))
    }
}

impl Partition for Counter {
    const STORES: &'static [&'static str] = &["counts"];
    type Command = Add;
    type Query = &'static str;
    type Answer = Count;
    type Error = std::convert::Infallible;

    fn command(&self, cx: &mut Master<'_>, Add(key): &Add) -> Result<Count, Self::Error> {
        let count = cx.get(&COUNTS, key).unwrap_or(0) + 1;
        cx.put(&COUNTS, key, &count);
        Ok(Count(bomb(key).unwrap_or(count)))
    }

    fn query(&self, cx: &View<'_>, key: &&'static str) -> Result<Count, Self::Error> {
        Ok(Count(cx.get(&COUNTS, *key).unwrap_or(0)))
    }
}

type Node = (Owner<Counter>, Handle<Counter>);
type Answer = oneshot::Receiver<Reply<Count, std::convert::Infallible>>;

/// A log whose tails fail and whose preparations hang, when they are told to.
#[derive(Clone, Default)]
struct FaultyLog {
    inner: MemoryLog,
    /// Tails that have given something fail.
    tails_fail: Arc<AtomicBool>,
    /// So many preparations never end.
    hang: Arc<AtomicU64>,
}

struct FaultyTail {
    inner: Box<dyn Tail>,
    fail: Arc<AtomicBool>,
    has_given: bool,
}

impl Tail for FaultyTail {
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<LogBatch, Error>> {
        if self.has_given && self.fail.load(Ordering::Relaxed) {
            return Poll::Ready(Err(Error::new(ErrorKind::Unavailable, "told to fail")));
        }
        let batch = self.inner.poll_batch(cx);
        self.has_given |= batch.is_ready();
        batch
    }
}

impl Log for FaultyLog {
    fn create_topic<'a>(&'a self, name: &'a str, spec: TopicSpec) -> BoxFuture<'a, Result<Topic, Error>> {
        self.inner.create_topic(name, spec)
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Topic>, Error>> {
        self.inner.topic(name)
    }

    fn delete_topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.inner.delete_topic(name)
    }

    fn bounds<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Bounds, Error>> {
        self.inner.bounds(place)
    }

    fn offset_at<'a>(
        &'a self,
        place: &'a TopicPartition,
        time: EventTime,
    ) -> BoxFuture<'a, Result<Option<Offset>, Error>> {
        self.inner.offset_at(place, time)
    }

    fn prepare<'a>(&'a self, place: &'a TopicPartition) -> BoxFuture<'a, Result<Box<dyn Prepared>, Error>> {
        let hang = self.hang.load(Ordering::Relaxed);
        if hang > 0 {
            self.hang.store(hang - 1, Ordering::Relaxed);
            return Box::pin(std::future::pending());
        }
        self.inner.prepare(place)
    }

    fn tail<'a>(
        &'a self,
        place: &'a TopicPartition,
        from: Offset,
    ) -> BoxFuture<'a, Result<Box<dyn Tail>, Error>> {
        let fail = Arc::clone(&self.tails_fail);
        Box::pin(async move {
            let inner = self.inner.tail(place, from).await?;
            Ok(Box::new(FaultyTail { inner, fail, has_given: false }) as Box<dyn Tail>)
        })
    }

    fn limits(&self) -> affinity_log::Limits {
        self.inner.limits()
    }
}

/// A store that takes nothing any more, when it is told to.
#[derive(Debug)]
struct FaultyStore {
    inner: MemoryStore,
    refuses: Arc<AtomicBool>,
}

impl MemStore for FaultyStore {
    fn limits(&self) -> &Limits {
        self.inner.limits()
    }

    fn checkpoint(&self) -> Option<&Checkpoint> {
        self.inner.checkpoint()
    }

    fn requests(&self) -> affinity_memstore::Result<Vec<RequestEntry>> {
        self.inner.requests()
    }

    fn get_at(&self, at: At<'_>, store: StoreId, key: &[u8]) -> affinity_memstore::Result<Option<Value<'_>>> {
        self.inner.get_at(at, store, key)
    }

    fn scan(&self, at: At<'_>, scan: &Scan, visit: &mut Visit<'_>) -> affinity_memstore::Result<Scanned> {
        self.inner.scan(at, scan, visit)
    }

    fn due_from(&self) -> Option<EventTime> {
        self.inner.due_from()
    }

    fn due(&self, now: EventTime, most: usize) -> affinity_memstore::Result<Vec<Expiring>> {
        self.inner.due(now, most)
    }

    fn apply(&mut self, batch: &Batch<'_>) -> affinity_memstore::Result<()> {
        if self.refuses.load(Ordering::Relaxed) {
            // One that does not follow is as good a reason as any.
            let checkpoint = self.inner.checkpoint().unwrap().clone();
            return self.inner.apply(&Batch::new(Offset(u64::MAX - 1), checkpoint));
        }
        self.inner.apply(batch)
    }

    fn open_snapshot(&mut self, now: Duration) -> affinity_memstore::Result<Snapshot> {
        self.inner.open_snapshot(now)
    }

    fn close_snapshot(&mut self, snapshot: Snapshot) {
        self.inner.close_snapshot(snapshot);
    }

    fn close_aged(&mut self, now: Duration) -> usize {
        self.inner.close_aged(now)
    }

    fn status(&self) -> Status {
        self.inner.status()
    }
}

struct World {
    log: FaultyLog,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    settings: OwnerSettings,
    place: TopicPartition,
    store_refuses: Arc<AtomicBool>,
}

impl World {
    fn new(settings: OwnerSettings) -> World {
        World::over(Fencing::Off, settings)
    }

    fn over(fencing: Fencing, settings: OwnerSettings) -> World {
        let inner = MemoryLog::new(MemoryOptions { fencing, ..MemoryOptions::default() });
        World {
            log: FaultyLog { inner, ..FaultyLog::default() },
            clock: Arc::new(ManualClock::at(EventTime(1_700_000_000_000))),
            coordinator: MemoryCoordinator::new(),
            settings,
            place: TopicPartition::new("counts", PartitionId(0)),
            store_refuses: Arc::default(),
        }
    }

    async fn node(&self, name: &str) -> Node {
        let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
        let inner = MemoryStore::new(Limits::default());
        let parts = Parts {
            place: self.place.clone(),
            topic: self.log.create_topic("counts", spec).await.unwrap().id,
            name: PartitionName::new("counts", PartitionId(0)),
            node: NodeId::new(name),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(FaultyStore { inner, refuses: Arc::clone(&self.store_refuses) }),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::new(Keyspaces::default()),
            seed: name.bytes().map(u64::from).sum(),
            settings: self.settings.clone(),
        };
        Owner::new(Counter, parts).unwrap()
    }

    /// A node that serves.
    async fn master(&self, name: &str) -> Node {
        let mut node = self.node(name).await;
        node.1.order(Control::Promote);
        settle(&mut node);
        assert_eq!(node.1.status().phase, "serving");
        node
    }

    fn id(&self, sequence: u64) -> RequestId {
        RequestId { client: 1, sequence, issued: Some(self.clock.now()) }
    }

    /// From now on groups land and are acknowledged when they are told to.
    fn hold_back(&self) -> ChannelId {
        self.log.inner.deliver(Delivery::Manual);
        *self.log.inner.channels(&self.place).last().unwrap()
    }

    fn deliver(&self, channel: ChannelId, groups: usize) {
        self.log.inner.land(channel, groups);
        self.log.inner.acknowledge(channel, groups);
    }

    /// Times of the groups in the log.
    async fn times(&self) -> Vec<EventTime> {
        let mut tail = self.log.inner.tail(&self.place, Offset::ZERO).await.unwrap();
        let mut times = Vec::new();
        while let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
            times.extend(batch.unwrap().groups().map(|group| group.time()));
        }
        times
    }
}

fn poll(node: &mut Node) -> Poll<()> {
    node.0.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls an owner until it has nothing more to do.
fn settle(node: &mut Node) {
    for _ in 0..100 {
        let _ = poll(node);
    }
}

fn ask(node: &Node, key: &'static str, request: Option<RequestId>) -> Answer {
    let (reply, answer) = oneshot::channel();
    node.1.command(Add(key), request, None, Some(reply)).unwrap();
    answer
}

fn read(node: &Node, key: &'static str) -> Answer {
    let (reply, answer) = oneshot::channel();
    node.1.query(key, None, reply).unwrap();
    answer
}

/// Asks again and again until the queue is full; how many were taken.
fn flood(node: &mut Node, request: Option<RequestId>) -> usize {
    let mut waiting = Vec::new();
    while waiting.len() < 1000 {
        let (reply, answer) = oneshot::channel();
        match node.1.command(Add("a"), request, None, Some(reply)) {
            Ok(()) => waiting.push(answer),
            Err(failure) => {
                assert_eq!(failure, Failure::Overloaded);
                break;
            }
        }
        for _ in 0..3 {
            let _ = poll(node);
        }
    }
    waiting.len()
}

fn small() -> OwnerSettings {
    OwnerSettings { queue_max: 4, pending_max: 4, held_reads_max: 4, ..OwnerSettings::default() }
}

#[tokio::test]
async fn retries_of_a_request_in_flight_count_as_held() {
    // Without this the runtime would let channels wait after so many messages.
    tokio::task::unconstrained(async {
        let world = World::new(small());
        let mut node = world.master("one").await;
        let channel = world.hold_back();
        assert_eq!(flood(&mut node, Some(world.id(1))), 1 + 4 + 4, "one in flight, its retries, the queue");
        world.deliver(channel, 1);
        settle(&mut node);
        assert_eq!(node.1.status().queued, 0, "its answer was that of all of them");
    })
    .await;
}

#[tokio::test]
async fn replies_that_wait_for_the_gate_count_as_held() {
    tokio::task::unconstrained(async {
        let world = World::new(small());
        let mut old = world.master("old").await;
        drop(ask(&old, "a", None));
        settle(&mut old);
        let mut new = world.master("new").await;
        assert_eq!(flood(&mut new, None), 4 + 4, "those held back, and the queue");
        world.clock.advance_ms(1000);
        settle(&mut new);
        assert_eq!(new.1.status().queued, 0);
    })
    .await;
}

#[tokio::test]
async fn a_limit_of_nothing_counts_as_one() {
    for settings in [
        OwnerSettings { queue_max: 0, ..OwnerSettings::default() },
        OwnerSettings { pending_max: 0, ..OwnerSettings::default() },
        OwnerSettings { held_reads_max: 0, ..OwnerSettings::default() },
        OwnerSettings { turn_max: 0, ..OwnerSettings::default() },
    ] {
        let world = World::new(settings);
        let mut node = world.master("one").await;
        let mut answer = ask(&node, "a", None);
        settle(&mut node);
        assert_eq!(answer.try_recv(), Ok(Ok(Count(1))), "{:?}", world.settings);
    }
}

#[tokio::test]
async fn time_never_goes_back_behind_what_was_sent() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.master("one").await;
    let (start, channel) = (world.clock.now(), world.hold_back());
    for (at, landed) in [(20_000, 0), (10_000, 1), (15_000, 1), (5_000, 0)] {
        world.clock.jump_to(EventTime(start.0 + at));
        drop(ask(&node, "a", None));
        let _ = poll(&mut node);
        world.deliver(channel, landed);
    }
    world.deliver(channel, 4);
    settle(&mut node);
    let times: Vec<_> = world.times().await.iter().map(|time| time.0 - start.0).collect();
    assert_eq!(times, [0, 20_000, 20_000, 20_000, 20_000]);
}

#[tokio::test]
async fn a_conflict_with_a_request_in_flight_is_told_when_that_has_landed() {
    for fault in [None, Some(Fault::Refuse)] {
        let world = World::new(OwnerSettings::default());
        let mut node = world.master("one").await;
        let channel = world.hold_back();
        fault.into_iter().for_each(|fault| world.log.inner.inject(channel, fault));
        let mut first = ask(&node, "a", Some(world.id(1)));
        let mut other = ask(&node, "b", Some(world.id(1)));
        settle(&mut node);
        assert!(other.try_recv().is_err(), "the first may still be refused");
        world.deliver(channel, 1);
        settle(&mut node);
        let expected = match fault {
            None => (Ok(Count(1)), Err(Failure::Conflict)),
            Some(_) => (Err(Failure::Unavailable), Err(Failure::Unavailable)),
        };
        assert_eq!((first.try_recv().unwrap(), other.try_recv().unwrap()), expected);
    }
}

#[tokio::test]
async fn a_read_that_saw_nothing_pending_overtakes_one_that_did() {
    let world = World::over(Fencing::Known, OwnerSettings::default());
    let mut node = world.master("one").await;
    let channel = world.hold_back();
    drop(ask(&node, "hot", None));
    let (mut hot, mut cold) = (read(&node, "hot"), read(&node, "cold"));
    settle(&mut node);
    assert!(hot.try_recv().is_err());
    assert_eq!(cold.try_recv(), Ok(Ok(Count(0))));
    world.deliver(channel, 1);
    settle(&mut node);
    assert_eq!(hot.try_recv(), Ok(Ok(Count(1))));
}

/// After everything that is due was done, nothing is due.
fn check_rests(world: &World, node: &mut Node) {
    settle(node);
    let (at, now) = (node.0.wake_at(), world.clock.elapsed());
    assert!(at.is_none_or(|at| at > now), "at {now:?} it is due since {at:?}");
}

#[tokio::test]
async fn a_tail_that_failed_before_serving_is_not_due_while_serving() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.node("one").await;
    settle(&mut node);
    world.log.inner.deliver(Delivery::Manual);
    node.1.order(Control::Promote);
    settle(&mut node);
    assert_eq!(node.1.status().phase, "barring");
    world.log.tails_fail.store(true, Ordering::Relaxed);
    let channel = world.log.inner.channels(&world.place)[0];
    world.log.inner.land(channel, 1);
    settle(&mut node);
    world.log.inner.acknowledge(channel, 1);
    settle(&mut node);
    world.log.tails_fail.store(false, Ordering::Relaxed);
    world.clock.advance_ms(1000);
    check_rests(&world, &mut node);
    assert_eq!(node.1.status().phase, "serving");
}

#[tokio::test]
async fn what_has_no_room_in_the_log_is_not_due() {
    let world =
        World::new(OwnerSettings { reads: Reads::Strict, pending_max: 1, ..OwnerSettings::default() });
    let mut node = world.master("one").await;
    world.log.inner.inject(world.log.inner.channels(&world.place)[0], Fault::Refuse);
    let mut first = read(&node, "a");
    settle(&mut node);
    let channel = world.hold_back();
    let mut written = ask(&node, "a", None);
    settle(&mut node);
    world.clock.advance_ms(1000);
    check_rests(&world, &mut node);
    world.deliver(channel, 2);
    settle(&mut node);
    assert_eq!(written.try_recv(), Ok(Ok(Count(1))));
    assert_eq!(first.try_recv(), Ok(Ok(Count(0))));
}

#[tokio::test]
async fn code_of_the_application_that_panics_fails_who_asked_and_nobody_else() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.master("one").await;
    let mut next = 0;
    for (bomb, again, expected) in [
        (BOMB, false, Failure::Panicked),
        (BOMB_ENCODED, false, Failure::Panicked),
        (BOMB_READ, true, Failure::Unknown),
    ] {
        next += 1;
        let mut answer = ask(&node, bomb, Some(world.id(next)));
        settle(&mut node);
        if again {
            answer = ask(&node, bomb, Some(world.id(next)));
            settle(&mut node);
        }
        assert_eq!(answer.try_recv(), Ok(Err(expected)), "{bomb}");
        let mut answer = ask(&node, bomb_free(next), None);
        settle(&mut node);
        assert_eq!(answer.try_recv(), Ok(Ok(Count(1))), "after {bomb}");
    }
    let (mut first, mut again) =
        (ask(&node, BOMB_COPIED, Some(world.id(9))), ask(&node, BOMB_COPIED, Some(world.id(9))));
    settle(&mut node);
    assert!(matches!(first.try_recv(), Ok(Ok(_))), "the last one needs no copy");
    assert_eq!(again.try_recv(), Ok(Err(Failure::Unknown)));
}

fn bomb_free(number: u64) -> &'static str {
    ["a", "b", "c", "d"][usize::try_from(number).unwrap() % 4]
}

#[tokio::test]
async fn whoever_asks_a_partition_that_breaks_down_is_answered_and_its_owner_ends() {
    tokio::task::unconstrained(async {
        let world = World::new(OwnerSettings::default());
        let mut node = world.master("one").await;
        drop(ask(&node, "a", None));
        settle(&mut node);
        let mut written = ask(&node, "a", Some(world.id(1)));
        // Acknowledged, and not in the memstore yet.
        while written.try_recv() != Ok(Ok(Count(2))) {
            let _ = poll(&mut node);
        }
        world.store_refuses.store(true, Ordering::Relaxed);
        let mut watch = node.1.begin_watch("counts", Bytes::from_static(b"a")).unwrap();
        let (mut again, mut seen) = (ask(&node, "a", Some(world.id(1))), read(&node, "a"));
        settle(&mut node);
        assert!(node.1.status().broken.is_some());
        assert!(matches!(watch.try_recv(), Ok(Err(Failure::Unavailable))));
        assert_eq!(again.try_recv(), Ok(Err(Failure::Unavailable)));
        assert_eq!(seen.try_recv(), Ok(Err(Failure::Unavailable)));
        let (mut owner, handle) = node;
        drop(handle);
        let ended = (0..100).any(|_| owner.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(ended, "nobody waits for anything");
    })
    .await;
}

#[tokio::test]
async fn a_call_that_hangs_is_tried_again() {
    let world = World::new(OwnerSettings::default());
    let mut node = world.node("one").await;
    world.log.hang.store(1, Ordering::Relaxed);
    node.1.order(Control::Promote);
    settle(&mut node);
    assert_eq!(node.1.status().phase, "preparing");
    let due = Duration::from_millis(world.settings.call_timeout_ms);
    assert_eq!(node.0.wake_at(), Some(world.clock.elapsed() + due));
    world.clock.advance_ms(world.settings.call_timeout_ms);
    settle(&mut node);
    world.clock.advance_ms(world.settings.retry_ms);
    settle(&mut node);
    assert_eq!(node.1.status().phase, "serving");
}
