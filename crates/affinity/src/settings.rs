//! The settings of a node.

use std::path::PathBuf;

use affinity_keyspace::{OwnerSettings, RouterSettings};
use affinity_log::embedded::EmbeddedOptions;
use affinity_memstore::{DiskSettings, Limits};

/// Where a keyspace's stores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stores {
    /// In memory: the fastest, and read from the log at each start.
    #[default]
    Memory,
    /// On disk, in the node's folder: a start reads what has been appended since.
    Disk,
}

/// What a keyspace is made of, beside its handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceSettings {
    /// Partitions, for ever: keys are found by their number. Default 16.
    pub partitions: u32,
    /// Where its stores are. Default [`Stores::Memory`].
    pub stores: Stores,
    /// Limits and times of its owners.
    pub owner: OwnerSettings,
    /// Limits and times of its router.
    pub router: RouterSettings,
    /// Limits of its stores.
    pub limits: Limits,
}

impl Default for KeyspaceSettings {
    fn default() -> KeyspaceSettings {
        KeyspaceSettings {
            partitions: 16,
            stores: Stores::default(),
            owner: OwnerSettings::default(),
            router: RouterSettings::default(),
            limits: Limits::default(),
        }
    }
}

/// What a node is made of.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The folder of everything that lasts: the log, the schemas, and stores on disk. One node has it at a time.
    pub data: PathBuf,
    /// The log.
    pub log: EmbeddedOptions,
    /// Stores on disk.
    pub disk: DiskSettings,
    /// How long [`Node::stop`](crate::Node::stop) waits for the owners, in milliseconds. Default 5000.
    pub stop_ms: u64,
}

impl NodeSettings {
    /// The defaults, with everything in this folder.
    pub fn new(data: impl Into<PathBuf>) -> NodeSettings {
        NodeSettings {
            data: data.into(),
            log: EmbeddedOptions::default(),
            disk: DiskSettings::default(),
            stop_ms: 5_000,
        }
    }
}
