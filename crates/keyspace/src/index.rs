//! Secondary indices, as an application defines them.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use affinity_state::{IndexDefinition, StoreNames};
use affinity_types::codec::{CodecError, Decode, Encode};
use affinity_types::format::Format;

use crate::Store;

/// An index of a store: which of its keys have a value for which a function gives an index key.
///
/// It is kept beside the values, in memory or on disk, and never logged. Look-ups ([`View::by`](crate::View::by),
/// [`View::by_range`](crate::View::by_range)) see pending changes, as reading a key does. Index keys are ordered by their bytes:
/// unsigned numbers by size, text by its UTF-8, negative numbers behind all others.
///
/// ```
/// use affinity_keyspace::{Harness, Index, Indexed, Master, Partition, Store, View};
///
/// const CITIES: Store<str, String> = Store::new("cities");
/// const BY_CITY: Index<str, String, String> = Index::new("by_city", 1, &CITIES, |city| vec![city.clone()]);
///
/// struct People;
///
/// impl Partition for People {
///     const STORES: &'static [&'static str] = &["cities"];
///     const INDICES: &'static [&'static dyn Indexed] = &[&BY_CITY];
///     type Command = String;
///     type Query = String;
///     type Answer = String;
///     type Error = std::convert::Infallible;
///
///     fn command(&self, cx: &mut Master<'_>, name: &String) -> Result<String, Self::Error> {
///         cx.put(&CITIES, name.as_str(), &"london".to_owned());
///         Ok(cx.by(&BY_CITY, &"london".to_owned(), 100).join(" "))
///     }
///
///     fn query(&self, cx: &View<'_>, city: &String) -> Result<String, Self::Error> {
///         Ok(cx.by(&BY_CITY, city, 100).join(" "))
///     }
/// }
///
/// let mut people = Harness::new(People, 1);
/// people.command("ada".to_owned());
/// assert_eq!(people.command("charles".to_owned()).answer, Ok("ada charles".to_owned()));
/// assert_eq!(people.query("paris".to_owned()), Ok(String::new()));
/// ```
pub struct Index<K: ?Sized, V, I> {
    name: &'static str,
    version: u32,
    store: &'static str,
    unique: bool,
    keys: fn(&V) -> Vec<I>,
    key: PhantomData<fn(&K)>,
}

impl<K: ?Sized, V, I> Index<K, V, I> {
    /// The index `name` of a store, which must be among [`Partition::INDICES`](crate::Partition::INDICES). `keys` gives the
    /// index keys of a value, at most [`INDEX_KEYS_MAX`](affinity_state::indices::INDEX_KEYS_MAX), as a function of the value
    /// alone. With another `version` than a store on disk has, the index is built anew: raise it with each change of the
    /// function or of how values are read.
    #[must_use]
    pub const fn new(
        name: &'static str,
        version: u32,
        store: &Store<K, V>,
        keys: fn(&V) -> Vec<I>,
    ) -> Index<K, V, I> {
        Index { name, version, store: store.name(), unique: false, keys, key: PhantomData }
    }

    /// The same index, with one key at most for each index key: a command that would give it another is refused with
    /// [`NotUnique`](crate::Failure::NotUnique). It holds within a partition, for what commands write since it is so; an
    /// expired value counts until it is removed.
    #[must_use]
    pub const fn unique(self) -> Index<K, V, I> {
        Index { unique: true, ..self }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn store_name(&self) -> &'static str {
        self.store
    }
}

/// An index of any types.
pub trait Indexed: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The version of its function.
    fn version(&self) -> u32;
    /// Name of the store that has the values.
    fn store(&self) -> &'static str;
    /// Whether an index key has one key at most.
    fn is_unique(&self) -> bool;
    /// Shows the index keys of a value of this format.
    ///
    /// # Errors
    /// If the bytes are not those of a value, or the function panics.
    fn keys(&self, value: &[u8], format: &Format, show: &mut dyn FnMut(&[u8])) -> Result<(), CodecError>;
}

impl<K: ?Sized + 'static, V: Decode + 'static, I: Encode + 'static> Indexed for Index<K, V, I> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn store(&self) -> &'static str {
        self.store
    }

    fn is_unique(&self) -> bool {
        self.unique
    }

    fn keys(&self, value: &[u8], format: &Format, show: &mut dyn FnMut(&[u8])) -> Result<(), CodecError> {
        let shown = catch_unwind(AssertUnwindSafe(|| {
            let mut bytes = Vec::new();
            for key in (self.keys)(&format.decode(value)?) {
                bytes.clear();
                key.encode(&mut bytes);
                show(&bytes);
            }
            Ok(())
        }));
        shown.unwrap_or_else(|_| Err(CodecError("the function of the index panicked".into())))
    }
}

/// A key that look-ups give as a value of its own.
pub trait OwnedKey: ToOwned<Owned: Decode + Borrow<Self>> + Encode {}

impl<K: ToOwned<Owned: Decode> + Encode + ?Sized> OwnedKey for K {}

/// The indices of a partition, as its state takes them.
///
/// # Panics
/// If a store is not among the partition's.
pub(crate) fn definitions(
    indices: &'static [&'static dyn Indexed],
    names: &StoreNames,
) -> Vec<IndexDefinition> {
    let definition = |index: &&'static dyn Indexed| {
        let index = *index;
        let store = names.id(index.store());
        let store = store.unwrap_or_else(|| panic!("store {} is not among the partition's", index.store()));
        let format = names.format(store).value.clone();
        let keys =
            Box::new(move |value: &[u8], show: &mut dyn FnMut(&[u8])| index.keys(value, &format, show));
        IndexDefinition { name: index.name(), version: index.version(), store, keys }
    };
    indices.iter().map(definition).collect()
}
