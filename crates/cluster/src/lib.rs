//! The cluster: who masters a partition, and under which epoch.
//!
//! This room holds the [`Coordinator`] contract, reduced to what taking over needs: read and compare-and-set of a
//! partition's (epoch, owner). It does not know the changelog, decides no assignment and watches nobody: who wins here has
//! the right to try, and the log decides (its barrier).
//!
//! Its invariant: **of a partition, each revision is followed by one compare-and-set at most, and epochs only grow**.
//! Its only backend yet is [`memory`], with the faults that tests ask for.
//!
//! ```
//! use affinity_cluster::{AttemptId, Cas, Coordinator, Mastership, NodeId, PartitionName, memory::MemoryCoordinator};
//! use affinity_types::PartitionId;
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let coordinator = MemoryCoordinator::new();
//! let partition = PartitionName::new("bank", PartitionId(3));
//!
//! // Read, prepare the writer of the changelog, then win the epoch on the revision read.
//! let seen = coordinator.read(&partition).await?;
//! let candidate = |name: &str, attempt| Mastership {
//!     epoch: seen.mastership.epoch.next(),
//!     owner: Some(NodeId::new(name)),
//!     attempt: AttemptId(attempt),
//! };
//! let a = coordinator.compare_and_set(&partition, seen.revision, candidate("a", 17)).await?;
//! let b = coordinator.compare_and_set(&partition, seen.revision, candidate("b", 42)).await?;
//! assert!(matches!(a, Cas::Won(_)));
//! assert!(matches!(b, Cas::Lost(seen) if seen.mastership.owner == Some(NodeId::new("a"))));
//! # Ok::<(), affinity_cluster::Error>(()) }).unwrap();
//! ```

#[cfg(feature = "conformance")]
pub mod conformance;
mod contract;
mod error;
mod mastership;
pub mod memory;
mod names;

pub use contract::{BoxFuture, Cas, Coordinator, resolve, settled};
pub use error::{Error, ErrorKind};
pub use mastership::{AttemptId, Mastership, Revision, Seen};
pub use names::{NodeId, PartitionName};
