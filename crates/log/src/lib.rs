//! The changelog: the ordered, durable log of a keyspace's changes, and the only truth (law 2).
//!
//! This room holds the contract ([`Log`], [`Writer`], [`Tail`]) and its backends: [`memory`], with the faults that
//! tests ask for, and [`embedded`], one journal on the local disk. It knows groups, epochs and offsets; it does not
//! know what a record means, who should be master, or how a value is kept.
//!
//! Its invariant: **a group is in the log whole or not at all, an acknowledged group stays, and what a reader has been
//! given is in the log for ever** (but for compaction and retention).
//!
//! ```
//! use affinity_log::{Cleanup, Log, Outcome, TopicPartition, TopicSpec, memory::MemoryLog, next_ack, next_batch};
//! use affinity_types::{Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, Version, control};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let log = MemoryLog::default();
//! log.create_topic("accounts", TopicSpec { partitions: 4, cleanup: Cleanup::default() }).await?;
//! let place = TopicPartition::new("accounts", PartitionId(2));
//!
//! // Take over in two steps, then append the barrier and a group.
//! let mut writer = log.prepare(&place).await?.open(Epoch(1)).await?;
//! writer.append(&control::barrier_group(Epoch(1), EventTime(0), 300, 1))?;
//! let record = Record::new(Key::from_static(b"alice"), Some("7".into()));
//! let version = Version::new(Epoch(1), Sequence(1));
//! writer.append(&Group { version, time: EventTime(0), attributes: Default::default(), records: vec![record] })?;
//!
//! // Acknowledgements come in the order of the appends.
//! assert_eq!(next_ack(&mut *writer).await.outcome, Outcome::Appended { first: Offset(0), next: Offset(1) });
//! assert_eq!(next_ack(&mut *writer).await.outcome, Outcome::Appended { first: Offset(1), next: Offset(2) });
//!
//! // Read whole groups from an offset on.
//! let mut tail = log.tail(&place, Offset(1)).await?;
//! let batch = next_batch(&mut *tail).await?;
//! let group = batch.groups().next().unwrap();
//! assert_eq!((group.version(), group.records().next().unwrap().key()), (version, &b"alice"[..]));
//! # Ok::<(), affinity_log::Error>(()) }).unwrap();
//! ```

mod admission;
mod batch;
#[cfg(feature = "conformance")]
pub mod conformance;
mod contiguity;
mod contract;
pub mod embedded;
mod error;
pub mod memory;
mod topic;

pub use batch::{Batch, BatchBuilder, GroupHead, GroupRef, RecordRef, RecordSlot, Slice};
pub use contiguity::Contiguity;
pub use contract::{
    Ack, AppendError, BoxFuture, Limits, Log, Newest, Outcome, Prepared, Tail, Writer, next_ack, next_batch,
    ready,
};
pub use error::{Error, ErrorKind};
pub use topic::{Bounds, Cleanup, Topic, TopicPartition, TopicSpec};
