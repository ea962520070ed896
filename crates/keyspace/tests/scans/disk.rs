//! Scans over owners whose stores lie on disk.

use std::cell::Cell;

use affinity_keyspace::{KeyRange, OwnerSettings, RouterSettings};
use affinity_log::memory::MemoryLog;
use affinity_memstore::{Disk, DiskSettings, Facts, Limits, MemStore};
use affinity_types::{EventTime, Offset, TopicId};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::lifetime::{ends_by_age, ends_with_its_mastership, world_of};
use crate::model::{check, course};
use crate::world::{TABLE, World, Write, keys};

/// A database that gives one empty store after the other.
struct Database {
    disk: Disk,
    stores: Cell<u32>,
    _folder: tempfile::TempDir,
}

impl Database {
    fn new() -> Database {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _) = Disk::open(folder.path(), DiskSettings::default()).unwrap();
        Database { disk, stores: Cell::new(0), _folder: folder }
    }

    fn store(&self) -> impl MemStore + 'static {
        let n = self.stores.replace(self.stores.get() + 1);
        let (topic, zero) = (TopicId(0), Offset::ZERO);
        let facts = Facts { topic, start: zero, end: zero, now: EventTime(0), delete_retention: None };
        self.disk.open_store(&format!("tables.{n}"), Limits::default(), &facts).unwrap().store
    }
}

#[test]
fn a_scan_on_disk_is_what_was_acknowledged_when_it_began() {
    let database = Database::new();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
    runner.run(&course(), |course| check(database.store(), course)).unwrap();
}

#[test]
fn a_scan_on_disk_ends_as_one_in_memory() {
    let database = Database::new();
    ends_by_age(world_of(database.store()));
    ends_with_its_mastership(world_of(database.store()));
}

#[test]
fn scans_on_disk_keep_their_moment_while_everything_is_overwritten() {
    let database = Database::new();
    let mut world = world_of(database.store());
    let mut forward = world.handles[0].scan(&TABLE, KeyRange::all());
    let mut backward = world.handles[0].scan(&TABLE, KeyRange::all().backward());
    let mut found = world.next(&mut forward).unwrap().unwrap();
    world.tell((0..5).map(|n| (Bytes::from(n.to_string()), None)).collect());
    world.settle();
    let mut rest = world.next(&mut backward).unwrap().unwrap();
    for n in 0..20 {
        world.fill((0..100).map(|key| format!("{n} {key}")));
        world.tell((5..10).map(|key| (Bytes::from(key.to_string()), Some(Bytes::new()))).collect());
    }
    found.extend(world.rest(&mut forward).unwrap());
    rest.extend(world.rest(&mut backward).unwrap());
    assert_eq!(keys(&found), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(keys(&rest), ["9", "8", "7", "6", "5"], "what was deleted before it began is not in it");
    assert!(found.iter().chain(&rest).all(|entry| entry.key == entry.value), "nor what was written later");
}

#[test]
fn partitions_of_one_database_are_merged_in_the_order_of_their_keys() {
    let database = Database::new();
    let mut world =
        World::new(MemoryLog::default(), OwnerSettings { scan_chunk_max: 2, ..OwnerSettings::default() });
    for partition in 0..4 {
        world.add(partition, "node", database.store());
        world.promote(partition as usize);
    }
    for n in 0..40 {
        let key = Bytes::from(format!("{n:02}"));
        world.handles[n % 4].command(Write(vec![(key.clone(), Some(key))]), None, None, None).unwrap();
    }
    world.settle();
    let router = world.router(RouterSettings::default());
    let mut scan = router.scan(&TABLE, &KeyRange::all().backward(), None);
    let mut found = Vec::new();
    while let Some(entries) = world.drive(scan.next()) {
        found.extend(entries.unwrap());
    }
    let expected: Vec<_> = (0..40).rev().map(|n| format!("{n:02}")).collect();
    assert_eq!(keys(&found), expected);
}
