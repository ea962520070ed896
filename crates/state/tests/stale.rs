//! What the log does not tell again after a restart: keys that a stale record has hit, and how long leases are.
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use affinity_log::memory::MemoryLog;
use affinity_log::{Cleanup, Log, Tail, TopicPartition, TopicSpec};
use affinity_memstore::{Disk, DiskSettings, Facts, Limits, StoreId};
use affinity_state::{KeepRequests, Noted, Own, RequestSettings, State, StoreNames};
use affinity_types::control::{barrier_group, no_op_group};
use affinity_types::{
    Attributes, Epoch, EventTime, Group, Key, Offset, PartitionId, Record, Sequence, TopicId, Version,
};
use bytes::Bytes;

const TOPIC: TopicId = TopicId(7);
const TIME: EventTime = EventTime(1_700_000_000_000);

fn place() -> TopicPartition {
    TopicPartition::new("t", PartitionId(0))
}

fn open(folder: &Path) -> State {
    let (disk, _) = Disk::open(folder, DiskSettings::default()).unwrap();
    let facts = Facts {
        topic: TOPIC,
        start: Offset(0),
        end: Offset(u64::MAX),
        now: EventTime(0),
        delete_retention: None,
    };
    let store = disk.open_store("p.0", Limits::default(), &facts).unwrap().store;
    let names = StoreNames::new(&["main"], 2);
    State::open(Box::new(store), names, TOPIC, RequestSettings::default(), KeepRequests::InStore).unwrap()
}

fn write(epoch: u64, sequence: u64, key: &'static str, value: Option<&'static str>) -> Group {
    let record = Record::new(Key::copy_from(key.as_bytes()), value.map(Bytes::from));
    let version = Version::new(Epoch(epoch), Sequence(sequence));
    Group { version, time: TIME, attributes: Attributes::default(), records: vec![record] }
}

/// What a log in memory answers at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn tail(log: &MemoryLog, state: &State) -> Box<dyn Tail> {
    ready(log.tail(&place(), state.next())).unwrap()
}

/// Applies what is in the log; what it tells of changes that are no repairs.
fn read(tail: &mut dyn Tail, state: &mut State) -> Vec<Bytes> {
    let mut changed = Vec::new();
    while let Poll::Ready(batch) = tail.poll_batch(&mut Context::from_waker(Waker::noop())) {
        let note = |noted: Noted<'_>| {
            if let Noted::Written { key, repair: false, .. } = noted {
                changed.push(Bytes::copy_from_slice(key));
            }
        };
        state.apply(&batch.unwrap(), Duration::ZERO, note).unwrap();
    }
    changed
}

fn stale(state: &State) -> BTreeSet<Bytes> {
    state.stale().iter().map(|(_, key)| key.clone()).collect()
}

#[test]
fn stale_keys_are_known_after_a_restart_until_they_are_mended() {
    let dir = tempfile::tempdir().unwrap();
    let log = MemoryLog::default();
    ready(log.create_topic("t", TopicSpec { partitions: 1, cleanup: Cleanup::default() })).unwrap();
    for group in [
        barrier_group(Epoch(1), TIME, 300, 1),
        write(1, 1, "a", Some("1")),
        barrier_group(Epoch(2), TIME, 300, 1),
        write(1, 2, "a", Some("late")),
        write(1, 3, "b", Some("late")),
        write(1, 4, "c", Some("late")),
        no_op_group(Version::new(Epoch(1), Sequence(5)), TIME, 1),
        write(2, 1, "c", Some("valid")),
    ] {
        log.zombie(&place(), &group).unwrap();
    }
    let mut state = open(dir.path());
    assert_eq!(read(&mut *tail(&log, &state), &mut state), ["a", "c"]);
    drop(state);

    let mut state = open(dir.path());
    assert_eq!(stale(&state), BTreeSet::from(["a".into(), "b".into()]), "c has a valid record behind it");
    let repairs: Vec<Record> = state.stale().iter().map(|place| state.repair(place).unwrap()).collect();
    let was = |at: usize| (repairs[at].value.clone(), repairs[at].repairs);
    assert_eq!(was(0), (Some(Bytes::from("1")), Some(Version::new(Epoch(1), Sequence(1)))));
    assert_eq!(was(1), (None, Some(Version::default())), "nothing was there");

    // One is mended by its own acknowledgement, the other by reading the repair.
    let place_a = [(StoreId::MAIN, Bytes::from("a"))];
    let (first, next) = (state.next(), state.next().advance(1));
    let version = Version::new(Epoch(2), Sequence(2));
    let own = Own { first, next, version, time: TIME, changes: &[], repairs: &place_a, request: None };
    state.apply_own(&[own]).unwrap();
    drop(state);
    let mut state = open(dir.path());
    assert_eq!(stale(&state), BTreeSet::from(["b".into()]));
    log.zombie(&place(), &write(2, 2, "a", Some("1"))).unwrap();
    let repair = Group { records: vec![repairs[1].clone()], ..write(2, 3, "b", None) };
    log.zombie(&place(), &repair).unwrap();
    assert!(read(&mut *tail(&log, &state), &mut state).is_empty(), "a repair tells nobody anything");
    drop(state);
    assert!(stale(&open(dir.path())).is_empty());
}

#[test]
fn lengths_of_leases_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = MemoryLog::default();
    ready(log.create_topic("t", TopicSpec { partitions: 1, cleanup: Cleanup::default() })).unwrap();
    for group in [
        barrier_group(Epoch(1), TIME, 3000, 1),
        write(1, 1, "a", Some("1")),
        barrier_group(Epoch(2), TIME, 200, 1),
    ] {
        log.zombie(&place(), &group).unwrap();
    }
    let mut state = open(dir.path());
    read(&mut *tail(&log, &state), &mut state);
    drop(state);

    let mut state = open(dir.path());
    let heard = Duration::from_secs(7);
    state.assume_leases(300, heard);
    let leases = |state: &State| state.leases().map(|(e, lease)| (e.0, lease.lease_ms)).collect::<Vec<_>>();
    assert_eq!(leases(&state), [(1, 3000), (2, 200)]);
    assert!(state.leases().all(|(_, lease)| lease.heard == heard), "when they were heard is not known");
    assert!(stale(&state).is_empty(), "they are no marks");

    // One that ran out long ago is forgotten, in the store too.
    log.zombie(&place(), &barrier_group(Epoch(3), TIME, 100, 1)).unwrap();
    let batch = tail(&log, &state).poll_batch(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(batch)) = batch else { panic!("it was appended") };
    state.apply(&batch, heard + Duration::from_secs(2), |_| ()).unwrap();
    drop(state);
    assert_eq!(leases(&open(dir.path())), [(1, 3000), (3, 100)]);
}
