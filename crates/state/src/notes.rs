//! Notes in the memstore: what is known of the log and does not stand in it, changed in the batches of what they are about.

use affinity_memstore::{Batch, StoreId, Value};
use affinity_types::Version;

/// Where they lie: marks of stale keys, each a store's number and a key of it, and the notes of indices and leases.
pub(crate) const LOCAL: StoreId = StoreId(StoreId::LAST.0 - 1);

/// A key, and what it says now; `None` takes it away.
pub(crate) type NoteChange = (Vec<u8>, Option<Vec<u8>>);

pub(crate) fn put_notes<'a>(notes: &'a [NoteChange], batch: &mut Batch<'a>) {
    for (key, note) in notes {
        match note {
            Some(note) => batch.put(LOCAL, key, Value::new(note, Version::default())),
            None => batch.remove(LOCAL, key),
        }
    }
}
