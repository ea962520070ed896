//! Affinity: stateful, scalable data APIs on a log. This is what an application imports.
//!
//! An application describes its records (`#[derive(Record)]`), its stores ([`Store`]) and the handlers that run where the data lives
//! ([`partition`](macro@partition)). A [`Node`] opens the folder that has the log and the schemas, serves its keyspaces, and gives a
//! [`Router`] for each, whose calls are those of the handlers.
//!
//! ```
//! use affinity::{Master, Node, NodeSettings, Record, Store, View, partition};
//!
//! /// How often a thing was counted.
//! #[derive(Clone, Debug, PartialEq, Record)]
//! #[avro(crate = "::affinity::avro")]
//! struct Count {
//!     count: i64,
//! }
//!
//! const COUNTS: Store<str, Count> = Store::new("counts");
//!
//! struct Counter;
//!
//! #[partition(stores = [COUNTS])]
//! impl Counter {
//!     /// Counts a thing.
//!     #[command]
//!     fn add(&self, cx: &mut Master<'_>, key: &str, by: i64) -> Result<Count, std::convert::Infallible> {
//!         let count = Count { count: cx.get(&COUNTS, key).map_or(0, |count: Count| count.count) + by };
//!         cx.put(&COUNTS, key, &count);
//!         Ok(count)
//!     }
//!
//!     /// How often a thing was counted.
//!     #[query]
//!     fn count(&self, cx: &View<'_>, key: &str) -> Result<Option<Count>, std::convert::Infallible> {
//!         Ok(cx.get(&COUNTS, key))
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let mut node = Node::open(NodeSettings::new(folder.path())).await?;
//! let counter = node.keyspace("counter", || Counter).await?;
//! node.start();
//! assert_eq!(counter.add("ada", 2).ask_with_retry().await?.count, 2);
//! assert_eq!(counter.count("ada").ask().await?, Some(Count { count: 2 }));
//! node.stop().await;
//! # Ok(()) }
//! ```

mod node;
mod settings;

pub use affinity_avro as avro;
pub use affinity_avro::{Datum, Record};
pub use affinity_keyspace::*;
pub use affinity_macros::partition;
pub use affinity_state::{IndexUpdate, IndexWatch, Update, Watch, WatchEnded};
pub use affinity_types::codec::{CodecError, Decode, Encode};
pub use affinity_types::{EventTime, PartitionId, RequestId, Version};
pub use bytes::Bytes;
pub use node::{Node, NodeError};
pub use settings::{KeyspaceSettings, NodeSettings, Stores};
