//! What the memory backend keeps for snapshots, and no longer than for them.

use std::time::Duration;

use affinity_memstore::Value;
use affinity_memstore::{At, Batch, Checkpoint, ErrorKind, Limits, MemStore, MemoryStore, StoreId};
use affinity_types::{Epoch, EventTime, Offset, Sequence, TopicId, Version};

const NOW: Duration = Duration::ZERO;

fn write(store: &mut MemoryStore, key: &[u8], value: Option<&[u8]>) {
    let next = store.checkpoint().map_or(Offset(0), |c| c.next);
    let mut batch = Batch::new(next, Checkpoint::new(TopicId(7), next.advance(1), Epoch(1), EventTime(0)));
    match value {
        Some(bytes) => batch.put(StoreId::MAIN, key, Value::new(bytes, Version::new(Epoch(1), Sequence(1)))),
        None => batch.remove(StoreId::MAIN, key),
    }
    store.apply(&batch).expect("a batch that follows");
}

fn kept(store: &MemoryStore) -> usize {
    store.status().kept_values
}

#[test]
fn without_a_snapshot_nothing_is_kept() {
    let mut store = MemoryStore::new(Limits::default());
    for value in [Some(&b"1"[..]), Some(b"2"), None, Some(b"3")] {
        write(&mut store, b"a", value);
    }
    assert_eq!(store.status().kept_bytes, 0);
}

#[test]
fn one_value_of_a_key_is_kept_for_a_snapshot_however_often_it_changes() {
    let mut store = MemoryStore::new(Limits::default());
    write(&mut store, b"a", Some(b"1"));
    let first = store.open_snapshot(NOW).unwrap();
    (0..100).for_each(|_| write(&mut store, b"a", Some(b"2")));
    assert_eq!(kept(&store), 1);
    let second = store.open_snapshot(NOW).unwrap();
    (0..100).for_each(|_| write(&mut store, b"a", Some(b"3")));
    assert_eq!(kept(&store), 2);
    store.close_snapshot(first);
    assert_eq!(kept(&store), 1, "what only the first could see is gone");
    assert_eq!(store.get_at(At::Snapshot(&second), StoreId::MAIN, b"a").unwrap().unwrap().bytes(), b"2");
    store.close_snapshot(second);
    assert_eq!((kept(&store), store.status().kept_bytes), (0, 0));
}

#[test]
fn what_was_kept_is_dropped_in_pieces() {
    let mut store = MemoryStore::new(Limits::default());
    let keys: Vec<[u8; 4]> = (0..5000u32).map(u32::to_be_bytes).collect();
    keys.iter().for_each(|key| write(&mut store, key, Some(b"1")));
    let first = store.open_snapshot(NOW).unwrap();
    keys.iter().for_each(|key| write(&mut store, key, Some(b"2")));
    store.close_snapshot(first);
    assert_eq!(kept(&store), 5000 - 1024, "a piece goes with the snapshot");
    let second = store.open_snapshot(NOW).unwrap();
    let at = At::Snapshot(&second);
    assert_eq!(store.get_at(at, StoreId::MAIN, &keys[4999]).unwrap().unwrap().bytes(), b"2");
    let before = kept(&store);
    write(&mut store, b"new", Some(b"1"));
    assert_eq!(kept(&store), before + 1 - 2, "two go with every change");
    store.close_snapshot(second);
    while kept(&store) > 0 {
        let before = kept(&store);
        store.close_aged(NOW);
        assert!(kept(&store) < before, "the rest goes with the owner's rounds");
    }
    assert_eq!(store.status().kept_bytes, 0);
}

#[test]
fn a_snapshot_that_keeps_too_much_is_closed() {
    let mut store = MemoryStore::new(Limits { snapshot_kept_max_bytes: 10_000, ..Limits::default() });
    let big = vec![7; 4000];
    for key in [b"a", b"b", b"c"] {
        write(&mut store, key, Some(&big));
    }
    let old = store.open_snapshot(NOW).unwrap();
    write(&mut store, b"a", None);
    let young = store.open_snapshot(NOW).unwrap();
    write(&mut store, b"b", None);
    assert_eq!((kept(&store), store.status().snapshots), (2, 2));
    write(&mut store, b"c", None);
    assert_eq!((kept(&store), store.status().snapshots), (2, 1), "the oldest makes room");
    let error = store.get_at(At::Snapshot(&old), StoreId::MAIN, b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(store.get_at(At::Snapshot(&young), StoreId::MAIN, b"b").unwrap().is_some());
    assert!(store.get(StoreId::MAIN, b"c").unwrap().is_none(), "the write itself goes through");
}

#[test]
fn a_store_knows_its_number_of_keys() {
    let mut store = MemoryStore::new(Limits::default());
    assert!(store.is_empty(StoreId::MAIN));
    write(&mut store, b"a", Some(b"1"));
    write(&mut store, b"a", Some(b"2"));
    write(&mut store, b"b", Some(b"1"));
    assert_eq!((store.len(StoreId::MAIN), store.len(StoreId(1))), (2, 0));
}
