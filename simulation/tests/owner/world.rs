//! One partition, three nodes, a log and a coordinator that fail, clients that ask: all on one thread, in an order that a seed
//! chooses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_cluster::memory::{Fault as CoordinatorFault, MemoryCoordinator};
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{Control, Handle, Owner, OwnerSettings, Parts, Protection, Reads};
use affinity_log::memory::{ChannelId, Delivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::{KeepRequests, RequestSettings};
use affinity_types::{Clock, Key, Offset, PartitionId, TopicId};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clients::Client;
use crate::clocks::{NodeClock, TrueTime};
use crate::history::History;
use crate::lists::{Ids, Lists};

pub(crate) const NODES: usize = 3;
const CLIENTS: usize = 5;
pub(crate) const KEYS: u64 = 3;
const LEASE_MS: u64 = 40;
const DRIFT_PERCENT: u64 = 10;
/// How long requests are remembered, how far wall clocks are apart at most.
const WINDOW_MS: u64 = 400;
const SKEW_MS: u64 = 40;

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }

    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) clock: Arc<NodeClock>,
    pub(crate) running: Option<(Owner<Lists>, Handle<Lists>)>,
    /// Paused until this true time, in microseconds.
    paused_until: u64,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) time: TrueTime,
    log: MemoryLog,
    coordinator: MemoryCoordinator,
    place: TopicPartition,
    topic: TopicId,
    name: PartitionName,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    removed: Option<Protection>,
    fencing: Fencing,
    reads: Reads,
    /// How rare trouble is: of so many that could come, one does.
    calm: u64,
    pub(crate) next_id: u64,
    pub(crate) history: History,
    pub(crate) counts: Counts,
}

/// What a run has come across.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    pub(crate) promotions: u64,
    pub(crate) crashes: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) retried: u64,
    pub(crate) compacted: u64,
    pub(crate) watched: u64,
    pub(crate) strangers: u64,
}

impl Counts {
    fn numbers(&mut self) -> [&mut u64; 9] {
        let Counts {
            answered,
            promotions,
            crashes,
            unknown,
            refused,
            retried,
            compacted,
            watched,
            strangers,
        } = self;
        [answered, promotions, crashes, unknown, refused, retried, compacted, watched, strangers]
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        let mut other = *other;
        self.numbers().into_iter().zip(other.numbers()).for_each(|(mine, theirs)| *mine += *theirs);
    }

    pub(crate) fn each_at_least(mut self, least: u64) -> bool {
        self.numbers().into_iter().all(|number| *number >= least)
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a call of the memory log waits"),
    }
}

impl World {
    pub(crate) fn new(seed: u64, removed: Option<Protection>) -> World {
        let mut random = Random(seed);
        let fencing = if random.once_in(2) { Fencing::Off } else { Fencing::AtAppend };
        let reads = if random.once_in(4) { Reads::Strict } else { Reads::Lease };
        let options = MemoryOptions { fencing, compaction_lag: Duration::ZERO, ..MemoryOptions::default() };
        let log = MemoryLog::new(options);
        let cleanup = Cleanup::Compact {
            delete_retention: Duration::from_secs(3600),
            request_window: Duration::from_millis(WINDOW_MS),
        };
        let topic = block(log.create_topic("lists", TopicSpec { partitions: 1, cleanup })).unwrap().id;
        log.deliver(Delivery::Manual);
        let time = TrueTime::default();
        time.advance_ms(1000);
        let rates = [100 - DRIFT_PERCENT / 2, 100, 100 + DRIFT_PERCENT / 2];
        let nodes = (0..NODES).map(|n| Node {
            id: NodeId::new(format!("n{n}")),
            clock: Arc::new(NodeClock::new(&time, rates[random.index(3)])),
            running: None,
            paused_until: 0,
        });
        let nodes = nodes.collect();
        let mut world = World {
            time,
            log,
            coordinator: MemoryCoordinator::new(),
            place: TopicPartition::new("lists", PartitionId(0)),
            topic,
            name: PartitionName::new("lists", PartitionId(0)),
            nodes,
            clients: (0..CLIENTS).map(Client::new).collect(),
            removed,
            fencing,
            reads,
            calm: 1 + random.below(12),
            next_id: 0,
            history: History::default(),
            counts: Counts::default(),
            random,
        };
        (0..NODES).for_each(|n| world.start(n));
        world
    }

    /// Starts a node with an empty store.
    fn start(&mut self, n: usize) {
        let settings = OwnerSettings {
            pending_max: 6,
            lease_ms: LEASE_MS,
            clock_drift_percent: DRIFT_PERCENT,
            idle_noop_ms: 60,
            retry_ms: 5,
            reads: self.reads,
            requests: RequestSettings {
                request_window_ms: WINDOW_MS,
                request_skew_max_ms: SKEW_MS,
                ..RequestSettings::default()
            },
            removed: self.removed,
            ..OwnerSettings::default()
        };
        let node = &mut self.nodes[n];
        let parts = Parts {
            place: self.place.clone(),
            topic: self.topic,
            name: self.name.clone(),
            node: node.id.clone(),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(MemoryStore::new(Limits::default())),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&node.clock) as Arc<dyn Clock>,
            schemas: (1, 2),
            seed: self.random.next(),
            settings,
        };
        node.running = Some(Owner::new(Lists, parts).unwrap());
    }

    /// One thing happens.
    pub(crate) fn step(&mut self) {
        match self.random.below(40) {
            0..=6 if !self.random.once_in(self.calm) => {
                let c = self.random.index(CLIENTS);
                self.client(c);
            }
            0 => self.promote(),
            1 => self.pause(),
            2 if self.random.once_in(3) => self.crash(),
            3 => self.compact(),
            4 => self.fault(),
            5 => self.coordinator_fault(),
            6 => self.stranger(),
            7 => {
                let n = self.random.index(NODES);
                let ms = i64::try_from(self.random.below(SKEW_MS / 2)).unwrap();
                self.nodes[n].clock.set_offset_ms(ms);
            }
            8..=11 => self.time.advance_ms(self.random.below(12)),
            12..=19 => self.deliver(),
            20..=29 => {
                let n = self.random.index(NODES);
                self.poll(n);
            }
            _ => {
                let c = self.random.index(CLIENTS);
                self.client(c);
            }
        }
    }

    fn poll(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.paused_until > self.time.micros() {
            return;
        }
        if let Some((owner, handle)) = &mut node.running {
            let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(handle.status().broken, None, "node {n}");
        }
    }

    fn promote(&mut self) {
        let n = self.random.index(NODES);
        if let Some((_, handle)) = &self.nodes[n].running {
            handle.order(Control::Promote);
            self.counts.promotions += 1;
        }
        self.poll(n);
    }

    fn pause(&mut self) {
        let n = self.random.index(NODES);
        self.nodes[n].paused_until = self.time.micros() + 1000 * self.random.below(3 * LEASE_MS);
    }

    fn crash(&mut self) {
        let n = self.random.index(NODES);
        self.nodes[n].running = None;
        self.counts.crashes += 1;
        self.start(n);
    }

    /// Kafka compacts only what lies further back than a master needs to see and repair it.
    fn compact(&mut self) {
        let end = self.log.true_bounds(&self.place).unwrap().end;
        let newest = self.nodes.iter().filter_map(|n| Some(n.running.as_ref()?.1.status()));
        let newest = newest.filter(|s| s.serving.is_some()).max_by_key(|s| s.serving);
        let Some(status) = newest else { return };
        if status.serving == Some(self.coordinator.entry(&self.name).mastership.epoch)
            && status.next == end
            && status.pending == 0
        {
            let now = self.nodes[0].clock.now();
            let removed = self.log.compact(&self.place, end, now).unwrap();
            self.counts.compacted += removed as u64;
        }
    }

    fn channel(&mut self) -> Option<ChannelId> {
        let channels = self.log.channels(&self.place);
        if channels.is_empty() { None } else { Some(channels[self.random.index(channels.len())]) }
    }

    /// Groups reach the log, and outcomes their owners.
    fn deliver(&mut self) {
        let Some(channel) = self.channel() else { return };
        let n = 1 + self.random.index(3);
        self.log.land(channel, n);
        if !self.random.once_in(4) {
            self.log.acknowledge(channel, n);
        }
    }

    fn fault(&mut self) {
        let Some(channel) = self.channel() else { return };
        match self.random.below(8) {
            0 | 1 => self.log.inject(channel, Fault::Refuse),
            2 => self.log.inject(channel, Fault::LoseAppend),
            3 => self.log.inject(channel, Fault::LoseAck),
            4 => self.log.lose(channel),
            5 if self.log.channel(channel).is_some_and(|view| view.abandoned) => {
                self.log.discard(channel);
            }
            _ => {}
        }
    }

    fn coordinator_fault(&mut self) {
        match self.random.below(4) {
            0 => self.coordinator.fail_calls(1 + self.random.index(2)),
            1 => self.coordinator.inject(CoordinatorFault::AnswerLost),
            2 => self.coordinator.inject(CoordinatorFault::RequestLost),
            _ => {}
        }
    }

    /// Somebody who knows nothing of epochs writes.
    fn stranger(&mut self) {
        if !self.random.once_in(6) || self.coordinator.entry(&self.name).mastership.epoch.0 == 0 {
            return;
        }
        let serving =
            self.nodes.iter().any(|n| n.running.as_ref().is_some_and(|r| r.1.status().serving.is_some()));
        if serving {
            let key = Key::copy_from(format!("k{}", self.random.below(KEYS)).as_bytes());
            let now = self.nodes[0].clock.now();
            self.log.stranger(&self.place, now, key, Some(Bytes::from_static(b"strange!"))).unwrap();
            self.counts.strangers += 1;
        }
    }

    /// Everything works again: what was asked is answered, and the history must be one that can have been.
    pub(crate) fn finish(mut self) -> Counts {
        self.log.deliver(Delivery::Automatic);
        for node in &mut self.nodes {
            node.paused_until = 0;
        }
        let leader = self.random.index(NODES);
        for round in 0..2000 {
            if round % 200 == 0 && !self.serves(leader) {
                // It may serve under an epoch after which another was won and never begun: take over once more.
                let handle = self.nodes[leader].running.as_ref().unwrap().1.clone();
                handle.order(Control::Demote);
                handle.order(Control::Promote);
            }
            self.time.advance_ms(3);
            (0..NODES).for_each(|n| self.poll(n));
            let busy = self.clients.iter().any(Client::waits);
            if !busy && self.serves(leader) && round > 100 {
                break;
            }
            for c in 0..CLIENTS {
                if self.clients[c].waits() {
                    self.client(c);
                }
            }
        }
        assert!(
            self.serves(leader),
            "nobody serves at last: {:?}",
            self.nodes[leader].running.as_ref().unwrap().1.status()
        );
        let at_last = self.read_all(leader);
        self.history.check(&at_last);
        self.compare_standbys();
        self.counts
    }

    fn serves(&self, n: usize) -> bool {
        let epoch = self.coordinator.entry(&self.name).mastership.epoch;
        self.nodes[n].running.as_ref().is_some_and(|(_, handle)| handle.status().serving == Some(epoch))
    }

    fn read_all(&mut self, leader: usize) -> BTreeMap<String, Ids> {
        let mut lists = BTreeMap::new();
        for key in (0..KEYS).map(|k| format!("k{k}")) {
            let (send, mut reply) = oneshot::channel();
            let (_, handle) = self.nodes[leader].running.as_ref().unwrap();
            handle.query(key.clone(), None, send).unwrap();
            let mut seen = None;
            for _ in 0..200 {
                self.time.advance_ms(3);
                (0..NODES).for_each(|n| self.poll(n));
                if let Ok(answer) = reply.try_recv() {
                    seen =
                        Some(answer.unwrap_or_else(|failure| panic!("reading {key} at last: {failure:?}")));
                    break;
                }
            }
            lists.insert(key.clone(), seen.unwrap_or_else(|| panic!("{key} is not answered at last")).ids);
        }
        lists
    }

    /// At equal offset, state is equal.
    fn compare_standbys(&mut self) {
        for _ in 0..50 {
            self.time.advance_ms(3);
            (0..NODES).for_each(|n| self.poll(n));
        }
        let dumps: Vec<_> =
            self.nodes.iter().map(|n| n.running.as_ref().unwrap().0.dump().unwrap()).collect();
        let newest = dumps.iter().map(|(next, _)| *next).max().unwrap();
        let equal: Vec<_> = dumps.iter().filter(|(next, _)| *next == newest).collect();
        assert!(equal.windows(2).all(|pair| pair[0].1 == pair[1].1), "state differs at offset {newest}");
        assert!(newest > Offset::ZERO || self.fencing == Fencing::Off);
    }
}
