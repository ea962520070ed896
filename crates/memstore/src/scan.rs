//! Ranges of a store, read piece by piece.

use std::ops::{Bound, ControlFlow, RangeBounds};

use crate::{Result, StoreId, Value};

/// What a scan shows its entries to; [`ControlFlow::Break`] ends the scan after the entry.
pub type Visit<'v> = dyn FnMut(&[u8], Value<'_>) -> ControlFlow<()> + 'v;

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the smallest key to the greatest.
    Forward,
    /// From the greatest key to the smallest.
    Backward,
}

/// A range of one store. Keys are ordered as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The store.
    pub store: StoreId,
    /// Where the range begins, at its smallest key whichever way the scan goes.
    pub from: Bound<Vec<u8>>,
    /// Where the range ends, at its greatest key.
    pub to: Bound<Vec<u8>>,
    /// Which way.
    pub direction: Direction,
    /// Most entries to show, at least 1: an owner serves others between two pieces.
    pub limit: usize,
}

impl Scan {
    /// All of a store, forwards.
    #[must_use]
    pub fn all(store: StoreId) -> Scan {
        Scan::range(store, Bound::Unbounded, Bound::Unbounded)
    }

    /// The keys between two bounds, forwards.
    #[must_use]
    pub fn range(store: StoreId, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Scan {
        let (from, to) = (from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
        Scan { store, from, to, direction: Direction::Forward, limit: usize::MAX }
    }

    /// The keys that begin with `prefix`, forwards.
    #[must_use]
    pub fn prefix(store: StoreId, prefix: &[u8]) -> Scan {
        let to = after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Scan { to, ..Scan::range(store, Bound::Included(prefix), Bound::Unbounded) }
    }

    /// The same range from its end.
    #[must_use]
    pub fn backward(self) -> Scan {
        Scan { direction: Direction::Backward, ..self }
    }

    /// The same scan, showing at most `entries`.
    #[must_use]
    pub fn limit(self, entries: usize) -> Scan {
        Scan { limit: entries, ..self }
    }

    /// The rest of the scan behind `last`, the key it stopped at.
    #[must_use]
    pub fn behind(self, last: Vec<u8>) -> Scan {
        match self.direction {
            Direction::Forward => Scan { from: Bound::Excluded(last), ..self },
            Direction::Backward => Scan { to: Bound::Excluded(last), ..self },
        }
    }

    /// Whether a key lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        RangeBounds::<[u8]>::contains(&self.bounds(), key)
    }

    /// Bytes of the longer bound.
    #[must_use]
    pub fn longest_bound(&self) -> usize {
        let length = |bound: &Bound<Vec<u8>>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => key.len(),
            Bound::Unbounded => 0,
        };
        length(&self.from).max(length(&self.to))
    }

    /// The bounds as slices.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice))
    }

    /// Whether no key can lie within: a map's range would panic on such bounds.
    pub(crate) fn is_void(&self) -> bool {
        match self.bounds() {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

/// How a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// All of the range was shown.
    All,
    /// It stopped at this key, which was shown; [`Scan::behind`] goes on.
    Until(Vec<u8>),
}

/// Shows `entries` to `visit` until they, the limit or the visitor's patience end.
pub(crate) fn show<'v, K: AsRef<[u8]>>(
    entries: impl Iterator<Item = Result<(K, Value<'v>)>>,
    limit: usize,
    visit: &mut Visit<'_>,
) -> Result<Scanned> {
    let mut left = limit.max(1);
    for entry in entries {
        let (key, value) = entry?;
        left -= 1;
        if visit(key.as_ref(), value).is_break() || left == 0 {
            return Ok(Scanned::Until(key.as_ref().to_vec()));
        }
    }
    Ok(Scanned::All)
}

/// The smallest key greater than all that begin with `prefix`, if there is one.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut after = prefix[..=kept].to_vec();
    after[kept] += 1;
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_after_a_prefix() {
        let check = |prefix: &[u8], after: Option<&[u8]>| assert_eq!(after_prefix(prefix).as_deref(), after);
        check(b"", None);
        check(b"a", Some(b"b"));
        check(b"a\xff\xff", Some(b"b"));
        check(b"\xff", None);
        check(b"\x00", Some(b"\x01"));
    }
}
