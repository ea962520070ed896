//! Values that expire: the master deletes them, and whoever saw one gone never sees it again.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Changed, Condition, Control, Failure, Handle, Harness, Index, Indexed, KeyRange, Keyspaces, Master,
    Owner, OwnerSettings, Partition, Parts, Reply, Schemas, Store, View,
};
use affinity_log::memory::{Delivery, Fault, MemoryLog};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::{KeepRequests, Update};
use affinity_types::codec::Encode;
use affinity_types::{Clock, EventTime, ManualClock, Offset, PartitionId};
use bytes::Bytes;
use tokio::sync::oneshot;

const START: EventTime = EventTime(1_700_000_000_000);
const TTL_MS: u64 = 1000;

const PLAIN: Store<str, i64> = Store::new("plain");
const SESSIONS: Store<str, i64> = Store::new("sessions").expiring_after(TTL_MS);

/// Sessions by whether they are greater than 0.
const BY_SIGN: Index<str, i64, u8> = Index::new("by_sign", 1, &SESSIONS, |n| vec![u8::from(*n > 0)]);

struct Sessions;

#[derive(Clone, Debug)]
enum Command {
    Put(i64),
    At(i64, EventTime),
    Until(i64, EventTime),
    PutIfAbsent(i64),
    /// Puts so many other sessions.
    Fill(usize),
    /// Reads the session and writes elsewhere.
    Copy,
    /// Reads the session and changes nothing.
    Look,
    /// Counts the sessions of a range and those that an index finds.
    Count,
}

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{self:?}").as_bytes());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is there")]
struct Taken;

type Answer = Option<i64>;

impl Partition for Sessions {
    const STORES: &'static [&'static str] = &["plain", "sessions"];
    const INDICES: &'static [&'static dyn Indexed] = &[&BY_SIGN];
    type Command = Command;
    type Query = ();
    type Answer = Answer;
    type Error = Taken;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<Answer, Taken> {
        let before = || cx.get(&SESSIONS, "s");
        match *command {
            Command::Put(value) => cx.put(&SESSIONS, "s", &value),
            Command::At(value, time) => cx.put_at(&SESSIONS, "s", &value, time),
            Command::Until(value, time) => cx.put_until(&PLAIN, "p", &value, time),
            Command::PutIfAbsent(value) => {
                cx.put_if(&SESSIONS, "s", Condition::Absent, &value).map_err(|_| Taken)?;
            }
            Command::Fill(many) => {
                (0..many).for_each(|n| cx.put(&SESSIONS, n.to_string().as_str(), &0));
            }
            Command::Copy => {
                let before = before();
                cx.put(&PLAIN, "copy", &before.unwrap_or(-1));
                return Ok(before);
            }
            Command::Look => return Ok(before()),
            Command::Count => {
                let ranged = cx.scan(&SESSIONS, &KeyRange::all(), 9).len();
                let found = cx.by(&BY_SIGN, &1, 9).len();
                return Ok(Some((10 * ranged + found) as i64));
            }
        }
        Ok(cx.get(&SESSIONS, "s"))
    }

    fn query(&self, cx: &View<'_>, (): &()) -> Result<Answer, Taken> {
        Ok(cx.get(&SESSIONS, "s").or(cx.get(&PLAIN, "p")))
    }
}

type Node = (Owner<Sessions>, Handle<Sessions>);

struct World {
    log: MemoryLog,
    coordinator: MemoryCoordinator,
}

impl World {
    fn new() -> World {
        World { log: MemoryLog::default(), coordinator: MemoryCoordinator::new() }
    }

    async fn node(&self, name: &str, clock: &Arc<ManualClock>) -> Node {
        let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
        let parts = Parts {
            place: place(),
            topic: self.log.create_topic("sessions", spec).await.unwrap().id,
            name: PartitionName::new("sessions", PartitionId(0)),
            node: NodeId::new(name),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(MemoryStore::new(Limits::default())),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::new(Keyspaces::default()),
            seed: name.bytes().map(u64::from).sum(),
            settings: OwnerSettings::default(),
        };
        Owner::new(Sessions, parts).unwrap()
    }

    fn end(&self) -> Offset {
        self.log.true_bounds(&place()).unwrap().end
    }

    /// Store and key, cause and time of each deletion in the log.
    async fn deletions(&self) -> Vec<(Option<EventTime>, EventTime)> {
        let mut tail = self.log.tail(&place(), Offset::ZERO).await.unwrap();
        let mut found = Vec::new();
        while let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
            for group in batch.unwrap().groups() {
                let deletions = group.records().filter(|record| record.value().is_none());
                let deletions = deletions.filter(|r| r.kind() != affinity_types::RecordKind::Control);
                found.extend(deletions.map(|r| (r.attributes().unwrap().expires, group.time())));
            }
        }
        found
    }
}

fn place() -> TopicPartition {
    TopicPartition::new("sessions", PartitionId(0))
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(START))
}

fn settle(node: &mut Node) {
    for _ in 0..50 {
        let _ = node.0.poll(&mut Context::from_waker(Waker::noop()));
    }
}

fn promote(node: &mut Node) {
    node.1.order(Control::Promote);
    settle(node);
    assert_eq!(node.1.status().phase, "serving");
}

fn ask(node: &mut Node, command: Command) -> oneshot::Receiver<Reply<Answer, Taken>> {
    let (reply, answer) = oneshot::channel();
    node.1.command(command, None, None, Some(reply)).unwrap();
    settle(node);
    answer
}

fn read(node: &mut Node) -> oneshot::Receiver<Reply<Answer, Taken>> {
    let (reply, answer) = oneshot::channel();
    node.1.query((), None, reply).unwrap();
    settle(node);
    answer
}

fn due_entries(node: &Node) -> usize {
    node.0.dump_due().unwrap().len()
}

#[tokio::test]
async fn the_master_deletes_what_is_due_with_its_cause_and_watchers_are_told() {
    let (world, clock) = (World::new(), clock());
    let (mut node, mut standby) = (world.node("one", &clock).await, world.node("two", &clock).await);
    promote(&mut node);
    assert_eq!(ask(&mut node, Command::Put(7)).try_recv(), Ok(Ok(Some(7))));
    let mut begun = node.1.begin_watch("sessions", Bytes::from_static(b"s")).unwrap();
    settle(&mut node);
    let mut watched = begun.try_recv().unwrap().unwrap();
    assert!(matches!(watched.current, Update::Value { value: Some(_), .. }));
    clock.advance_ms(TTL_MS - 1);
    settle(&mut node);
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(Some(7))));
    assert!(world.deletions().await.is_empty(), "not a moment early");
    let wake = node.0.wake_at().unwrap();
    assert_eq!(wake, clock.elapsed() + std::time::Duration::from_millis(1));
    clock.advance_ms(1);
    settle(&mut node);
    let expired = START.plus_ms(TTL_MS);
    assert_eq!(world.deletions().await, [(Some(expired), expired)]);
    let update = watched.watch.poll_next(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(update, Poll::Ready(Ok(Update::Value { value: None, .. }))), "{update:?}");
    settle(&mut standby);
    assert_eq!(node.0.dump().unwrap(), standby.0.dump().unwrap());
    assert_eq!(node.0.dump_due().unwrap(), standby.0.dump_due().unwrap());
    assert!(node.0.wake_at().unwrap() > clock.elapsed(), "nothing more is due");
}

#[tokio::test]
async fn a_read_of_what_has_expired_waits_for_its_delete() {
    let (world, clock) = (World::new(), clock());
    let mut node = world.node("one", &clock).await;
    promote(&mut node);
    assert_eq!(ask(&mut node, Command::Put(7)).try_recv(), Ok(Ok(Some(7))));
    world.log.deliver(Delivery::Manual);
    clock.advance_ms(TTL_MS);
    let (reply, mut first) = oneshot::channel();
    node.1.query((), None, reply).unwrap();
    settle(&mut node);
    let mut looked = ask(&mut node, Command::Look);
    let mut copied = ask(&mut node, Command::Copy);
    let mut begun = node.1.begin_watch("sessions", Bytes::from_static(b"s")).unwrap();
    settle(&mut node);
    assert!(first.try_recv().is_err() && looked.try_recv().is_err() && copied.try_recv().is_err());
    assert!(begun.try_recv().is_err());
    world.log.deliver(Delivery::Automatic);
    settle(&mut node);
    assert_eq!((first.try_recv(), looked.try_recv()), (Ok(Ok(None)), Ok(Ok(None))));
    assert_eq!(copied.try_recv(), Ok(Ok(None)));
    let current = begun.try_recv().unwrap().unwrap().current;
    assert!(matches!(current, Update::Value { value: None, .. }));
    assert_eq!(world.deletions().await.len(), 1, "one delete for all of them");
}

#[tokio::test]
async fn a_range_without_what_has_expired_waits_for_the_delete_too() {
    let (world, clock) = (World::new(), clock());
    let mut node = world.node("one", &clock).await;
    promote(&mut node);
    assert_eq!(ask(&mut node, Command::Put(7)).try_recv(), Ok(Ok(Some(7))));
    assert_eq!(ask(&mut node, Command::Count).try_recv(), Ok(Ok(Some(11))));
    world.log.deliver(Delivery::Manual);
    clock.advance_ms(TTL_MS);
    let mut counted = ask(&mut node, Command::Count);
    let mut begun = node.1.begin_watch_index(&BY_SIGN, &1).unwrap();
    settle(&mut node);
    assert!(counted.try_recv().is_err() && begun.try_recv().is_err());
    world.log.deliver(Delivery::Automatic);
    settle(&mut node);
    assert_eq!(counted.try_recv(), Ok(Ok(Some(0))));
    assert!(begun.try_recv().unwrap().unwrap().keys.is_empty());
    assert_eq!(world.deletions().await.len(), 1);
    assert_eq!(node.0.verify_indices().unwrap(), Ok(0), "its entry is gone with it");
}

#[tokio::test]
async fn a_read_whose_delete_is_refused_is_not_answered() {
    let (world, clock) = (World::new(), clock());
    let mut node = world.node("one", &clock).await;
    promote(&mut node);
    assert_eq!(ask(&mut node, Command::Put(7)).try_recv(), Ok(Ok(Some(7))));
    clock.advance_ms(TTL_MS);
    world.log.inject(world.log.channels(&place())[0], Fault::Refuse);
    assert_eq!(read(&mut node).try_recv(), Ok(Err(Failure::Unavailable)));
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(None)), "the next one gets through");
}

#[tokio::test]
async fn what_a_read_saw_gone_a_master_with_a_slow_clock_does_not_bring_back() {
    let (world, ahead, behind) = (World::new(), clock(), clock());
    let (mut old, mut new) = (world.node("old", &ahead).await, world.node("new", &behind).await);
    promote(&mut old);
    assert_eq!(ask(&mut old, Command::Put(7)).try_recv(), Ok(Ok(Some(7))));
    ahead.advance_ms(TTL_MS);
    assert_eq!(read(&mut old).try_recv(), Ok(Ok(None)));
    promote(&mut new);
    // The old master's lease runs out; by this clock the value would not have expired.
    behind.advance_ms(TTL_MS / 2);
    settle(&mut new);
    assert_eq!(read(&mut new).try_recv(), Ok(Ok(None)));
    assert_eq!(ask(&mut new, Command::PutIfAbsent(8)).try_recv(), Ok(Ok(Some(8))));
}

#[tokio::test]
async fn a_clock_that_goes_back_brings_nothing_back() {
    let (world, clock) = (World::new(), clock());
    let mut node = world.node("one", &clock).await;
    promote(&mut node);
    assert_eq!(ask(&mut node, Command::Put(7)).try_recv(), Ok(Ok(Some(7))));
    clock.jump_to(START.plus_ms(TTL_MS));
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(None)));
    clock.jump_to(START);
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(None)));
}

#[tokio::test]
async fn a_value_written_over_lives_as_long_as_the_new_one() {
    let (world, clock) = (World::new(), clock());
    let mut node = world.node("one", &clock).await;
    promote(&mut node);
    assert_eq!(ask(&mut node, Command::Put(7)).try_recv(), Ok(Ok(Some(7))));
    clock.advance_ms(TTL_MS / 2);
    assert_eq!(ask(&mut node, Command::PutIfAbsent(8)).try_recv(), Ok(Err(Failure::Handler(Taken))));
    assert_eq!(ask(&mut node, Command::Put(8)).try_recv(), Ok(Ok(Some(8))));
    assert_eq!(due_entries(&node), 1);
    clock.advance_ms(TTL_MS / 2);
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(Some(8))));
    clock.advance_ms(TTL_MS / 2);
    assert_eq!(ask(&mut node, Command::PutIfAbsent(9)).try_recv(), Ok(Ok(Some(9))), "expired is absent");
    assert!(world.deletions().await.is_empty(), "a change of one's own needs no delete before it");
}

#[tokio::test]
async fn event_time_and_an_expiry_of_ones_own_count() {
    let (world, clock) = (World::new(), clock());
    let mut node = world.node("one", &clock).await;
    promote(&mut node);
    let happened = START.minus_ms(TTL_MS - 10);
    assert_eq!(ask(&mut node, Command::At(1, happened)).try_recv(), Ok(Ok(Some(1))));
    assert_eq!(ask(&mut node, Command::Until(2, START.plus_ms(20))).try_recv(), Ok(Ok(Some(1))));
    clock.advance_ms(10);
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(Some(2))), "the session has expired");
    clock.advance_ms(10);
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(None)));
    // What has expired when it is put deletes what is there.
    assert_eq!(ask(&mut node, Command::Put(3)).try_recv(), Ok(Ok(Some(3))));
    assert_eq!(ask(&mut node, Command::At(4, happened)).try_recv(), Ok(Ok(None)));
    assert_eq!(read(&mut node).try_recv(), Ok(Ok(None)));
}

#[tokio::test]
async fn many_that_are_due_go_in_groups_of_limited_size() {
    let (world, clock) = (World::new(), clock());
    let mut node = world.node("one", &clock).await;
    promote(&mut node);
    let most = OwnerSettings::default().expiry_group_max;
    assert_eq!(ask(&mut node, Command::Fill(2 * most + 1)).try_recv(), Ok(Ok(None)));
    let end = world.end();
    clock.advance_ms(TTL_MS);
    settle(&mut node);
    assert_eq!(world.deletions().await.len(), 2 * most + 1);
    assert_eq!(world.end().0 - end.0, 2 * most as u64 + 1, "each once");
    assert_eq!(due_entries(&node), 0);
}

#[test]
fn the_harness_expires_as_an_owner_does() {
    let mut harness = Harness::new(Sessions, 1);
    harness.given(&SESSIONS, "s", &1);
    harness.set_now(EventTime(999));
    assert_eq!(harness.query(()), Ok(Some(1)));
    let put = harness.command(Command::Put(2));
    assert_eq!(put.changes, [Changed::put(&SESSIONS, "s", &2).expiring(EventTime(1999))]);
    harness.set_now(EventTime(1999));
    assert_eq!(harness.query(()), Ok(None));
    harness.set_now(EventTime(0));
    assert_eq!(harness.query(()), Ok(None), "and what is gone stays gone");
}
