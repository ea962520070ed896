//! Ranges of keys.

use std::ops::{Bound, Range, RangeBounds};

use affinity_memstore::{Direction, Scan, StoreId};
use affinity_types::EventTime;
use affinity_types::codec::Encode;
use affinity_types::format::Format;

/// A range of a store's keys, by the order of their bytes, and which way it is read.
///
/// Integers are encoded big endian: those that are not negative lie in their own order. Records lie in the order of their Avro bytes, which is
/// hardly ever that of what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    direction: Direction,
}

impl KeyRange {
    /// All keys.
    #[must_use]
    pub fn all() -> KeyRange {
        KeyRange { from: Bound::Unbounded, to: Bound::Unbounded, direction: Direction::Forward }
    }

    /// The keys between two bounds. One that ends before it begins is empty.
    pub fn keys<K: Encode + ?Sized>(range: impl RangeBounds<K>) -> KeyRange {
        let bytes = |bound: Bound<&K>| bound.map(encoded);
        KeyRange { from: bytes(range.start_bound()), to: bytes(range.end_bound()), ..KeyRange::all() }
    }

    /// The keys whose bytes begin with those of `prefix`.
    pub fn prefix<K: Encode + ?Sized>(prefix: &K) -> KeyRange {
        let Scan { from, to, direction, .. } = Scan::prefix(StoreId::MAIN, &encoded(prefix));
        KeyRange { from, to, direction }
    }

    /// Of the keys that are made of `prefix` and a time, as 8 bytes big endian, those with a time in `times`. No key may
    /// begin with the bytes of a shorter key's prefix: an identifier of one length does it, or a separator. Times before
    /// 1970 do not lie in order, and in no such range.
    pub fn times<K: Encode + ?Sized>(prefix: &K, times: Range<EventTime>) -> KeyRange {
        let key = |time: EventTime| {
            let mut key = encoded(prefix);
            time.0.max(0).encode(&mut key);
            key
        };
        let (from, to) = (Bound::Included(key(times.start)), Bound::Excluded(key(times.end)));
        KeyRange { from, to, ..KeyRange::all() }
    }

    /// The same range, from its greatest key to its smallest.
    #[must_use]
    pub fn backward(self) -> KeyRange {
        KeyRange { direction: Direction::Backward, ..self }
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// The range in a store whose keys have this format.
    pub(crate) fn of(self, store: StoreId, keys: &Format) -> Scan {
        let KeyRange { from, to, direction } = self;
        let head = keys.head();
        let behind = |bound: Bound<Vec<u8>>| match head.is_empty() {
            true => bound,
            false => bound.map(|key| [&head[..], &key].concat()),
        };
        Scan { store, from: behind(from), to: behind(to), direction, limit: usize::MAX }
    }
}

fn encoded<K: Encode + ?Sized>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode_body(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_the_keys_between_its_bounds() {
        let check = |range: KeyRange, inside: &[&[u8]], outside: &[&[u8]]| {
            let scan = range.of(StoreId::MAIN, &Format::Plain);
            assert!(inside.iter().all(|key| scan.contains(key)), "{scan:?}");
            assert!(!outside.iter().any(|key| scan.contains(key)), "{scan:?}");
        };
        check(KeyRange::all(), &[b"", b"a", &[255; 9]], &[]);
        check(KeyRange::prefix("a"), &[b"a", b"a\xff"], &[b"", b"b", b"\xff"]);
        check(KeyRange::keys(1u16..=2), &[&[0, 1], &[0, 1, 9], &[0, 2]], &[&[0, 0, 9], &[0, 2, 0]]);
        check(KeyRange::keys::<str>((Bound::Excluded("a"), Bound::Unbounded)), &[b"a\0", b"b"], &[b"a"]);
        let at = |time: i64| [b"id/".as_slice(), &time.to_be_bytes()].concat();
        let range = KeyRange::times("id/", EventTime(5)..EventTime(7));
        check(range, &[&at(5), &at(6)], &[&at(4), &at(7), &at(-1), b"id/", b"ie/"]);
        let range = KeyRange::times("id/", EventTime(-5)..EventTime(2));
        check(range, &[&at(0), &at(1)], &[&at(2), &at(-1), &at(-6)]);
    }
}
