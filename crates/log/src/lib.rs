//! The changelog: the ordered, durable log of a keyspace's changes, and the only truth (law 2).
//!
//! This room holds the contract ([`Log`], [`Writer`], [`Tail`]) and its backends: `memory`, with the faults that
//! tests ask for, and `embedded`, one journal on the local disk. It knows groups, epochs and offsets; it does not
//! know what a record means, who should be master, or how a value is kept.
//!
//! Its invariant: **a group is in the log whole or not at all, an acknowledged group stays, and what a reader has been
//! given is in the log for ever** (but for compaction and retention).

mod batch;
mod contiguity;
mod contract;
mod error;
mod topic;

pub use batch::{Batch, BatchBuilder, GroupHead, GroupRef, RecordRef, RecordSlot, Slice};
pub use contiguity::Contiguity;
pub use contract::{
    Ack, AppendError, BoxFuture, Limits, Log, Newest, Outcome, Prepared, Tail, Writer, next_ack, next_batch,
    ready,
};
pub use error::{Error, ErrorKind};
pub use topic::{Bounds, Cleanup, Topic, TopicId, TopicPartition, TopicSpec};
