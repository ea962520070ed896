//! One partition, three nodes, a log and a coordinator that fail, clients that ask: all on one thread, in an order that a seed
//! chooses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName, Seen};
use affinity_keyspace::{
    Control, Handle, Links, Owner, OwnerSettings, Parts, Protection, Reads, Schemas, Status,
};
use affinity_log::memory::{Delivery, Fencing, MemoryLog, MemoryOptions};
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemStore, MemoryStore};
use affinity_state::{KeepRequests, RequestSettings};
use affinity_types::{Clock, Epoch, PartitionId, TopicId};

use crate::builds::run_as;
use crate::clients::Client;
use crate::clocks::{NodeClock, TrueTime};
use crate::counts::Counts;
use crate::echoes::Ways;
use crate::entries::Entries;
use crate::history::History;
use crate::lists::{Heard, Lists};
use crate::scanning::Scanning;
use crate::stores::{Database, Place};
use crate::trace::Trace;

pub(crate) const NODES: usize = 3;
pub(crate) const CLIENTS: usize = 5;
pub(crate) const KEYS: u64 = 3;
pub(crate) const LEASE_MS: u64 = 40;
const DRIFT_PERCENT: u64 = 10;
/// How long requests are remembered, how far wall clocks are apart at most.
const WINDOW_MS: u64 = 400;
pub(crate) const SKEW_MS: u64 = 40;
/// One run of so many has a database on disk where the others have a store in memory that outlives its owner.
const ON_DISK: u64 = 64;

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
    /// What outlives a crash, of a node that has such a thing.
    pub(crate) disk: Option<Place>,
    /// Which build it runs.
    pub(crate) build: u32,
    /// How often it was started.
    starts: u64,
    /// What it showed last.
    shown: Status,
    /// Paused until this true time, in microseconds.
    pub(crate) paused_until: u64,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) time: TrueTime,
    pub(crate) trace: Trace,
    pub(crate) log: MemoryLog,
    pub(crate) coordinator: MemoryCoordinator,
    pub(crate) place: TopicPartition,
    topic: TopicId,
    pub(crate) name: PartitionName,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    /// Who watches an index key.
    pub(crate) entries: Option<Entries>,
    /// Who scans.
    pub(crate) scanning: Option<Scanning>,
    pub(crate) ways: Arc<Ways>,
    /// What the nodes' listeners heard.
    pub(crate) heard: Arc<Mutex<Heard>>,
    /// Which start of which node served under an epoch.
    pub(crate) masters: BTreeMap<Epoch, (usize, u64)>,
    /// Since when a master has left a stale record the last one of its key, by epoch.
    pub(crate) unrepaired: Option<(Epoch, u64)>,
    /// An old entry of the coordinator, if it is one that is restored from backups.
    pub(crate) backup: Option<Seen>,
    removed: Option<Protection>,
    pub(crate) fencing: Fencing,
    reads: Reads,
    request_entries: usize,
    /// How rare trouble is: of so many that could come, one does.
    calm: u64,
    pub(crate) next_id: u64,
    pub(crate) history: History,
    pub(crate) counts: Counts,
}

/// Where a node's store stays; on disk, for the run of a seed.
fn place_of(n: usize, on_disk: Option<u64>) -> Place {
    on_disk.map_or_else(Place::memory, |seed| Place::Disk(Database::new(&format!("{seed}-{n}"))))
}

/// The answer of a memory backend's call, which never waits.
pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a call of the memory log waits"),
    }
}

impl World {
    pub(crate) fn new(seed: u64, removed: Option<Protection>, trace: Trace) -> World {
        let mut random = Random(seed);
        let fencing = match random.below(5) {
            0 | 1 => Fencing::Off,
            2 | 3 => Fencing::AtAppend,
            _ => Fencing::Known,
        };
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
        let on_disk = seed % ON_DISK == ON_DISK - 1;
        let nodes = (0..NODES).map(|n| Node {
            id: NodeId::new(format!("n{n}")),
            clock: Arc::new(NodeClock::new(&time, rates[random.index(3)])),
            running: None,
            disk: random.once_in(2).then(|| place_of(n, on_disk.then_some(seed))),
            build: 0,
            starts: 0,
            shown: Status::default(),
            paused_until: 0,
        });
        let nodes = nodes.collect();
        let mut world = World {
            time,
            trace,
            log,
            coordinator: MemoryCoordinator::new(),
            place: TopicPartition::new("lists", PartitionId(0)),
            topic,
            name: PartitionName::new("lists", PartitionId(0)),
            nodes,
            clients: (0..CLIENTS).map(Client::new).collect(),
            entries: None,
            scanning: None,
            ways: Arc::new(Ways::new(seed)),
            heard: Arc::default(),
            masters: BTreeMap::new(),
            unrepaired: None,
            backup: random.once_in(3).then(Seen::default),
            removed,
            fencing,
            reads,
            request_entries: if random.once_in(4) { 8 } else { 100_000 },
            calm: 1 + random.below(12),
            next_id: 0,
            history: History::default(),
            counts: Counts::default(),
            random,
        };
        let World { fencing, reads, calm, request_entries, .. } = &world;
        world.trace.note(format_args!(
            "fencing {fencing:?}, reads {reads:?}, calm {calm}, {request_entries} request ids"
        ));
        (0..NODES).for_each(|n| world.start(n));
        world
    }

    /// Starts a node with what its disk holds, or an empty store.
    pub(crate) fn start(&mut self, n: usize) {
        let settings = OwnerSettings {
            pending_max: 6,
            // Another one with every start: successors have to know how long earlier ones are.
            lease_ms: LEASE_MS << (self.nodes[n].starts % 2),
            clock_drift_percent: DRIFT_PERCENT,
            idle_noop_ms: 60,
            retry_ms: 5,
            result_max_bytes: 1 << 20,
            effect_window: 4,
            effect_tries: 2,
            effect_clear_ms: 5,
            // Many steps and chunks, so that much happens meanwhile.
            index_step_max: 1,
            scan_chunk_max: 1,
            scans_max: 2,
            reads: self.reads,
            requests: RequestSettings {
                request_window_ms: WINDOW_MS,
                request_skew_max_ms: SKEW_MS,
                request_window_entries: self.request_entries,
            },
            removed: self.removed,
            ..OwnerSettings::default()
        };
        let node = &mut self.nodes[n];
        node.starts += 1;
        let end = self.log.true_bounds(&self.place).unwrap().end;
        let (memstore, keep_requests): (Box<dyn MemStore>, _) = match &node.disk {
            Some(disk) => (disk.open(self.topic, end), KeepRequests::InStore),
            None => (Box::new(MemoryStore::new(Limits::default())), KeepRequests::InWindow),
        };
        let parts = Parts {
            place: self.place.clone(),
            topic: self.topic,
            name: self.name.clone(),
            node: node.id.clone(),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore,
            keep_requests,
            clock: Arc::clone(&node.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::clone(&self.ways) as Arc<dyn Links>,
            seed: self.random.next(),
            settings,
        };
        run_as(node.build);
        let (owner, handle) = Owner::new(Lists::new(Arc::clone(&self.heard)), parts).unwrap();
        self.ways.lead_to(n, &handle);
        node.running = Some((owner, handle));
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
            2 => self.checkpoint(),
            3 => self.compact(),
            4 => self.fault(),
            5 => self.coordinator_fault(),
            6 => self.stranger(),
            7 => {
                let n = self.random.index(NODES);
                let ms = i64::try_from(self.random.below(SKEW_MS)).unwrap();
                self.nodes[n].clock.set_offset_ms(ms);
            }
            8..=11 => {
                let ms = self.random.below(12);
                self.time.advance_ms(ms);
            }
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

    pub(crate) fn poll(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.paused_until > self.time.micros() {
            return;
        }
        let Some((owner, handle)) = &mut node.running else { return };
        run_as(node.build);
        let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
        let status = handle.status();
        assert_eq!(status.broken, None, "node {n}");
        if status == node.shown {
            return;
        }
        let Status { phase, serving, next, pending, held_reads, .. } = &status;
        self.trace.note(format_args!(
            "{} node {n} {phase} {serving:?} next {next} pending {pending} reads {held_reads}",
            self.time.micros()
        ));
        if let Some(epoch) = *serving {
            let master = (n, node.starts);
            let first = *self.masters.entry(epoch).or_insert(master);
            assert_eq!(first, master, "two serve under epoch {epoch}");
        }
        node.shown = status;
    }

    fn promote(&mut self) {
        let n = self.random.index(NODES);
        if let Some((_, handle)) = &self.nodes[n].running {
            handle.order(Control::Promote);
            self.trace.note(format_args!("promote node {n}"));
            self.counts.promotions += 1;
        }
        self.poll(n);
    }
}
