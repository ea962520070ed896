//! Partitions of plain bytes, their owners, and who drives both.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Failure, Handle, KeyValue, Keyspaces, Master, Owner, OwnerSettings, Partition, PartitionScan,
    Parts, Router, RouterParts, RouterSettings, Schemas, Sleep, Store, Timer, View,
};
use affinity_log::memory::MemoryLog;
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::MemStore;
use affinity_state::KeepRequests;
use affinity_types::codec::Encode;
use affinity_types::{Clock, EventTime, ManualClock, PartitionId};
use bytes::Bytes;

pub(crate) const TABLE: Store<Bytes, Bytes> = Store::new("table");
pub(crate) const MORE: Store<Bytes, Bytes> = Store::new("more");

pub(crate) struct Table;

/// Keys with their new values, or without any more.
#[derive(Clone)]
pub(crate) struct Write(pub(crate) Vec<(Bytes, Option<Bytes>)>);

impl Encode for Write {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{:?}", self.0).as_bytes());
    }
}

impl Partition for Table {
    const STORES: &'static [&'static str] = &["table", "more"];
    type Command = Write;
    type Query = ();
    type Answer = ();
    type Error = Infallible;

    fn command(&self, cx: &mut Master<'_>, Write(changes): &Write) -> Result<(), Infallible> {
        for (key, value) in changes {
            match value {
                Some(value) => cx.put(&TABLE, key, value),
                None => cx.delete(&TABLE, key),
            }
        }
        Ok(())
    }

    fn query(&self, _: &View<'_>, (): &()) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A timer that is never due: what is driven by hand is late only if its deadline is now.
struct ByHand(Arc<ManualClock>);

impl Timer for ByHand {
    fn sleep_until(&self, at: Duration) -> Sleep {
        let clock = Arc::clone(&self.0);
        Box::pin(std::future::poll_fn(
            move |_| {
                if clock.elapsed() >= at { Poll::Ready(()) } else { Poll::Pending }
            },
        ))
    }
}

pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    settings: OwnerSettings,
    pub(crate) owners: Vec<Owner<Table>>,
    pub(crate) handles: Vec<Handle<Table>>,
}

impl World {
    pub(crate) fn new(log: MemoryLog, settings: OwnerSettings) -> World {
        let clock = Arc::new(ManualClock::at(EventTime(1_700_000_000_000)));
        let coordinator = MemoryCoordinator::new();
        World { log, clock, coordinator, settings, owners: Vec::new(), handles: Vec::new() }
    }

    /// One partition with this store, served.
    pub(crate) fn serving_from(store: impl MemStore + 'static, settings: OwnerSettings) -> World {
        let mut world = World::new(MemoryLog::default(), settings);
        world.add(0, "node", store);
        world.promote(0);
        world
    }

    pub(crate) fn add(&mut self, partition: u32, node: &str, store: impl MemStore + 'static) {
        let spec = TopicSpec { partitions: 4, cleanup: Cleanup::default() };
        let topic = drive(&mut [], self.log.create_topic("tables", spec)).unwrap();
        let parts = Parts {
            place: TopicPartition::new("tables", PartitionId(partition)),
            topic: topic.id,
            name: PartitionName::new("tables", PartitionId(partition)),
            node: NodeId::new(node),
            log: Arc::new(self.log.clone()),
            coordinator: Arc::new(self.coordinator.clone()),
            memstore: Box::new(store),
            keep_requests: KeepRequests::InWindow,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            schemas: Schemas { control: 1, store_key: 2, effect: 3 },
            links: Arc::new(Keyspaces::default()),
            seed: u64::from(partition) + node.bytes().map(u64::from).sum::<u64>(),
            settings: self.settings.clone(),
        };
        let (owner, handle) = Owner::new(Table, parts).unwrap();
        self.owners.push(owner);
        self.handles.push(handle);
    }

    pub(crate) fn promote(&mut self, at: usize) {
        self.handles[at].order(Control::Promote);
        self.settle();
        assert!(self.handles[at].status().serving.is_some());
    }

    /// Polls the owners until they have nothing more to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            poll_all(&mut self.owners);
        }
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        self.clock.advance_ms(u64::try_from(time.as_millis()).unwrap());
        self.settle();
    }

    pub(crate) fn drive<F: Future>(&mut self, future: F) -> F::Output {
        drive(&mut self.owners, future)
    }

    /// Writes without waiting.
    pub(crate) fn tell(&mut self, changes: Vec<(Bytes, Option<Bytes>)>) {
        self.handles[0].command(Write(changes), None, None, None).unwrap();
    }

    /// Writes these keys, each with its own bytes as value.
    pub(crate) fn fill(&mut self, keys: impl IntoIterator<Item = String>) {
        let changes = keys.into_iter().map(|key| (Bytes::from(key.clone()), Some(Bytes::from(key))));
        let changes = changes.collect();
        let handle = self.handles[0].clone();
        self.drive(handle.ask(Write(changes))).unwrap();
        self.settle();
    }

    pub(crate) fn next(&mut self, scan: &mut Scan) -> Option<Found> {
        self.drive(scan.next())
    }

    /// All that is left of a scan.
    pub(crate) fn rest(&mut self, scan: &mut Scan) -> Result<Vec<Entry>, Failure<Infallible>> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next(scan) {
            all.extend(chunk?);
        }
        Ok(all)
    }

    pub(crate) fn router(&self, settings: RouterSettings) -> Router<Table> {
        let timer = Arc::new(ByHand(Arc::clone(&self.clock)));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Router::new(self.handles.clone(), RouterParts { clock, timer, client: 7, seed: 1, settings })
    }
}

pub(crate) type Scan = PartitionScan<Table, Bytes, Bytes>;
pub(crate) type Entry = KeyValue<Bytes, Bytes>;
pub(crate) type Found = Result<Vec<Entry>, Failure<Infallible>>;

pub(crate) fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| std::str::from_utf8(&entry.key).unwrap()).collect()
}

fn poll_all(owners: &mut [Owner<Table>]) {
    for owner in owners {
        let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
    }
}

/// Polls a future and the owners that it waits for.
pub(crate) fn drive<F: Future>(owners: &mut [Owner<Table>], future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        poll_all(owners);
    }
    panic!("it never comes");
}

/// Polls a future once.
pub(crate) fn begin<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
