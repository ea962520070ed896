//! When a scan begins to answer, what ends it, and what is refused.

use std::time::Duration;

use affinity_keyspace::{Control, Failure, KeyRange, OwnerSettings, RouterSettings, Store};
use affinity_log::memory::{Fencing, MemoryLog, MemoryOptions};
use affinity_memstore::{Batch, Checkpoint, Limits, MemStore, MemoryStore, StoreId, Value};
use affinity_types::{Epoch, EventTime, Offset, Sequence, TopicId, Version};
use bytes::Bytes;

use crate::world::{MORE, Scan, TABLE, World, Write, begin, keys};

fn small() -> OwnerSettings {
    OwnerSettings { scan_chunk_max: 2, scans_max: 3, ..OwnerSettings::default() }
}

/// One partition with keys `0` to `9`.
fn world() -> World {
    world_of(MemoryStore::new(Limits::default()))
}

pub(crate) fn world_of(store: impl MemStore + 'static) -> World {
    let mut world = World::serving_from(store, small());
    world.fill((0..10).map(|n| n.to_string()));
    world
}

fn all(world: &World) -> Scan {
    world.handles[0].scan(&TABLE, KeyRange::all())
}

/// A scan whose first chunk has come.
fn begun(world: &mut World) -> Scan {
    let mut scan = all(world);
    assert_eq!(keys(&world.next(&mut scan).unwrap().unwrap()), ["0", "1"]);
    scan
}

fn snapshot_age_max() -> Duration {
    Limits::default().snapshot_age_max
}

#[test]
fn entries_carry_the_versions_of_their_values() {
    let mut world = world();
    world.fill(["3".to_owned()]);
    let mut scan = world.handles[0].scan(&TABLE, KeyRange::keys(Bytes::from("2")..=Bytes::from("3")));
    let found = world.rest(&mut scan).unwrap();
    assert_eq!(keys(&found), ["2", "3"]);
    let version = |sequence| Version::new(Epoch(1), Sequence(sequence));
    assert_eq!((found[0].version, found[1].version), (version(1), version(2)));
    assert!(found.iter().all(|entry| entry.key == entry.value));
}

#[test]
fn open_scans_are_limited_and_those_of_one_chunk_do_not_count() {
    let mut world = world();
    let mut open: Vec<_> = (0..3).map(|_| begun(&mut world)).collect();
    let mut further = all(&world);
    assert_eq!(world.next(&mut further), Some(Err(Failure::Overloaded)));
    let mut short = all(&world).limit(2);
    assert_eq!(world.rest(&mut short).map(|found| found.len()), Ok(2));
    let mut last = open.pop().unwrap();
    assert_eq!(world.rest(&mut last).map(|found| found.len()), Ok(8));
    assert_eq!(world.rest(&mut further).map(|found| found.len()), Ok(10), "an ended scan makes room");
}

#[test]
fn a_limit_counts_for_what_was_asked_for_before() {
    let mut world = world();
    for (limit, left) in [(0, &[][..]), (1, &["4"]), (2, &["4", "5"]), (3, &["4", "5", "6"])] {
        let mut scan = begun(&mut world);
        assert_eq!(keys(&world.next(&mut scan).unwrap().unwrap()), ["2", "3"]);
        // The next chunk is on its way.
        let mut scan = scan.limit(limit);
        assert_eq!(keys(&world.rest(&mut scan).unwrap()), left);
        // It is on its way, and the one before has come and was not taken.
        let mut scan = begun(&mut world);
        assert!(begin(scan.next()).is_none());
        world.settle();
        assert!(begin(scan.next()).is_none());
        let mut scan = scan.limit(limit + 2);
        assert_eq!(keys(&world.rest(&mut scan).unwrap()), [&["2", "3"], left].concat());
    }
    drop((0..3).map(|_| begun(&mut world)).collect::<Vec<_>>());
}

#[test]
fn a_limit_counts_for_what_is_merged_and_not_given() {
    for (limit, left) in [(0, &[][..]), (1, &["0"]), (3, &["0", "1", "2"])] {
        let mut world = World::serving_from(
            MemoryStore::new(Limits::default()),
            OwnerSettings { queue_max: 1, ..small() },
        );
        world.fill((0..10).map(|n| n.to_string()));
        let mut scan = world.router(RouterSettings::default()).scan(&TABLE, &KeyRange::all(), None);
        assert!(begin(scan.next()).is_none());
        world.settle();
        world.tell(Vec::new());
        assert_eq!(begin(scan.next()), Some(Some(Err(Failure::Overloaded))));
        world.settle();
        let mut scan = scan.limit(limit);
        let mut found = Vec::new();
        while let Some(entries) = world.drive(scan.next()) {
            found.extend(entries.unwrap());
        }
        assert_eq!(keys(&found), left);
    }
}

#[test]
fn a_scan_that_is_dropped_makes_room_at_once() {
    let mut world = world();
    for round in 0..20 {
        let mut scan = all(&world);
        if round % 2 == 0 {
            assert!(begin(scan.next()).is_none());
            if round % 4 == 0 {
                // Its first chunk has come, and nobody has taken it.
                world.settle();
            }
        } else {
            for _ in 0..2 {
                world.next(&mut scan).unwrap().unwrap();
            }
        }
        drop(scan);
        world.settle();
    }
    let _three: Vec<_> = (0..3).map(|_| begun(&mut world)).collect();
}

#[test]
fn a_call_that_is_given_up_loses_nothing() {
    let mut world = world();
    let mut scan = all(&world);
    let mut found = Vec::new();
    loop {
        assert!(begin(scan.next()).is_none_or(|next| next.is_none_or(|chunk| {
            found.extend(chunk.unwrap());
            true
        })));
        match world.next(&mut scan) {
            Some(chunk) => found.extend(chunk.unwrap()),
            None => break,
        }
    }
    assert_eq!(keys(&found), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn a_scan_ends_by_age() {
    ends_by_age(world());
}

pub(crate) fn ends_by_age(mut world: World) {
    let mut open: Vec<_> = (0..3).map(|_| begun(&mut world)).collect();
    let opened = affinity_types::Clock::elapsed(&*world.clock);
    assert!(world.owners[0].wake_at().is_some_and(|at| at <= opened + snapshot_age_max()));
    world.advance(snapshot_age_max() - Duration::from_millis(1));
    assert_eq!(keys(&world.next(&mut open[0]).unwrap().unwrap()), ["2", "3"]);
    world.advance(Duration::from_millis(1));
    // What was sent before is still given.
    assert_eq!(world.rest(&mut open[1]), Err(Failure::ScanExpired));
    assert_eq!(world.next(&mut open[1]), None);
    begun(&mut world);
}

#[test]
fn a_scan_ends_when_too_much_is_overwritten() {
    let mut world = World::new(MemoryLog::default(), small());
    world.add(0, "node", MemoryStore::new(Limits { snapshot_kept_max_bytes: 0, ..Limits::default() }));
    world.promote(0);
    world.fill((0..10).map(|n| n.to_string()));
    let mut scan = begun(&mut world);
    world.fill(["9".to_owned()]);
    assert_eq!(world.next(&mut scan), Some(Err(Failure::ScanExpired)));
}

#[test]
fn a_scan_ends_with_its_mastership() {
    ends_with_its_mastership(world());
}

pub(crate) fn ends_with_its_mastership(mut world: World) {
    let (mut one, mut other) = (begun(&mut world), begun(&mut world));
    let handle = world.handles[0].clone();
    let token = world.drive(handle.first_page(&TABLE, KeyRange::all(), 1)).unwrap().next.unwrap();
    handle.order(Control::Demote);
    world.settle();
    assert_eq!(world.next(&mut one), Some(Err(Failure::Unavailable)));
    assert_eq!(world.next(&mut one), None);
    world.promote(0);
    assert_eq!(world.next(&mut other), Some(Err(Failure::ScanExpired)));
    assert_eq!(world.drive(handle.next_page(&TABLE, &token, 1)), Err(Failure::ScanExpired));
    let _three: Vec<_> = (0..3).map(|_| begun(&mut world)).collect();
}

#[test]
fn what_was_answered_is_shown_at_once() {
    let mut world = world();
    let handle = world.handles[0].clone();
    for n in 0..10 {
        // The memstore is written later, when the owner has nothing more urgent.
        let write = Write(vec![(Bytes::from("5"), Some(Bytes::from(n.to_string())))]);
        world.drive(handle.ask(write)).unwrap();
        let mut scan = handle.scan(&TABLE, KeyRange::prefix(&Bytes::from("5")));
        assert_eq!(world.rest(&mut scan).unwrap()[0].value, n.to_string());
    }
}

#[test]
fn a_scan_is_released_as_a_read_is() {
    let log = MemoryLog::new(MemoryOptions { fencing: Fencing::Off, ..MemoryOptions::default() });
    let mut world = World::new(log, small());
    for node in ["old", "new"] {
        world.add(0, node, MemoryStore::new(Limits::default()));
    }
    world.promote(0);
    world.fill((0..10).map(|n| n.to_string()));
    world.promote(1);
    let mut scan = world.handles[1].scan(&TABLE, KeyRange::all());
    assert!(begin(scan.next()).is_none());
    world.settle();
    assert!(begin(scan.next()).is_none(), "an earlier lease holds");
    world.advance(Duration::from_secs(1));
    assert_eq!(world.rest(&mut scan).map(|found| found.len()), Ok(10));
    // The old master does not know yet, and its lease is over: it has to prove itself first, and cannot.
    let mut scan = world.handles[0].scan(&TABLE, KeyRange::all());
    assert_eq!(world.next(&mut scan), Some(Err(Failure::Unavailable)));
}

#[test]
fn pages_come_again_under_the_same_token() {
    let mut world = world();
    let handle = world.handles[0].clone();
    let first = world.drive(handle.first_page(&TABLE, KeyRange::all().backward(), 2)).unwrap();
    assert_eq!(keys(&first.entries), ["9", "8"]);
    let token = first.next.unwrap();
    world.fill(["75".to_owned()]);
    for entries in [1, 2, 1] {
        let page = world.drive(handle.next_page(&TABLE, &token, entries)).unwrap();
        assert_eq!(keys(&page.entries), &["7", "6"][..entries]);
    }
    handle.end_pages(&token).unwrap();
    assert_eq!(world.drive(handle.next_page(&TABLE, &token, 1)), Err(Failure::ScanExpired));
}

#[test]
fn what_is_no_scan_is_refused() {
    let mut world = world();
    world.add(1, "node", MemoryStore::new(Limits::default()));
    world.promote(1);
    let (handle, elsewhere) = (world.handles[0].clone(), world.handles[1].clone());
    let invalid = |failure: &Failure<_>| matches!(failure, Failure::Invalid(_));
    let range = KeyRange::keys(Bytes::from("2")..Bytes::from("8"));
    let token = world.drive(handle.first_page(&TABLE, range, 1)).unwrap().next.unwrap();
    for token in [&b""[..], b"nonsense", &token[..5]] {
        let page = world.drive(handle.next_page(&TABLE, token, 1));
        assert!(page.is_err_and(|f| invalid(&f)));
    }
    let mut outside = token.to_vec();
    *outside.last_mut().unwrap() = b'9';
    assert!(world.drive(handle.next_page(&TABLE, &outside, 1)).is_err_and(|f| invalid(&f)));
    assert!(world.drive(handle.next_page(&MORE, &token, 1)).is_err_and(|f| invalid(&f)));
    assert_eq!(world.drive(elsewhere.next_page(&TABLE, &token, 1)), Err(Failure::ScanExpired));
    assert!(world.drive(handle.next_page(&TABLE, &token, 1)).is_ok(), "it goes on all the same");
    let missing: Store<Bytes, Bytes> = Store::new("missing");
    let mut scan = handle.scan(&missing, KeyRange::all());
    assert!(world.drive(scan.next()).unwrap().is_err_and(|f| invalid(&f)));
    assert!(world.drive(scan.next()).is_none());
    let mut scan = handle.scan(&TABLE, KeyRange::prefix(&Bytes::from(vec![1; 40 << 10])));
    assert!(world.drive(scan.next()).unwrap().is_err_and(|f| invalid(&f)));
}

#[test]
fn what_is_no_such_value_is_corrupt() {
    let mut world = world();
    let misread: Store<Bytes, u64> = Store::new("table");
    let mut scan = world.handles[0].scan(&misread, KeyRange::all());
    assert!(matches!(world.drive(scan.next()), Some(Err(Failure::Corrupt(_)))));
    assert!(world.drive(scan.next()).is_none());
    world.settle();
    let _three: Vec<_> = (0..3).map(|_| begun(&mut world)).collect();
}

#[test]
fn expired_values_are_passed_by_and_count_as_work() {
    let mut world = World::new(MemoryLog::default(), small());
    world.add(0, "probe", MemoryStore::new(Limits::default()));
    let topic = {
        let log: &dyn affinity_log::Log = &world.log;
        let found = crate::world::drive(&mut [], log.topic("tables")).unwrap();
        found.map_or(TopicId(0), |topic| topic.id)
    };
    let now = affinity_types::Clock::now(&*world.clock);
    let mut batch = Batch::new(Offset(0), Checkpoint::new(topic, Offset(0), Epoch(0), EventTime(0)));
    let names: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    for (n, name) in names.iter().enumerate() {
        let expires = (n != 5).then_some(now.plus_ms(if n < 5 { 1 } else { 2 }));
        let value = Value::new(name.as_bytes(), Version::default()).expiring(expires);
        batch.put(StoreId::MAIN, name.as_bytes(), value);
    }
    let mut store = MemoryStore::new(Limits::default());
    store.apply(&batch).unwrap();
    world.add(0, "node", store);
    world.promote(1);
    let handle = world.handles[1].clone();
    // Some have just expired, and the owner has not deleted them when it is asked.
    world.clock.advance_ms(1);
    let mut page = world.drive(handle.first_page(&TABLE, KeyRange::all(), 9)).unwrap();
    assert!(page.entries.is_empty() && page.next.is_some(), "two were looked at");
    let mut shown = Vec::new();
    while let Some(next) = page.next {
        // Time goes on, the scan's moment stays.
        world.advance(Duration::from_millis(5));
        page = world.drive(handle.next_page(&TABLE, &next, 9)).unwrap();
        shown.push(keys(&page.entries).concat());
    }
    assert_eq!(shown, ["", "5", "67", "89", ""]);
    let mut scan = handle.scan(&TABLE, KeyRange::all());
    assert_eq!(keys(&world.rest(&mut scan).unwrap()), ["5"]);
}

#[test]
fn a_scan_of_all_partitions_fails_as_a_whole() {
    let mut world = world();
    world.add(1, "node", MemoryStore::new(Limits::default()));
    world.promote(1);
    let router = world.router(RouterSettings::default());
    let mut scan = router.scan(&TABLE, &KeyRange::all(), None);
    assert_eq!(world.drive(scan.next()).unwrap().unwrap().len(), 10);
    let mut scan = router.scan(&TABLE, &KeyRange::all(), None);
    world.handles[1].order(Control::Demote);
    assert_eq!(world.drive(scan.next()), Some(Err(Failure::Unavailable)));
    assert_eq!(world.drive(scan.next()), None);
    world.settle();
    let _three: Vec<_> = (0..3).map(|_| begun(&mut world)).collect();
}

#[test]
fn a_chunk_has_to_come_by_its_deadline() {
    let mut world = world();
    let router = world.router(RouterSettings::default());
    let mut scan = router.scan(&TABLE, &KeyRange::all(), Some(Duration::from_millis(5)));
    assert!(begin(scan.next()).is_none());
    world.clock.advance_ms(5);
    let mut scan_at = router.scan(&TABLE, &KeyRange::all(), Some(Duration::ZERO));
    assert_eq!(begin(scan_at.next()), Some(Some(Err(Failure::DeadlinePassed))));
    world.settle();
    // The first one was asked for in time, and handled too late.
    assert_eq!(world.drive(scan.next()), Some(Err(Failure::DeadlinePassed)));
    assert_eq!(world.drive(scan.next()), None);
    let _three: Vec<_> = (0..3).map(|_| begun(&mut world)).collect();
}
