//! Effects between the partitions of a bank, over masters that change.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, DelayedEffect, Delivery, Destination, Emission, Failure, Handle, Harness, Incoming, Keyspaces,
    Links, Master, Owner, OwnerSettings, Partition, Parts, Refused, Reply, Schemas, Store, View,
};
use affinity_log::memory::{Delivery as LogDelivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore, StoreId};
use affinity_state::KeepRequests;
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::effect::Effect;
use affinity_types::{Clock, EventTime, Key, ManualClock, PartitionId};
use bytes::Bytes;
use tokio::sync::oneshot;

const BALANCES: Store<str, i64> = Store::new("balances");
const NOTES: Store<str, String> = Store::new("notes");
const BANK: Destination<str, i64> = Destination::new("bank");
const NOWHERE: Destination<str, i64> = Destination::new("nowhere");
/// A keyspace that comes and goes; those of the bank have its effects.
const ELSEWHERE: Destination<str, i64> = Destination::new("elsewhere");
const PARTITIONS: u32 = 2;

/// What an account is asked; effects are amounts.
#[derive(Clone)]
enum Ask {
    /// Moves an amount from one account to another.
    Move(String, String, i64),
    /// The same, and notes what the receiver answers.
    MoveAsking(String, String, i64),
    /// Moves an amount at a time.
    MoveAt(String, String, i64, EventTime),
    /// Cancels the last one of an account.
    Cancel(String),
    /// Moves to keyspaces that may not be there, at a time perhaps.
    Nowhere(Option<EventTime>),
    Elsewhere(String, i64, EventTime),
}

impl Encode for Ask {
    fn encode(&self, _: &mut Vec<u8>) {}
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("never")]
struct Never;

/// Refuses amounts of 13, panics at 14, wants what cannot be done with 15 and 16.
struct Bank;

impl Bank {
    fn add(cx: &mut Master<'_>, account: &str, amount: i64) -> i64 {
        let balance = cx.get(&BALANCES, account).unwrap_or(0) + amount;
        cx.put(&BALANCES, account, &balance);
        balance
    }
}

/// An account's name as a tag.
struct Name(String);

impl Encode for Name {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for Name {
    fn decode(bytes: &[u8]) -> Result<Name, CodecError> {
        String::decode(bytes).map(Name)
    }
}

impl Partition for Bank {
    const STORES: &'static [&'static str] = &["balances", "notes"];
    type Command = Ask;
    type Query = String;
    type Answer = Option<String>;
    type Error = Never;

    fn command(&self, cx: &mut Master<'_>, ask: &Ask) -> Result<Option<String>, Never> {
        match ask {
            Ask::Move(from, to, amount) => {
                Bank::add(cx, from, -amount);
                cx.emit(&BANK, to.as_str(), amount);
            }
            Ask::MoveAsking(from, to, amount) => {
                Bank::add(cx, from, -amount);
                cx.emit_asking(&BANK, to.as_str(), amount, &Name(from.clone()));
            }
            Ask::MoveAt(from, to, amount, due) => {
                let effect = cx.emit_at(&BANK, to.as_str(), amount, *due);
                cx.put(&NOTES, from.as_str(), &String::decode(&effect.to_bytes()).unwrap());
            }
            Ask::Cancel(from) => {
                let note = cx.get(&NOTES, from.as_str()).unwrap();
                cx.cancel(&DelayedEffect::decode(note.as_bytes()).unwrap());
                cx.delete(&NOTES, from.as_str());
            }
            Ask::Nowhere(None) => cx.emit(&NOWHERE, "x", &1),
            Ask::Nowhere(Some(due)) => drop(cx.emit_at(&NOWHERE, "x", &1, *due)),
            Ask::Elsewhere(to, amount, due) => drop(cx.emit_at(&ELSEWHERE, to.as_str(), amount, *due)),
        }
        Ok(None)
    }

    fn query(&self, cx: &View<'_>, account: &String) -> Result<Option<String>, Never> {
        let balance = cx.get(&BALANCES, account.as_str()).map(|balance| balance.to_string());
        Ok(cx.get(&NOTES, account.as_str()).or(balance))
    }

    fn effect(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<Bytes, Refused> {
        let (account, amount) = (effect.key::<String>()?, effect.message::<i64>()?);
        let balance = Bank::add(cx, &account, amount);
        assert!(amount != 14, "unlucky");
        if amount == 15 {
            cx.emit(&NOWHERE, "x", &1);
        }
        if amount == 16 {
            cx.put(&NOTES, account.as_str(), &"x".repeat(2 << 20));
        }
        if amount == 13 { Err(Refused("unlucky".into())) } else { Ok(balance.to_bytes()) }
    }

    fn answered(&self, cx: &mut Master<'_>, answer: &Incoming<'_>) -> Result<(), Refused> {
        let Name(account) = answer.tag()?;
        let note = format!("{} has {}", answer.key::<String>()?, answer.message::<i64>()?);
        cx.put(&NOTES, account.as_str(), &note);
        Ok(())
    }

    fn refused(&self, cx: &mut Master<'_>, effect: &Incoming<'_>) -> Result<(), Refused> {
        let (amount, mut account) = (effect.message::<i64>()?, effect.key::<String>()?);
        account.truncate(20);
        cx.put(&NOTES, "refused", &format!("{amount} of {account} came back"));
        Bank::add(cx, "back", amount);
        Ok(())
    }
}

type Node = (Owner<Bank>, Handle<Bank>);

/// Brings effects to whoever serves.
#[derive(Default)]
struct Ways(Mutex<Vec<(PartitionId, Handle<Bank>)>>, AtomicBool);

impl Links for Ways {
    fn partitions(&self, keyspace: &str) -> Option<u32> {
        let elsewhere = keyspace == "elsewhere" && self.1.load(Ordering::SeqCst);
        (keyspace == "bank" || elsewhere).then_some(PARTITIONS)
    }

    fn deliver(&self, to: &PartitionName, delivery: Delivery) {
        let handles = self.0.lock().unwrap();
        let serving = handles.iter().filter(|(id, _)| *id == to.partition);
        if let Some((_, handle)) = serving.max_by_key(|(_, handle)| handle.status().serving) {
            handle.deliver(delivery);
        }
    }
}

struct World {
    log: MemoryLog,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    ways: Arc<Ways>,
    settings: OwnerSettings,
    nodes: Vec<Node>,
}

impl World {
    /// A master of each partition.
    fn new(settings: OwnerSettings) -> World {
        let log = MemoryLog::new(MemoryOptions { fencing: Fencing::Known, ..MemoryOptions::default() });
        let clock = Arc::new(ManualClock::at(EventTime(1_700_000_000_000)));
        let coordinator = MemoryCoordinator::new();
        let (ways, nodes) = (Arc::default(), Vec::new());
        let mut world = World { log, clock, coordinator, ways, settings, nodes };
        for partition in 0..PARTITIONS {
            world.start(partition);
        }
        world
    }

    /// Starts a node of a partition from nothing, and promotes it.
    fn start(&mut self, partition: u32) {
        self.start_with(partition, Arc::clone(&self.ways) as Arc<dyn Links>);
    }

    /// The same, with ways of its own to others.
    fn start_with(&mut self, partition: u32, links: Arc<dyn Links>) {
        let spec = TopicSpec { partitions: PARTITIONS, cleanup: Cleanup::default() };
        let n = self.nodes.len();
        let parts = Parts {
            place: TopicPartition::new("bank", PartitionId(partition)),
            topic: ready(self.log.create_topic("bank", spec)).unwrap().id,
            name: PartitionName::new("bank", PartitionId(partition)),
            node: NodeId::new(format!("node-{n}")),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(MemoryStore::new(Limits::default())),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links,
            seed: n as u64,
            settings: self.settings.clone(),
        };
        let (owner, handle) = Owner::new(Bank, parts).unwrap();
        handle.order(Control::Promote);
        self.ways.0.lock().unwrap().push((PartitionId(partition), handle.clone()));
        self.nodes.push((owner, handle));
        self.settle();
    }

    /// A further node takes over, without what the one before knew.
    fn replace(&mut self, partition: u32) {
        self.start(partition);
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            for (owner, _) in &mut self.nodes {
                let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
            }
        }
    }

    /// Time goes on.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.clock.advance_ms(10);
            self.settle();
        }
    }

    fn of(&self, account: &str) -> Handle<Bank> {
        let partition = Key::new(account.to_bytes()).partition(PARTITIONS);
        let handles = self.ways.0.lock().unwrap();
        let serving = handles.iter().filter(|(id, _)| *id == partition);
        serving.max_by_key(|(_, handle)| handle.status().serving).unwrap().1.clone()
    }

    fn ask(&mut self, account: &str, ask: Ask) -> Reply<Option<String>, Never> {
        let (reply, mut answer) = oneshot::channel();
        self.of(account).command(ask, None, None, Some(reply)).unwrap();
        self.settle();
        answer.try_recv().unwrap_or_else(|_| panic!("{:?}", self.of(account).status()))
    }

    fn look(&mut self, account: &str) -> Option<String> {
        self.note(account, account)
    }

    /// What a key has in the partition of an account.
    fn note(&mut self, key: &str, account: &str) -> Option<String> {
        let (reply, mut answer) = oneshot::channel();
        self.of(account).query(key.to_owned(), None, reply).unwrap();
        self.settle();
        answer.try_recv().unwrap().unwrap()
    }

    /// Records of effects in the stores of those who serve, of those that wait for their time.
    fn outgoing(&self) -> usize {
        self.records("effect")
    }

    fn records(&self, kind: &str) -> usize {
        let serving = self.nodes.iter().filter(|(_, handle)| handle.status().serving.is_some());
        let entries = serving.flat_map(|(owner, _)| owner.dump().unwrap().1);
        let effects = entries.filter(|(store, key, ..)| {
            *store == StoreId::LAST && key.windows(kind.len()).any(|part| part == kind.as_bytes())
        });
        effects.count()
    }
}

/// What a log in memory answers at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

/// An account of a partition.
fn account(partition: u32, n: usize) -> String {
    let names = (0..).map(|n| format!("account-{n}"));
    let mut there = names.filter(|name| Key::new(name.to_bytes()).partition(PARTITIONS).0 == partition);
    there.nth(n).unwrap()
}

/// Accounts of each partition.
fn accounts() -> (String, String) {
    (account(0, 0), account(1, 0))
}

#[test]
fn an_effect_is_applied_once_and_cleared() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    for n in 1..=100 {
        assert_eq!(world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), n % 10)), Ok(None));
    }
    assert_eq!(world.look(&ada), Some("-450".into()));
    assert_eq!(world.look(&bob), Some("450".into()));
    world.pass(100);
    assert_eq!(world.outgoing(), 0, "what is done is cleared");
}

#[test]
fn what_is_not_done_survives_both_masters() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    let place = TopicPartition::new("bank", PartitionId(1));
    // The receiver's log refuses for a while, and then both masters change.
    for round in 0..5 {
        let channel = world.log.channels(&place).last().copied().unwrap();
        world.log.inject(channel, if round % 2 == 0 { Fault::Refuse } else { Fault::LoseAck });
        world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), 1)).unwrap();
        world.replace(0);
        world.replace(1);
        world.pass(400);
    }
    world.pass(2000);
    assert_eq!(world.look(&ada), Some("-5".into()));
    assert_eq!(world.look(&bob), Some("5".into()));
    assert_eq!(world.outgoing(), 0);
}

#[test]
fn a_refused_effect_comes_back_and_those_behind_it_go_on() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    for amount in [1, 13, 2, 14, 3] {
        world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), amount)).unwrap();
    }
    world.pass(1000);
    assert_eq!(world.look(&bob), Some("6".into()), "what was refused has changed nothing");
    assert_eq!(world.note("refused", &ada), Some(format!("14 of {bob} came back")));
    assert_eq!(world.outgoing(), 0);
}

#[test]
fn who_has_no_way_back_still_refuses_and_the_refusal_comes_when_there_is_one() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    world.start_with(1, Arc::new(Keyspaces::default()));
    for amount in [1, 13, 2] {
        world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), amount)).unwrap();
    }
    world.pass(1000);
    assert_eq!(world.look(&bob), Some("3".into()), "what is behind the refused one goes on");
    assert_eq!(world.note("refused", &ada), None);
    assert_eq!(world.outgoing(), 1, "the refusal alone is on its way");
    world.replace(1);
    world.pass(1000);
    assert_eq!(world.note("refused", &ada), Some(format!("13 of {bob} came back")));
    assert_eq!(world.outgoing(), 0);
}

#[test]
fn an_answer_comes_back_once() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    world.ask(&ada, Ask::MoveAsking(ada.clone(), bob.clone(), 7)).unwrap();
    world.pass(100);
    assert_eq!(world.look(&ada), Some(format!("{bob} has 7")));
    assert_eq!(world.outgoing(), 0);
}

#[test]
fn a_delayed_effect_waits_over_a_promotion_and_can_be_cancelled() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    let due = world.clock.now().plus_ms(1000);
    world.ask(&ada, Ask::MoveAt(ada.clone(), bob.clone(), 5, due)).unwrap();
    world.ask(&bob, Ask::MoveAt(bob.clone(), ada.clone(), 6, due)).unwrap();
    world.replace(0);
    world.pass(500);
    assert_eq!(world.look(&bob).map(|note| note.len()), Some(32), "its time has not come");
    world.ask(&bob, Ask::Cancel(bob.clone())).unwrap();
    world.pass(1000);
    assert_eq!(world.look(&bob), Some("5".into()));
    world.pass(1000);
    assert_eq!(world.look(&ada).map(|note| note.len()), Some(32), "nothing came: it was cancelled");
}

#[test]
fn a_full_outbox_refuses_commands_and_takes_what_comes() {
    let mut world = World::new(OwnerSettings { outbox_max: 3, ..OwnerSettings::default() });
    let (ada, bob) = accounts();
    // Nobody serves the other partition.
    world.nodes[1].1.order(Control::Demote);
    world.settle();
    for _ in 0..3 {
        world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), 1)).unwrap();
    }
    assert_eq!(world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), 1)), Err(Failure::Overloaded));
    assert_eq!(world.look(&ada), Some("-3".into()), "what was refused has changed nothing");
    world.nodes[1].1.order(Control::Promote);
    world.pass(500);
    assert_eq!(world.look(&bob), Some("3".into()));
    assert_eq!(world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), 1)), Ok(None));
}

#[test]
fn an_effect_to_nowhere_is_refused() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, _) = accounts();
    let later = world.clock.now().plus_ms(100);
    for due in [None, Some(later)] {
        assert_eq!(world.ask(&ada, Ask::Nowhere(due)), Err(Failure::Invalid("there is no such keyspace")));
    }
    world.pass(200);
    assert_eq!(world.records("sent") + world.records("delayed"), 0, "nothing of it is recorded");
}

/// Both senders ask the same receiver, each in turn.
#[test]
fn effects_whose_handlers_want_what_cannot_be_done_go_back_to_all_their_senders() {
    for amount in [15, 16] {
        let mut world = World::new(OwnerSettings::default());
        let (ada, bob) = accounts();
        for from in [&ada, &bob] {
            world.ask(from, Ask::Move(from.clone(), bob.clone(), amount)).unwrap();
            world.ask(from, Ask::Move(from.clone(), bob.clone(), 1)).unwrap();
        }
        world.pass(2000);
        for from in [&ada, &bob] {
            assert_eq!(world.note("refused", from), Some(format!("{amount} of {bob} came back")));
        }
        assert_eq!(world.look(&bob), Some(format!("{}", 2 - amount - 1)));
        assert_eq!(world.outgoing(), 0);
    }
}

#[test]
fn an_effect_leaves_room_for_its_refusal() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, _) = accounts();
    let max = 1 << 20;
    let mut refused = None;
    // Where the limit lies is not told here: just below it an effect comes back, and above none is emitted.
    for length in (max - 8192..max).rev().step_by(16) {
        match world.ask(&ada, Ask::Move(ada.clone(), "x".repeat(length), 7)) {
            Ok(_) => break,
            Err(failure) => refused = Some(failure),
        }
    }
    assert!(matches!(refused, Some(Failure::TooLarge { .. })), "{refused:?}");
    world.pass(1000);
    assert_eq!(world.note("refused", &ada), Some(format!("7 of {} came back", "x".repeat(20))));
    assert_eq!(world.outgoing(), 0);
}

#[test]
fn a_delayed_effect_to_a_keyspace_that_is_gone_holds_up_no_other() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    // In the partition to which nothing else goes: it has both keyspaces.
    let eve = account(0, 1);
    world.ways.1.store(true, Ordering::SeqCst);
    let due = world.clock.now().plus_ms(100);
    for n in 0..70 {
        world.ask(&ada, Ask::Elsewhere(eve.clone(), 1, due.minus_ms(n % 2))).unwrap();
    }
    world.ask(&ada, Ask::MoveAt(ada.clone(), bob.clone(), 5, due)).unwrap();
    world.ways.1.store(false, Ordering::SeqCst);
    world.pass(200);
    assert_eq!(world.look(&bob), Some("5".into()));
    assert_eq!(world.records("delayed"), 70, "they are kept");
    world.replace(0);
    world.pass(1500);
    assert_eq!(world.look(&eve), None);
    world.ways.1.store(true, Ordering::SeqCst);
    world.pass(1500);
    assert_eq!(world.look(&eve), Some("70".into()), "when it is there again they come, once");
    assert_eq!(world.records("delayed") + world.outgoing(), 0);
}

#[test]
fn delayed_effects_that_are_due_together_need_not_fit_into_one_group() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    let due = world.clock.now().plus_ms(100);
    for n in 0..60 {
        let long = format!("{n}{}", "x".repeat(20_000));
        world.ask(&ada, Ask::MoveAt(ada.clone(), long, 1, due)).unwrap();
    }
    world.ask(&ada, Ask::MoveAt(ada.clone(), bob.clone(), 5, due)).unwrap();
    world.pass(500);
    assert_eq!(world.look(&bob), Some("5".into()));
    assert_eq!(world.records("delayed") + world.outgoing(), 0);
}

#[test]
fn a_cancellation_that_the_log_refuses_cancels_nothing() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    let due = world.clock.now().plus_ms(100);
    world.ask(&ada, Ask::MoveAt(ada.clone(), bob.clone(), 5, due)).unwrap();
    let place = TopicPartition::new("bank", PartitionId(0));
    let channel = world.log.channels(&place).last().copied().unwrap();
    world.log.deliver(LogDelivery::Manual);
    let (reply, mut answer) = oneshot::channel();
    world.of(&ada).command(Ask::Cancel(ada.clone()), None, None, Some(reply)).unwrap();
    world.pass(200);
    assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty), "its time comes meanwhile");
    world.log.inject(channel, Fault::Refuse);
    world.log.deliver(LogDelivery::Automatic);
    world.pass(500);
    assert_eq!(answer.try_recv(), Ok(Err(Failure::Unavailable)));
    assert_eq!(world.look(&bob), Some("5".into()));
    assert_eq!(world.records("delayed") + world.outgoing(), 0);
}

#[test]
fn the_harness_shows_what_is_emitted() {
    let mut harness = Harness::new(Bank, 1);
    let outcome = harness.command(Ask::Move("ada".into(), "bob".into(), 5));
    assert_eq!(outcome.effects, [Emission::new(&BANK, "bob", &5)]);
    assert_eq!(harness.effect(&BANK, "ada", &7).answer, Ok(2i64.to_bytes()));
    let refused = harness.effect(&BANK, "ada", &13);
    assert_eq!(refused.answer, Err(Failure::Handler(Refused("unlucky".into()))));
    assert_eq!((refused.changes, harness.get(&BALANCES, "ada")), (Vec::new(), Some(2)));
}

#[test]
fn a_delayed_effect_comes_behind_what_was_emitted_before_its_time() {
    let mut world = World::new(OwnerSettings::default());
    let (ada, bob) = accounts();
    world.nodes[1].1.order(Control::Demote);
    let due = world.clock.now().plus_ms(100);
    world.ask(&ada, Ask::MoveAt(ada.clone(), bob.clone(), 13, due)).unwrap();
    world.pass(80);
    world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), 1)).unwrap();
    let now = world.clock.now();
    world.ask(&ada, Ask::MoveAt(ada.clone(), bob.clone(), 2, now)).unwrap();
    world.pass(100);
    world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), 3)).unwrap();
    let (_, entries) = world.nodes[0].0.dump().unwrap();
    let amounts =
        entries.iter().filter(|(.., value)| !value.is_empty()).filter_map(|(store, key, _, value)| {
            let numbered = *store == StoreId::LAST && key.windows(6).any(|part| part == b"effect");
            let effect = numbered.then(|| Effect::parse(value).unwrap())?;
            Some(i64::decode(&effect.message).unwrap())
        });
    assert_eq!(amounts.collect::<Vec<_>>(), [1, 2, 13, 3], "by number");
}

#[test]
fn commands_that_come_together_do_not_overfill_the_outbox() {
    let mut world = World::new(OwnerSettings { outbox_max: 3, ..OwnerSettings::default() });
    let (ada, bob) = accounts();
    world.nodes[1].1.order(Control::Demote);
    world.settle();
    let send = |world: &World| {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Move(ada.clone(), bob.clone(), 1);
        world.of(&ada).command(ask, None, None, Some(reply)).unwrap();
        answer
    };
    let mut answers: Vec<_> = (0..10).map(|_| send(&world)).collect();
    world.settle();
    let taken = answers.iter_mut().filter_map(|answer| answer.try_recv().unwrap().ok()).count();
    assert_eq!((taken, world.outgoing()), (3, 3));
}

#[test]
fn an_effect_that_nobody_takes_is_tried_again_later_however_short_the_wait() {
    let mut world = World::new(OwnerSettings { retry_ms: 0, ..OwnerSettings::default() });
    let (ada, bob) = accounts();
    world.ways.0.lock().unwrap().retain(|(partition, _)| partition.0 == 0);
    world.ask(&ada, Ask::Move(ada.clone(), bob.clone(), 5)).unwrap();
    world.replace(1);
    world.pass(100);
    assert_eq!(world.look(&bob), Some("5".into()));
}

#[test]
fn effects_come_however_many_ask() {
    let mut world = World::new(OwnerSettings { queue_max: 4, ..OwnerSettings::default() });
    let (ada, bob) = accounts();
    world.of(&ada).command(Ask::Move(ada.clone(), bob.clone(), 5), None, None, None).unwrap();
    for _ in 0..100 {
        // The queue of the receiver is full whenever the sender has its turn.
        while world.of(&bob).command(Ask::Move(bob.clone(), bob.clone(), 0), None, None, None).is_ok() {}
        for (owner, _) in &mut world.nodes {
            let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
        }
        world.clock.advance_ms(10);
    }
    let came = world.nodes[1].0.dump().unwrap().1.into_iter().find(|(_, key, ..)| *key == bob.to_bytes());
    assert_eq!(came.map(|(.., value)| value), Some(5i64.to_bytes()));
}
