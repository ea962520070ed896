//! The memory backend: a stand-in for Kafka in one process, for tests, simulations and trying things out.
//!
//! It keeps what Kafka would keep, records with headers, and puts groups together from them when it reads; so it proves
//! the mapping of groups to records, and its compaction forgets what Kafka's would. It has no clock, no randomness and no
//! threads: the same calls in the same order give the same log, topic identities included.
//!
//! Between a writer and the log lies a [channel](ChannelId), first in first out:
//!
//! ```text
//!  writer ──append──▶ [ g9 g8 g7 ] ──land──▶ log ──▶ [ outcomes of g6 g5 ] ──acknowledge──▶ poll_ack
//!                     on the way                      decided, not told
//! ```
//!
//! By [default](Delivery::Automatic) groups land and are acknowledged at once. With [`Delivery::Manual`] nothing moves but
//! by [`MemoryLog::land`] and [`MemoryLog::acknowledge`]; a [`Fault`] refuses a group or loses it or its acknowledgement;
//! and a dropped writer's groups stay on the way, to land later or never.

mod channel;
mod cleanup;
mod control;
mod log;
mod mapping;
mod partition;
mod state;
mod tail;
mod writer;

pub use channel::{ChannelId, ChannelView, Fate, Fault};
pub use log::{Delivery, Fencing, MemoryLog, MemoryOptions};
