//! Whether the keys that a store holds are those that this node would write.

use std::ops::ControlFlow;

use affinity_memstore::{At, Direction, Scan, StoreId};
use affinity_types::codec::CodecError;
use bytes::Bytes;

use super::Owner;
use crate::Partition;

impl<P: Partition> Owner<P> {
    /// A store keeps the schema id of its keys in each of them. Keys lie in the order of their ids, so the first and the last one tell for all.
    ///
    /// # Errors
    /// If this node would write others: each key would be there twice, in two partitions perhaps.
    pub(super) fn check_keys(&self) -> Result<(), CodecError> {
        let numbers = 0..u16::try_from(P::STORES.len()).unwrap_or(u16::MAX);
        for (store, name) in numbers.map(StoreId).zip(P::STORES) {
            let format = &self.state.names().format(store).key;
            if format.frames().is_none() {
                continue;
            }
            let head = format.head();
            for direction in [Direction::Forward, Direction::Backward] {
                let found = self.outermost_key(store, direction)?;
                if let Some(key) = found.filter(|key| !key.starts_with(&head)) {
                    let found = &key[..key.len().min(head.len())];
                    return Err(CodecError(format!(
                        "store {name} has keys that begin with {found:02x?}, and this node writes {head:02x?}: the id of a key's schema is fixed when its store is created; is this another registry?"
                    )));
                }
            }
        }
        Ok(())
    }

    fn outermost_key(&self, store: StoreId, direction: Direction) -> Result<Option<Bytes>, CodecError> {
        let mut found = None;
        let scan = Scan { direction, limit: 1, ..Scan::all(store) };
        let scanned = self.state.memstore().scan(At::Newest, &scan, &mut |key, _| {
            found = Some(Bytes::copy_from_slice(key));
            ControlFlow::Break(())
        });
        scanned.map_err(|error| CodecError(error.to_string()))?;
        Ok(found)
    }
}
