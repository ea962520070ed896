//! The lookup store of a partition: a sorted byte map with a version and an expiry beside each value.
//!
//! A memstore answers from memory or from a local disk what the changelog would answer if it were read from the
//! beginning. It is **derived**: losing it loses nothing but time. It is no cache (it holds everything), no database (the
//! log alone is durable) and no judge of time: it tells when a value expires, and its owner decides what follows.
//!
//! The invariant: data, checkpoint and window of request ids change together in one atomic [`Batch`], in the order of
//! the log, so that a store always is what some prefix of the log makes of it. The law stands at [`MemStore`].
//!
//! | backend | what it is |
//! |---|---|
//! | [`MemoryStore`] | a `BTreeMap` owned by the partition's task; no locks, no threads |
//! | `DiskStore` | fjall, one database a node, feature `disk` (on by default); opened by `Disk`, judged by [`judge`] |
//!
//! ```
//! use affinity_memstore::{At, Batch, Checkpoint, Limits, MemStore, MemoryStore, StoreId, Value};
//! use affinity_types::{Epoch, EventTime, Offset, Sequence, Version, TopicId};
//! use std::time::Duration;
//!
//! let mut store = MemoryStore::new(Limits::default());
//! let checkpoint = Checkpoint::new(TopicId(1), Offset(2), Epoch(1), EventTime(0));
//! let version = Version::new(Epoch(1), Sequence(7));
//!
//! // Two records of the log, and the place that is reached with them, in one atomic step.
//! let mut batch = Batch::new(Offset(0), checkpoint);
//! batch.put(StoreId::MAIN, b"ada", Value::new(b"countess", version));
//! batch.remove(StoreId(1), b"ada");
//! store.apply(&batch)?;
//!
//! let now = Duration::ZERO; // of the owner's clock
//! let before = store.open_snapshot(now)?;
//! let mut next = Batch::new(Offset(2), Checkpoint::new(TopicId(1), Offset(3), Epoch(1), EventTime(5)));
//! next.remove(StoreId::MAIN, b"ada");
//! store.apply(&next)?;
//!
//! assert!(store.get(StoreId::MAIN, b"ada")?.is_none());
//! let seen = store.get_at(At::Snapshot(&before), StoreId::MAIN, b"ada")?.expect("a snapshot keeps what it saw");
//! assert_eq!((seen.bytes(), seen.version()), (&b"countess"[..], version));
//! # Ok::<(), affinity_memstore::Error>(())
//! ```

mod batch;
mod checkpoint;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "disk")]
mod disk;
mod error;
mod judge;
mod limits;
mod memory;
mod scan;
mod snapshots;
mod store;
mod value;

pub use batch::{Batch, RequestEntry};
pub use checkpoint::Checkpoint;
#[cfg(feature = "disk")]
pub use disk::{Disk, DiskSettings, DiskStore, Opened};
pub use error::{Error, ErrorKind, Result};
pub use judge::{Facts, Found, Reason, Verdict, judge};
pub use limits::Limits;
pub use memory::MemoryStore;
pub use scan::{Direction, Scan, Scanned, Visit};
pub use snapshots::Snapshot;
pub use store::{At, Expiring, MemStore, Status, StoreId};
pub use value::Value;
