//! The owner of a partition, the handlers it runs, and the router that finds it.
//!
//! One task owns a partition: it takes a message, runs the handler to its end, appends what changed to the changelog,
//! tells the watchers when the log has acknowledged it, answers, and applies it; hundreds of appends are in flight
//! meanwhile. This room knows roles, release rules and messages; it knows no network, no schema and no backend of a log.
//!
//! Its invariant is law 4: **nobody is told what the log has not acknowledged, and no answer is ever a guess.**

mod context;
mod effects;
mod failure;
mod harness;
mod index;
mod listen;
mod message;
mod owner;
mod partition;
pub mod phase;
mod random;
mod range;
mod router;
mod saga;
mod scan;
mod settings;

pub use context::{Condition, ConditionFailed, LOOK_UP_MAX, Master, View};
pub use effects::{DelayedEffect, Delivery, Destination, Incoming, Keyspaces, Links, Refused};
pub use failure::{Failure, Reply};
pub use harness::{Changed, Emission, Harness, Outcome, Sent};
pub use index::{Index, Indexed, OwnedKey};
pub use listen::{Applied, AppliedValue};
pub use message::{IndexWatched, Subscription, Watched};
#[cfg(feature = "mutants")]
pub use owner::Protection;
pub use owner::{Control, Entry, Handle, IndexWatchReceiver, Owner, Parts, Schemas, Status, WatchReceiver};
pub use partition::{AnyStore, Partition, Store, store_types};
pub use range::KeyRange;
pub use router::{
    CommandCall, KeyspaceScan, QueryCall, Router, RouterParts, RouterSettings, ScatterCall, Sleep,
    TakeAnswer, Timer,
};
pub use saga::{
    AnySaga, NotResumed, Resume, SAGA_STEPS_MAX, Saga, SagaExists, SagaNews, SagaState, Sagas, Steps, Stop,
};
pub use scan::{KeyValue, Page, PartitionScan};
pub use settings::{OwnerSettings, Reads};
