//! The state of one partition: what its log makes of nothing, and what its master knows beyond that.
//!
//! [`State`] applies groups of the log to a memstore, whoever wrote them, filtering what a later mastership made stale. On
//! top of it a master keeps [`Pending`] changes that are decided but not acknowledged, the window of [`Requests`], and the
//! table of [`Watches`]. The room does no input or output but the memstore's, knows no roles and no time but what it is
//! told.
//!
//! Its invariant: **at equal offset, state is equal**, whoever applied the log: a master through its own acknowledgements, a
//! standby by tailing, a candidate by replay.

mod apply;
mod error;
mod heard;
mod index_watch;
pub mod indices;
mod leases;
mod notes;
mod pending;
mod requests;
mod stale;
mod stores;
mod watches;

pub use apply::{KeepRequests, Noted, Own, Place, State};
pub use error::{Error, Result};
pub use heard::{Heard, HeardValue};
pub use index_watch::{IndexUpdate, IndexWatch, IndexWatchEnded};
pub use indices::{IndexChange, IndexDefinition, Indices, KeysOf};
pub use leases::Lease;
pub use pending::{Pending, PendingGroup, PendingValue};
pub use requests::{Known, RequestSettings, Requests};
pub use stores::StoreNames;
pub use watches::{INDEX_UPDATES_MAX, Update, Watch, WatchEnded, WatchSettings, Watches};
