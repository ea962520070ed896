//! The entries of a chunk, in one piece of memory.

use std::vec;

use affinity_types::Version;
use bytes::Bytes;

use super::Continuation;

/// Keys and values one behind the other, as an owner sends them.
pub(crate) struct Chunk {
    bytes: Bytes,
    entries: Vec<Place>,
    /// Where the scan goes on; `None` if this is all of it.
    pub(crate) next: Option<Continuation>,
}

/// Where an entry's key and value end; each begins where the one before it ends.
struct Place {
    key_end: usize,
    value_end: usize,
    version: Version,
}

/// An entry as it is stored.
pub(crate) struct Raw {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) version: Version,
}

/// A chunk that is being filled.
pub(crate) struct Filling {
    bytes: Vec<u8>,
    entries: Vec<Place>,
}

impl Chunk {
    /// An empty one, with room for so many entries and bytes.
    pub(crate) fn filling(entries: usize, bytes: usize) -> Filling {
        Filling { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(entries) }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Drops what is more than so many entries.
    pub(crate) fn truncate(&mut self, entries: usize) {
        self.entries.truncate(entries);
    }

    pub(crate) fn into_cursor(self) -> Cursor {
        Cursor { bytes: self.bytes, at: 0, entries: self.entries.into_iter() }
    }
}

impl Filling {
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], version: Version) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.entries.push(Place { key_end, value_end: self.bytes.len(), version });
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(self) -> Chunk {
        Chunk { bytes: self.bytes.into(), entries: self.entries, next: None }
    }
}

/// The entries of a chunk, one after the other. They share its memory.
pub(crate) struct Cursor {
    bytes: Bytes,
    at: usize,
    entries: vec::IntoIter<Place>,
}

impl Iterator for Cursor {
    type Item = Raw;

    fn next(&mut self) -> Option<Raw> {
        let Place { key_end, value_end, version } = self.entries.next()?;
        let key = self.bytes.slice(self.at..key_end);
        let value = self.bytes.slice(key_end..value_end);
        self.at = value_end;
        Some(Raw { key, value, version })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}
