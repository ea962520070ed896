//! One partition, three nodes, a log and a coordinator that fail, clients that ask: all on one thread, in an order that a seed
//! chooses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_cluster::memory::{Fault as CoordinatorFault, MemoryCoordinator};
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Failure, Handle, Owner, OwnerSettings, Parts, Protection, Reads, Reply, Watched,
};
use affinity_log::memory::{ChannelId, Delivery, Fault, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_state::{KeepRequests, RequestSettings, Update};
use affinity_types::codec::Decode;
use affinity_types::{Clock, Key, Offset, PartitionId, RequestId, TopicId, Version};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clocks::{NodeClock, TrueTime};
use crate::history::{Answered, History};
use crate::lists::{Append, Ids, Lists, Refusal, Seen};

const NODES: usize = 3;
const CLIENTS: usize = 5;
const KEYS: u64 = 3;
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

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }

    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct Node {
    id: NodeId,
    clock: Arc<NodeClock>,
    running: Option<(Owner<Lists>, Handle<Lists>)>,
    /// Paused until this true time, in microseconds.
    paused_until: u64,
}

/// What a client waits for.
enum Asked {
    Nothing,
    Append {
        append: Append,
        request: Option<RequestId>,
        began: u64,
        unknown: bool,
        reply: Answer,
    },
    Read {
        key: String,
        began: u64,
        reply: Answer,
    },
    /// To ask again under the same id.
    Again {
        append: Append,
        request: RequestId,
        began: u64,
        unknown: bool,
    },
}

type Answer = oneshot::Receiver<Reply<Seen, Refusal>>;

struct Client {
    number: usize,
    asked: Asked,
    requests: u64,
    versions: BTreeMap<String, Version>,
    watch: Option<Watching>,
}

struct Watching {
    key: String,
    last: Option<Version>,
    ids: Ids,
    state: WatchState,
}

enum WatchState {
    Asked(oneshot::Receiver<Reply<Watched, Refusal>>),
    Watching(Watched),
}

pub(crate) struct World {
    random: Random,
    time: TrueTime,
    log: MemoryLog,
    coordinator: MemoryCoordinator,
    place: TopicPartition,
    topic: TopicId,
    name: PartitionName,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    removed: Option<Protection>,
    fencing: Fencing,
    reads: Reads,
    /// How rare trouble is: of so many that could come, one does.
    calm: u64,
    next_id: u64,
    history: History,
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
        let clients = (0..CLIENTS).map(|number| Client {
            number,
            asked: Asked::Nothing,
            requests: 0,
            versions: BTreeMap::new(),
            watch: None,
        });
        let mut world = World {
            time,
            log,
            coordinator: MemoryCoordinator::new(),
            place: TopicPartition::new("lists", PartitionId(0)),
            topic,
            name: PartitionName::new("lists", PartitionId(0)),
            nodes,
            clients: clients.collect(),
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

    fn client(&mut self, c: usize) {
        let now = self.time.micros();
        self.watching(c);
        let client = &mut self.clients[c];
        match std::mem::replace(&mut client.asked, Asked::Nothing) {
            Asked::Nothing => self.ask(c),
            Asked::Append { append, request, began, unknown, mut reply } => match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {
                    client.asked = Asked::Append { append, request, began, unknown, reply };
                }
                Err(oneshot::error::TryRecvError::Closed) => {
                    self.failed(c, append, request, began, None, unknown)
                }
                Ok(Err(failure)) => self.failed(c, append, request, began, Some(failure), unknown),
                Ok(Ok(seen)) => self.answered(append.key, Some(append.id), seen, began, now),
            },
            Asked::Read { key, began, mut reply } => match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => client.asked = Asked::Read { key, began, reply },
                Ok(Ok(seen)) => {
                    if let Some(version) = seen.version {
                        client.versions.insert(key.clone(), version);
                    }
                    self.answered(key, None, seen, began, now);
                }
                _ => {}
            },
            Asked::Again { append, request, began, unknown } => {
                self.counts.retried += 1;
                self.send(c, append, Some(request), began, unknown);
            }
        }
    }

    fn answered(&mut self, key: String, appended: Option<u64>, seen: Seen, began: u64, ended: u64) {
        self.counts.answered += 1;
        self.history.answered.push(Answered { key, appended, ids: seen.ids, began, ended });
    }

    /// An append was not answered with a list.
    fn failed(
        &mut self,
        c: usize,
        append: Append,
        request: Option<RequestId>,
        began: u64,
        failure: Option<Failure<Refusal>>,
        mut unknown: bool,
    ) {
        match &failure {
            None | Some(Failure::Unknown) => {
                self.counts.unknown += 1;
                unknown = true;
            }
            Some(Failure::Corrupt(what)) => panic!("client {c}: {what}"),
            // It may have been applied long ago: nobody knows any more.
            Some(Failure::RequestExpired) => return,
            Some(Failure::Panicked | Failure::Conflict | Failure::Invalid(_)) => {
                panic!("client {c}: {append:?} under {request:?}: {failure:?}")
            }
            Some(Failure::Handler(Refusal::Torn)) => {
                panic!("client {c}: the stores of {} disagree", append.key)
            }
            Some(_) => self.counts.refused += 1,
        }
        let decided = matches!(failure, Some(Failure::Handler(_)));
        match request {
            Some(request) if !decided => {
                self.clients[c].asked = Asked::Again { append, request, began, unknown };
            }
            _ if !unknown => self.history.never.push((append.key, append.id)),
            _ => {}
        }
    }

    /// A node that may be master, or any.
    fn somebody(&mut self) -> Option<Handle<Lists>> {
        let serving: Vec<usize> = (0..NODES)
            .filter(|n| self.nodes[*n].running.as_ref().is_some_and(|r| r.1.status().serving.is_some()))
            .collect();
        let n = if serving.is_empty() || self.random.once_in(5) {
            self.random.index(NODES)
        } else {
            serving[self.random.index(serving.len())]
        };
        Some(self.nodes[n].running.as_ref()?.1.clone())
    }

    fn ask(&mut self, c: usize) {
        let began = self.time.micros();
        let key = format!("k{}", self.random.below(KEYS));
        if self.random.once_in(2) {
            let (send, reply) = oneshot::channel();
            let Some(handle) = self.somebody() else { return };
            if handle.query(key.clone(), None, send).is_ok() {
                self.clients[c].asked = Asked::Read { key, began, reply };
            }
            return;
        }
        if self.random.once_in(6) && self.clients[c].watch.is_none() {
            self.watch(c, key);
            return;
        }
        self.next_id += 1;
        let known = self.clients[c].versions.get(&key).copied();
        let version = known.filter(|_| self.random.once_in(3));
        let append = Append { key, id: self.next_id, version };
        let request = self.random.once_in(2).then(|| {
            let client = &mut self.clients[c];
            client.requests += 1;
            let issued = Some(self.nodes[0].clock.now());
            RequestId { client: 1 + client.number as u128, sequence: client.requests, issued }
        });
        self.send(c, append, request, began, false);
    }

    fn send(&mut self, c: usize, append: Append, request: Option<RequestId>, began: u64, unknown: bool) {
        let (send, reply) = oneshot::channel();
        let Some(handle) = self.somebody() else { return };
        let sent = handle.command(append.clone(), request, None, Some(send));
        self.clients[c].asked = match (sent, request) {
            (Ok(()), _) => Asked::Append { append, request, began, unknown, reply },
            (Err(_), Some(request)) => Asked::Again { append, request, began, unknown },
            (Err(_), None) => Asked::Nothing,
        };
    }

    fn watch(&mut self, c: usize, key: String) {
        let Some(handle) = self.somebody() else { return };
        if let Ok(reply) = handle.begin_watch("lists", Bytes::from(key.clone())) {
            let state = WatchState::Asked(reply);
            self.clients[c].watch = Some(Watching { key, last: None, ids: Ids::default(), state });
        }
    }

    fn watching(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let Some(mut watching) = client.watch.take() else { return };
        if let WatchState::Asked(reply) = &mut watching.state {
            match reply.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                Ok(Ok(watched)) => {
                    watching.see(&watched.current);
                    watching.state = WatchState::Watching(watched);
                }
                _ => return,
            }
        }
        if let WatchState::Watching(watched) = &mut watching.state {
            let mut updates = Vec::new();
            let mut ended = false;
            while let Poll::Ready(update) = watched.watch.poll_next(&mut Context::from_waker(Waker::noop())) {
                match update {
                    Ok(update) => updates.push(update),
                    Err(_) => {
                        ended = true;
                        break;
                    }
                }
            }
            for update in updates {
                self.counts.watched += 1;
                watching.see(&update);
            }
            if ended {
                return;
            }
        }
        client.watch = Some(watching);
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
            let busy = self.clients.iter().any(|client| !matches!(client.asked, Asked::Nothing));
            if !busy && self.serves(leader) && round > 100 {
                break;
            }
            for c in 0..CLIENTS {
                if !matches!(self.clients[c].asked, Asked::Nothing) {
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

impl Watching {
    /// Versions rise, and what is seen grows.
    fn see(&mut self, update: &Update) {
        let Update::Value { value, version } = update else { panic!("nobody sends events") };
        let ids = value.as_ref().map(|bytes| Ids::decode(bytes).unwrap()).unwrap_or_default();
        if let Some(last) = self.last {
            assert!(*version > last, "{}: version {version} after {last}", self.key);
        }
        assert!(ids.0.starts_with(&self.ids.0), "{}: {ids:?} after {:?}", self.key, self.ids);
        (self.last, self.ids) = (Some(*version), ids);
    }
}
