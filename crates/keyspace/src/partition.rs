//! What an application writes: the handlers of a partition, and the stores they work on.

use std::marker::PhantomData;

use affinity_types::codec::{Decode, Encode};
use affinity_types::format::StoreTypes;
use bytes::Bytes;

use crate::{AnySaga, Applied, Incoming, Indexed, Master, Refused, View};

/// The handlers of a keyspace's partitions.
///
/// A handler runs to its end, alone, on the state of its partition, pending changes included. What it does is a function of
/// that state and its message: [`Master::now`] and [`Master::random`] are the only clock and chance it has. It may run
/// again for the same message, with nothing kept of the first run, before anything of it is durable.
pub trait Partition: Send + 'static {
    /// Names of the stores, the main store first.
    const STORES: &'static [&'static str];
    /// The stores whose keys or values are records of a schema.
    const RECORDS: &'static [&'static dyn AnyStore] = &[];
    /// The indices of the stores.
    const INDICES: &'static [&'static dyn Indexed] = &[];
    /// The sagas that handlers begin: where answers to their steps go.
    const SAGAS: &'static [&'static dyn AnySaga] = &[];
    /// Whether [`changed`](Partition::changed) is called; if not, listening costs nothing.
    const LISTENS: bool = false;
    /// A message that may change something. Its bytes tell requests under one id apart.
    type Command: Encode + Send + 'static;
    /// A message that changes nothing.
    type Query: Send + 'static;
    /// The answer to either.
    type Answer: Encode + Decode + Clone + Send + 'static;
    /// The handlers' own errors.
    type Error: std::error::Error + Send + 'static;

    /// Handles a command. With an error, nothing changes.
    ///
    /// # Errors
    /// The application's own.
    fn command(&self, cx: &mut Master<'_>, command: &Self::Command) -> Result<Self::Answer, Self::Error>;

    /// Handles a query.
    ///
    /// # Errors
    /// The application's own.
    fn query(&self, cx: &View<'_>, query: &Self::Query) -> Result<Self::Answer, Self::Error>;

    /// Hears of a change of the log that was applied: never before it is acknowledged, one by one in the order of the log,
    /// on the node that serves and on those that only read the log. Repairs of what stale records hit are no changes.
    ///
    /// A node hears each change that it applies once. After a restart it goes on from where its store stands, which may lie
    /// before what it has heard already, and with a store in memory hears all that is in the log; what compaction took, or a
    /// node has never read, it does not hear. It cannot change state, and what it does must not change what handlers do. The
    /// partition waits for it: what takes time belongs elsewhere, through a channel that does not wait.
    fn changed(&self, _: &Applied<'_>) {}

    /// Handles an effect of another partition, or of this one. What it answers goes to those who have asked for an answer.
    ///
    /// # Errors
    /// With an error, a panic, or changes that cannot be made (too large, an effect to a keyspace that is not there), nothing
    /// changes, and the effect is tried again, [`effect_tries`] times in all; then it is refused, and goes back to its
    /// sender's [`refused`](Partition::refused). While an index is built that the handler looks up, it waits, and those behind it too.
    ///
    /// [`effect_tries`]: crate::OwnerSettings::effect_tries
    fn effect(&self, _cx: &mut Master<'_>, _effect: &Incoming<'_>) -> Result<Bytes, Refused> {
        Err(Refused("this keyspace takes no effects".to_owned()))
    }

    /// Handles the answer to an effect that was emitted with [`Master::emit_asking`].
    ///
    /// # Errors
    /// As [`effect`](Partition::effect); an answer that is refused is dropped, and counted.
    fn answered(&self, _cx: &mut Master<'_>, _answer: &Incoming<'_>) -> Result<(), Refused> {
        Ok(())
    }

    /// Handles an effect of this partition that its receiver has refused, for good.
    ///
    /// # Errors
    /// As [`effect`](Partition::effect); a refusal that is refused is dropped, and counted.
    fn refused(&self, _cx: &mut Master<'_>, _effect: &Incoming<'_>) -> Result<(), Refused> {
        Ok(())
    }
}

/// A store of any types.
pub trait AnyStore: Send + Sync + 'static {
    /// Its name, and what its keys and values have for record frames.
    fn types(&self) -> StoreTypes;
}

impl<K: Encode + ?Sized + 'static, V: Encode + 'static> AnyStore for Store<K, V> {
    fn types(&self) -> StoreTypes {
        StoreTypes { name: self.name, key: K::FRAMES, value: V::FRAMES }
    }
}

/// What the stores of a partition's records have for record frames.
#[must_use]
pub fn store_types<P: Partition>() -> Vec<StoreTypes> {
    P::RECORDS.iter().map(|store| store.types()).collect()
}

/// A store by its name, with the types of its keys and values.
pub struct Store<K: ?Sized, V> {
    name: &'static str,
    time_to_live_ms: Option<u64>,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: ?Sized, V> Store<K, V> {
    /// The store `name`, which must be among [`Partition::STORES`].
    #[must_use]
    pub const fn new(name: &'static str) -> Store<K, V> {
        Store { name, time_to_live_ms: None, types: PhantomData }
    }

    /// The same store, whose values expire `ms` milliseconds after they are put: by the partition's time, or by the event time that is
    /// given with them. It counts for what is put through this constant; what is there already keeps its expiry.
    ///
    /// # Panics
    /// If `ms` is 0; while compiling, of a constant.
    #[must_use]
    pub const fn expiring_after(self, ms: u64) -> Store<K, V> {
        assert!(ms > 0, "a time to live is at least 1 ms: with none, nothing could be put");
        Store { name: self.name, time_to_live_ms: Some(ms), types: PhantomData }
    }

    /// Milliseconds from putting a value to its expiry, if its values expire.
    #[must_use]
    pub const fn time_to_live_ms(&self) -> Option<u64> {
        self.time_to_live_ms
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}
