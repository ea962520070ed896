//! Changes that are decided and not yet in the memstore.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use affinity_memstore::{Direction, Scan, StoreId};
use affinity_types::{EventTime, Sequence, Version};
use bytes::Bytes;
use hashbrown::{Equivalent, HashMap};

use crate::indices::is_index;

/// The newest pending value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingValue {
    /// The value; `None` deletes.
    pub value: Option<Bytes>,
    /// The group that decided it.
    pub version: Version,
    /// From when on it no longer counts; of a deletion that this has caused, the same of the value deleted.
    pub expires: Option<EventTime>,
}

/// A decided group: its changes, and what its owner keeps with it until they are in the memstore.
#[derive(Debug)]
pub struct PendingGroup<T> {
    /// Its version.
    pub version: Version,
    /// Store, key and new value of each change.
    pub changes: Vec<(StoreId, Bytes, PendingValue)>,
    /// What the owner keeps with it.
    pub with: T,
}

/// Where a value is, without owning the key.
#[derive(Hash)]
struct Place<'a>(StoreId, &'a [u8]);

impl Equivalent<(StoreId, Bytes)> for Place<'_> {
    fn equivalent(&self, (store, key): &(StoreId, Bytes)) -> bool {
        self.0 == *store && self.1 == key
    }
}

/// Decided groups in the order of their appends, over the newest value of each key in them: first those that have landed in
/// the log and are still to be applied, then those in flight.
#[derive(Debug)]
pub struct Pending<T> {
    groups: VecDeque<PendingGroup<T>>,
    /// How many have landed.
    landed: usize,
    /// Of each key, its newest group and the place of the change in it.
    newest: HashMap<(StoreId, Bytes), (Sequence, usize)>,
    /// The same of entries of indices, which are read in their order.
    entries: BTreeMap<(StoreId, Bytes), (Sequence, usize)>,
}

impl<T> Default for Pending<T> {
    fn default() -> Pending<T> {
        Pending { groups: VecDeque::new(), landed: 0, newest: HashMap::new(), entries: BTreeMap::new() }
    }
}

impl<T> Pending<T> {
    /// The newest pending value of a key.
    #[must_use]
    pub fn get(&self, store: StoreId, key: &[u8]) -> Option<&PendingValue> {
        if self.newest.is_empty() {
            return None;
        }
        let (sequence, at) = *self.newest.get(&Place(store, key))?;
        let group = self.groups.get(self.index(sequence)?)?;
        group.changes.get(at).map(|(_, _, value)| value)
    }

    /// The newest pending values of the keys in a range, in its order. Looks at every pending key: there are few, and
    /// writes need no order among them.
    #[must_use]
    pub fn range(&self, scan: &Scan) -> Vec<(&Bytes, &PendingValue)> {
        let keys = self.newest.keys().filter(|(store, key)| *store == scan.store && scan.contains(key));
        let mut found: Vec<_> = keys.filter_map(|(store, key)| Some((key, self.get(*store, key)?))).collect();
        found.sort_unstable_by(|(a, _), (b, _)| match scan.direction {
            Direction::Forward => a.cmp(b),
            Direction::Backward => b.cmp(a),
        });
        found
    }

    /// The newest pending changes of an index's entries in a range, in their order.
    pub fn entries<'a>(
        &'a self,
        index: StoreId,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl Iterator<Item = (&'a Bytes, &'a PendingValue)> {
        let place = |key: &[u8]| (index, Bytes::copy_from_slice(key));
        let from = match from {
            Bound::Unbounded => Bound::Included(place(b"")),
            from => from.map(place),
        };
        let to = match to {
            Bound::Unbounded => Bound::Excluded((StoreId(index.0 + 1), Bytes::new())),
            to => to.map(place),
        };
        let found =
            (!self.entries.is_empty() && !is_void(&from, &to)).then(|| self.entries.range((from, to)));
        found.into_iter().flatten().filter_map(|((_, key), (sequence, at))| {
            let group = self.groups.get(self.index(*sequence)?)?;
            group.changes.get(*at).map(|(_, _, value)| (key, value))
        })
    }

    /// Adds a group that was appended.
    pub fn push(&mut self, group: PendingGroup<T>) {
        for (at, (store, key, _)) in group.changes.iter().enumerate() {
            let (place, newest) = ((*store, key.clone()), (group.version.sequence, at));
            if is_index(*store) {
                self.entries.insert(place, newest);
            } else {
                self.newest.insert(place, newest);
            }
        }
        self.groups.push_back(group);
    }

    /// Sequence of the newest group, landed or in flight.
    #[must_use]
    pub fn newest(&self) -> Option<Sequence> {
        self.groups.back().map(|group| group.version.sequence)
    }

    /// The oldest group in flight has landed; its changes stay pending until they are [`settled`](Pending::settled).
    pub fn land(&mut self) -> Option<&mut PendingGroup<T>> {
        let group = self.groups.get_mut(self.landed)?;
        self.landed += 1;
        Some(group)
    }

    /// The groups that have landed, oldest first.
    pub fn landed(&self) -> impl DoubleEndedIterator<Item = &PendingGroup<T>> + ExactSizeIterator {
        self.groups.range(..self.landed)
    }

    /// The groups that have landed are in the memstore.
    pub fn settled(&mut self) -> impl Iterator<Item = PendingGroup<T>> + '_ {
        (0..std::mem::take(&mut self.landed)).map_while(|_| self.pop())
    }

    /// Takes out the oldest group in flight, which is not to be.
    ///
    /// # Panics
    /// If groups have landed and are not settled.
    pub fn refuse(&mut self) -> Option<PendingGroup<T>> {
        assert_eq!(self.landed, 0, "what landed is settled before anything is refused");
        self.pop()
    }

    fn pop(&mut self) -> Option<PendingGroup<T>> {
        let group = self.groups.pop_front()?;
        for (store, key, _) in &group.changes {
            if is_index(*store) {
                let place = (*store, key.clone());
                if self.entries.get(&place).is_some_and(|(sequence, _)| *sequence == group.version.sequence) {
                    self.entries.remove(&place);
                }
                continue;
            }
            let place = Place(*store, key);
            if self.newest.get(&place).is_some_and(|(sequence, _)| *sequence == group.version.sequence) {
                self.newest.remove(&place);
            }
        }
        Some(group)
    }

    /// Does something to what is kept with the group of `sequence`, if that is in flight.
    pub fn with(&mut self, sequence: Sequence, change: impl FnOnce(&mut T)) {
        if let Some(group) = self.index(sequence).and_then(|at| self.groups.get_mut(at)) {
            change(&mut group.with);
        }
    }

    /// Does something to each group up to that of `sequence`.
    pub fn through(&mut self, sequence: Sequence, change: impl FnMut(&mut PendingGroup<T>)) {
        self.groups.iter_mut().take_while(|group| group.version.sequence <= sequence).for_each(change);
    }

    fn index(&self, sequence: Sequence) -> Option<usize> {
        self.groups.binary_search_by_key(&sequence, |group| group.version.sequence).ok()
    }

    /// Takes all groups in flight out.
    ///
    /// # Panics
    /// If groups have landed and are not settled.
    pub fn take_all(&mut self) -> VecDeque<PendingGroup<T>> {
        assert_eq!(self.landed, 0, "what landed is settled before what is in flight is given up");
        self.newest.clear();
        self.entries.clear();
        std::mem::take(&mut self.groups)
    }

    /// How many groups are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.groups.len() - self.landed
    }
}

/// Whether nothing lies between two bounds: a map's range would panic on some such.
fn is_void<T: Ord>(from: &Bound<T>, to: &Bound<T>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from >= to
        }
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

#[cfg(test)]
mod tests {
    use affinity_types::Epoch;

    use super::*;

    fn group(sequence: u64, changes: &[(&'static str, Option<&'static str>)]) -> PendingGroup<u64> {
        let version = Version::new(Epoch(1), Sequence(sequence));
        let change = |(key, value): &(&'static str, Option<&'static str>)| {
            let value = PendingValue { value: value.map(Bytes::from_static_str), version, expires: None };
            (StoreId::MAIN, Bytes::from_static(key.as_bytes()), value)
        };
        PendingGroup { version, changes: changes.iter().map(change).collect(), with: sequence }
    }

    trait FromStr {
        fn from_static_str(text: &'static str) -> Bytes;
    }

    impl FromStr for Bytes {
        fn from_static_str(text: &'static str) -> Bytes {
            Bytes::from_static(text.as_bytes())
        }
    }

    #[test]
    fn the_newest_pending_value_is_seen_until_its_own_group_is_settled() {
        let mut pending = Pending::default();
        let key = Bytes::from_static(b"a");
        pending.push(group(1, &[("a", Some("1")), ("b", Some("1"))]));
        pending.push(group(2, &[("a", None)]));
        let seen = |pending: &Pending<u64>| pending.get(StoreId::MAIN, &key).map(|v| v.value.clone());
        assert_eq!(seen(&pending), Some(None));
        assert_eq!(pending.land().map(|g| g.with), Some(1));
        assert_eq!((pending.in_flight(), pending.landed().len()), (1, 1));
        assert_eq!(seen(&pending), Some(None));
        assert!(pending.get(StoreId::MAIN, &Bytes::from_static(b"b")).is_some(), "landed, not settled");
        assert_eq!(pending.settled().map(|g| g.with).collect::<Vec<_>>(), [1]);
        assert_eq!(seen(&pending), Some(None), "the second change is still pending");
        assert_eq!(pending.get(StoreId::MAIN, &Bytes::from_static(b"b")), None);
        assert_eq!(pending.refuse().map(|g| g.with), Some(2));
        assert_eq!(seen(&pending), None);
        assert!(pending.in_flight() == 0 && pending.land().is_none());
    }
}
