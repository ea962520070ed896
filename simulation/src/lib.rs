//! The laws of consistency, tried in every order in which things can happen.
//!
//! [`models`] holds small models of what decides over lost writes and stale reads: the fencing of an old master, the
//! lease under which a master reads, the gate of a master over the leases before it, the order of taking over. Each is
//! explored to its last state, with the rules that the rooms obey and with each rule broken, so that a test shows what
//! the rule is for. Models are not the code: they prove a design within small bounds, and neither run nor depend on any
//! room.
//!
//! ```
//! use affinity_simulation::models::explore::explore;
//! use affinity_simulation::models::takeover::{Takeover, Task};
//!
//! let order = [Task::ReadCoordinator, Task::InitProducer, Task::Cas, Task::Barrier];
//! let report = explore(&Takeover { order, candidates: 2 }, 1_000);
//! assert!(report.complete && report.bad_ends == 0);
//! ```

pub mod models;
