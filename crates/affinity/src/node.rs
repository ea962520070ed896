//! A node: one process that has everything, with the log and the schemas in one folder.
//!
//! This is the composition root: here are the clocks and the chance of the process, its tasks, and the names of backends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use affinity_cluster::memory::MemoryCoordinator;
use affinity_cluster::{Coordinator, NodeId, PartitionName};
use affinity_keyspace::{
    Control, Keyspaces, Links, Owner, Partition, Parts, Router, RouterParts, Schemas, Sleep, Timer,
    store_types,
};
use affinity_log::embedded::EmbeddedLog;
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Disk, Facts, MemStore, MemoryStore, Verdict};
use affinity_registry::{Bound, FileRegistry, bind, system_ids};
use affinity_state::KeepRequests;
use affinity_types::{Clock, PartitionId, SystemClock, TopicId};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::settings::{KeyspaceSettings, NodeSettings, Stores};

/// Why a node does not open, or a keyspace on it.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The folder cannot be used.
    #[error("the folder {0}: {1}")]
    Folder(std::path::PathBuf, #[source] std::io::Error),
    /// The log says so.
    #[error(transparent)]
    Log(#[from] affinity_log::Error),
    /// The schemas say so.
    #[error(transparent)]
    Registry(#[from] affinity_registry::Error),
    /// The stores on disk say so.
    #[error(transparent)]
    Store(#[from] affinity_memstore::Error),
    /// What a store holds cannot be read.
    #[error(transparent)]
    State(#[from] affinity_state::Error),
    /// The system has no chance to give.
    #[error("the operating system gives no random numbers")]
    Random,
    /// The keyspace is there already.
    #[error("there is a keyspace {0} on this node already")]
    Twice(String),
}

/// One process, and all that it serves.
pub struct Node {
    settings: NodeSettings,
    log: Arc<EmbeddedLog>,
    disk: Option<Disk>,
    registry: FileRegistry,
    coordinator: Arc<dyn Coordinator>,
    schemas: Schemas,
    keyspaces: Arc<Keyspaces>,
    /// What keeps each keyspace's records readable.
    bound: Vec<(String, Bound)>,
    waiting: Vec<Starting>,
    /// Whether partitions have anything left to answer.
    busy: Vec<Box<dyn Fn() -> bool + Send + Sync>>,
    owners: JoinSet<()>,
}

/// An owner that does not run yet.
type Starting = Box<dyn FnOnce(&mut JoinSet<()>) + Send>;

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keyspaces: Vec<_> = self.bound.iter().map(|(name, _)| name).collect();
        f.debug_struct("Node").field("data", &self.settings.data).field("keyspaces", &keyspaces).finish()
    }
}

/// The runtime's time.
struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep_until(&self, at: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(at.saturating_sub(SystemClock.elapsed())))
    }
}

impl Node {
    /// Opens the folder, which is made if it is not there.
    ///
    /// # Errors
    /// If another process has the folder, or something in it cannot be read or is not what a node has written.
    pub async fn open(settings: NodeSettings) -> Result<Node, NodeError> {
        std::fs::create_dir_all(&settings.data)
            .map_err(|error| NodeError::Folder(settings.data.clone(), error))?;
        let log = EmbeddedLog::open(&settings.data.join("log"), settings.log.clone(), Arc::new(SystemClock))?;
        let registry = FileRegistry::open(settings.data.join("schemas"))?;
        let ids = system_ids(&registry).await?;
        Ok(Node {
            settings,
            log: Arc::new(log),
            disk: None,
            registry,
            coordinator: Arc::new(MemoryCoordinator::new()),
            schemas: Schemas { control: ids.control.0, store_key: ids.store_key.0, effect: ids.effect.0 },
            keyspaces: Arc::new(Keyspaces::default()),
            bound: Vec::new(),
            waiting: Vec::new(),
            busy: Vec::new(),
            owners: JoinSet::new(),
        })
    }

    /// Adds a keyspace with the default settings: see [`keyspace_with`](Node::keyspace_with).
    ///
    /// # Errors
    /// As there.
    pub async fn keyspace<P: Partition>(
        &mut self,
        name: &str,
        handlers: impl Fn() -> P,
    ) -> Result<Router<P>, NodeError> {
        self.keyspace_with(name, KeyspaceSettings::default(), handlers).await
    }

    /// Adds a keyspace, with its changelog, a topic of its name, and its records' schemas. Its partitions are served from [`start`](Node::start)
    /// on; what the router is asked before waits.
    ///
    /// # Errors
    /// If the keyspace was made with another number of partitions, its records may not follow those before them, or the log or a store
    /// does not let it. Nothing is served then.
    pub async fn keyspace_with<P: Partition>(
        &mut self,
        name: &str,
        settings: KeyspaceSettings,
        handlers: impl Fn() -> P,
    ) -> Result<Router<P>, NodeError> {
        if self.bound.iter().any(|(other, _)| other == name) {
            return Err(NodeError::Twice(name.to_owned()));
        }
        let spec = TopicSpec { partitions: settings.partitions, cleanup: Cleanup::default() };
        let topic = self.log.create_topic(name, spec).await?;
        let main = P::STORES.first().copied().unwrap_or_default();
        let bound = bind(&self.registry, name, main, &store_types::<P>()).await?;
        let (client, seed) = (u128::from_ne_bytes(random()?), u64::from_ne_bytes(random()?));
        let mut handles = Vec::new();
        for partition in (0..settings.partitions).map(PartitionId) {
            let place = TopicPartition::new(name, partition);
            let (memstore, keep_requests) = self.memstore(&place, topic.id, &settings).await?;
            let parts = Parts {
                place,
                topic: topic.id,
                name: PartitionName::new(name, partition),
                node: NodeId::new("node"),
                log: Arc::clone(&self.log) as Arc<dyn Log>,
                coordinator: Arc::clone(&self.coordinator),
                memstore,
                keep_requests,
                clock: Arc::new(SystemClock),
                schemas: self.schemas,
                links: Arc::clone(&self.keyspaces) as Arc<dyn Links>,
                seed: u64::from_ne_bytes(random()?),
                settings: settings.owner.clone(),
            };
            let (owner, handle) = Owner::with_formats(handlers(), parts, bound.formats())?;
            handle.order(Control::Promote);
            let busy = handle.clone();
            self.busy.push(Box::new(move || {
                let status = busy.status();
                status.serving.is_some() && status.queued + status.pending + status.held_reads > 0
            }));
            handles.push(handle);
            self.waiting.push(Box::new(move |owners| {
                owners.spawn(owner.run(|at| TokioTimer.sleep_until(at)));
            }));
        }
        self.keyspaces.add(name, handles.iter().cloned());
        self.bound.push((name.to_owned(), bound));
        let (clock, timer) = (Arc::new(SystemClock), Arc::new(TokioTimer));
        Ok(Router::new(handles, RouterParts { clock, timer, client, seed, settings: settings.router }))
    }

    /// Where a partition's stores are, and whether request ids are kept with them.
    async fn memstore(
        &mut self,
        place: &TopicPartition,
        topic: TopicId,
        settings: &KeyspaceSettings,
    ) -> Result<(Box<dyn MemStore>, KeepRequests), NodeError> {
        if settings.stores == Stores::Memory {
            return Ok((Box::new(MemoryStore::new(settings.limits)), KeepRequests::InWindow));
        }
        let disk = match self.disk.take() {
            Some(disk) => disk,
            None => Disk::open(&self.settings.data.join("stores"), self.settings.disk.clone())?.0,
        };
        let disk = self.disk.insert(disk);
        let bounds = self.log.bounds(place).await?;
        let facts = Facts {
            topic,
            start: bounds.start,
            end: bounds.end,
            now: SystemClock.now(),
            delete_retention: match Cleanup::default() {
                Cleanup::Compact { delete_retention, .. } => Some(delete_retention),
                Cleanup::Delete { .. } => None,
            },
        };
        let opened =
            disk.open_store(&format!("{}.{}", place.topic, place.partition), settings.limits, &facts)?;
        if let Verdict::Rebuild(reason) = &opened.verdict {
            tracing::warn!(%place, ?reason, "the store on disk is set aside and read from the log");
        }
        Ok((Box::new(opened.store), KeepRequests::InStore))
    }

    /// Serves the keyspaces that were added.
    pub fn start(&mut self) {
        for start in self.waiting.drain(..) {
            start(&mut self.owners);
        }
    }

    /// Stops serving when what was asked is answered, or [`stop_ms`](NodeSettings::stop_ms) is over, and closes the folder. What was
    /// acknowledged is in the log already. Routers answer `Unavailable` from then on.
    pub async fn stop(mut self) {
        let limit = SystemClock.elapsed() + Duration::from_millis(self.settings.stop_ms);
        while self.busy.iter().any(|is_busy| is_busy()) && SystemClock.elapsed() < limit {
            tokio::time::sleep(BUSY_LOOK).await;
        }
        self.keyspaces.close();
        self.busy.clear();
        self.owners.abort_all();
        while self.owners.join_next().await.is_some() {}
        let Node { log, disk, .. } = self;
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(Err(error)) = disk.map(|disk| disk.sync()) {
                tracing::warn!(%error, "stores on disk are not synced: the next start reads more of the log");
            }
            drop(log);
        });
        if closed.await.is_err() {
            tracing::error!("the log was not closed in order: the next start looks for its end");
        }
    }
}

/// How often a node that stops looks whether it may.
const BUSY_LOOK: Duration = Duration::from_millis(5);

/// Chance from the operating system.
fn random<const BYTES: usize>() -> Result<[u8; BYTES], NodeError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| NodeError::Random)?;
    Ok(bytes)
}
