//! Scans against a sorted map, while writes go on.

use std::collections::BTreeMap;
use std::ops::Bound;

use affinity_keyspace::{KeyRange, OwnerSettings, RouterSettings};
use affinity_log::memory::{Delivery, MemoryLog};
use affinity_memstore::{Limits, MemStore, MemoryStore};
use bytes::Bytes;
use proptest::prelude::*;

use crate::world::{Entry, TABLE, World};

type Model = BTreeMap<Bytes, Bytes>;

fn key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(0u8..3, 0..4).prop_map(Bytes::from)
}

fn write() -> impl Strategy<Value = Vec<(Bytes, Option<Bytes>)>> {
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from));
    prop::collection::vec((key(), value), 1..6)
}

fn writes() -> impl Strategy<Value = Vec<Vec<(Bytes, Option<Bytes>)>>> {
    prop::collection::vec(write(), 0..8)
}

#[derive(Clone, Debug)]
struct Asked {
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    backward: bool,
    limit: Option<usize>,
}

impl Asked {
    fn range(&self) -> KeyRange {
        let range = KeyRange::keys::<Bytes>((self.from.clone(), self.to.clone()));
        if self.backward { range.backward() } else { range }
    }

    fn of(&self, model: &Model) -> Vec<(Bytes, Bytes)> {
        let above = |key: &Bytes| match &self.from {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
        };
        let below = |key: &Bytes| match &self.to {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
        };
        let within = model.iter().filter(|(key, _)| above(key) && below(key));
        let mut found: Vec<_> = within.map(|(key, value)| (key.clone(), value.clone())).collect();
        if self.backward {
            found.reverse();
        }
        found.truncate(self.limit.unwrap_or(usize::MAX));
        found
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let bound = || {
        prop_oneof![
            2 => Just(Bound::Unbounded),
            1 => key().prop_map(Bound::Included),
            1 => key().prop_map(Bound::Excluded),
        ]
    };
    let limit = prop::option::weighted(0.4, 0usize..12);
    let asked = (bound(), bound(), any::<bool>(), limit);
    asked.prop_map(|(from, to, backward, limit)| Asked { from, to, backward, limit })
}

fn apply(model: &mut Model, changes: &[(Bytes, Option<Bytes>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(model.insert(key.clone(), value.clone())),
            None => drop(model.remove(key)),
        }
    }
}

fn pairs(entries: Vec<Entry>) -> Vec<(Bytes, Bytes)> {
    entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn settings(scan_chunk_max: usize, scan_chunk_bytes_max: usize) -> OwnerSettings {
    OwnerSettings { scan_chunk_max, scan_chunk_bytes_max, ..OwnerSettings::default() }
}

/// What is written before a scan, and while it goes on, and how it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    before: Vec<Vec<(Bytes, Option<Bytes>)>>,
    unacknowledged: Vec<Vec<(Bytes, Option<Bytes>)>>,
    during: Vec<Vec<(Bytes, Option<Bytes>)>>,
    asked: Asked,
    chunk: (usize, usize),
    by_pages: bool,
}

pub(crate) fn course() -> impl Strategy<Value = Course> {
    let course = (writes(), writes(), writes(), asked(), (1usize..5, 1usize..20), any::<bool>());
    course.prop_map(|(before, unacknowledged, during, asked, chunk, by_pages)| Course {
        before,
        unacknowledged,
        during,
        asked,
        chunk,
        by_pages,
    })
}

/// A scan finds what was acknowledged when it began.
pub(crate) fn check(store: impl MemStore + 'static, course: Course) -> Result<(), TestCaseError> {
    let Course { before, unacknowledged, mut during, asked, chunk: (chunk_max, chunk_bytes_max), by_pages } =
        course;
    let mut world = World::serving_from(store, settings(chunk_max, chunk_bytes_max));
    let mut model = Model::new();
    // With one acknowledgement the lease holds, whatever comes of the others.
    let first = vec![(Bytes::from_static(&[1]), Some(Bytes::new()))];
    for changes in std::iter::once(first).chain(before) {
        apply(&mut model, &changes);
        world.tell(changes);
    }
    world.settle();
    world.log.deliver(Delivery::Manual);
    for changes in unacknowledged {
        world.tell(changes);
    }
    world.settle();
    let mut found = Vec::new();
    if by_pages {
        let (handle, most) = (world.handles[0].clone(), asked.limit.unwrap_or(3));
        let mut page = world.drive(handle.first_page(&TABLE, asked.range(), most)).unwrap();
        loop {
            world.log.deliver(Delivery::Automatic);
            found.extend(page.entries);
            let Some(token) = page.next else { break };
            during.pop().into_iter().for_each(|changes| world.tell(changes));
            page = world.drive(handle.next_page(&TABLE, &token, most)).unwrap();
        }
        prop_assert_eq!(pairs(found), Asked { limit: None, ..asked }.of(&model));
    } else {
        let scan = world.handles[0].scan(&TABLE, asked.range());
        let mut scan = scan.limit(asked.limit.unwrap_or(usize::MAX));
        while let Some(chunk) = world.next(&mut scan) {
            let chunk = chunk.unwrap();
            prop_assert!(!chunk.is_empty() && chunk.len() <= chunk_max);
            found.extend(chunk);
            world.log.deliver(Delivery::Automatic);
            during.pop().into_iter().for_each(|changes| world.tell(changes));
            world.settle();
        }
        prop_assert_eq!(pairs(found), asked.of(&model));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_scan_is_what_was_acknowledged_when_it_began(course in course()) {
        check(MemoryStore::new(Limits::default()), course)?;
    }

    #[test]
    fn all_partitions_are_merged_in_the_order_of_the_keys(
        written in prop::collection::vec((0usize..4, write()), 0..12),
        asked in asked(),
        chunk in (1usize..5, 1usize..20),
        scatter_max in 1usize..6,
    ) {
        let mut world = World::new(MemoryLog::default(), settings(chunk.0, chunk.1));
        for partition in 0..4 {
            world.add(partition, "node", MemoryStore::new(Limits::default()));
            world.promote(usize::try_from(partition).unwrap());
        }
        let mut models = vec![Model::new(); 4];
        for (at, changes) in written {
            apply(&mut models[at], &changes);
            world.handles[at].command(crate::world::Write(changes), None, None, None).unwrap();
        }
        world.settle();
        let router = world.router(RouterSettings { scatter_max, ..RouterSettings::default() });
        let scan = router.scan(&TABLE, &asked.range(), None);
        let mut scan = scan.limit(asked.limit.unwrap_or(usize::MAX));
        let mut found = Vec::new();
        while let Some(entries) = world.drive(scan.next()) {
            found.extend(entries.unwrap());
        }
        // A key of several partitions comes once for each, in their order.
        let all = Asked { limit: None, ..asked.clone() };
        let mut expected: Vec<_> = models.iter().flat_map(|model| all.of(model)).collect();
        expected.sort_by(|(a, _), (b, _)| if asked.backward { b.cmp(a) } else { a.cmp(b) });
        expected.truncate(asked.limit.unwrap_or(usize::MAX));
        prop_assert_eq!(pairs(found), expected);
    }
}
