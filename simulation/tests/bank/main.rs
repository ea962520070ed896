//! Effects between partitions under every fault, by seed: each happens once, in order, whatever becomes of the masters.
//!
//! `AFFINITY_SEED=n cargo test -p affinity-simulation --test bank one_seed` runs a seed again.
#![expect(clippy::unwrap_used, reason = "all of this crate is tests")]

mod bank;
mod payments;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_cluster::memory::{Fault as CoordinatorFault, MemoryCoordinator};
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Delivery, Failure, Handle, Links, Owner, OwnerSettings, Partition, Parts, Protection, Reply,
    SagaState, Schemas,
};
use affinity_log::memory::{Delivery as LogDelivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::{KeepRequests, RequestSettings};
use affinity_types::codec::Decode;
use affinity_types::{Clock, EventTime, ManualClock, PartitionId, RequestId, TopicId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::bank::{Ask, Bank, BankError, PARTITIONS, Send, account, ids};
use crate::payments::{AT_FIRST, Payment, Payments};

const SEEDS: u64 = 600;
const STEPS: usize = 1_500;
const NODES: usize = 2;
const CLIENTS: u64 = 4;
/// How long requests are remembered: what a header keeps is soon gone.
const WINDOW_MS: u64 = 200;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }
}

/// A way may lose an effect, or bring it to somebody who does not serve.
#[derive(Default)]
struct Ways(Mutex<(Vec<Nodes>, u64)>);

/// Handles of a partition's nodes.
type Nodes = Vec<Option<Handle<Bank>>>;

impl Links for Ways {
    fn partitions(&self, keyspace: &str) -> Option<u32> {
        (keyspace == "bank").then_some(PARTITIONS)
    }

    fn deliver(&self, to: &PartitionName, delivery: Delivery) {
        let mut ways = self.0.lock().unwrap();
        ways.1 = ways.1.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let luck = ways.1 >> 60;
        let handles = ways.0[to.partition.0 as usize].iter().flatten();
        let handle = match luck {
            0 => None,
            1 => handles.min_by_key(|handle| handle.status().serving),
            _ => handles.max_by_key(|handle| handle.status().serving),
        };
        if let Some(handle) = handle {
            handle.deliver(delivery);
        }
    }
}

/// Who sends one number after the other, each until it has an answer.
struct Client {
    id: u64,
    sequence: u64,
    ask: Option<Ask>,
    issued: Option<EventTime>,
    answer: Option<oneshot::Receiver<Reply<Bytes, BankError>>>,
}

/// What a run has done.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    payments: Payments,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.payments.committed += other.payments.committed;
        self.payments.undone += other.payments.undone;
        self.payments.left += other.payments.left;
    }
}

struct World {
    random: Random,
    log: MemoryLog,
    topic: TopicId,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    ways: Arc<Ways>,
    /// Of each partition its nodes.
    nodes: Vec<Vec<Option<Owner<Bank>>>>,
    removed: Option<Protection>,
    clients: Vec<Client>,
    next_id: u64,
    /// Payments that were begun, or are about to be.
    payments: Vec<(u64, Payment)>,
    /// Payments that may never have begun.
    expired: Vec<u64>,
    calm: bool,
    starts: u64,
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn place(partition: u32) -> TopicPartition {
    TopicPartition::new("bank", PartitionId(partition))
}

impl World {
    fn new(seed: u64, removed: Option<Protection>) -> World {
        let mut random = Random(seed);
        let fencing = if random.below(2) == 0 { Fencing::Known } else { Fencing::AtAppend };
        let log = MemoryLog::new(MemoryOptions { fencing, ..MemoryOptions::default() });
        let cleanup = Cleanup::Compact {
            delete_retention: Duration::from_secs(3600),
            request_window: Duration::from_millis(WINDOW_MS),
        };
        let spec = TopicSpec { partitions: PARTITIONS, cleanup };
        let topic = ready(log.create_topic("bank", spec)).unwrap().id;
        log.deliver(LogDelivery::Manual);
        let ways = Ways(Mutex::new((vec![vec![None; NODES]; PARTITIONS as usize], seed)));
        let client = |id| Client { id, sequence: 0, ask: None, issued: None, answer: None };
        let mut world = World {
            random,
            log,
            topic,
            clock: Arc::new(ManualClock::at(EventTime(1_700_000_000_000))),
            coordinator: MemoryCoordinator::new(),
            ways: Arc::new(ways),
            nodes: (0..PARTITIONS).map(|_| (0..NODES).map(|_| None).collect()).collect(),
            removed,
            clients: (0..CLIENTS).map(client).collect(),
            next_id: 0,
            payments: Vec::new(),
            expired: Vec::new(),
            calm: false,
            starts: 0,
        };
        for partition in 0..PARTITIONS {
            (0..NODES).for_each(|n| world.start(partition, n));
            world.handle(partition, 0).order(Control::Promote);
        }
        world
    }

    /// Starts a node with nothing.
    fn start(&mut self, partition: u32, n: usize) {
        self.starts += 1;
        let requests = RequestSettings {
            request_window_ms: WINDOW_MS,
            // All have one clock.
            request_skew_max_ms: 0,
            ..RequestSettings::default()
        };
        let settings = OwnerSettings {
            retry_ms: 5,
            idle_noop_ms: 60,
            lease_ms: 40,
            effect_window: 4,
            effect_tries: 2,
            requests,
            removed: self.removed,
            ..OwnerSettings::default()
        };
        let links = Arc::clone(&self.ways) as Arc<dyn Links>;
        let parts = Parts {
            place: place(partition),
            topic: self.topic,
            name: PartitionName::new("bank", PartitionId(partition)),
            node: NodeId::new(format!("{partition}-{n}")),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(MemoryStore::new(Limits::default())),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links,
            seed: self.random.next(),
            settings,
        };
        let (owner, handle) = Owner::new(Bank, parts).unwrap();
        self.ways.0.lock().unwrap().0[partition as usize][n] = Some(handle);
        self.nodes[partition as usize][n] = Some(owner);
    }

    fn handle(&self, partition: u32, n: usize) -> Handle<Bank> {
        self.ways.0.lock().unwrap().0[partition as usize][n].clone().unwrap()
    }

    fn leader(&self, partition: u32) -> Handle<Bank> {
        let ways = self.ways.0.lock().unwrap();
        let handles = ways.0[partition as usize].iter().flatten();
        handles.max_by_key(|handle| handle.status().serving).unwrap().clone()
    }

    fn poll(&mut self, partition: usize, n: usize) {
        if let Some(owner) = &mut self.nodes[partition][n] {
            let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
        }
        let status = self.handle(u32::try_from(partition).unwrap(), n).status();
        assert_eq!(status.broken, None);
    }

    fn poll_all(&mut self) {
        for partition in 0..PARTITIONS as usize {
            (0..NODES).for_each(|n| self.poll(partition, n));
        }
    }

    fn step(&mut self) {
        let partition = u32::try_from(self.random.below(u64::from(PARTITIONS))).unwrap();
        let n = self.random.index(NODES);
        let channels = self.log.channels(&place(partition));
        let channel = (!channels.is_empty()).then(|| channels[self.random.index(channels.len())]);
        match self.random.below(100) {
            0 => {
                self.start(partition, n);
            }
            1 | 2 => self.handle(partition, n).order(Control::Promote),
            3 | 4 => {
                if let Some(channel) = channel {
                    match self.random.below(4) {
                        0 => self.log.inject(channel, Fault::Refuse),
                        1 => self.log.inject(channel, Fault::LoseAppend),
                        2 => self.log.inject(channel, Fault::LoseAck),
                        _ => self.log.lose(channel),
                    }
                }
            }
            5 => self.coordinator.inject(CoordinatorFault::AnswerLost),
            6 => {
                let end = self.log.true_bounds(&place(partition)).unwrap().end;
                self.log.compact(&place(partition), end, self.clock.now()).unwrap();
            }
            7..=14 => self.clock.advance_ms(self.random.below(8)),
            15..=39 => {
                if let Some(channel) = channel {
                    let n = 1 + self.random.index(4);
                    self.log.land(channel, n);
                    if self.random.below(4) > 0 {
                        self.log.acknowledge(channel, n);
                    }
                }
            }
            40..=79 => self.poll(partition as usize, n),
            _ => self.ask(),
        }
    }

    /// Some client goes on.
    fn ask(&mut self) {
        let c = self.random.index(self.clients.len());
        let now = self.clock.now();
        if let Some(answer) = &mut self.clients[c].answer {
            let answered = match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                Err(oneshot::error::TryRecvError::Closed) => Err(Failure::Unknown),
                Ok(answered) => answered,
            };
            self.clients[c].answer = None;
            match answered {
                Ok(_) => self.clients[c].ask = None,
                // It was done, or never will be.
                Err(Failure::RequestExpired) => {
                    if let Some(Ask::Pay(id, _)) = self.clients[c].ask.take() {
                        self.expired.push(id);
                    }
                }
                Err(Failure::Unavailable | Failure::Unknown | Failure::Overloaded) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        if self.clients[c].ask.is_none() {
            if self.calm {
                return;
            }
            let ask = self.next_ask(now);
            self.clients[c].sequence += 1;
            self.clients[c].ask = Some(ask);
            self.clients[c].issued = Some(now);
        }
        let Client { id, sequence, ask: Some(ask), issued, .. } = &self.clients[c] else { return };
        let request = RequestId { client: u128::from(*id), sequence: *sequence, issued: *issued };
        let (reply, answer) = oneshot::channel();
        if self.leader(ask.partition()).command(ask.clone(), Some(request), None, Some(reply)).is_ok() {
            self.clients[c].answer = Some(answer);
        }
    }

    /// What a client asks next.
    fn next_ask(&mut self, now: EventTime) -> Ask {
        self.next_id += 1;
        let mut partition = || u32::try_from(self.random.below(PARTITIONS.into())).unwrap();
        let (from, to, last) = (partition(), partition(), partition());
        if self.random.below(3) == 0 {
            let amount = 1 + self.random.below(40).cast_signed();
            let payment = Payment { from, to: [to, last], amount, closed: self.random.below(3) == 0 };
            self.payments.push((self.next_id, payment.clone()));
            return Ask::Pay(self.next_id, payment);
        }
        let due = (self.random.below(6) == 0).then(|| now.plus_ms(self.random.below(200)));
        Ask::Send(Send { id: self.next_id, from, to, due })
    }

    /// Everything works, until nothing is left to do.
    fn finish(mut self) -> Counts {
        self.calm = true;
        self.log.deliver(LogDelivery::Automatic);
        for round in 0..600 {
            if round % 100 == 0 {
                for partition in 0..PARTITIONS {
                    let entry = self.coordinator.entry(&PartitionName::new("bank", PartitionId(partition)));
                    if self.leader(partition).status().serving != Some(entry.mastership.epoch) {
                        self.handle(partition, 0).order(Control::Demote);
                        self.poll(partition as usize, 0);
                        self.handle(partition, 0).order(Control::Promote);
                    }
                }
            }
            self.clock.advance_ms(2);
            self.poll_all();
            (0..CLIENTS).for_each(|_| self.ask());
        }
        assert!(self.clients.iter().all(|client| client.ask.is_none()), "a client waits for ever");
        let payments = self.check_payments();
        Counts { sent: self.check(), payments }
    }

    fn list(&mut self, partition: u32, list: &str) -> Vec<u64> {
        ids(&self.read([(partition, list.to_owned())])[0])
    }

    /// What partitions answer.
    fn read(&mut self, queries: impl IntoIterator<Item = (u32, String)>) -> Vec<Bytes> {
        let ask = |(partition, query)| {
            let (reply, answer) = oneshot::channel();
            self.leader(partition).query(query, None, reply).unwrap();
            answer
        };
        let answers: Vec<_> = queries.into_iter().map(ask).collect();
        self.pass_time();
        answers.into_iter().map(|mut answer| answer.try_recv().unwrap().unwrap()).collect()
    }

    fn pass_time(&mut self) {
        for _ in 0..20 {
            self.clock.advance_ms(2);
            self.poll_all();
        }
    }

    /// The payments that have begun, and how they stand.
    fn payment_states(&mut self) -> Vec<SagaState<i64>> {
        let queries: Vec<_> =
            self.payments.iter().map(|(id, payment)| (payment.from, format!("payment {id}"))).collect();
        let mut answers = self.read(queries);
        let mut begun = answers.iter().map(|answer| !answer.is_empty()).collect::<Vec<_>>().into_iter();
        let expired = &self.expired;
        self.payments.retain(|(id, _)| begun.next().unwrap() || !expired.contains(id));
        answers.retain(|answer| !answer.is_empty());
        assert_eq!(answers.len(), self.payments.len(), "a payment has not begun");
        answers.iter().map(|bytes| SagaState::decode(bytes).unwrap()).collect()
    }

    /// Each payment has ended, or is stuck with a cause, and the accounts hold what has become of them all.
    fn check_payments(&mut self) -> Payments {
        let states = self.payment_states();
        for (state, (id, payment)) in states.iter().zip(&self.payments) {
            if state.is_stuck() {
                self.leader(payment.from).command(Ask::Leave(*id, payment.from), None, None, None).unwrap();
            }
        }
        self.pass_time();
        self.pass_time();
        let (mut money, mut counts) = ([AT_FIRST; PARTITIONS as usize], Payments::default());
        let states = self.payment_states();
        for (state, (_, payment)) in states.iter().zip(&self.payments) {
            payment.settle(state, &mut money, &mut counts);
        }
        let queries = (0..PARTITIONS).map(|partition| (partition, format!("money {}", account(partition))));
        let there = self.read(queries);
        assert_eq!(there.iter().map(|money| i64::decode(money).unwrap()).collect::<Vec<_>>(), money);
        counts
    }

    /// What was sent has come, once and in order; what was refused or asked came back so.
    fn check(&mut self) -> u64 {
        let mut all = 0;
        let mut delayed = Vec::new();
        let mut came_delayed = Vec::new();
        for from in 0..PARTITIONS {
            delayed.extend(self.list(from, "delayed"));
        }
        for from in 0..PARTITIONS {
            for to in 0..PARTITIONS {
                let sent = self.list(from, &format!("sent {to}"));
                let mut came = self.list(to, &format!("came {from}"));
                let mut refused = self.list(from, &format!("refused {to}"));
                let answered = self.list(from, &format!("answered {to}"));
                let late = |id: &u64| delayed.contains(id);
                came_delayed.extend(came.extract_if(.., |id| late(id)));
                came_delayed.extend(refused.extract_if(.., |id| late(id)));
                let expected =
                    |pick: fn(u64) -> bool| sent.iter().copied().filter(|id| pick(*id)).collect::<Vec<_>>();
                assert_eq!(came, expected(|id| !Send::is_refused(id)), "from {from} to {to}");
                assert_eq!(refused, expected(Send::is_refused), "back to {from} from {to}");
                assert_eq!(answered, expected(Send::asks), "answers to {from} from {to}");
                all += sent.len() as u64;
            }
        }
        came_delayed.sort_unstable();
        let mut due: Vec<u64> = delayed.into_iter().filter(|id| id % 2 == 1).collect();
        due.sort_unstable();
        assert_eq!(came_delayed, due, "those with a time");
        let left: usize = (0..PARTITIONS).map(|partition| self.outgoing(partition)).sum();
        assert_eq!(left, 0, "what is done is not cleared");
        all
    }

    /// Effects in the store of who leads.
    fn outgoing(&self, partition: u32) -> usize {
        let n = (0..NODES).max_by_key(|n| self.handle(partition, *n).status().serving).unwrap();
        let (_, entries) = self.nodes[partition as usize][n].as_ref().unwrap().dump().unwrap();
        let system = entries.iter().filter(|(store, ..)| *store == affinity_memstore::StoreId::LAST);
        system.filter(|(_, key, ..)| key.windows(6).any(|part| part == b"effect")).count()
    }
}

fn run(seed: u64, removed: Option<Protection>) -> Counts {
    let mut world = World::new(seed, removed);
    (0..STEPS).for_each(|_| world.step());
    world.finish()
}

fn failure_of(seed: u64, removed: Option<Protection>) -> Result<Counts, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, removed))).map_err(|failure| {
        let text = failure.downcast_ref::<String>().cloned();
        text.or_else(|| failure.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}

#[test]
fn effects_happen_once_and_in_order_under_any_fault() {
    assert_eq!(account(0).is_empty(), Bank::STORES.is_empty());
    let seeds = std::env::var("AFFINITY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let mut all = Counts::default();
    for seed in 0..seeds {
        match failure_of(seed, None) {
            Ok(counts) => all.add(&counts),
            Err(failure) => panic!(
                "seed {seed}: {failure}\nagain: AFFINITY_SEED={seed} cargo test -p affinity-simulation --test bank one_seed"
            ),
        }
    }
    let Counts { sent, payments: Payments { committed, undone, left } } = all;
    println!("{all:?}");
    let few = sent < 10 * SEEDS || committed < SEEDS || undone < SEEDS || left < SEEDS / 20;
    assert!(seeds < SEEDS || !few, "the runs are vacuous: {all:?}");
}

#[test]
fn the_simulation_finds_a_missing_protection() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = [Protection::AppliedRecord, Protection::ClearAfterDone]
        .map(|p| (p, (0..SEEDS).find_map(|seed| failure_of(seed, Some(p)).err().map(|why| (seed, why)))));
    std::panic::set_hook(quiet);
    assert!(found.iter().all(|(_, how)| how.is_some()), "not found: {found:#?}");
}

#[test]
fn one_seed() {
    if let Some(seed) = std::env::var("AFFINITY_SEED").ok().and_then(|text| text.parse().ok()) {
        println!("{:?}", run(seed, None));
    }
}
