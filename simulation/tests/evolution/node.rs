//! A log that outlives nodes, and nodes of a release.

use std::sync::Arc;
use std::task::{Context, Waker};

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{NodeId, PartitionName};
use affinity_keyspace::{
    Control, Handle, KeyRange, KeyValue, Keyspaces, Links, Owner, OwnerSettings, Partition, Parts, Reply,
    Router, RouterParts, RouterSettings, Schemas, Sleep, Store, Timer, store_types,
};
use affinity_log::memory::MemoryLog;
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Limits, MemoryStore};
use affinity_registry::{Bound, Error, SchemaRegistry, bind, system_ids};
use affinity_state::KeepRequests;
use affinity_types::codec::Decode;
use affinity_types::format::StoreFormat;
use affinity_types::{Clock, EventTime, ManualClock, PartitionId, TopicId};
use bytes::Bytes;

use crate::bank::{AccountId, AnyAccount, Bank, Command, Heard, NoAccount};

/// Turns in which whatever is asked must come to its end.
const TURNS: usize = 10_000;

/// Runs a future that waits for nothing.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

/// What stays when nodes come and go.
pub(crate) struct Site {
    log: MemoryLog,
    topic: TopicId,
    clock: Arc<ManualClock>,
    coordinator: MemoryCoordinator,
    partitions: u32,
}

/// All partitions of the bank, in a release, with empty stores.
pub(crate) struct Node<A: AnyAccount> {
    owners: Vec<Owner<Bank<A>>>,
    handles: Vec<Handle<Bank<A>>>,
    router: Router<Bank<A>>,
    keyspaces: Arc<Keyspaces>,
    clock: Arc<ManualClock>,
    pub(crate) bound: Bound,
    pub(crate) heard: Heard,
}

/// A timer that never wakes.
struct Never;

impl Timer for Never {
    fn sleep_until(&self, _: std::time::Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

impl Site {
    pub(crate) fn new(partitions: u32) -> Site {
        let log = MemoryLog::default();
        let spec = TopicSpec { partitions, cleanup: Cleanup::default() };
        let topic = block_on(log.create_topic("bank", spec)).unwrap().id;
        let clock = Arc::new(ManualClock::at(EventTime(1_700_000_000_000)));
        Site { log, topic, clock, coordinator: MemoryCoordinator::new(), partitions }
    }

    /// Starts a node of a release, as a standby, if its records may be.
    pub(crate) fn start<A: AnyAccount>(
        &self,
        name: &str,
        registry: &dyn SchemaRegistry,
    ) -> Result<Node<A>, Error> {
        let types = store_types::<Bank<A>>();
        let bound = block_on(bind(registry, "bank", Bank::<A>::STORES[0], &types))?;
        let ids = block_on(system_ids(registry))?;
        let schemas = Schemas { control: ids.control.0, store_key: ids.store_key.0, effect: ids.effect.0 };
        let formats = bound.formats().to_vec();
        Ok(self.node(name, schemas, &formats, bound))
    }

    /// The same without a registry.
    pub(crate) fn start_unbound<A: AnyAccount>(&self, name: &str) -> Node<A> {
        let none = affinity_registry::MemoryRegistry::new();
        let bound = block_on(bind(&none, "bank", "accounts", &[])).unwrap();
        self.node(name, Schemas { control: 1, store_key: 2, effect: 3 }, &[], bound)
    }

    fn node<A: AnyAccount>(
        &self,
        name: &str,
        schemas: Schemas,
        formats: &[(&str, StoreFormat)],
        bound: Bound,
    ) -> Node<A> {
        let keyspaces = Arc::new(Keyspaces::default());
        let heard = Heard::default();
        let owner = |partition| {
            let parts = Parts {
                place: TopicPartition::new("bank", PartitionId(partition)),
                topic: self.topic,
                name: PartitionName::new("bank", PartitionId(partition)),
                node: NodeId::new(name),
                log: Arc::new(self.log.clone()),
                coordinator: Arc::new(self.coordinator.clone()),
                memstore: Box::new(MemoryStore::new(Limits::default())),
                keep_requests: KeepRequests::InWindow,
                clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
                schemas,
                links: Arc::clone(&keyspaces) as Arc<dyn Links>,
                seed: name.bytes().map(u64::from).sum::<u64>() + u64::from(partition),
                settings: OwnerSettings::default(),
            };
            Owner::with_formats(Bank::new(&heard), parts, formats).unwrap()
        };
        let (owners, handles): (Vec<_>, Vec<_>) = (0..self.partitions).map(owner).unzip();
        keyspaces.add("bank", handles.iter().cloned());
        let parts = RouterParts {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            timer: Arc::new(Never),
            client: 1,
            seed: 1,
            settings: RouterSettings::default(),
        };
        let router = Router::new(handles.clone(), parts);
        let clock = Arc::clone(&self.clock);
        Node { owners, handles, router, keyspaces, clock, bound, heard }
    }
}

impl<A: AnyAccount> Node<A> {
    fn poll(&mut self) {
        for owner in &mut self.owners {
            let _ = owner.poll(&mut Context::from_waker(Waker::noop()));
        }
        self.clock.advance_ms(1);
    }

    /// Takes all partitions over.
    pub(crate) fn promote(&mut self) {
        self.handles.iter().for_each(|handle| handle.order(Control::Promote));
        for _ in 0..TURNS {
            self.poll();
            let statuses: Vec<_> = self.handles.iter().map(Handle::status).collect();
            if statuses.iter().all(|status| status.serving.is_some()) {
                return;
            }
            assert!(statuses.iter().all(|status| status.broken.is_none()), "{statuses:?}");
        }
        panic!("it never serves");
    }

    /// Tries to take the first partition over, and says why that is refused.
    pub(crate) fn refuse(&mut self) -> String {
        self.handles[0].order(Control::Promote);
        for _ in 0..TURNS {
            self.poll();
            if let Some(why) = self.handles[0].status().broken {
                return why;
            }
        }
        panic!("it is not refused");
    }

    /// Polls the owners until the answer is there.
    fn answer<T>(&mut self, asked: impl Future<Output = T>) -> T {
        let mut asked = std::pin::pin!(asked);
        for _ in 0..TURNS {
            if let std::task::Poll::Ready(answer) =
                asked.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            {
                return answer;
            }
            self.poll();
        }
        panic!("no answer comes");
    }

    pub(crate) fn ask(&mut self, key: &AccountId, command: Command) -> Reply<i64, NoAccount> {
        let (router, key) = (self.router.clone(), key.clone());
        let answer = self.answer(async move { router.ask(&key, command, None).await });
        self.settle();
        answer
    }

    pub(crate) fn query(&mut self, key: &AccountId) -> Reply<i64, NoAccount> {
        let (router, key) = (self.router.clone(), key.clone());
        self.answer(async move { router.query(&key, key.clone(), None).await })
    }

    /// Lets all come to its end that is under way.
    pub(crate) fn settle(&mut self) {
        (0..200).for_each(|_| self.poll());
    }

    pub(crate) fn scan<K, V>(&mut self, store: &Store<K, V>, range: KeyRange) -> Vec<KeyValue<K::Owned, V>>
    where
        K: ToOwned<Owned: Decode> + ?Sized,
        V: Decode,
    {
        let mut scan = self.router.scan(store, &range, None);
        let mut all = Vec::new();
        while let Some(entries) = self.answer(scan.next()) {
            all.extend(entries.unwrap());
        }
        all
    }

    /// The accounts of an owner, by the index.
    pub(crate) fn by_owner(&mut self, owner: &str) -> Vec<AccountId> {
        let handle = self.handles[0].clone();
        let owner = owner.to_owned();
        let watched =
            self.answer(async move { handle.watch_index(&Bank::<A>::BY_OWNER, &owner).await }).unwrap();
        let store = &self.bound.formats()[0].1;
        watched.keys.iter().map(|key| store.key.decode(key).unwrap()).collect()
    }

    /// Holds the indices against the values.
    pub(crate) fn verify(&self) {
        for owner in &self.owners {
            owner.verify_indices().unwrap().unwrap();
        }
    }

    /// Keys and values of a store in the first partition.
    pub(crate) fn entries(&self, store: &str) -> Vec<(Bytes, Bytes)> {
        self.entries_of(0, store)
    }

    fn entries_of(&self, partition: usize, store: &str) -> Vec<(Bytes, Bytes)> {
        let at = Bank::<A>::STORES.iter().position(|name| *name == store).unwrap();
        let (_, entries) = self.owners[partition].dump().unwrap();
        let own = entries.into_iter().filter(|(id, ..)| usize::from(id.0) == at);
        own.map(|(_, key, _, value)| (key, value)).collect()
    }

    /// All keys of a store, and the partitions where they are.
    pub(crate) fn all_keys(&self, store: &str) -> Vec<(u32, Bytes)> {
        let of = |partition: usize| {
            let number = u32::try_from(partition).unwrap();
            self.entries_of(partition, store).into_iter().map(move |(key, _)| (number, key))
        };
        (0..self.owners.len()).flat_map(of).collect()
    }

    /// The schema ids of the values of a store.
    pub(crate) fn value_ids(&self, store: &str) -> Vec<u32> {
        let id = |value: &Bytes| affinity_avro::split_frame(value).unwrap().0;
        self.entries(store).iter().map(|(_, value)| id(value)).collect()
    }
}

impl<A: AnyAccount> Drop for Node<A> {
    fn drop(&mut self) {
        self.keyspaces.close();
    }
}
