//! What is due: the same whoever applied the log, on disk as in memory, after a restart as before, and as a plain model says.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_log::memory::MemoryLog;
use affinity_log::{Cleanup, Log, TopicPartition, TopicSpec};
use affinity_memstore::{Disk, DiskSettings, Expiring, Facts, Limits, MemStore, MemoryStore, StoreId};
use affinity_state::{KeepRequests, Own, PendingValue, RequestSettings, State, StoreNames};
use affinity_types::control::barrier_group;
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Offset, PartitionId, Record, Sequence, TopicId, Version,
};
use bytes::Bytes;
use proptest::prelude::*;

const TOPIC: TopicId = TopicId(7);
const TIMES: i64 = 6;

fn names() -> StoreNames {
    StoreNames::new(&["main", "sessions", "plain"], 2)
}

fn open(memstore: Box<dyn MemStore>) -> State {
    State::open(memstore, names(), TOPIC, RequestSettings::default(), KeepRequests::InStore).unwrap()
}

fn on_disk(folder: &Path) -> State {
    let (disk, _) = Disk::open(folder, DiskSettings::default()).unwrap();
    let (start, end) = (Offset(0), Offset(u64::MAX));
    let facts = Facts { topic: TOPIC, start, end, now: EventTime(0), delete_retention: None };
    open(Box::new(disk.open_store("p.0", Limits::default(), &facts).unwrap().store))
}

fn in_memory() -> State {
    open(Box::new(MemoryStore::new(Limits::default())))
}

/// What a log in memory answers at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

/// Reads the log from where the state stands to its end.
fn follow(log: &MemoryLog, state: &mut State) {
    let mut tail = ready(log.tail(&place(), state.next())).unwrap();
    while let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
        state.apply(&batch.unwrap(), Duration::ZERO, |_| {}).unwrap();
    }
}

fn place() -> TopicPartition {
    TopicPartition::new("t", PartitionId(0))
}

/// Applies groups as who wrote them does; their first record is at `first`.
fn acknowledge(state: &mut State, groups: &[Vec<Change>], first: Offset, sequence: u64) {
    let mut made = Vec::new();
    let mut first = first;
    for (n, group) in (sequence..).zip(groups) {
        let version = Version::new(Epoch(1), Sequence(n));
        let changes: Vec<_> = group
            .iter()
            .map(|change| {
                let Change { store, key, value, expires } = *change;
                let value = value.then(|| Bytes::from_static(b"v"));
                (store, key_of(key), PendingValue { value, version, expires: expires.map(EventTime) })
            })
            .collect();
        let next = first.advance(changes.len() as u64);
        made.push((first, next, version, changes));
        first = next;
    }
    let own = made.iter().map(|(first, next, version, changes)| Own {
        first: *first,
        next: *next,
        version: *version,
        time: EventTime(0),
        changes,
        repairs: &[],
        request: None,
    });
    state.apply_own(&own.collect::<Vec<_>>()).unwrap();
}

#[derive(Clone, Copy, Debug)]
struct Change {
    store: StoreId,
    key: u8,
    value: bool,
    expires: Option<i64>,
}

fn key_of(key: u8) -> Bytes {
    Bytes::copy_from_slice(&[b'k', key])
}

fn change() -> impl Strategy<Value = Change> {
    let store = prop_oneof![3 => Just(StoreId(1)), 1 => Just(StoreId::MAIN), 1 => Just(StoreId(2))];
    let expires = prop_oneof![2 => (0..TIMES).prop_map(Some), 1 => Just(None)];
    (store, 0..4u8, prop::bool::weighted(0.8), expires).prop_map(|(store, key, value, expires)| {
        // No value of the last store ever expires; a deletion may carry its cause.
        Change { store, key, value, expires: expires.filter(|_| store != StoreId(2)) }
    })
}

fn due_in(model: &BTreeMap<(StoreId, u8), Option<i64>>, now: i64) -> Vec<Expiring> {
    let due = model.iter().filter_map(|((store, key), expires)| {
        let expires = expires.filter(|expires| *expires <= now)?;
        Some(Expiring { store: *store, key: key_of(*key), expires: EventTime(expires) })
    });
    let mut due: Vec<_> = due.collect();
    due.sort_by(|a, b| (a.expires, a.store, &a.key).cmp(&(b.expires, b.store, &b.key)));
    due
}

#[test]
fn what_is_due_is_the_same_whoever_applied_the_log() {
    let groups = prop::collection::vec(prop::collection::vec(change(), 1..4), 1..12);
    proptest!(ProptestConfig::with_cases(48), |(batches in prop::collection::vec(groups, 1..4))| {
        let folder = tempfile::tempdir().unwrap();
        let log = MemoryLog::default();
        ready(log.create_topic("t", TopicSpec { partitions: 1, cleanup: Cleanup::default() })).unwrap();
        log.zombie(&place(), &barrier_group(Epoch(1), EventTime(0), 300, 1)).unwrap();
        let (mut master, mut standby) = (in_memory(), in_memory());
        let mut disk = Some(on_disk(folder.path()));
        follow(&log, &mut master);
        let mut model = BTreeMap::new();
        let mut sequence = 1;
        for groups in batches {
            for (n, group) in (sequence..).zip(&groups) {
                let records = group.iter().map(|change| {
                    let (kind, key) = names().key_of(change.store, &key_of(change.key));
                    let expires = change.expires.map(EventTime);
                    let value = change.value.then(|| Bytes::from_static(b"v"));
                    Record { kind, expires, ..Record::new(key, value) }
                });
                let (version, records) = (Version::new(Epoch(1), Sequence(n)), records.collect());
                let group = Group { version, time: EventTime(0), attributes: Attributes::default(), records };
                log.zombie(&place(), &group).unwrap();
            }
            for change in groups.iter().flatten() {
                model.insert((change.store, change.key), change.expires.filter(|_| change.value));
            }
            let first = master.next();
            acknowledge(&mut master, &groups, first, sequence);
            sequence += groups.len() as u64;
            follow(&log, &mut standby);
            let mut reopened = disk.take().unwrap();
            follow(&log, &mut reopened);
            drop(reopened);
            let reopened = on_disk(folder.path());
            for now in (-1..=TIMES).chain([2]) {
                let expected = due_in(&model, now);
                for state in [&master, &standby, &reopened] {
                    let first = state.due_from();
                    let least = model.values().flatten().min().map(|least| EventTime(*least));
                    prop_assert!(least.is_none_or(|least| first.is_some_and(|first| first <= least)));
                    prop_assert_eq!(&state.due(EventTime(now), 100).unwrap(), &expected);
                    let some = state.due(EventTime(now), 2).unwrap();
                    prop_assert_eq!(some.len(), expected.len().min(2));
                    prop_assert!(some.iter().all(|due| expected.contains(due)));
                }
            }
            disk = Some(reopened);
        }
    });
}

#[test]
fn the_time_to_look_again_is_that_of_the_first_value_left() {
    let mut state = in_memory();
    let put = |key, expires| Change { store: StoreId::MAIN, key, value: true, expires };
    assert_eq!(state.due_from(), None);
    acknowledge(&mut state, &[vec![put(1, Some(100)), put(2, Some(200))]], Offset(0), 1);
    assert_eq!(state.due_from(), Some(EventTime(100)));
    acknowledge(&mut state, &[vec![put(1, None)]], Offset(2), 2);
    assert!(state.due(EventTime(150), 9).unwrap().is_empty());
    assert_eq!(state.due_from(), Some(EventTime(200)));
    acknowledge(&mut state, &[vec![put(2, Some(300)), put(3, Some(250))]], Offset(3), 3);
    assert!(state.due(EventTime(200), 9).unwrap().is_empty());
    assert_eq!(state.due_from(), Some(EventTime(250)));
    let delete = Change { value: false, ..put(3, Some(250)) };
    acknowledge(&mut state, &[vec![delete, put(2, None)]], Offset(5), 4);
    assert!(state.due(EventTime(i64::MAX), 9).unwrap().is_empty());
    assert_eq!(state.due_from(), None);
}
