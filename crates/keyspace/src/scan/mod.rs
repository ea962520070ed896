//! Scans from outside: a range of a store, chunk by chunk, over one snapshot that the owner holds open.
//!
//! ```text
//!   PartitionScan                         owner
//!     range, limit        ──────────▶     settle; first chunk; more? opens a snapshot    released as a read is
//!     chunk, continuation ◀──────────
//!     continuation        ──────────▶     chunk of the snapshot, from behind the last key
//!     last chunk          ◀──────────     closes the snapshot
//! ```
//!
//! Later chunks need no proof of their own: with the first one it is proven that the snapshot was the newest acknowledged
//! state at a moment since the scan was asked for, and it does not change.

mod chunk;
mod continuation;
mod page;
mod partition;

pub(crate) use chunk::{Chunk, Cursor, Raw};
pub(crate) use continuation::Continuation;
pub use page::Page;
pub(crate) use partition::Chunks;
pub use partition::PartitionScan;

use affinity_memstore::StoreId;
use affinity_types::Version;
use affinity_types::codec::Decode;
use affinity_types::format::StoreFormat;
use tokio::sync::oneshot;

use crate::{Failure, KeyRange, Partition, Reply};

/// The store that a scan is of, and how its keys and values look.
pub(crate) struct Source {
    pub(crate) store: &'static str,
    pub(crate) format: StoreFormat,
}

/// What a scan finds: a key, its value, and the value's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue<K, V> {
    /// The key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// The value's version: the tag to hold against later.
    pub version: Version,
}

impl<K: Decode, V: Decode> KeyValue<K, V> {
    pub(crate) fn read<E>(from: &Source, raw: Raw) -> Result<KeyValue<K, V>, Failure<E>> {
        let (Raw { key, value, version }, Source { store, format }) = (raw, from);
        let key = format
            .key
            .decode_shared(key)
            .map_err(|error| Failure::Corrupt(format!("a key of store {store}: {error}")))?;
        let value = format
            .value
            .decode_shared(value)
            .map_err(|error| Failure::Corrupt(format!("a value of store {store}: {error}")))?;
        Ok(KeyValue { key, value, version })
    }

    /// All of a chunk.
    pub(crate) fn read_all<E>(from: &Source, chunk: Chunk) -> Result<Vec<KeyValue<K, V>>, Failure<E>> {
        let mut entries = Vec::with_capacity(chunk.len());
        for raw in chunk.into_cursor() {
            entries.push(KeyValue::read(from, raw)?);
        }
        Ok(entries)
    }
}

/// What an owner is asked for: the next chunk.
pub(crate) struct ScanAsk {
    pub(crate) store: StoreId,
    pub(crate) from: ScanFrom,
    /// Entries wanted from here on, at least one: with these the scan ends.
    pub(crate) limit: usize,
    /// Entries of this chunk, at most.
    pub(crate) most: usize,
}

/// Where a chunk begins.
#[derive(Clone)]
pub(crate) enum ScanFrom {
    /// With a range.
    Range(KeyRange),
    /// Behind another chunk.
    Continuation(Continuation),
}

/// Where a chunk goes.
pub(crate) type ChunkReply<P> = oneshot::Sender<Reply<Chunk, <P as Partition>::Error>>;
