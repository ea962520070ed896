//! The stores of a keyspace by name, and how their records look in the log.

use std::sync::Arc;

use affinity_memstore::StoreId;
use affinity_types::control::{Control, StoreKey};
use affinity_types::format::{Format, StoreFormat};
use affinity_types::{Key, RecordKind, effect};
use bytes::Bytes;

/// Numbers above are the system's own.
const STORES_MAX: usize = 65_000;

/// The stores of a keyspace: the first is the main store, whose records are plain; the others' keys carry their name.
#[derive(Clone, Debug)]
pub struct StoreNames {
    names: Arc<[Arc<str>]>,
    store_key_schema: u32,
    /// In the order of the names.
    formats: Arc<[StoreFormat]>,
}

/// That of stores which have no other.
static PLAIN: StoreFormat = StoreFormat { key: Format::Plain, value: Format::Plain };

impl StoreNames {
    /// The stores of a keyspace whose changelog gives the `StoreKey` schema this id.
    ///
    /// # Panics
    /// If there is no store, or more than a memstore can tell apart.
    #[must_use]
    pub fn new(names: &[&str], store_key_schema: u32) -> StoreNames {
        assert!(!names.is_empty() && names.len() <= STORES_MAX, "a keyspace has 1 to {STORES_MAX} stores");
        let names: Arc<[Arc<str>]> = names.iter().map(|name| Arc::from(*name)).collect();
        let formats = vec![StoreFormat::default(); names.len()].into();
        StoreNames { names, store_key_schema, formats }
    }

    /// The same stores, of which some have formats: the names of others are passed over.
    #[must_use]
    pub fn with_formats(self, formats: &[(&str, StoreFormat)]) -> StoreNames {
        let format = |name: &Arc<str>| formats.iter().find(|(of, _)| **of == **name);
        let format = |name| format(name).map_or_else(StoreFormat::default, |(_, format)| format.clone());
        StoreNames { formats: self.names.iter().map(format).collect(), ..self }
    }

    /// How the keys and values of a store look.
    #[must_use]
    pub fn format(&self, store: StoreId) -> &StoreFormat {
        self.formats.get(usize::from(store.0)).unwrap_or(&PLAIN)
    }

    /// The number of the store `name`.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<StoreId> {
        let at = self.names.iter().position(|n| &**n == name)?;
        u16::try_from(at).ok().map(StoreId)
    }

    /// Where a record's value lives: its store and its key there; `None` for stores that this build does not have, and for
    /// the system's records but those of effects, which live in [`StoreId::LAST`] under the keys that they have in the log.
    #[must_use]
    pub fn place<'a>(&self, kind: RecordKind, key: &'a [u8]) -> Option<(StoreId, &'a [u8])> {
        match kind {
            RecordKind::Main => Some((StoreId::MAIN, key)),
            RecordKind::Control => {
                effect::is_state(&Control::parse(key).ok()?).then_some((StoreId::LAST, key))
            }
            RecordKind::Store => {
                let parsed = StoreKey::parse(key).ok()?;
                Some((self.id(parsed.store)?, parsed.key))
            }
        }
    }

    /// The kind and the key that an entry of `store` has in the log.
    #[must_use]
    pub fn key_of(&self, store: StoreId, key: &Bytes) -> (RecordKind, Key) {
        if store == StoreId::MAIN {
            return (RecordKind::Main, Key::new(key.clone()));
        }
        if store == StoreId::LAST {
            return (RecordKind::Control, Key::new(key.clone()));
        }
        let store = &self.names[usize::from(store.0)];
        (RecordKind::Store, Key::new(StoreKey { store, key }.frame(self.store_key_schema)))
    }
}
