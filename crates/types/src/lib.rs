//! The nouns every room of Affinity shares, and the bytes of the changelog.
//!
//! This crate depends on no other room and does no input or output. It names the numbers that could be confused
//! ([`Offset`], [`Epoch`], [`Sequence`], [`PartitionId`], [`EventTime`]), the [`Key`] with Kafka's partitioner, and
//! the changelog's [`Group`] with the bytes that carry it through any log: see [`wire`] and [`control`], and
//! `docs/adr/0001-changelog-bytes.md` for why they look as they do.
//!
//! ```
//! use affinity_types::{Key, PartitionId};
//!
//! // The partition that Kafka's default partitioner picks for these bytes among 16.
//! assert_eq!(Key::from_static(b"s").partition(16), PartitionId(15));
//! ```

mod clock;
pub mod codec;
pub mod control;
pub mod effect;
pub mod format;
mod group;
mod key;
mod murmur2;
mod numbers;
pub mod saga;
pub mod varint;
pub mod wire;

pub use clock::{Clock, ManualClock, SystemClock};
pub use group::{Attributes, Group, InputPosition, Record, RecordKind, Request, RequestId};
pub use key::Key;
pub use murmur2::murmur2;
pub use numbers::{Epoch, EventTime, Offset, PartitionId, Sequence, TopicId, Version};
