//! The cluster: who masters a partition, and under which epoch.
//!
//! This room holds the [`Coordinator`] contract, reduced to what taking over needs: read and compare-and-set of a
//! partition's (epoch, owner). It does not know the changelog, decides no assignment and watches nobody: who wins here has
//! the right to try, and the log decides (its barrier, `DESIGN` section 6).
//!
//! Its invariant: **of a partition, each revision is followed by one compare-and-set at most, and epochs only grow**.

mod contract;
mod error;
mod mastership;
mod names;

pub use contract::{BoxFuture, Cas, Coordinator, resolve, settled};
pub use error::{Error, ErrorKind};
pub use mastership::{AttemptId, Mastership, Revision, Seen};
pub use names::{NodeId, PartitionName};
