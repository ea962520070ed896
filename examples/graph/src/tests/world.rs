//! Owners of the graph's partitions, polled by hand over a log in memory that may fail in every way it can.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_cluster::memory::{Fault as CoordinatorFault, MemoryCoordinator};
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Delivery, Handle, Links, Owner, OwnerSettings, Partition, Parts, Schemas, store_types,
};
use affinity_log::memory::{Delivery as LogDelivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore, StoreId};
use affinity_state::{KeepRequests, RequestSettings};
use affinity_types::codec::Encode;
use affinity_types::format::{Format, Frames, StoreFormat};
use affinity_types::{Clock, EventTime, Key, ManualClock, PartitionId, TopicId};

use super::picture::Picture;
use crate::rule::Rule;
use crate::{GRAPH, Graph};

/// How long requests are remembered.
const WINDOW_MS: u64 = 200;

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }
}

/// How large a world is, and what goes wrong in it.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) partitions: u32,
    /// Nodes of each partition, of which one serves.
    pub(super) nodes: usize,
    /// Whether effects get lost on their way, and nothing of the log comes unless a step says so.
    pub(super) faults: bool,
    pub(super) removed: Option<Rule>,
}

/// Handles of a partition's nodes.
type Nodes = Vec<Option<Handle<Graph>>>;

/// Ways to whoever serves. With faults one may lose an effect, or bring it to somebody who does not serve.
struct Ways {
    faults: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    nodes: Vec<Nodes>,
    luck: Random,
    delivered: u64,
}

impl Links for Ways {
    fn partitions(&self, keyspace: &str) -> Option<u32> {
        let nodes = &self.inner.lock().unwrap().nodes;
        (keyspace == GRAPH).then(|| u32::try_from(nodes.len()).unwrap())
    }

    fn deliver(&self, to: &PartitionName, delivery: Delivery) {
        let mut inner = self.inner.lock().unwrap();
        inner.delivered += 1;
        let luck = if self.faults { inner.luck.below(16) } else { 2 };
        let handles = inner.nodes[to.partition.0 as usize].iter().flatten();
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

/// The partitions of a graph and all that they stand on.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) clock: Arc<ManualClock>,
    log: MemoryLog,
    topic: TopicId,
    coordinator: MemoryCoordinator,
    ways: Arc<Ways>,
    /// Of each partition its nodes.
    nodes: Vec<Vec<Option<Owner<Graph>>>>,
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn place(partition: u32) -> TopicPartition {
    TopicPartition::new(GRAPH, PartitionId(partition))
}

/// Formats of the stores, under made-up ids.
fn formats() -> Vec<(&'static str, StoreFormat)> {
    let formats = store_types::<Graph>().into_iter().zip(10..).map(|(types, id)| {
        let frames = Frames::new(id, (types.value.unwrap().readers)());
        (types.name, StoreFormat { key: Format::Plain, value: Format::Frames(frames) })
    });
    formats.collect()
}

impl World {
    pub(super) fn new(plan: Plan) -> World {
        let mut random = Random(plan.seed);
        let fencing = if random.below(2) == 0 { Fencing::Known } else { Fencing::AtAppend };
        let log = MemoryLog::new(MemoryOptions { fencing, ..MemoryOptions::default() });
        let cleanup = Cleanup::Compact {
            delete_retention: Duration::from_secs(3600),
            request_window: Duration::from_millis(WINDOW_MS),
        };
        let spec = TopicSpec { partitions: plan.partitions, cleanup };
        let topic = ready(log.create_topic(GRAPH, spec)).unwrap().id;
        if plan.faults {
            log.deliver(LogDelivery::Manual);
        }
        let nodes = vec![vec![None; plan.nodes]; plan.partitions as usize];
        let inner = Mutex::new(Inner { nodes, luck: Random(plan.seed), delivered: 0 });
        let none = || (0..plan.nodes).map(|_| None).collect();
        let mut world = World {
            plan,
            random,
            clock: Arc::new(ManualClock::at(EventTime(1_700_000_000_000))),
            log,
            topic,
            coordinator: MemoryCoordinator::new(),
            ways: Arc::new(Ways { faults: plan.faults, inner }),
            nodes: (0..plan.partitions).map(|_| none()).collect(),
        };
        for partition in 0..plan.partitions {
            (0..plan.nodes).for_each(|n| world.start(partition, n));
            world.handle(partition, 0).order(Control::Promote);
        }
        world
    }

    /// Starts a node with nothing.
    fn start(&mut self, partition: u32, n: usize) {
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
            effect_window: if self.plan.faults { 4 } else { 64 },
            requests,
            ..OwnerSettings::default()
        };
        let links = Arc::clone(&self.ways) as Arc<dyn Links>;
        let parts = Parts {
            place: place(partition),
            topic: self.topic,
            name: PartitionName::new(GRAPH, PartitionId(partition)),
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
        let (owner, handle) =
            Owner::with_formats(Graph { removed: self.plan.removed }, parts, &formats()).unwrap();
        self.ways.inner.lock().unwrap().nodes[partition as usize][n] = Some(handle);
        self.nodes[partition as usize][n] = Some(owner);
    }

    fn handle(&self, partition: u32, n: usize) -> Handle<Graph> {
        self.ways.inner.lock().unwrap().nodes[partition as usize][n].clone().unwrap()
    }

    fn leader(&self, partition: u32) -> usize {
        let serving = |n: &usize| self.handle(partition, *n).status().serving;
        (0..self.plan.nodes).max_by_key(serving).unwrap()
    }

    /// Who serves the partition of a vertex, as far as anyone knows.
    pub(super) fn of(&self, vertex: i32) -> Handle<Graph> {
        let partition = Key::new(vertex.to_bytes()).partition(self.plan.partitions).0;
        self.handle(partition, self.leader(partition))
    }

    fn poll(&mut self, partition: u32, n: usize) {
        if let Some(owner) = &mut self.nodes[partition as usize][n] {
            let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
        }
        assert_eq!(self.handle(partition, n).status().broken, None);
    }

    /// Time goes on, and everybody does what there is to do.
    pub(super) fn turn(&mut self) {
        self.clock.advance_ms(2);
        for partition in 0..self.plan.partitions {
            (0..self.plan.nodes).for_each(|n| self.poll(partition, n));
        }
    }

    /// Something happens in some partition.
    pub(super) fn step(&mut self) {
        let partition = u32::try_from(self.random.below(self.plan.partitions.into())).unwrap();
        let n = self.random.index(self.plan.nodes);
        let channels = self.log.channels(&place(partition));
        let channel = (!channels.is_empty()).then(|| channels[self.random.index(channels.len())]);
        match (self.random.below(100), channel) {
            (0, _) => self.start(partition, n),
            (1 | 2, _) => self.handle(partition, n).order(Control::Promote),
            (3 | 4, Some(channel)) => match self.random.below(4) {
                0 => self.log.inject(channel, Fault::Refuse),
                1 => self.log.inject(channel, Fault::LoseAppend),
                2 => self.log.inject(channel, Fault::LoseAck),
                _ => self.log.lose(channel),
            },
            (5, _) => self.coordinator.inject(CoordinatorFault::AnswerLost),
            (6, _) => {
                let end = self.log.true_bounds(&place(partition)).unwrap().end;
                self.log.compact(&place(partition), end, self.clock.now()).unwrap();
            }
            (7..=14, _) => self.clock.advance_ms(self.random.below(8)),
            (15..=49, Some(channel)) => {
                let n = 1 + self.random.index(4);
                self.log.land(channel, n);
                if self.random.below(4) > 0 {
                    self.log.acknowledge(channel, n);
                }
            }
            _ => self.poll(partition, n),
        }
    }

    /// From now on the log does what it should.
    pub(super) fn calm(&self) {
        self.log.deliver(LogDelivery::Automatic);
    }

    /// Partitions without a master get one.
    pub(super) fn promote(&mut self) {
        for partition in 0..self.plan.partitions {
            if !self.is_served(partition) {
                self.handle(partition, 0).order(Control::Demote);
                self.poll(partition, 0);
                self.handle(partition, 0).order(Control::Promote);
            }
        }
    }

    fn is_served(&self, partition: u32) -> bool {
        let entry = self.coordinator.entry(&PartitionName::new(GRAPH, PartitionId(partition)));
        let serving = self.handle(partition, self.leader(partition)).status().serving;
        serving == Some(entry.mastership.epoch)
    }

    /// Whether no effect is on its way: every partition is served, has stored all that is in its log, and that is no effect. Those
    /// are there from when they are decided until they are in the log of whoever takes them.
    pub(super) fn is_at_rest(&self) -> bool {
        (0..self.plan.partitions).all(|partition| {
            let (next, entries) = self.dump(partition);
            if !self.is_served(partition) || next != self.log.true_bounds(&place(partition)).unwrap().end {
                return false;
            }
            let mut system = entries.iter().filter(|(store, ..)| *store == StoreId::LAST);
            !system.any(|(_, key, ..)| key.windows(6).any(|part| part == b"effect"))
        })
    }

    fn dump(&self, partition: u32) -> (affinity_types::Offset, Vec<affinity_keyspace::Entry>) {
        self.nodes[partition as usize][self.leader(partition)].as_ref().unwrap().dump().unwrap()
    }

    /// What those who serve have stored.
    pub(super) fn picture(&self) -> Picture {
        let mut picture = Picture::default();
        for partition in 0..self.plan.partitions {
            for (store, key, _, value) in self.dump(partition).1 {
                if let Some(store) = Graph::STORES.get(usize::from(store.0)) {
                    picture.add(store, &key, &value);
                }
            }
        }
        picture
    }

    /// Effects that were brought to somebody, the same one again perhaps.
    pub(super) fn delivered(&self) -> u64 {
        self.ways.inner.lock().unwrap().delivered
    }

    /// Records that were ever appended.
    pub(super) fn records(&self) -> u64 {
        let end = |partition| self.log.true_bounds(&place(partition)).unwrap().end.0;
        (0..self.plan.partitions).map(end).sum()
    }
}
