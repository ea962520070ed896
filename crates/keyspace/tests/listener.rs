//! Listeners hear what the log has, in its order, once it is applied.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Applied, AppliedValue, Control, Handle, Harness, Keyspaces, Master, Owner, OwnerSettings, Partition,
    Parts, Schemas, Store, View,
};
use affinity_log::memory::{Delivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::KeepRequests;
use affinity_types::{
    Attributes, Clock, Epoch, EventTime, Group, Key, ManualClock, PartitionId, Record, Sequence, Version,
};
use bytes::Bytes;

const COUNTS: Store<str, i64> = Store::new("counts");
const NAMES: Store<str, String> = Store::new("names");
const NOW: i64 = 1_700_000_000_000;

/// What was heard, as text.
#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Vec<String>>>);

impl Counter {
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Partition for Counter {
    const STORES: &'static [&'static str] = &["counts", "names"];
    const LISTENS: bool = true;
    type Command = String;
    type Query = ();
    type Answer = i64;
    type Error = Infallible;

    /// Adds one to a name's count; of `-name` removes it, of `=name` names it too.
    fn command(&self, cx: &mut Master<'_>, name: &String) -> Result<i64, Infallible> {
        if let Some(name) = name.strip_prefix('-') {
            cx.delete(&COUNTS, name);
            return Ok(0);
        }
        let key = name.trim_start_matches('=');
        let count = cx.get(&COUNTS, key).unwrap_or(0) + 1;
        cx.put(&COUNTS, key, &count);
        if name.starts_with('=') {
            cx.put(&NAMES, key, &format!("{key}!"));
        }
        Ok(count)
    }

    fn query(&self, _: &View<'_>, (): &()) -> Result<i64, Infallible> {
        Ok(0)
    }

    fn changed(&self, applied: &Applied<'_>) {
        assert!(!applied.is(&COUNTS, "panic"), "this one panics");
        let role = if applied.serving() { "" } else { "read " };
        let end = match (applied.is_expiry(), applied.is_deletion()) {
            (true, _) => " expired",
            (false, true) => " deleted",
            _ => "",
        };
        let text = match (applied.of(&COUNTS), applied.of(&NAMES)) {
            (Some(Ok(AppliedValue { key, old, new })), None) => format!("{role}{key} {old:?} {new:?}{end}"),
            (None, Some(Ok(AppliedValue { key, new, .. }))) => format!("{role}{key} named {new:?}"),
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

struct Node {
    owner: Owner<Counter>,
    handle: Handle<Counter>,
    counter: Counter,
}

impl Node {
    fn poll(&mut self) {
        for _ in 0..10 {
            let _ = self.owner.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn ask(&mut self, name: &str) {
        self.handle.command(name.to_owned(), None, None, None).unwrap();
        self.poll();
    }

    fn promote(&mut self) {
        self.handle.order(Control::Promote);
        self.poll();
        assert_eq!(self.handle.status().phase, "serving");
    }
}

struct World {
    log: MemoryLog,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    place: TopicPartition,
}

impl World {
    fn new() -> World {
        World {
            log: MemoryLog::new(MemoryOptions { fencing: Fencing::Known, ..MemoryOptions::default() }),
            clock: Arc::new(ManualClock::at(EventTime(NOW))),
            coordinator: MemoryCoordinator::new(),
            place: TopicPartition::new("counts", PartitionId(0)),
        }
    }

    async fn node(&self, name: &str) -> Node {
        let counter = Counter::default();
        let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
        let parts = Parts {
            place: self.place.clone(),
            topic: self.log.create_topic("counts", spec).await.unwrap().id,
            name: PartitionName::new("counts", PartitionId(0)),
            node: NodeId::new(name),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(MemoryStore::new(Limits::default())),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::new(Keyspaces::default()),
            seed: 1,
            settings: OwnerSettings::default(),
        };
        let (owner, handle) = Owner::new(counter.clone(), parts).unwrap();
        Node { owner, handle, counter }
    }

    fn write(&self, time: i64, value: Option<i64>, expires: Option<i64>, repairs: Option<Version>) {
        let value = value.map(|value| Bytes::copy_from_slice(&value.to_be_bytes()));
        let expires = expires.map(EventTime);
        let record = Record { expires, repairs, ..Record::new(Key::copy_from(b"old"), value) };
        let version = Version::new(Epoch(0), Sequence(u64::try_from(time - NOW).unwrap()));
        let (time, attributes) = (EventTime(time), Attributes::default());
        self.log.zombie(&self.place, &Group { version, time, attributes, records: vec![record] }).unwrap();
    }
}

#[tokio::test]
async fn changes_are_heard_in_order_and_not_before_they_are_acknowledged() {
    let world = World::new();
    let (mut master, mut standby) = (world.node("one").await, world.node("two").await);
    master.promote();
    master.ask("=ada");
    let told = ["ada None Some(1)", "ada named Some(\"ada!\")"];
    assert_eq!(master.counter.heard(), told);
    world.log.deliver(Delivery::Manual);
    for name in ["ada", "bo", "-ada", "-ada", "ada"] {
        master.ask(name);
    }
    assert!(master.counter.heard().is_empty(), "nothing is acknowledged");
    let channel = world.log.channels(&world.place)[0];
    let mut all = told.map(str::to_owned).to_vec();
    let expected: [&[&str]; 2] = [
        &["ada Some(1) Some(2)", "bo None Some(1)"],
        &["ada Some(2) None deleted", "ada None None deleted", "ada None Some(1)"],
    ];
    for expected in expected {
        world.log.land(channel, expected.len());
        world.log.acknowledge(channel, expected.len());
        master.poll();
        assert_eq!(master.counter.heard(), expected);
        all.extend(expected.iter().map(|text| (*text).to_owned()));
    }
    standby.poll();
    let read: Vec<String> = all.iter().map(|text| format!("read {text}")).collect();
    assert_eq!(standby.counter.heard(), read, "who reads the log hears the same");
}

#[tokio::test]
async fn a_refused_change_is_not_heard_and_a_panic_is_no_end() {
    let world = World::new();
    let mut master = world.node("one").await;
    master.promote();
    world.log.inject(world.log.channels(&world.place)[0], Fault::Refuse);
    master.ask("ada");
    world.clock.advance_ms(1000);
    master.ask("panic");
    master.ask("bo");
    assert_eq!(master.counter.heard(), ["bo None Some(1)"]);
    assert_eq!(master.handle.status().phase, "serving");
}

#[tokio::test]
async fn an_expiry_is_told_from_a_deletion_and_a_repair_is_not_told() {
    let world = World::new();
    let mut node = world.node("one").await;
    world.write(NOW, Some(1), Some(NOW + 5), None);
    world.write(NOW + 1, Some(2), Some(NOW + 5), None);
    world.write(NOW + 2, Some(2), Some(NOW + 5), Some(Version::new(Epoch(0), Sequence(1))));
    world.write(NOW + 6, None, None, None);
    node.poll();
    let told = ["read old None Some(1)", "read old Some(1) Some(2)", "read old Some(2) None expired"];
    assert_eq!(node.counter.heard(), told);
}

#[test]
fn a_harness_tells_its_listener() {
    let counter = Counter::default();
    let mut harness = Harness::new(counter.clone(), 1);
    harness.given(&COUNTS, "ada", &41);
    harness.command("ada".to_owned());
    assert_eq!(counter.heard(), ["ada None Some(41)", "ada Some(41) Some(42)"]);
}
