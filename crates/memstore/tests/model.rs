//! Any history of writes, snapshots and reads, against plain maps that are copied whole for every snapshot.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use affinity_memstore::{At, Batch, Checkpoint, Direction, Expiring, Limits, MemStore, MemoryStore};
use affinity_memstore::{RequestEntry, Scan, Scanned, Snapshot, StoreId, Value};
use affinity_types::{Epoch, EventTime, Offset, Sequence, TopicId, Version};
use bytes::Bytes;
use proptest::prelude::*;

type Key = Vec<u8>;
type Entry = (Vec<u8>, Version, Option<EventTime>);
type Model = BTreeMap<(StoreId, Key), Entry>;

const TOPIC: TopicId = TopicId(7);

#[derive(Clone, Debug)]
enum Step {
    Apply { changes: Vec<(StoreId, Key, Option<Entry>)>, requests: u64, evict: u64 },
    Open,
    Close(usize),
    Get { snapshot: usize, store: StoreId, key: Key },
    Scan { snapshot: usize, scan: Scan },
    Due { now: EventTime, most: usize },
    Reopen,
}

/// A store under test beside its model.
struct Pair {
    store: Option<Box<dyn MemStore>>,
    model: Model,
    requests: Vec<RequestEntry>,
    next: Offset,
    snapshots: Vec<(Snapshot, Model)>,
}

impl Pair {
    fn new(store: impl MemStore + 'static) -> Pair {
        Pair {
            store: Some(Box::new(store)),
            model: Model::new(),
            requests: Vec::new(),
            next: Offset(0),
            snapshots: Vec::new(),
        }
    }

    fn store(&mut self) -> &mut dyn MemStore {
        self.store.as_deref_mut().expect("open between steps")
    }

    /// Takes a step on both sides; `reopen` gives the store anew where it outlives its process.
    fn step(&mut self, step: Step, reopen: Option<&dyn Fn() -> Box<dyn MemStore>>) {
        match step {
            Step::Apply { changes, requests, evict } => self.apply(&changes, requests, evict),
            Step::Open => {
                let model = self.model.clone();
                match self.store().open_snapshot(Duration::ZERO) {
                    Ok(snapshot) => self.snapshots.push((snapshot, model)),
                    Err(error) => assert_eq!(self.snapshots.len(), 4, "{error}"),
                }
            }
            Step::Close(_) if self.snapshots.is_empty() => {}
            Step::Close(n) => {
                let (snapshot, _) = self.snapshots.swap_remove(n % self.snapshots.len());
                self.store().close_snapshot(snapshot);
            }
            Step::Get { snapshot, store, key } => {
                let (at, model) = self.at(snapshot);
                let read = self.store.as_ref().expect("open").get_at(at, store, &key).expect("readable");
                let expected = model
                    .get(&(store, key))
                    .map(|(bytes, version, expires)| Value::new(bytes, *version).expiring(*expires));
                assert_eq!(read, expected);
            }
            Step::Scan { snapshot, scan } => self.scan(snapshot, &scan),
            Step::Due { now, most } => self.due(now, most),
            Step::Reopen => {
                if let Some(reopen) = reopen {
                    self.store = None;
                    self.snapshots.clear();
                    self.store = Some(reopen());
                }
            }
        }
        let next = self.next;
        assert_eq!(self.store().checkpoint().map_or(Offset(0), |c| c.next), next);
    }

    /// What number `snapshot` sees, the newest for those that are not.
    fn at(&self, snapshot: usize) -> (At<'_>, &Model) {
        match self.snapshots.get(snapshot) {
            Some((snapshot, model)) => (At::Snapshot(snapshot), model),
            None => (At::Newest, &self.model),
        }
    }

    fn apply(&mut self, changes: &[(StoreId, Key, Option<Entry>)], requests: u64, evict: u64) {
        let from = self.next;
        self.next = from.advance(10);
        let mut batch = Batch::new(from, Checkpoint::new(TOPIC, self.next, Epoch(1), EventTime(0)));
        for (store, key, entry) in changes {
            match entry {
                Some((bytes, version, expires)) => {
                    batch.put(*store, key, Value::new(bytes, *version).expiring(*expires));
                    self.model.insert((*store, key.clone()), (bytes.clone(), *version, *expires));
                }
                None => {
                    batch.remove(*store, key);
                    self.model.remove(&(*store, key.clone()));
                }
            }
        }
        for n in 0..requests {
            let request = RequestEntry { offset: from.advance(n), bytes: Bytes::from(vec![1; 3]) };
            batch.remember(request.clone());
            self.requests.push(request);
        }
        let below = Offset(from.0.saturating_sub(evict));
        batch.forget_requests_before(below);
        self.requests.retain(|r| r.offset >= below);
        self.store().apply(&batch).expect("a batch that follows");
        let expected = self.requests.clone();
        assert_eq!(self.store().requests().expect("readable"), expected);
    }

    fn due(&mut self, now: EventTime, most: usize) {
        let expiring = self.model.iter().filter(|((store, _), _)| !store.is_derived());
        let expiring = expiring.filter_map(|((store, key), (.., expires))| {
            Some(Expiring { store: *store, key: Bytes::copy_from_slice(key), expires: (*expires)? })
        });
        let expiring: Vec<_> = expiring.collect();
        let first = expiring.iter().map(|expiring| expiring.expires).min();
        let store = self.store();
        assert!(first.is_none_or(|first| store.due_from().is_some_and(|from| from <= first)));
        assert!(first.is_some() || store.due_from().is_none());
        let expected: Vec<_> = expiring.into_iter().filter(|expiring| expiring.expires <= now).collect();
        let due = store.due(now, most).expect("readable");
        assert_eq!(due.len(), expected.len().min(most));
        assert!(due.iter().all(|due| expected.contains(due)), "{due:?} of {expected:?}");
        assert!(due.windows(2).all(|pair| pair[0] != pair[1]), "each once: {due:?}");
    }

    fn scan(&self, snapshot: usize, scan: &Scan) {
        let (at, model) = self.at(snapshot);
        let inside = |key: &Key| {
            let above = match &scan.from {
                Bound::Unbounded => true,
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
            };
            above
                && match &scan.to {
                    Bound::Unbounded => true,
                    Bound::Included(to) => key <= to,
                    Bound::Excluded(to) => key < to,
                }
        };
        let mut expected: Vec<(Key, Entry)> = (model.iter())
            .filter(|((store, key), _)| *store == scan.store && inside(key))
            .map(|((_, key), entry)| (key.clone(), entry.clone()))
            .collect();
        if scan.direction == Direction::Backward {
            expected.reverse();
        }
        let stopped = expected.len() >= scan.limit;
        expected.truncate(scan.limit);
        let mut shown = Vec::new();
        let mut visit = |key: &[u8], value: Value<'_>| {
            shown.push((key.to_vec(), (value.bytes().to_vec(), value.version(), value.expires())));
            ControlFlow::Continue(())
        };
        let store = self.store.as_ref().expect("open");
        let scanned = store.scan(at, scan, &mut visit).expect("readable");
        assert_eq!(shown, expected, "{scan:?}");
        let last = expected.last().filter(|_| stopped).map(|(key, _)| Scanned::Until(key.clone()));
        assert_eq!(scanned, last.unwrap_or(Scanned::All), "{scan:?}");
    }
}

fn key() -> impl Strategy<Value = Key> {
    // Few keys that share beginnings, of lengths on both sides of what lies inline.
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 0..3),
        (19usize..25, 0u8..2).prop_map(|(length, last)| [vec![1; length], vec![last]].concat()),
    ]
}

fn store() -> impl Strategy<Value = StoreId> {
    prop_oneof![3 => Just(StoreId::MAIN), 1 => Just(StoreId(1)), 1 => Just(StoreId::LAST)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let version = (0u64..200, 0u64..1_000_000).prop_map(|(e, s)| Version::new(Epoch(e), Sequence(s)));
    // Near each other, some in the same milliseconds.
    let time = prop_oneof![2 => 0i64..40, 1 => any::<i64>()];
    let expires = prop::option::weighted(0.5, time.prop_map(EventTime));
    (prop::collection::vec(any::<u8>(), 0..6), version, expires)
}

fn bound() -> impl Strategy<Value = Bound<Key>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

fn scan() -> impl Strategy<Value = Scan> {
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    let limit = prop_oneof![Just(usize::MAX), 1usize..5];
    (store(), bound(), bound(), direction, limit).prop_map(|(store, from, to, direction, limit)| Scan {
        store,
        from,
        to,
        direction,
        limit,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let change = (store(), key(), prop::option::weighted(0.7, entry()));
    let changes = prop::collection::vec(change, 0..12);
    prop_oneof![
        6 => (changes, 0u64..4, 0u64..40)
            .prop_map(|(changes, requests, evict)| Step::Apply { changes, requests, evict }),
        2 => Just(Step::Open),
        1 => (0usize..4).prop_map(Step::Close),
        3 => (0usize..6, store(), key())
            .prop_map(|(snapshot, store, key)| Step::Get { snapshot, store, key }),
        4 => (0usize..6, scan()).prop_map(|(snapshot, scan)| Step::Scan { snapshot, scan }),
        3 => (-1i64..41, prop_oneof![Just(usize::MAX), 1usize..4])
            .prop_map(|(now, most)| Step::Due { now: EventTime(now), most }),
        1 => Just(Step::Reopen),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

const LIMITS: fn() -> Limits = || Limits { snapshots_max: 4, ..Limits::default() };

#[test]
fn the_memory_store_does_what_its_model_does() {
    proptest!(ProptestConfig::with_cases(1000), |(history in history())| {
        let mut pair = Pair::new(MemoryStore::new(LIMITS()));
        history.into_iter().for_each(|step| pair.step(step, None));
        while let Some((snapshot, _)) = pair.snapshots.pop() {
            pair.store().close_snapshot(snapshot);
        }
        let status = pair.store().status();
        assert_eq!((status.kept_values, status.kept_bytes), (0, 0), "nothing is kept for nobody");
    });
}

#[cfg(feature = "disk")]
#[test]
fn the_disk_store_does_what_its_model_does() {
    use affinity_memstore::{Disk, DiskSettings, Facts, Verdict};
    use std::sync::atomic::{AtomicU32, Ordering};

    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(dir.path(), DiskSettings::default()).unwrap();
    let facts = Facts {
        topic: TOPIC,
        start: Offset(0),
        end: Offset(u64::MAX),
        now: EventTime(0),
        delete_retention: None,
    };
    let case = AtomicU32::new(0);
    proptest!(ProptestConfig::with_cases(100), |(history in history())| {
        let name = format!("case {}", case.fetch_add(1, Ordering::Relaxed));
        let opened = disk.open_store(&name, LIMITS(), &facts).unwrap();
        assert_eq!(opened.verdict, Verdict::Begin);
        let mut pair = Pair::new(opened.store);
        let reopen = || -> Box<dyn MemStore> { Box::new(disk.open_store(&name, LIMITS(), &facts).unwrap().store) };
        history.into_iter().for_each(|step| pair.step(step, Some(&reopen)));
    });
}
