//! Indices against what their functions make of the values: whoever applies the log, over restarts and versions.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_log::memory::MemoryLog;
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Disk, DiskSettings, Facts, Limits, MemStore, MemoryStore, StoreId};
use affinity_state::indices::{INDEX_KEYS_MAX, Unindexable, ValueChange, entry_prefix};
use affinity_state::{
    IndexDefinition, KeepRequests, Own, Pending, PendingGroup, PendingValue, RequestSettings, State,
    StoreNames,
};
use affinity_types::codec::CodecError;
use affinity_types::control::no_op_group;
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, TopicId, Version,
};
use bytes::Bytes;
use proptest::prelude::*;

const TOPIC: TopicId = TopicId(7);
const TIME: EventTime = EventTime(1_700_000_000_000);
/// Values that begin so cannot be read.
const UNREADABLE: u8 = 9;

fn place() -> TopicPartition {
    TopicPartition::new("t", PartitionId(0))
}

/// What a log in memory answers at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

/// Each byte of a value is an index key; in version 2, each two bytes are.
fn definition(name: &'static str, version: u32) -> IndexDefinition {
    let keys = move |value: &[u8], show: &mut dyn FnMut(&[u8])| {
        if value.first() == Some(&UNREADABLE) {
            return Err(CodecError("unreadable".into()));
        }
        value.windows(usize::try_from(version).unwrap()).for_each(show);
        Ok(())
    };
    IndexDefinition { name, version, store: StoreId::MAIN, keys: Box::new(keys) }
}

fn disk(folder: &Path) -> Box<dyn MemStore> {
    let (disk, _) = Disk::open(folder, DiskSettings::default()).unwrap();
    let end = Offset(u64::MAX);
    let facts = Facts { topic: TOPIC, start: Offset(0), end, now: EventTime(0), delete_retention: None };
    Box::new(disk.open_store("p.0", Limits::default(), &facts).unwrap().store)
}

fn open(store: Box<dyn MemStore>, definitions: Vec<IndexDefinition>) -> State {
    let names = StoreNames::new(&["main", "other"], 2);
    let settings = RequestSettings::default();
    let mut state = State::open(store, names, TOPIC, settings, KeepRequests::InStore).unwrap();
    state.define_indices(definitions).unwrap();
    state
}

/// A log, and the master whose groups are in it.
struct World {
    log: MemoryLog,
    sequence: u64,
}

/// A key and its new value; without one the key is removed.
type Change = (u8, Option<(Vec<u8>, Option<i64>)>);

impl World {
    fn new() -> World {
        let log = MemoryLog::default();
        ready(log.create_topic("t", TopicSpec { partitions: 1, cleanup: Cleanup::default() })).unwrap();
        World { log, sequence: 0 }
    }

    /// Appends a group, and says where it lies.
    fn append(&mut self, changes: &[Change]) -> (Version, Offset, Offset) {
        self.sequence += 1;
        let version = Version::new(Epoch(1), Sequence(self.sequence));
        let record = |(key, value): &Change| {
            let expires = value.as_ref().and_then(|(_, at)| at.map(EventTime));
            let bytes = value.as_ref().map(|(bytes, _)| Bytes::copy_from_slice(bytes));
            Record { expires, ..Record::new(Key::copy_from(&[*key]), bytes) }
        };
        let records: Vec<_> = changes.iter().map(record).collect();
        let group = match records.len() {
            0 => no_op_group(version, TIME, 1),
            _ => Group { version, time: TIME, attributes: Attributes::default(), records },
        };
        let first = self.log.true_bounds(&place()).unwrap().end;
        self.log.zombie(&place(), &group).unwrap();
        (version, first, self.log.true_bounds(&place()).unwrap().end)
    }

    /// Reads what is in the log and not applied.
    fn read(&self, state: &mut State) {
        let mut tail = ready(self.log.tail(&place(), state.next())).unwrap();
        while let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
            state.apply(&batch.unwrap(), Duration::ZERO, |_| {}).unwrap();
        }
    }

    /// Decides groups one upon the other and applies them as one's own.
    fn own(&mut self, state: &mut State, groups: &[Vec<Change>]) {
        let mut pending = Pending::default();
        for changes in groups {
            let (version, first, next) = self.append(changes);
            let mut all = Vec::new();
            let mut entries = Vec::new();
            for (key, value) in changes {
                let key = Bytes::copy_from_slice(&[*key]);
                let (value, expires) = match value {
                    None => (None, None),
                    Some((bytes, at)) => (Some(Bytes::copy_from_slice(bytes)), at.map(EventTime)),
                };
                let old = match pending.get(StoreId::MAIN, &key) {
                    Some(PendingValue { value, expires, .. }) => value.clone().zip(Some(*expires)),
                    None => state.get(StoreId::MAIN, &key).unwrap().map(|value| {
                        let expires = value.expires();
                        (value.into_bytes(), expires)
                    }),
                };
                let old = old.as_ref().map(|(bytes, at)| (&bytes[..], *at));
                let new = value.as_ref().map(|bytes| (&bytes[..], expires));
                let changed = state
                    .indices()
                    .changes(&ValueChange { store: StoreId::MAIN, key: &key, old, new }, 1 << 10);
                entries.extend(changed.unwrap());
                all.push((StoreId::MAIN, key, PendingValue { value, version, expires }));
            }
            for change in entries {
                let value = PendingValue {
                    value: change.put.map(|_| Bytes::new()),
                    version,
                    expires: change.put.flatten(),
                };
                all.push((change.index, change.entry, value));
            }
            pending.push(PendingGroup { version, changes: all, with: (first, next) });
        }
        while pending.land().is_some() {}
        let own = |group: &'_ PendingGroup<(Offset, Offset)>| (group.with, group.version);
        let groups: Vec<Own<'_>> = pending
            .landed()
            .map(|group| {
                let ((first, next), version) = own(group);
                let changes = &group.changes;
                Own { first, next, version, time: TIME, changes, repairs: &[], request: None }
            })
            .collect();
        state.apply_own(&groups).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Own(Vec<Vec<Change>>),
    Read(Vec<Vec<Change>>),
    Build(usize),
    Restart,
    /// Of the second index; without one it goes.
    Version(Option<u32>),
}

fn groups(values: std::ops::Range<u8>) -> impl Strategy<Value = Vec<Vec<Change>>> {
    let value = prop::collection::vec(values, 0..4);
    let expires = prop::option::weighted(0.2, 1i64..3);
    let change = (0u8..12, prop::option::weighted(0.7, (value, expires)));
    // A group changes a key once.
    let group = prop::collection::btree_map(0u8..12, change, 0..4);
    let group = group.prop_map(|map| map.into_iter().map(|(key, (_, value))| (key, value)).collect());
    prop::collection::vec(group, 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => groups(0..3).prop_map(Step::Own),
        // What the log has may be unreadable.
        6 => groups(0..UNREADABLE + 1).prop_map(Step::Read),
        6 => (1usize..4).prop_map(Step::Build),
        1 => Just(Step::Restart),
        2 => prop::option::weighted(0.8, 1u32..3).prop_map(Step::Version),
    ]
}

fn walk(steps: Vec<Step>, open_store: impl Fn() -> Box<dyn MemStore>) -> Result<usize, TestCaseError> {
    let mut world = World::new();
    let mut version = Some(1);
    let definitions = |version: Option<u32>| {
        let changing = version.map(|version| definition("changing", version));
        std::iter::once(definition("steady", 1)).chain(changing).collect::<Vec<_>>()
    };
    let mut state = Some(open(open_store(), definitions(version)));
    for step in steps {
        let open_state = state.as_mut().unwrap();
        match step {
            Step::Own(groups) => world.own(open_state, &groups),
            Step::Read(groups) => {
                for changes in groups {
                    world.append(&changes);
                }
                world.read(open_state);
            }
            Step::Build(most) => {
                if open_state.indices().has_work() {
                    open_state.build_indices(most).unwrap();
                }
            }
            Step::Restart | Step::Version(_) => {
                if let Step::Version(new) = step {
                    version = new;
                }
                state = None;
                let again = state.insert(open(open_store(), definitions(version)));
                // What a store in memory has lost.
                world.read(again);
            }
        }
        let indices = state.as_ref().unwrap();
        let verified = indices.indices().verify(indices.memstore()).unwrap();
        prop_assert!(verified.is_ok(), "{verified:?}");
        prop_assert!(indices.indices().get("steady").unwrap().is_ready());
    }
    let mut state = state.unwrap();
    while state.indices().has_work() {
        state.build_indices(3).unwrap();
    }
    prop_assert!(version.is_none() || state.indices().get("changing").unwrap().is_ready());
    let verified = state.indices().verify(state.memstore()).unwrap();
    verified.map_err(TestCaseError::fail)
}

#[test]
fn an_index_is_what_its_function_makes_of_the_values() {
    proptest!(ProptestConfig::with_cases(500), |(steps in prop::collection::vec(step(), 1..40))| {
        walk(steps, || Box::new(MemoryStore::new(Limits::default())))?;
    });
}

#[test]
fn an_index_on_disk_is_what_its_function_makes_of_the_values() {
    let cases = ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(24) };
    proptest!(cases, |(steps in prop::collection::vec(step(), 1..40))| {
        let dir = tempfile::tempdir().unwrap();
        walk(steps, || disk(dir.path()))?;
    });
}

#[test]
fn an_index_of_another_version_is_built_anew_while_values_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let mut state = open(disk(dir.path()), vec![definition("changing", 1)]);
    assert!(!state.indices().has_work(), "of nothing, an index is ready");
    let all: Vec<Change> = (0..100).map(|key| (key, Some((vec![1, 2], None)))).collect();
    world.own(&mut state, &[all]);
    drop(state);
    let mut state = open(disk(dir.path()), vec![definition("changing", 2)]);
    let id = state.indices().get("changing").unwrap().id();
    state.build_indices(10).unwrap();
    assert!(!state.indices().get("changing").unwrap().is_ready());
    // One that has its entry and one that has not.
    world.own(&mut state, &[vec![(3, None), (77, Some((vec![5, 6], None)))]]);
    drop(state);
    // A restart in the middle begins again.
    let mut state = open(disk(dir.path()), vec![definition("changing", 2)]);
    assert_eq!(state.indices().get("changing").unwrap().id(), id);
    let mut steps = 0;
    while state.indices().has_work() {
        state.build_indices(10).unwrap();
        steps += 1;
    }
    assert!(steps >= 20, "{steps} steps for 99 values and 200 old entries");
    assert_eq!(state.indices().verify(state.memstore()).unwrap(), Ok(99));
    assert!(state.memstore().get(id, &[&entry_prefix(&[5, 6])[..], &[77]].concat()).unwrap().is_some());
    drop(state);
    assert!(!open(disk(dir.path()), vec![definition("changing", 2)]).indices().has_work());
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> ValueChange<'a> {
    ValueChange { store: StoreId::MAIN, key, old: None, new: Some((value, None)) }
}

#[test]
fn a_value_that_no_index_takes_is_refused_where_it_is_decided_and_counted_where_it_is_read() {
    let mut world = World::new();
    let mut state = open(Box::new(MemoryStore::new(Limits::default())), vec![definition("one", 1)]);
    let check = |state: &State, value: &[u8], why: &Unindexable| {
        let changed = state.indices().changes(&put(b"k", value), 8);
        assert_eq!(changed.unwrap_err(), *why);
    };
    check(&state, &vec![1; INDEX_KEYS_MAX + 1], &Unindexable::TooMany("one"));
    let source = CodecError("unreadable".into());
    check(&state, &[UNREADABLE], &Unindexable::Value { index: "one", source });
    let long = state.indices().changes(&put(&[7; 6], &[1]), 8);
    assert_eq!(long.unwrap_err(), Unindexable::TooLong { index: "one", bytes: 9, max: 8 });
    world.append(&[(1, Some((vec![1], None))), (2, Some((vec![UNREADABLE], None)))]);
    world.append(&[(1, Some((vec![1; INDEX_KEYS_MAX + 1], None)))]);
    world.read(&mut state);
    assert!(state.indices().skipped() >= 2);
    assert_eq!(state.indices().verify(state.memstore()).unwrap(), Ok(0));
}
