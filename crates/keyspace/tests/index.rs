//! Indices as handlers and watchers see them: over what is pending, over a command's own changes, and after refusals.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Failure, Handle, Index, Indexed, Keyspaces, Master, Owner, OwnerSettings, Partition, Parts,
    Reply, Schemas, Store, View,
};
use affinity_log::memory::{Delivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Batch, Checkpoint, Limits, MemStore, MemoryStore, Value};
use affinity_state::{INDEX_UPDATES_MAX, IndexUpdate, IndexWatch, IndexWatchEnded, KeepRequests};
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::{Clock, Epoch, EventTime, ManualClock, Offset, PartitionId, TopicId, Version};
use tokio::sync::oneshot;

/// A person: where they are, and their name at the door, if they have one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Person {
    city: String,
    badge: Option<u32>,
}

impl Encode for Person {
    fn encode(&self, out: &mut Vec<u8>) {
        self.badge.unwrap_or(0).encode(out);
        self.city.encode(out);
    }
}

impl Decode for Person {
    fn decode(bytes: &[u8]) -> Result<Person, CodecError> {
        let (badge, city) = bytes.split_first_chunk::<4>().ok_or_else(|| CodecError("short".into()))?;
        let badge = Some(u32::from_be_bytes(*badge)).filter(|badge| *badge > 0);
        Ok(Person { city: String::decode(city)?, badge })
    }
}

const PEOPLE: Store<str, Person> = Store::new("people");
const BY_CITY: Index<str, Person, String> =
    Index::new("by_city", 1, &PEOPLE, |person| vec![person.city.clone()]);
const BY_BADGE: Index<str, Person, u32> =
    Index::new("by_badge", 1, &PEOPLE, |person| person.badge.into_iter().collect()).unique();

struct People;

/// Names and what becomes of them, one after the other; a name that begins with `?` asks who is in that city.
type Moves = Vec<(String, Option<Person>)>;

#[derive(Clone)]
struct Command(Moves);

impl Encode for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        for (name, person) in &self.0 {
            name.encode(out);
            person.encode(out);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("never")]
struct Never;

impl Partition for People {
    const STORES: &'static [&'static str] = &["people"];
    const INDICES: &'static [&'static dyn Indexed] = &[&BY_CITY, &BY_BADGE];
    type Command = Command;
    type Query = String;
    type Answer = String;
    type Error = Never;

    fn command(&self, cx: &mut Master<'_>, command: &Command) -> Result<String, Never> {
        let mut seen = Vec::new();
        for (name, person) in &command.0 {
            match (name.strip_prefix('?'), person) {
                (Some(city), _) => seen.push(cx.by(&BY_CITY, &city.to_owned(), 10).join(" ")),
                (None, Some(person)) => cx.put(&PEOPLE, name.as_str(), person),
                (None, None) => cx.delete(&PEOPLE, name.as_str()),
            }
        }
        Ok(seen.join("; "))
    }

    fn query(&self, cx: &View<'_>, city: &String) -> Result<String, Never> {
        let all = |(key, name): (String, String)| format!("{key} {name}");
        if city == "*" {
            return Ok(cx
                .by_range::<str, _, _>(&BY_CITY, .., 3)
                .into_iter()
                .map(all)
                .collect::<Vec<_>>()
                .join(", "));
        }
        if let Some((from, to)) = city.split_once("..") {
            let found = cx.by_range::<str, _, _>(&BY_CITY, from.to_owned()..=to.to_owned(), 10);
            return Ok(found.into_iter().map(all).collect::<Vec<_>>().join(", "));
        }
        if let Some((city, after)) = city.split_once('>') {
            return Ok(cx.by_after(&BY_CITY, &city.to_owned(), after, 10).join(" "));
        }
        Ok(cx.by(&BY_CITY, city, 10).join(" "))
    }
}

type Node = (Owner<People>, Handle<People>);

struct World {
    log: MemoryLog,
    clock: Arc<ManualClock>,
    place: TopicPartition,
}

impl World {
    fn new() -> World {
        let log = MemoryLog::new(MemoryOptions { fencing: Fencing::Known, ..MemoryOptions::default() });
        let clock = Arc::new(ManualClock::at(EventTime(1_700_000_000_000)));
        World { log, clock, place: TopicPartition::new("people", PartitionId(0)) }
    }

    async fn topic(&self) -> TopicId {
        let spec = TopicSpec { partitions: 1, cleanup: Cleanup::default() };
        self.log.create_topic("people", spec).await.unwrap().id
    }

    async fn serving(&self, store: MemoryStore) -> Node {
        let parts = Parts {
            place: self.place.clone(),
            topic: self.topic().await,
            name: PartitionName::new("people", PartitionId(0)),
            node: NodeId::new("one"),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(MemoryCoordinator::new()),
            memstore: Box::new(store),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::new(Keyspaces::default()),
            seed: 1,
            settings: OwnerSettings { index_step_max: 1, ..OwnerSettings::default() },
        };
        let mut node = Owner::new(People, parts).unwrap();
        node.1.order(Control::Promote);
        for _ in 0..10 {
            poll(&mut node);
        }
        assert_eq!(node.1.status().phase, "serving");
        node
    }

    /// What was sent is acknowledged.
    fn acknowledge(&self, node: &mut Node) {
        for channel in self.log.channels(&self.place) {
            self.log.land(channel, 10);
            self.log.acknowledge(channel, 10);
        }
        poll(node);
    }
}

fn poll(node: &mut Node) {
    let _ = node.0.poll(&mut Context::from_waker(Waker::noop()));
}

type Answer = oneshot::Receiver<Reply<String, Never>>;

fn ask(node: &mut Node, moves: &[(&str, Option<(&str, u32)>)]) -> Answer {
    let (reply, answer) = oneshot::channel();
    let person =
        |(city, badge): (&str, u32)| Person { city: city.into(), badge: (badge > 0).then_some(badge) };
    let moves = moves.iter().map(|(name, to)| (name.to_string(), to.map(person))).collect();
    node.1.command(Command(moves), None, None, Some(reply)).unwrap();
    poll(node);
    poll(node);
    answer
}

fn read(node: &mut Node, city: &str) -> Answer {
    let (reply, answer) = oneshot::channel();
    node.1.query(city.to_owned(), None, reply).unwrap();
    poll(node);
    answer
}

fn answered(answer: &mut Answer) -> Option<String> {
    answer.try_recv().ok().map(Result::unwrap)
}

fn said(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn look_ups_see_what_is_pending_and_are_held_for_it() {
    let world = World::new();
    let mut node = world.serving(MemoryStore::new(Limits::default())).await;
    ask(&mut node, &[("ada", Some(("london", 0))), ("bo", Some(("paris", 0))), ("cy", Some(("london", 0)))]);
    poll(&mut node);
    world.log.deliver(Delivery::Manual);
    let mut moved = ask(&mut node, &[("ada", Some(("paris", 0))), ("di", Some(("london", 0)))]);
    let mut london = read(&mut node, "london");
    let mut paris = read(&mut node, "paris");
    let mut elsewhere = read(&mut node, "rome");
    assert_eq!((answered(&mut moved), answered(&mut london), answered(&mut paris)), (None, None, None));
    assert_eq!(answered(&mut elsewhere), said(""), "it has seen nothing that is pending");
    world.acknowledge(&mut node);
    assert_eq!((answered(&mut london), answered(&mut paris)), (said("cy di"), said("ada bo")));
    assert_eq!(answered(&mut read(&mut node, "rome")), said(""));
    assert_eq!(answered(&mut read(&mut node, "*")), said("london cy, london di, paris ada"));
    assert_eq!(answered(&mut read(&mut node, "m..z")), said("paris ada, paris bo"));
    assert_eq!(answered(&mut read(&mut node, "z..m")), said(""), "a range that ends before it begins");
    assert_eq!(answered(&mut read(&mut node, "paris>ada")), said("bo"));
    assert_eq!(node.0.verify_indices().unwrap(), Ok(4));
}

#[tokio::test]
async fn a_command_sees_its_own_changes() {
    let world = World::new();
    let mut node = world.serving(MemoryStore::new(Limits::default())).await;
    let mut seen = ask(
        &mut node,
        &[
            ("?london", None),
            ("ada", Some(("london", 0))),
            ("bo", Some(("london", 0))),
            ("?london", None),
            ("ada", None),
            ("bo", Some(("paris", 0))),
            ("?london", None),
            ("?paris", None),
        ],
    );
    poll(&mut node);
    assert_eq!(answered(&mut seen), said("; ada bo; ; bo"));
}

#[tokio::test]
async fn a_refused_group_leaves_no_entries() {
    let world = World::new();
    let mut node = world.serving(MemoryStore::new(Limits::default())).await;
    ask(&mut node, &[("ada", Some(("london", 7)))]);
    poll(&mut node);
    world.log.deliver(Delivery::Manual);
    world.log.inject(world.log.channels(&world.place)[0], Fault::Refuse);
    let mut moved = ask(&mut node, &[("ada", Some(("paris", 8)))]);
    let mut further = ask(&mut node, &[("bo", Some(("london", 9)))]);
    world.log.deliver(Delivery::Automatic);
    world.acknowledge(&mut node);
    poll(&mut node);
    assert_eq!(moved.try_recv().unwrap(), Err(Failure::Unavailable));
    assert_eq!(further.try_recv().unwrap(), Err(Failure::Unavailable));
    world.clock.advance_ms(1000);
    poll(&mut node);
    assert_eq!(answered(&mut read(&mut node, "london")), said("ada"));
    assert_eq!(answered(&mut read(&mut node, "paris")), said(""));
    assert_eq!(node.0.verify_indices().unwrap(), Ok(2));
}

#[tokio::test]
async fn a_unique_index_refuses_a_second_key_pending_ones_included() {
    let world = World::new();
    let mut node = world.serving(MemoryStore::new(Limits::default())).await;
    let not_unique = Err(Failure::NotUnique { index: "by_badge" });
    ask(&mut node, &[("ada", Some(("london", 7)))]);
    poll(&mut node);
    assert_eq!(ask(&mut node, &[("bo", Some(("paris", 7)))]).try_recv().unwrap(), not_unique);
    assert_eq!(
        ask(&mut node, &[("ada", Some(("rome", 7)))]).try_recv().unwrap(),
        Ok(String::new()),
        "its own"
    );
    world.log.deliver(Delivery::Manual);
    let mut first = ask(&mut node, &[("bo", Some(("paris", 8)))]);
    let mut second = ask(&mut node, &[("cy", Some(("paris", 8)))]);
    // Both leave their badge, or hand it over, in one command.
    let mut handed = ask(&mut node, &[("ada", None), ("di", Some(("rome", 7)))]);
    let mut third = ask(&mut node, &[("ada", Some(("rome", 7)))]);
    let mut twice = ask(&mut node, &[("x", Some(("rome", 9))), ("y", Some(("rome", 9)))]);
    assert!(second.try_recv().is_err(), "it saw what is pending");
    assert!(third.try_recv().is_err());
    world.acknowledge(&mut node);
    assert_eq!((answered(&mut first), answered(&mut handed)), (said(""), said("")));
    for refused in [&mut second, &mut third, &mut twice] {
        assert_eq!(refused.try_recv().unwrap(), not_unique);
    }
    assert_eq!(answered(&mut read(&mut node, "*")), said("paris bo, rome di"));
    assert_eq!(node.0.verify_indices().unwrap(), Ok(4));
}

#[tokio::test]
async fn an_index_that_is_being_built_says_so_and_then_has_everything() {
    let world = World::new();
    let topic = world.topic().await;
    let mut store = MemoryStore::new(Limits::default());
    let checkpoint = Checkpoint::new(topic, Offset(0), Epoch(0), EventTime(0));
    let mut batch = Batch::new(Offset::ZERO, checkpoint);
    let london = Person { city: "london".into(), badge: None }.to_bytes();
    let names: Vec<String> = (0..30).map(|n| format!("n{n:02}")).collect();
    for name in &names {
        batch.put(affinity_memstore::StoreId::MAIN, name.as_bytes(), Value::new(&london, Version::default()));
    }
    store.apply(&batch).unwrap();
    let mut node = world.serving(store).await;
    let building = Err(Failure::IndexBuilding { index: "by_city" });
    assert_eq!(read(&mut node, "london").try_recv().unwrap(), building);
    // A write goes on meanwhile, but for one that a unique index would have to judge.
    assert_eq!(ask(&mut node, &[("n29", Some(("paris", 0)))]).try_recv().unwrap(), Ok(String::new()));
    let unique = ask(&mut node, &[("n28", Some(("paris", 1)))]).try_recv().unwrap();
    assert_eq!(unique, Err(Failure::IndexBuilding { index: "by_badge" }));
    for _ in 0..70 {
        poll(&mut node);
    }
    assert_eq!(answered(&mut read(&mut node, "paris")), said("n29"));
    assert_eq!(node.0.verify_indices().unwrap(), Ok(30));
}

fn watch(node: &mut Node, city: &str) -> (Vec<String>, IndexWatch) {
    let mut began = node.1.begin_watch_index(&BY_CITY, &city.to_owned()).unwrap();
    poll(node);
    let watched = began.try_recv().unwrap().unwrap();
    (watched.keys.iter().map(|key| String::decode(key).unwrap()).collect(), watched.watch)
}

/// What a watcher is told now, until nothing is left or the watch ends.
fn told(watch: &mut IndexWatch) -> (String, Option<IndexWatchEnded>) {
    let mut told = Vec::new();
    loop {
        match watch.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return (told.join(" "), None),
            Poll::Ready(Err(ended)) => return (told.join(" "), Some(ended)),
            Poll::Ready(Ok(IndexUpdate::Entered(key))) => told.push(format!("+{}", key.escape_ascii())),
            Poll::Ready(Ok(IndexUpdate::Left(key))) => told.push(format!("-{}", key.escape_ascii())),
        }
    }
}

fn nothing() -> (String, Option<IndexWatchEnded>) {
    (String::new(), None)
}

#[tokio::test]
async fn a_watcher_of_an_index_key_is_told_who_enters_and_who_leaves_once_it_is_acknowledged() {
    let world = World::new();
    let mut node = world.serving(MemoryStore::new(Limits::default())).await;
    ask(&mut node, &[("ada", Some(("london", 0))), ("bo", Some(("paris", 0)))]);
    let (there, mut london) = watch(&mut node, "london");
    assert_eq!(there, ["ada"]);
    world.log.deliver(Delivery::Manual);
    ask(&mut node, &[("ada", Some(("paris", 0))), ("bo", Some(("london", 0)))]);
    ask(&mut node, &[("bo", Some(("london", 5)))]);
    ask(&mut node, &[("bo", None), ("cy", Some(("london", 0))), ("ada", Some(("london", 0)))]);
    assert_eq!(told(&mut london), nothing(), "nothing is acknowledged");
    let channel = world.log.channels(&world.place)[0];
    world.log.land(channel, 1);
    world.log.acknowledge(channel, 1);
    poll(&mut node);
    assert_eq!(told(&mut london), ("-ada +bo".to_owned(), None));
    let (there, mut late) = watch(&mut node, "london");
    assert_eq!(there, ["bo"], "what is pending is not there yet");
    world.acknowledge(&mut node);
    assert_eq!(told(&mut london), ("-bo +cy +ada".to_owned(), None), "staying is not told");
    assert_eq!(told(&mut late), ("-bo +cy +ada".to_owned(), None));
    drop(node);
    assert_eq!(told(&mut london).1, Some(IndexWatchEnded::Ended));
}

#[tokio::test]
async fn a_refused_group_is_not_told() {
    let world = World::new();
    let mut node = world.serving(MemoryStore::new(Limits::default())).await;
    let (there, mut london) = watch(&mut node, "london");
    assert!(there.is_empty());
    world.log.deliver(Delivery::Manual);
    world.log.inject(world.log.channels(&world.place)[0], Fault::Refuse);
    ask(&mut node, &[("ada", Some(("london", 0)))]);
    world.log.deliver(Delivery::Automatic);
    world.acknowledge(&mut node);
    world.clock.advance_ms(1000);
    ask(&mut node, &[("bo", Some(("london", 0)))]);
    assert_eq!(told(&mut london), ("+bo".to_owned(), None));
}

#[tokio::test]
async fn a_watcher_that_comes_too_late_is_told_to_look_again() {
    let world = World::new();
    let mut node = world.serving(MemoryStore::new(Limits::default())).await;
    let (_, mut london) = watch(&mut node, "london");
    let names: Vec<String> = (0..INDEX_UPDATES_MAX).map(|n| n.to_string()).collect();
    for to in [Some(("london", 0)), None] {
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), to)).collect();
        ask(&mut node, &all);
    }
    let (_, mut quick) = watch(&mut node, "london");
    ask(&mut node, &[("bo", Some(("london", 0)))]);
    assert_eq!(told(&mut london), (String::new(), Some(IndexWatchEnded::Missed)));
    assert_eq!(told(&mut london), (String::new(), Some(IndexWatchEnded::Missed)), "and nothing behind it");
    assert_eq!(told(&mut quick), ("+bo".to_owned(), None));
    assert_eq!(watch(&mut node, "london").0, ["bo"]);
}
