//! What a handler sees of a range: the memstore, pending changes over it, and over these its own.

use std::iter::Peekable;
use std::ops::ControlFlow;
use std::vec;

use affinity_memstore::{At, Direction, Scan, StoreId};
use affinity_types::codec::Decode;
use affinity_types::format::Format;
use affinity_types::{EventTime, Sequence};
use bytes::Bytes;

use super::{Change, Master, View};
use crate::{KeyRange, Store};

/// A change over the memstore.
pub(crate) struct Overlaid {
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
    pub(crate) expires: Option<EventTime>,
    /// The group that it belongs to, if it is pending.
    pub(crate) group: Option<Sequence>,
}

/// Keys and values, as a handler's scan gives them.
type Entries<K, V> = Vec<(<K as ToOwned>::Owned, V)>;

impl View<'_> {
    /// Up to `limit` entries of a range, in its order. The handler runs to its end and everybody waits for it: a limit of
    /// thousands belongs into a scan from outside, which takes its turns.
    pub fn scan<K, V: Decode>(&self, store: &Store<K, V>, range: &KeyRange, limit: usize) -> Entries<K, V>
    where
        K: ToOwned<Owned: Decode> + ?Sized,
    {
        self.scan_over(&[], store, range, limit)
    }

    fn scan_over<K, V: Decode>(
        &self,
        changes: &[Change],
        store: &Store<K, V>,
        range: &KeyRange,
        limit: usize,
    ) -> Entries<K, V>
    where
        K: ToOwned<Owned: Decode> + ?Sized,
    {
        let mut entries = Vec::new();
        let Some(id) = self.id(store.name()) else { return entries };
        let format = self.state.names().format(id);
        let scan = range.clone().of(id, &format.key);
        self.visit(changes, &scan, limit, &mut |key, value| {
            let key = self.decode_key(store.name(), &format.key, key);
            entries.extend(key.zip(self.decode(store.name(), &format.value, value)));
        });
        entries
    }

    /// Shows up to `limit` entries, if that is not 0.
    fn visit(&self, changes: &[Change], scan: &Scan, limit: usize, show: &mut dyn FnMut(&[u8], &[u8])) {
        if limit == 0 {
            return;
        }
        let mut merge = Merge {
            view: self,
            over: over(changes, self.pending.range(scan), scan).into_iter().peekable(),
            store: scan.store,
            direction: scan.direction,
            left: limit,
            show,
        };
        let scanned = self.state.memstore().scan(At::Newest, scan, &mut |key, value| {
            merge.over_before(key)?;
            if merge.over_at(key)? {
                return ControlFlow::Continue(());
            }
            merge.take(key, value.bytes(), value.expires())
        });
        match scanned {
            Ok(_) => drop(merge.rest()),
            Err(error) => self.fail(error),
        }
    }

    fn decode_key<K: Decode>(&self, store: &str, format: &Format, bytes: &[u8]) -> Option<K> {
        let decoded = format.decode_within::<K>(bytes, &mut self.scratch.room.borrow_mut());
        decoded.map_err(|error| self.fail(format!("a key of store {store}: {error}"))).ok()
    }
}

impl Master<'_> {
    /// Up to `limit` entries of a range as this command has left it so far, as [`View::scan`].
    pub fn scan<K, V: Decode>(&self, store: &Store<K, V>, range: &KeyRange, limit: usize) -> Entries<K, V>
    where
        K: ToOwned<Owned: Decode> + ?Sized,
    {
        self.view.scan_over(&self.changes, store, range, limit)
    }
}

/// What lies over the memstore in a range, in its order: of a key that a command has changed itself, its own change.
fn over(changes: &[Change], mut pending: Vec<Overlaid>, scan: &Scan) -> Vec<Overlaid> {
    let changes = changes.iter().filter(|change| change.store == scan.store && scan.contains(&change.key));
    for change in changes {
        let (key, value) = (change.key.clone(), change.value.clone());
        let own = Overlaid { key, value, expires: None, group: None };
        let place = pending.binary_search_by(|over| match scan.direction {
            Direction::Forward => over.key.cmp(&change.key),
            Direction::Backward => change.key.cmp(&over.key),
        });
        match place {
            Ok(at) => pending[at] = own,
            Err(at) => pending.insert(at, own),
        }
    }
    pending
}

/// A range on its way to the handler.
struct Merge<'a> {
    view: &'a View<'a>,
    over: Peekable<vec::IntoIter<Overlaid>>,
    store: StoreId,
    direction: Direction,
    /// How many entries are still wanted, at least one.
    left: usize,
    show: &'a mut dyn FnMut(&[u8], &[u8]),
}

impl Merge<'_> {
    /// Takes the changes of keys that come before `key`.
    fn over_before(&mut self, key: &[u8]) -> ControlFlow<()> {
        let direction = self.direction;
        let before = |over: &Overlaid| match direction {
            Direction::Forward => over.key < key,
            Direction::Backward => over.key > key,
        };
        while let Some(over) = self.over.next_if(before) {
            self.take_over(&over)?;
        }
        ControlFlow::Continue(())
    }

    /// Takes the change of `key`, if there is one.
    fn over_at(&mut self, key: &[u8]) -> ControlFlow<(), bool> {
        let Some(over) = self.over.next_if(|over| over.key == key) else {
            return ControlFlow::Continue(false);
        };
        match self.take_over(&over) {
            ControlFlow::Break(()) => ControlFlow::Break(()),
            ControlFlow::Continue(()) => ControlFlow::Continue(true),
        }
    }

    /// Takes the changes behind everything else.
    fn rest(mut self) -> ControlFlow<()> {
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        while let Some(over) = self.over.next() {
            self.take_over(&over)?;
        }
        ControlFlow::Continue(())
    }

    fn take_over(&mut self, over: &Overlaid) -> ControlFlow<()> {
        self.view.saw.set(self.view.saw.get().max(over.group));
        match &over.value {
            None => ControlFlow::Continue(()),
            Some(value) => self.take(&over.key, value, over.expires),
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8], expires: Option<EventTime>) -> ControlFlow<()> {
        if !self.view.is_alive(self.store, key, expires) {
            return ControlFlow::Continue(());
        }
        (self.show)(key, value);
        self.left -= 1;
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use affinity_memstore::{Limits, MemoryStore, StoreId};
    use affinity_state::{
        KeepRequests, Own, Pending, PendingGroup, PendingValue, RequestSettings, State, StoreNames,
    };
    use affinity_types::{Epoch, Offset, TopicId, Version};
    use proptest::prelude::*;

    use super::*;
    use crate::context::Scratch;
    use crate::random::Random;

    const VALUES: Store<Bytes, u8> = Store::new("values");
    const NOW: EventTime = EventTime(100);

    /// A key's new value and when it expires; without one the key is removed.
    type Written = (Bytes, Option<(u8, Option<EventTime>)>);

    fn key() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(0u8..3, 0..4).prop_map(Bytes::from)
    }

    fn written() -> impl Strategy<Value = Written> {
        let expires = prop::option::weighted(0.3, (99i64..102).prop_map(EventTime));
        (key(), prop::option::weighted(0.7, (any::<u8>(), expires)))
    }

    fn range() -> impl Strategy<Value = KeyRange> {
        let bound = || (0..3, key());
        let keys = (bound(), bound()).prop_map(|(from, to)| {
            let bound = |(kind, key)| match kind {
                0 => std::ops::Bound::Unbounded,
                1 => std::ops::Bound::Included(key),
                _ => std::ops::Bound::Excluded(key),
            };
            KeyRange::keys::<Bytes>((bound(from), bound(to)))
        });
        let range = prop_oneof![keys, key().prop_map(|prefix| KeyRange::prefix(&prefix))];
        (range, any::<bool>()).prop_map(|(range, back)| if back { range.backward() } else { range })
    }

    fn group(sequence: u64, written: &[Written]) -> PendingGroup<()> {
        let version = Version::new(Epoch(1), Sequence(sequence));
        let change = |(key, value): &Written| {
            let expires = value.and_then(|(_, expires)| expires);
            let value = value.map(|(value, _)| Bytes::from(vec![value]));
            (StoreId::MAIN, key.clone(), PendingValue { value, version, expires })
        };
        PendingGroup { version, changes: written.iter().map(change).collect(), with: () }
    }

    fn state(stored: &[Written]) -> State {
        let memstore = Box::new(MemoryStore::new(Limits::default()));
        let (names, settings) = (StoreNames::new(&["values"], 0), RequestSettings::default());
        let mut state = State::open(memstore, names, TopicId(0), settings, KeepRequests::InWindow).unwrap();
        let PendingGroup { version, changes, .. } = group(1, stored);
        let (first, next) = (Offset(0), Offset(1));
        let own = Own { first, next, version, time: NOW, changes: &changes, repairs: &[], request: None };
        state.apply_own(&[own]).unwrap();
        state
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_scan_shows_what_single_reads_would(
            stored in prop::collection::vec(written(), 0..12),
            groups in prop::collection::vec(prop::collection::vec(written(), 0..4), 0..5),
            own in prop::collection::vec((key(), prop::option::of(any::<u8>())), 0..5),
            range in range(),
            limit in 0usize..8,
        ) {
            let (state, mut pending) = (state(&stored), Pending::default());
            let mut model: BTreeMap<_, _> = stored.iter().cloned().collect();
            let mut newest = BTreeMap::new();
            for (sequence, written) in (2..).zip(&groups) {
                pending.push(group(sequence, written));
                model.extend(written.iter().cloned());
                newest.extend(written.iter().map(|(key, _)| (key.clone(), Sequence(sequence))));
            }
            let (scratch, mut random) = (Scratch::default(), Random::new(1));
            let view = View::new(&state, &pending, NOW, &scratch);
            let scan = range.clone().of(StoreId::MAIN, &Format::Plain);
            let expected = |model: &BTreeMap<Bytes, Option<(u8, Option<EventTime>)>>| -> Vec<(Bytes, u8)> {
                let alive = |(key, value): (&Bytes, &Option<(u8, Option<EventTime>)>)| {
                    let (value, expires) = (*value)?;
                    expires.is_none_or(|at| at > NOW).then(|| (key.clone(), value))
                };
                let within = model.iter().filter(|(key, _)| scan.contains(key)).filter_map(alive);
                match scan.direction {
                    Direction::Forward => within.take(limit).collect(),
                    Direction::Backward => {
                        within.collect::<Vec<_>>().into_iter().rev().take(limit).collect()
                    }
                }
            };
            let shown = view.scan(&VALUES, &range, limit);
            prop_assert_eq!(&shown, &expected(&model));
            let last = shown.last().filter(|_| shown.len() == limit).map(|(key, _)| key);
            let passed = |key: &Bytes| last.is_none_or(|last| match scan.direction {
                Direction::Forward => key <= last,
                Direction::Backward => key >= last,
            });
            let seen = newest.iter().filter(|(key, _)| scan.contains(key) && passed(key));
            let seen = seen.map(|(_, group)| *group).max().filter(|_| limit > 0);
            prop_assert_eq!(view.saw(), seen);

            let mut master = Master::new(view, &mut random);
            for (key, value) in own {
                model.insert(key.clone(), value.map(|value| (value, None)));
                match value {
                    Some(value) => master.put(&VALUES, &key, &value),
                    None => master.delete(&VALUES, &key),
                }
            }
            prop_assert_eq!(master.scan(&VALUES, &range, limit), expected(&model));
            prop_assert!(master.finish(&Ok(Ok::<_, ()>(())), &[]).fault.is_none());
        }
    }
}
