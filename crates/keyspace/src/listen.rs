//! Listening to changes once they are applied.

use std::panic::{AssertUnwindSafe, catch_unwind};

use affinity_state::{Heard, HeardValue, StoreNames};
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::format::StoreFormat;
use affinity_types::{EventTime, Version};

use crate::index::OwnedKey;
use crate::{Partition, Store};

/// A change that the log has acknowledged and the partition has applied, as [`Partition::changed`] is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    store: &'static str,
    format: &'a StoreFormat,
    heard: &'a Heard,
    serving: bool,
}

/// A change with the types of its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedValue<K, V> {
    /// The key.
    pub key: K,
    /// What was there, expired or not.
    pub old: Option<V>,
    /// What is there now; `None` after a deletion.
    pub new: Option<V>,
}

impl<'a> Applied<'a> {
    /// Name of the store.
    #[must_use]
    pub fn store(&self) -> &'static str {
        self.store
    }

    /// The key's bytes.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        &self.heard.key
    }

    /// Version of the group that made the change.
    #[must_use]
    pub fn version(&self) -> Version {
        self.heard.version
    }

    /// Timestamp of that group.
    #[must_use]
    pub fn time(&self) -> EventTime {
        self.heard.time
    }

    /// Whether this node serves the partition; a standby hears what it reads, a candidate what it replays.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.serving
    }

    /// Whether the key was removed.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        self.heard.new.is_none()
    }

    /// Whether the key was removed when its value had expired.
    #[must_use]
    pub fn is_expiry(&self) -> bool {
        let expires = self.heard.old.as_ref().and_then(|old| old.expires);
        self.is_deletion() && expires.is_some_and(|expires| expires <= self.heard.time)
    }

    /// Whether it is the change of this key: what a listener to one key asks.
    pub fn is<K: Encode + ?Sized, V>(&self, store: &Store<K, V>, key: &K) -> bool {
        self.store == store.name() && self.format.key.to_bytes(key) == self.heard.key
    }

    /// The change with its types, if it is one of this store.
    ///
    /// # Errors
    /// If the bytes are not those of such a key or value.
    pub fn of<K: OwnedKey + ?Sized, V: Decode>(
        &self,
        store: &Store<K, V>,
    ) -> Option<Result<AppliedValue<K::Owned, V>, CodecError>> {
        let format = self.format;
        let value = |value: &Option<HeardValue>| {
            value.as_ref().map(|value| format.value.decode(&value.bytes)).transpose()
        };
        let decode = || {
            let Heard { key, old, new, .. } = self.heard;
            Ok(AppliedValue { key: format.key.decode(key)?, old: value(old)?, new: value(new)? })
        };
        (self.store == store.name()).then(decode)
    }
}

/// Tells a partition what was applied. One that panics misses that change, and hears the next ones.
pub(crate) fn tell<P: Partition>(partition: &P, names: &StoreNames, heard: &[Heard], serving: bool) {
    for heard in heard {
        let Some(store) = P::STORES.get(usize::from(heard.store.0)) else { continue };
        let format = names.format(heard.store);
        let applied = Applied { store, format, heard, serving };
        if catch_unwind(AssertUnwindSafe(|| partition.changed(&applied))).is_err() {
            tracing::error!(store, version = %heard.version, "a listener has panicked");
        }
    }
}
